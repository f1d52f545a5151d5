"""Runs the jobs of a sweep side by side, each in a process of its own, and shows how they stand."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml import compose, models, trackers
from stockml.compose import Job, Sweep
from stockml.config.root import Config
from stockml.data import sources
from stockml.errors import RunError, UserError
from stockml.processes import job_pool, machine
from stockml.reporting import job_ranking, summary
from stockml.reporting.sweep_progress import SweepProgress
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import rank_count, run_metadata
from stockml.tasks import train as training
from stockml.training import hardware

if TYPE_CHECKING:
    from stockml.processes.ray_pool import RayPool


class Supervisor:
    """Runs the jobs of a sweep, each in a process of its own, and shows how they stand."""

    def __init__(
        self,
        folder: SweepFolder,
        sweep: Sweep,
        done: Sequence[job_ranking.Row],
        cluster: RayPool | None,
        *,
        fail_fast: bool,
    ) -> None:
        self._folder, self._sweep, self._cluster, self._fail_fast = folder, sweep, cluster, fail_fast
        self._table = summary.SweepTable(folder)
        total = sweep.trials if sweep.trials is not None else len(sweep.jobs)
        self._progress = SweepProgress(total, done, [job.name for job in sweep.jobs])

    def __call__(self, given: Sequence[Job], as_call: Callable[[Job], Callable[[], Any]]) -> list[float | None]:
        """Run the jobs that are not done; what each returned, None where it failed. RunError to stop at a failure."""
        self._folder.plan({job.name: job.swept for job in given})
        missing = [number for number, job in enumerate(given) if self._folder.job(job.name).outcome() != "ok"]
        jobs = [given[number] for number in missing]
        calls = [
            job_pool.Call(
                functools.partial(as_call, job),
                self._folder.path / job.name / "train.log",
                1 if job.config is None else cores(dataclasses.replace(job.config, seed=0)),
                gpus(job.config),
                self._folder.path,
            )
            for job in jobs
        ]
        values: list[float | None] = [None] * len(given)
        configs = [job.config for job in jobs]
        with (
            closing(run_each(calls, configs, self._sweep.n_jobs, self._cluster)) as events,
            closing(self._progress),
        ):
            try:
                for event in events:
                    if event is None:
                        self._progress.tick()
                        continue
                    number, ended = event
                    if ended is None:
                        self._progress.started()
                        continue
                    values[missing[number]] = ended.value
                    self._ended(jobs[number], ended)
            except KeyboardInterrupt:
                self._progress.ending()
                raise
        return values

    def _ended(self, job: Job, ended: job_pool.Ended) -> None:
        folder = self._folder.job(job.name)
        if folder.outcome() not in ("ok", "failed", "interrupted"):
            folder.record("failed", time.time(), ended.error, synthetic=is_synthetic(job.config))
        row = self._table.update(job.name)
        self._progress.ended(row)
        if self._fail_fast and row["status"] != "ok":
            self._table.write()
            raise RunError(f"{job.name}: {row['error']}")


def is_synthetic(config: Config | None) -> bool:
    """Whether it is known to run on data made up here."""
    return config is not None and config.data.synthetic


@contextlib.contextmanager
def pool(command: compose.Command) -> Iterator[RayPool | None]:
    """The Ray cluster that is to run the jobs; None where this machine is. UserError where none answers."""
    config, _ = compose.ray_settings(command.composed)
    if config is None:
        yield None
        return
    from stockml.processes import ray_pool

    with ray_pool.connected(config) as cluster:
        yield cluster


def run_each(
    calls: Iterable[job_pool.Call | None], configs: Sequence[Config | None], n_jobs: int, cluster: RayPool | None
) -> Generator[job_pool.Event, None, None]:
    """The events of `job_pool.run_each` for jobs with these configs: `n_jobs` at once, or what there is room for."""
    if cluster is None:
        import_what_jobs_need(configs)
        gc.freeze()  # a job's process does not look through what it has from this one
    at_once, room = (n_jobs, sys.maxsize) if n_jobs > 0 else places(configs, cluster)
    return job_pool.run_each(calls, cores=room, at_once=at_once, pool=cluster)


def import_what_jobs_need(configs: Sequence[Config | None]) -> None:
    """Import here, once, what every forked job would otherwise import for itself."""
    names = {"stockml.tasks.train", "stockml.evaluation.baselines", "rich.console", "rich.table"}
    names |= {"torch.utils.serialization", "numpy.ma"}  # which are imported at the first checkpoint and median
    names = names.union(*(sources.modules(config.data.source) for config in configs if config))
    names |= trackers.packages(config.tracker.names() if config.tracker else [] for config in configs if config)
    for name in names:
        importlib.import_module(name)
    run_metadata.git_commit()


@functools.lru_cache(maxsize=64)
def cores(config: Config) -> int:
    """Processor cores that a job keeps busy."""
    count = functools.partial(_cores, config)
    if config.model.name not in models.BUILT_IN:  # code that we do not know runs where it can leave nothing behind
        asked = job_pool.Call(functools.partial(functools.partial, count), Path(os.devnull))
        ends = [event[1] for event in job_pool.run_each([asked], cores=1, at_once=1) if event and event[1]]
        return ends[0].value or 1
    try:
        return count()
    except UserError:  # which the job itself will tell
        return 1


def _cores(config: Config) -> int:
    return training.threads(config) * rank_count.here(config)


def gpus(config: Config | None) -> int:
    """GPUs that a job uses where there are some."""
    if config is None or config.hardware.device not in ("auto", "cuda"):
        return 0
    return 1 if getattr(config.trainer, "world_size", None) == "auto" else rank_count.here(config)


def places(configs: Sequence[Config | None], cluster: RayPool | None) -> tuple[int, int]:
    """Jobs that there is room for at once, one a GPU where they use GPUs, else one a core; and the cores."""
    room = machine.cores() if cluster is None else cluster.total("CPU")
    there = len(hardware.gpus()) if cluster is None else cluster.total("GPU")
    return (there if there and any(map(gpus, configs)) else room), room
