"""A run, or a job of a sweep, with what the user's Hydra config asks for around it: callbacks, variables, logging.

A job without any of that, the usual one, is called as it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from stockml.compose import hydra_private
from stockml.compose.composing import set_up_hydra
from stockml.compose.grammar import literal, one_line
from stockml.compose.reading import Command
from stockml.compose.sweeps import Job
from stockml.config.values import plain
from stockml.errors import UserError

T = TypeVar("T")

RunJob = Callable[..., Any]
"""Runs one job, in whatever process, in the sweep's folder or another `folder=…`; the loss, None where it failed."""


def within_hydra(command: Command, act: Callable[[], T]) -> T:
    """Run a single run: `act`, with the callbacks, variables and logging that the user's Hydra config asks for.

    Raises what `act` raises, and UserError where a callback cannot be made.
    """
    composed = command.composed
    if composed is None or not _asks_for_more(composed):
        return act()
    composed = copy.deepcopy(composed)
    callbacks = callbacks_of(command)
    context = HydraContext(config_loader=CheckedJobs(Path(), ()), callbacks=callbacks)
    callbacks.on_run_start(config=composed, config_name="config")
    outcome = _Outcome(act)
    returned = run_job(
        hydra_context=context,
        task_function=outcome,
        config=composed,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    callbacks.on_run_end(config=composed, config_name="config", job_return=returned)
    return cast("T", outcome.result())


class _Outcome:
    """A call without arguments as Hydra's task function; it keeps what Hydra would print and raise anew."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self._error: Exception | None = None
        self._value: Any = None

    def __call__(self, _composed: DictConfig) -> Any:
        try:
            self._value = self._act()
        except Exception as error:
            self._error = error
            raise
        return self._value

    def result(self) -> Any:
        """What the call returned, or raised."""
        if self._error is not None:
            raise self._error
        return self._value


def _asks_for_more(composed: DictConfig) -> bool:
    """Whether the user's Hydra config asks for anything around a job."""
    settings = composed.hydra
    logs = OmegaConf.select(settings, "job_logging.root") is not None or bool(settings.verbose)
    return bool(settings.callbacks or settings.job.env_set or settings.job.env_copy or logs)


def callbacks_of(command: Command) -> hydra_private.Callbacks:
    """The callbacks that the user's Hydra config names, made. UserError where one cannot be."""
    composed = command.composed
    if composed is None:
        return hydra_private.Callbacks()
    try:
        return hydra_private.Callbacks(composed)
    except Exception as error:  # whatever importing or making one raises
        names = ", ".join(f"hydra.callbacks.{name}" for name in composed.hydra.callbacks)
        raise UserError(f"{names}: cannot be made ({one_line(error)})") from error


def as_call(master: DictConfig, context: HydraContext, folder: Path, run: RunJob, job: Job) -> Callable[[], Any]:
    """The job, to be called in the process that it is given; with another folder for the sweep's, `folder=…`."""
    if not _asks_for_more(master):
        return functools.partial(run, job)
    return functools.partial(_run_as_hydra_does, master, context.callbacks, run, job, folder=folder)


def _run_as_hydra_does(master: DictConfig, callbacks: Any, run: RunJob, job: Job, folder: Path) -> Any:
    set_up_hydra()
    context = HydraContext(config_loader=CheckedJobs(folder, [job]), callbacks=callbacks)
    master.hydra.sweep.dir = literal(str(folder))
    outcome = _Outcome(functools.partial(run, job, folder=folder))
    run_job(
        hydra_context=context,
        task_function=outcome,
        config=context.config_loader.load_sweep_config(master, [name_override(job)]),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return outcome.result()


class CheckedJobs(ConfigLoader):
    """What Hydra's launchers load the config of a job with: they get what was checked, and nothing is composed."""

    def __init__(self, folder: Path, jobs: Sequence[Job]) -> None:
        self.jobs: Mapping[str, Job] = {job.name: job for job in jobs}
        self.folder = folder

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of the job that the overrides name."""
        (name,) = (line.partition("=")[2] for line in sweep_overrides if line.startswith(_NAME))
        job, composed = self.jobs[name], copy.deepcopy(master_config)
        OmegaConf.set_struct(composed, False)
        if job.config is not None and job.records is not None:
            for key, value in plain(job.config).items():
                composed[key] = literal(value)
            records = job.records.of_job(self.folder, job.name, job.number)
            for key in ("overrides", "job", "sweep"):
                known = literal({k: v for k, v in dict(records.hydra[key]).items() if v != "???"})
                OmegaConf.update(composed, f"hydra.{key}", known)
            composed.hydra.overrides.task = literal(list(records.overrides))
            composed.hydra.runtime.choices = literal(records.hydra["runtime"]["choices"])
        composed.hydra.sweep.subdir = job.name
        return composed

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Nothing is composed."""
        raise NotImplementedError(_COMPOSED)

    def get_search_path(self) -> Any:
        """Nothing is searched."""
        raise NotImplementedError(_COMPOSED)

    def get_sources(self) -> list[Any]:
        """Nothing is read."""
        raise NotImplementedError(_COMPOSED)

    def list_groups(self, parent_name: str) -> list[str]:
        """Nothing is chosen."""
        raise NotImplementedError(_COMPOSED)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Nothing is chosen."""
        raise NotImplementedError(_COMPOSED)

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        """Nothing is composed."""
        raise NotImplementedError(_COMPOSED)


_COMPOSED = "stockml has composed every job already"

_NAME = "hydra.sweep.subdir="


def name_override(job: Job) -> str:
    """The override by which `CheckedJobs` knows a job."""
    return f"{_NAME}{job.name}"
