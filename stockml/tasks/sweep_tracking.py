"""A sweep's run of MLflow's. What forks the jobs only imports MLflow: a database that is open must not be forked."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stockml import trackers
from stockml.errors import UserError
from stockml.processes import job_pool
from stockml.trackers.mlflow_store import Store, cause, quiet

if TYPE_CHECKING:
    from stockml.runs.sweep_folder import SweepFolder
    from stockml.trackers.settings import TrackerConfig

_INTERRUPTED_SECONDS = 2.0


@contextlib.contextmanager
def following(settings: TrackerConfig | None, folder: SweepFolder) -> Iterator[bool]:
    """Around a planned sweep and its page: a run of MLflow's, if that is asked for; whether MLflow can be reached."""
    if settings is None or not settings.mlflow:
        yield False
        return
    from stockml.trackers import mlflow_runs

    settings = trackers.located(settings)
    with quiet():
        importlib.import_module("mlflow")
    begin = functools.partial(mlflow_runs.begin_sweep, folder, settings)
    if not _done(begin, settings, settings.wait_seconds, "the jobs are not followed there"):
        yield False
        return
    status, seconds = "failed", settings.wait_seconds
    try:
        yield True
        status = "ok"
    except KeyboardInterrupt:
        status, seconds = "interrupted", _INTERRUPTED_SECONDS
        raise
    finally:
        end = functools.partial(mlflow_runs.end_sweep, folder, settings, status)
        if _done(end, settings, seconds, "what the sweep came to is missing there"):
            print(f"tracker     {Store(settings).place(folder)}", flush=True)


def _done(act: Callable[[], None], settings: TrackerConfig, seconds: float, otherwise: str) -> bool:
    """Do it in a process of its own within so many seconds, or tell in a line that it was not done."""
    call = job_pool.Call(functools.partial(functools.partial, _outcome, act), Path(os.devnull))
    deadline = time.monotonic() + seconds
    trouble = f"not done after {seconds:g} s (tracker.wait_seconds)"
    with closing(job_pool.run_each([call], cores=1, at_once=1)) as events:
        for event in events:
            if event is not None and event[1] is not None:
                trouble = str(event[1].error or event[1].value)
            elif time.monotonic() > deadline:
                break
    if trouble:
        print(f"warning     tracker mlflow: {settings.uri}: {trouble}; {otherwise}", flush=True)
    return not trouble


def _outcome(act: Callable[[], None]) -> str:
    """What went wrong, in a line; nothing where nothing did."""
    try:
        act()
    except UserError as error:
        return str(error)
    except Exception as error:
        return cause(error)
    return ""
