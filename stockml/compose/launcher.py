"""Sweeps under Hydra's launchers: each job is composed once by us."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from stockml.compose.grammar import literal
from stockml.compose.hydra_private import Callbacks
from stockml.compose.jobs import CheckedJobs, RunJob, as_call, name_override
from stockml.compose.reading import Command
from stockml.compose.sweeps import Job, Sweep

AsCall = Callable[[Job], Callable[[], Any]]
"""A job as what is to be called in the process that it is given."""
Batch = Iterable["Job | None"]
"""Jobs that may run side by side. None: there is none to start until another has ended."""
RunJobs = Callable[[Batch, AsCall], object]
"""Runs jobs side by side."""


def run_sweep(
    command: Command,
    folder: Path,
    run_jobs: RunJobs,
    run: RunJob,
    callbacks: Callbacks,
    chosen: Iterable[Batch] | None = None,
) -> None:
    """Give out every job of a sweep, or those that a search has `chosen`, batch by batch.

    `run_jobs` runs them where this process is to start them, and any other launcher of Hydra's otherwise; each job is
    `run`. Raises what the launcher raises; the callbacks are called at the beginning and the end.
    """
    sweep, master = command.sweep, copy.deepcopy(command.composed)
    assert sweep is not None and master is not None
    master.hydra.sweep.dir = literal(str(folder))
    context = HydraContext(config_loader=CheckedJobs(folder, ()), callbacks=callbacks)
    callbacks.on_multirun_start(config=master, config_name="config")
    call = functools.partial(as_call, master, context, folder, run)
    for batch in _batches(sweep) if chosen is None else chosen:
        if sweep.is_launched_here:
            run_jobs(batch, call)
        else:
            _launch_elsewhere(master, context, folder, run, [job for job in batch if job is not None])
    callbacks.on_multirun_end(config=master, config_name="config")


def _batches(sweep: Sweep) -> Iterator[Sequence[Job]]:
    size = sweep.batch or len(sweep.jobs)
    jobs = iter(sweep.jobs)
    while batch := list(itertools.islice(jobs, size)):
        yield batch


class _NamedJob:
    """Hydra's task function of a sweep under another launcher: the job that Hydra has set up."""

    def __init__(self, run: RunJob, jobs: Sequence[Job]) -> None:
        self._run, self._jobs = run, {job.name: job for job in jobs}

    def __call__(self, _composed: DictConfig) -> Any:
        return self._run(self._jobs[str(HydraConfig.get().sweep.subdir)])


def _launch_elsewhere(
    master: DictConfig, context: HydraContext, folder: Path, run: RunJob, jobs: Sequence[Job]
) -> None:
    """Have another launcher of Hydra's run the jobs."""
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=CheckedJobs(folder, jobs), callbacks=context.callbacks),
        task_function=_NamedJob(run, jobs),
        config=master,
    )
    lines = [[*(job.records.overrides if job.records else ()), name_override(job)] for job in jobs]
    launcher.launch(lines, initial_job_idx=jobs[0].number)
