"""Hydra's launchers `basic` and `joblib`, each job in a process of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from stockml.compose.sweeps import Job, Sweep, job_of

Plugins.instance()  # it imports every plugin once more, so that classes of theirs are what they will stay only after it

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf  # noqa: E402
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher  # noqa: E402

Calls = Sequence[tuple[Job, Callable[[], Callable[[], Any]]]]
"""Each job with what prepares it: what that returns is to be called in a process of the job's own."""
Supervise = Callable[[Calls], Sequence[float | None]]


class JobLauncher(JoblibLauncher):  # type: ignore[misc]  # an untyped package's
    """Gives all the jobs of a sweep to a supervisor, and Hydra what each returned."""

    supervise: Supervise | None = None
    """Runs the calls, and says what each returned: None where it failed."""
    sweep: Sweep | None = None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides."""
        supervise, sweep = type(self).supervise, type(self).sweep
        assert supervise is not None and sweep is not None
        calls: list[tuple[Job, Callable[[], Callable[[], Any]]]] = []
        there = {path.name for path in sweep.folder.iterdir()}
        for index, overrides in enumerate(job_overrides, initial_job_idx):
            taken = there | {job.name for job, _ in calls}
            job = sweep.jobs[index] if sweep.jobs else job_of(overrides, sweep.fixed, taken)
            calls.append((job, functools.partial(self._prepared, job.name, index, list(overrides))))
        # Completed, failed ones too: Hydra would raise, and end the sweep, for the first failure it is told of.
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=value) for value in supervise(calls)]

    def _prepared(self, name: str, index: int, overrides: Sequence[str]) -> Callable[[], Any]:
        """The job, composed: what is to be called in the process that it is given."""
        context: HydraContext = self.hydra_context
        named = [*overrides, f"hydra.sweep.subdir={name}"]
        composed = context.config_loader.load_sweep_config(self.config, named)
        with open_dict(composed):
            composed.hydra.job.update(id=f"{composed.hydra.job.name}_{index}", num=index)
        return functools.partial(_run, composed, context, self.task_function, Singleton.get_state())


def _run(composed: DictConfig, context: HydraContext, task: TaskFunction, state: Any) -> Any:
    """Run one job, in whatever process, as Hydra's launchers do."""
    if not GlobalHydra.instance().is_initialized():  # in a new interpreter; a forked one has all this
        setup_globals()
        Singleton.set_state(state)
    HydraConfig.instance().set_config(composed)
    returned = run_job(
        hydra_context=context,
        config=composed,
        task_function=task,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if returned.status == JobStatus.FAILED:
        raise returned._return_value
    return returned._return_value


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, without its second look at every job: each has been composed and checked already."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the jobs to themselves."""


# Hydra takes launchers and sweepers from the package hydra_plugins alone. A folder of that name beside ours would be
# installed at the top level of every user's environment; this module under another name is not.
_MODULE = "hydra_plugins.stockml"
JobLauncher.__module__ = GridSweeper.__module__ = _MODULE


def register() -> None:
    """Put our launcher in the place of `basic`, one job at a time, and of `joblib`, `n_jobs`; and our sweeper too."""
    sys.modules[_MODULE] = sys.modules[__name__]
    Plugins.instance().register(JobLauncher)
    Plugins.instance().register(GridSweeper)
    store = functools.partial(ConfigStore.instance().store, provider="stockml")
    for name, n_jobs in (("basic", 1), ("joblib", -1)):
        store(group="hydra/launcher", name=name, node={"_target_": target(JobLauncher), "n_jobs": n_jobs})
    store(group="hydra/sweeper", name="basic", node=BasicSweeperConf(_target_=target(GridSweeper)))


def target(plugin: type) -> str:
    """What Hydra's config calls a class of ours."""
    return f"{_MODULE}.{plugin.__name__}"
