"""A sweep: its jobs run, each failure kept to itself, and one table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stockml import compose
from stockml.compose import Job, Sweep
from stockml.config.root import Config
from stockml.config.values import show
from stockml.data import dataset
from stockml.distributed.settings import DDPConfig
from stockml.errors import Interrupted, RunError, UserError, describe_error
from stockml.reporting import summary, sweep_page, terminal
from stockml.runs.location import RunLocation
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import rank_count, report, supervisor
from stockml.tasks.same_experiment import DataState, can_go_on, changed_data, changed_settings, changed_weights
from stockml.trackers import tracking
from stockml.training import hardware

Train = Callable[[Config, RunLocation, dict[str, str]], float]


def run(command: compose.Command, train: Train, arguments: Sequence[str]) -> None:
    """Run what is missing of a sweep, and write its summary as jobs end and at the end, however that comes.

    `arguments` are what was typed, to emit how the sweep can be continued. Raises UserError where what is there
    already is of another config or other data, before anything is touched; RunError where jobs failed.
    """
    with contextlib.ExitStack() as until_the_end:
        _run(command, train, arguments, until_the_end)


def _run(command: compose.Command, train: Train, arguments: Sequence[str], until_the_end: contextlib.ExitStack) -> None:
    sweep = command.sweep
    assert sweep is not None
    callbacks = compose.callbacks_of(command)
    cluster = until_the_end.enter_context(supervisor.pool(command))
    folder = SweepFolder.at(sweep.folder) if sweep.is_named else SweepFolder.create(sweep.folder)
    named = compose.override("hydra.sweep.dir", str(folder.path))
    again = f"python run.py {shlex.join([*_without_folder(arguments), named])}"
    with folder.held():
        _refuse_what_differs(folder, sweep)
        folder.plan({job.name: job.swept for job in sweep.jobs})
        rows = summary.write(folder, joint=False)
        tried = sum(row["status"] in _ENDED for row in rows)
        done = [row for row in rows if row["status"] == "ok"]
        jobs = supervisor.Supervisor(folder, sweep, done, cluster, fail_fast=command.jobs[0].sweep.fail_fast)
        if any(supervisor.is_synthetic(config) for config in command.jobs):
            print(*terminal.SYNTHETIC, sep="\n", flush=True)
        until_the_end.enter_context(tracking.tracked_sweep(command.jobs[0].tracker, folder, print))
        summarise = not sweep.is_launched_here
        run_one = functools.partial(job, folder=folder.path, train=train, summarise=summarise, home=folder.path)
        try:
            if sweep.trials is None or tried < sweep.trials:
                compose.run_sweep(command, folder.path, tried, jobs, run_one, callbacks)
        except KeyboardInterrupt as error:
            rows = summary.write(folder, joint=False)
            ended = sum(row["status"] == "ok" for row in rows)
            line = (
                f"interrupted with {ended} of {len(rows)} jobs done; summary in {folder.path}; continue with: {again}"
            )
            raise Interrupted(getattr(error, "signum", 2), line) from error
        except RunError:  # the first failure, where that is to end the sweep
            pass
        except UserError:
            raise
        except Exception as error:
            if not any(row["status"] == "failed" for row in summary.write(folder, joint=False)):
                if sweep.is_launched_here and sweep.trials is None:
                    raise
                plugin = sweep.launcher if not sweep.is_launched_here else "hydra.sweeper"
                raise RunError(f"{plugin}: {' '.join(str(error).split())}; nothing more was started") from error
            # else what was raised is Hydra's or the search's complaint about the failed jobs
    rows = summary.write(folder)
    print(summary.table(rows), summary.location_line(folder), sep="\n", flush=True)
    if command.jobs[0].report is not False:
        print(*report.attempted(lambda: sweep_page.draw(folder, rows)), sep="\n", flush=True)
    failed = [row for row in rows if row["status"] != "ok"]
    if sweep.trials is not None and sum(row["status"] in _ENDED for row in rows) >= sweep.trials:
        failed = [row for row in failed if row["status"] in _ENDED]  # another trial has taken a killed one's place
    if failed:
        lines = [": ".join(filter(None, (row["job"], row["status"], row.get("error")))) for row in failed]
        remedy = "try them again" if sweep.trials is None else "raise n_trials for others"
        raise RunError(*lines, f"{len(failed)} of {len(rows)} jobs are not done; {remedy}: {again}")


_ENDED = ("ok", "failed")


def _without_folder(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("hydra.sweep.dir=")]


def _refuse_what_differs(folder: SweepFolder, sweep: Sweep) -> None:
    """UserError where a job is done already, but of another config or of other data than are asked for."""
    states: dict[Any, DataState] = {}
    faults: dict[str, list[str]] = {}
    for job in sweep.jobs:
        run_folder = folder.job(job.name)
        if job.config is None or run_folder.outcome() != "ok":
            continue
        config, changed = job.config, changed_settings(run_folder, job.config)
        source = (config.stock, config.data)
        if changed:
            for key, (then, now) in changed.items():
                faults.setdefault(f"{key} was {show(then)}, and is to be {show(now)}", []).append(job.name)
            continue
        if source not in states:
            states[source] = DataState.of(dataset.prepare(config))
        if reason := changed_data(run_folder, states[source]) or changed_weights(run_folder, config):
            faults.setdefault(reason, []).append(job.name)
    if faults:
        raise UserError(
            *(
                f"{what}, since {', '.join(names)} {'were' if len(names) > 1 else 'was'} done"
                for what, names in faults.items()
            ),
            f"{folder.path}: is not continued; leave these as they were, or choose another hydra.sweep.dir",
        )


def job(given: Job, folder: Path, train: Train, *, summarise: bool, home: Path | None = None) -> float | None:
    """One job of a sweep, in whatever process: its best validation loss; None where it failed, as result.json says.

    `summarise`: nobody else writes the sweep's summary. `home` is the sweep's folder, where the job's is copied to from
    another machine's `folder`.
    """
    location = RunLocation(job=folder / given.name)
    if given.config is None or given.records is None:
        location.create_folder("").record("failed", time.time(), "; ".join(given.faults), synthetic=False)
        return None
    config = given.config
    run_folder = location.create_folder(config.stock.ticker)
    if run_folder.outcome() == "ok":  # a launcher other than ours is given all the jobs
        return None
    started = time.time()

    def record(status: str, error: str | None) -> None:
        run_folder.record(status, started, error, synthetic=supervisor.is_synthetic(config))

    try:
        if can_go_on(run_folder, config):
            trainer = dataclasses.replace(config.trainer, resume=str(run_folder.path))
            config = dataclasses.replace(config, trainer=trainer)
        else:
            run_folder.clear()
            record("running", None)
        with gpus_of_its_own(config):
            return train(config, location, given.records.of_job(home or folder, given.name, given.number).texts())
    except UserError as error:
        if not isinstance(error, RunError):  # which train has printed already
            print(*error.lines, sep="\n", flush=True)
        record("failed", str(error))
    except KeyboardInterrupt:
        record("interrupted", "interrupted")
        raise
    except Exception as error:
        traceback.print_exc()
        record("failed", describe_error(error))
    finally:
        if summarise:
            summary.write(SweepFolder(folder), joint=False)
    return None


@contextlib.contextmanager
def gpus_of_its_own(config: Config) -> Iterator[None]:
    """On a machine with GPUs, one a rank that no other job of any sweep uses."""
    gpus = hardware.gpus() if config.hardware.device in ("auto", "cuda") else []
    if not gpus:
        yield
        return
    every = isinstance(config.trainer, DDPConfig) and config.trainer.world_size == "auto"
    count = (
        len(gpus) if every else min(len(gpus), rank_count.here(config))
    )  # too many are refused where ranks are started
    with hardware.holding(gpus, count, Path(tempfile.gettempdir())) as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
        yield
