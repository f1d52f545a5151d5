"""Sweeps under Hydra's plugins: its sweepers choose jobs and its launchers start them, each composed once by us."""

from __future__ import annotations

import copy
import functools
import importlib.util
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from stockml.compose.grammar import literal
from stockml.compose.hydra_private import Callbacks
from stockml.compose.jobs import CheckedJobs, RunJob, as_call, name_override
from stockml.compose.reading import Command
from stockml.compose.sweeps import Job, Sweep

AsCall = Callable[[Job], Callable[[], Any]]
"""A job as what is to be called in the process that it is given."""
RunJobs = Callable[[Sequence[Job], AsCall], Sequence["float | None"]]
"""Runs jobs side by side; what each returned."""
Launch = Callable[[Sequence[Job]], Sequence["float | None"]]


def run_sweep(command: Command, folder: Path, done: int, run_jobs: RunJobs, run: RunJob, callbacks: Callbacks) -> None:
    """Give out every job of a sweep, of a search what is left after `done` trials, batch by batch.

    `run_jobs` runs them where this process is to start them, and any other launcher of Hydra's otherwise; each job is
    `run`. Raises what the sweeper and the launcher raise; the callbacks are called at the beginning and the end.
    """
    sweep, master = command.sweep, copy.deepcopy(command.composed)
    assert sweep is not None and master is not None
    master.hydra.sweep.dir = literal(str(folder))
    context = HydraContext(config_loader=CheckedJobs(folder, ()), callbacks=callbacks)
    callbacks.on_multirun_start(config=master, config_name="config")
    call = functools.partial(as_call, master, context, folder, run)

    def launch(jobs: Sequence[Job]) -> Sequence[float | None]:
        return run_jobs(jobs, call) if sweep.is_launched_here else _launch_elsewhere(master, context, folder, run, jobs)

    if sweep.trials is None:
        for batch in _batches(sweep):
            launch(batch)
    else:
        _search(command, master, context, done, launch)
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
) -> list[float | None]:
    """Have another launcher of Hydra's run the jobs; what each returned, None where it failed."""
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=CheckedJobs(folder, jobs), callbacks=context.callbacks),
        task_function=_NamedJob(run, jobs),
        config=master,
    )
    lines = [[*(job.records.overrides if job.records else ()), name_override(job)] for job in jobs]
    returned = launcher.launch(lines, initial_job_idx=jobs[0].number)
    return [job.return_value if job.status == JobStatus.COMPLETED else None for job in returned]


class _Search(CheckedJobs):
    """The loader of a search, which the launcher of its jobs takes them from."""

    def __init__(self, folder: Path, launch: Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]) -> None:
        super().__init__(folder, ())
        self.launch = launch


def _search(
    command: Command,
    master: DictConfig,
    context: HydraContext,
    done: int,
    launch: Launch,
) -> None:
    """Let Hydra's sweeper choose the jobs: each is composed and checked once, and launched like any other."""
    sweep, trials, folder = command.sweep, command.trials, Path(master.hydra.sweep.dir)
    assert sweep is not None and trials is not None and sweep.trials is not None
    taken = {path.name for path in folder.iterdir()}

    def launch_trials(overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        jobs = []
        for number, lines in enumerate(overrides, first):
            job = trials.trial(lines, number, taken)
            taken.add(job.name)
            jobs.append(job)
        # Completed, failed ones too: Hydra would raise, and end the search, for the first failure.
        return [_returned(value) for value in launch(jobs)]

    _register()
    settings = master.hydra
    settings.sweeper.n_trials = sweep.trials - done
    if (seed := OmegaConf.select(settings, "sweeper.sampler.seed")) is not None:  # or it draws the first trials again
        settings.sweeper.sampler.seed = seed + done
    OmegaConf.update(master, "hydra.launcher", {"_target_": f"{_MODULE}.JobLauncher"}, merge=False, force_add=True)
    _quieten_optuna()
    sweeper = Plugins.instance().instantiate_sweeper(
        hydra_context=replace(context, config_loader=_Search(folder, launch_trials)),
        task_function=_never_called,
        config=master,
    )
    sweeper.sweep(arguments=list(sweep.arguments))


def _returned(value: float | None) -> JobReturn:
    job = JobReturn(status=JobStatus.COMPLETED)
    job.return_value = value
    return job


def _never_called(_composed: DictConfig) -> None:
    raise NotImplementedError("a search's jobs are started by stockml")


def _quieten_optuna() -> None:
    if importlib.util.find_spec("optuna"):
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
        logging.getLogger("hydra_plugins").addHandler(logging.NullHandler())  # failed trials have lines of our own


class JobLauncher(Launcher):
    """Launches the jobs that a search has chosen as its loader says."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002  (Hydra names them)
        """Take what the sweeper hands on."""
        self._loader: Any = hydra_context.config_loader

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides."""
        returned: Sequence[JobReturn] = self._loader.launch(job_overrides, initial_job_idx)
        return returned


# Hydra 1.3 takes launchers from the package hydra_plugins alone. A folder of that name beside ours would be installed
# at the top level of every user's environment; this module under another name is not.
_MODULE = "hydra_plugins.stockml"


def _register() -> None:
    """Let Hydra know our launcher."""
    JobLauncher.__module__ = _MODULE
    sys.modules[_MODULE] = sys.modules[__name__]
    Plugins.instance().register(JobLauncher)
