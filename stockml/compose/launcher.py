"""Hydra's launchers `basic` and `joblib`, each job in a process of its own."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

from stockml.compose.sweeps import Job, Sweep, job_of

Calls = Sequence[tuple[Job, Callable[[], Any]]]
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
        calls: list[tuple[Job, Callable[[], Any]]] = []
        there = {path.name for path in sweep.folder.iterdir()}
        for index, overrides in enumerate(job_overrides, initial_job_idx):
            taken = there | {job.name for job, _ in calls}
            job = sweep.jobs[index] if sweep.jobs else job_of(overrides, sweep.fixed, taken)
            arguments = (self.hydra_context, self.config, self.task_function, Singleton.get_state())
            calls.append((job, functools.partial(_run, job.name, index, overrides, *arguments)))
        # Completed, failed ones too: Hydra would raise, and end the sweep, for the first failure it is told of.
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=value) for value in supervise(calls)]


def _run(name: str, index: int, overrides: Sequence[str], *arguments: Any) -> Any:
    """Compose one job and run it, in the process it was given."""
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra would print what a job raises, and exit
    returned = execute_job(index, [*overrides, f"hydra.sweep.subdir={name}"], *arguments)
    if returned.status == JobStatus.FAILED:
        raise returned._return_value
    return returned._return_value


# Hydra takes launchers from the package hydra_plugins alone. A folder of that name beside ours would be installed at
# the top level of every user's environment; this module under another name is not.
_MODULE = "hydra_plugins.stockml"
JobLauncher.__module__ = _MODULE


def register() -> None:
    """Put our launcher in the place of `basic`, one job at a time, and of `joblib`, `n_jobs` of them."""
    sys.modules[_MODULE] = sys.modules[__name__]
    Plugins.instance().register(JobLauncher)
    for name, n_jobs in (("basic", 1), ("joblib", -1)):
        node = {"_target_": f"{_MODULE}.{JobLauncher.__name__}", "n_jobs": n_jobs}
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="stockml")
