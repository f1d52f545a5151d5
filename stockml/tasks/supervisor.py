"""Runs the jobs of a sweep side by side, each in a process of its own, and shows how they stand."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml import compose, models, trackers
from stockml.compose import Command, Job, Sweep
from stockml.config.root import Config
from stockml.data import sources
from stockml.errors import RunError, UserError
from stockml.processes import job_pool, machine
from stockml.reporting import job_ranking, summary
from stockml.reporting.sweep_progress import SweepProgress
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import rank_count, run_metadata
from stockml.tasks import train as training
from stockml.tasks.shared_data import SharedData, long_files
from stockml.training import hardware

if TYPE_CHECKING:
    from stockml.processes.ray_pool import RayPool
    from stockml.tasks.search import Search


class Supervisor:
    """Runs the jobs of a sweep, each in a process of its own, and shows how they stand."""

    def __init__(
        self,
        folder: SweepFolder,
        command: Command,
        table: summary.SweepTable,
        done: Sequence[job_ranking.Row],
        cluster: RayPool | None,
        search: Search | None = None,
    ) -> None:
        sweep = command.sweep
        assert sweep is not None
        self._folder, self._sweep, self._cluster, self._search = folder, sweep, cluster, search
        self._configs, self._fail_fast = command.jobs, command.jobs[0].sweep.fail_fast
        self._table = table
        self._data = SharedData([job.config for job in sweep.jobs], least=2 if cluster is None else 1)
        total = len(sweep.jobs)
        if search is not None and sweep.search is not None:
            total = sweep.search.settings.n_trials - search.done + len(done)
        self._progress = SweepProgress(total, done, [job.name for job in sweep.jobs])

    @property
    def at_once(self) -> int:
        """How many jobs may run at once."""
        return self._sweep.n_jobs if self._sweep.n_jobs > 0 else places(self._configs, self._cluster)[0]

    def __call__(self, given: Iterable[Job | None], as_call: Callable[[Job], Callable[[], Any]]) -> None:
        """Run the jobs that are not done, in their order. RunError to stop at a failure."""
        jobs: list[Job] = []

        def calls() -> Iterator[job_pool.Call | None]:
            for job in given:
                if job is None:
                    yield None
                elif self._folder.job(job.name).outcome() not in ("ok", "pruned"):
                    jobs.append(job)
                    yield job_pool.Call(
                        functools.partial(self._call, as_call, job),
                        self._folder.path / job.name / "train.log",
                        cores(job.config),
                        gpus(job.config),
                        self._folder.path,
                    )

        answer = None if self._search is None else lambda number, content: self._answer(jobs[number], content)
        left = [job.config for job in self._sweep.jobs if self._folder.job(job.name).outcome() not in ("ok", "pruned")]
        with (
            long_files(left),
            closing(run_each(calls(), self._configs, self._sweep.n_jobs, self._cluster, answer)) as events,
            closing(self._progress),
        ):
            try:
                for event in events:
                    if self._search is not None:
                        self._search.tick()
                    if event is None:
                        self._progress.tick()
                        continue
                    number, ended = event
                    if ended is None:
                        self._progress.started()
                        continue
                    self._ended(jobs[number], ended)
            except KeyboardInterrupt:
                self._progress.ending()
                raise

    def _answer(self, job: Job, content: Any) -> bool:
        assert self._search is not None
        return self._search.answer(job, *content)

    def _call(self, as_call: Callable[[Job], Callable[[], Any]], job: Job) -> Callable[[], Any]:
        """The job as what is to be called in a process of its own, with its data if they are read here."""
        if job.config is not None:
            job = dataclasses.replace(job, folds=self._data.folds(job.config, cores(job.config)))
        return as_call(job)

    def _ended(self, job: Job, ended: job_pool.Ended) -> None:
        folder = self._folder.job(job.name)
        if folder.outcome() not in ("ok", "failed", "interrupted", "pruned", "running"):
            folder.record("failed", time.time(), ended.error, synthetic=is_synthetic(job.config))
        if self._search is not None:
            self._search.ended(job)
        row = self._table.update(job.name)
        self._progress.ended(row)
        if self._fail_fast and row["status"] not in ("ok", "pruned"):
            self._table.write()
            raise RunError(f"{job.name}: {row['error']}")


def is_synthetic(config: Config | None) -> bool:
    """Whether it is known to run on data made up here."""
    return config is not None and config.data.made_up


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


def refuse_too_large(sweep: Sweep, cluster: RayPool | None) -> None:
    """UserError where a job that is to run asks for more than any node of the cluster has."""
    wanted: dict[tuple[int, int], list[str]] = {}
    for job in sweep.jobs if cluster is not None else ():
        if SweepFolder(sweep.folder).job(job.name).outcome() not in ("ok", "pruned"):
            wanted.setdefault((cores(job.config), gpus(job.config)), []).append(job.name)
    faults = [(names, cluster.why_nowhere(*of_each)) for of_each, names in wanted.items() if cluster is not None]
    if lines := [f"{', '.join(names)}: {fault}" for names, fault in faults if fault]:
        raise UserError(*lines)


def run_each(
    calls: Iterable[job_pool.Call | None],
    configs: Sequence[Config | None],
    n_jobs: int,
    cluster: RayPool | None,
    answer: job_pool.Answer | None = None,
) -> Generator[job_pool.Event, None, None]:
    """The events of `job_pool.run_each` for jobs with these configs. `room`: so many at once, on so many cores."""
    if cluster is None:
        import_what_jobs_need(configs)
        gc.freeze()  # a job's process does not look through what it has from this one
    at_once, room = (n_jobs, sys.maxsize) if n_jobs > 0 else places(configs, cluster)
    return job_pool.run_each(calls, cores=room, at_once=at_once, answer=answer, pool=cluster)


def import_what_jobs_need(configs: Sequence[Config | None]) -> None:
    """Import here, once, what every forked job would otherwise import for itself."""
    names = {"stockml.tasks.train", "stockml.evaluation.baselines", "rich.console", "rich.table"}
    # Which are imported at the first checkpoint, median and autocorrelation.
    names |= {"torch.utils.serialization", "numpy.ma", "numpy.fft"}
    names = names.union(*(sources.modules(config.data.source) for config in configs if config))
    names |= trackers.packages(config.tracker.names() if config.tracker else [] for config in configs if config)
    for name in names:
        importlib.import_module(name)
    run_metadata.software()
    platform.platform()  # which, like the versions, is found once


def cores(config: Config | None) -> int:
    """Processor cores that a job keeps busy."""
    return 1 if config is None else _cores_of_any(dataclasses.replace(config, seed=0))


@functools.lru_cache(maxsize=64)
def _cores_of_any(config: Config) -> int:
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
