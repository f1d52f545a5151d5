"""From the keyboard to a checked Config: the one room, beside run.py, that knows Hydra and OmegaConf."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import logging
import os
import string
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stockml import models
from stockml.compose import launcher, sweeps
from stockml.compose.checks import checked, compose_job, misused, unknown_choices, unknown_keys
from stockml.compose.grammar import (
    CONF,
    as_a_guest,
    literal,
    loader,
    name_installed,
    one_line,
    options,
    override,
    parse,
    quote,
    session,
    setting,
)
from stockml.compose.saved import drift, followed_as_before, laid_over, saved_file
from stockml.config.root import Config, saved
from stockml.data import sources
from stockml.errors import UserError
from stockml.runs.location import RunLocation


@dataclass(frozen=True)
class Command:
    """What was typed, checked: one config a job, and what Hydra is to be given."""

    arguments: list[str]
    """Hydra's own flags and the overrides, saved ones first."""
    jobs: list[Config] = field(default_factory=list)
    """The config of every job, one unless it is a sweep; none where Hydra only answers a question (--help)."""
    folder: Path | None = None
    """The run folder that `hydra.run.dir=` or `trainer.resume=` names."""
    answer: str | None = None
    """What is to be printed, and nothing run."""
    sweep: sweeps.Sweep | None = None
    """The jobs' names and how they are to be run, where it is a sweep."""


__all__ = [
    "Command",
    "as_a_guest",
    "compose",
    "drift",
    "enter_hydra",
    "finish",
    "in_folder",
    "override",
    "quote",
    "read",
    "records",
    "run_as_a_guest",
    "setting",
]

Run = Callable[[Config, RunLocation, dict[str, str]], Any]


def read(arguments: Sequence[str]) -> Command:
    """Check a whole command line, before Hydra runs anything.

    Raises UserError with every fault found, a line each.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # argparse prints its usage over several lines
    args = parser.parse_args(list(arguments))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: executes a pickle; run a saved config with -cp <run>/.hydra -cn config")
    if args.help:
        return Command([], answer=_help(args))
    if args.hydra_help or args.shell_completion or args.info is not None:
        name_installed()
        return Command(list(arguments))
    with session(args.config_dir):
        launcher.register()
        typed = parse(args.overrides)
        base = saved_file(args, typed)
        implied = ["data=yahoo"] if _fetches(typed) else []
        implied += followed_as_before(typed)
        overrides = parse([*(laid_over(base, typed) if base else []), *implied, *args.overrides])
        unusable = unknown_choices(overrides) | unknown_keys(overrides)
        mode = sweeps.mode([o for o in overrides if o.key_or_group not in unusable], args.multirun)
        every = [*mode.params, *overrides]
        unusable = unknown_choices(mode.params) | unusable
        unusable = misused(every, mode) | unusable
        faults = list(unusable.values())
        sound = [o for o in every if not {o.key_or_group, o.key_or_group.split(".")[0]} & set(unusable)]
        fixed = [o for o in sound if not o.is_sweep_override()]
        grid = sweeps.grid(sound) if mode.multirun and not mode.search else None
        composed = [compose_job(fixed if grid is None else parse(job)) for job in grid or [[]]]
        faults += [fault for _, _, problems in composed for fault in problems]
        if faults:
            raise UserError(*dict.fromkeys(faults))
        jobs = [config for config, _, _ in composed if config is not None]
        sweep = _sweep(mode, sound, grid, jobs) if mode.multirun and args.cfg is None else None
    folder = None if mode.multirun else composed[0][1]
    if jobs[0].trainer.resume is not None:
        folder = Path(jobs[0].trainer.resume)
    passed_on = [str(o.input_line) for o in overrides if o.key_or_group != "hydra.run.dir"]
    return Command([*_flags(args), *passed_on], jobs, folder, sweep=sweep)


def _fetches(typed: list[Override]) -> bool:
    """Whether something is to be downloaded, and no source was typed: there is but one."""
    keys = {o.key_or_group: o.value() for o in typed}
    return keys.get("task") == "fetch" and "data" not in keys


def _sweep(
    mode: sweeps.Mode, overrides: list[Override], grid: list[list[str]] | None, configs: list[Config]
) -> sweeps.Sweep:
    settings, sweeper = mode.settings, mode.settings.sweeper
    swept = {o.key_or_group for o in overrides if o.is_sweep_override()}
    sampler = sweeper.get("sampler") or {}
    return sweeps.Sweep(
        folder=Path(settings.sweep.dir).expanduser().absolute(),
        is_named=any(o.key_or_group == "hydra.sweep.dir" for o in overrides),
        fixed=frozenset(o.key_or_group for o in overrides) - swept,
        jobs=() if grid is None else sweeps.jobs_of(grid, configs, swept),
        launcher=settings.launcher._target_,
        trials=sweeper.get("n_trials") if mode.search else None,
        sampler_seed=sampler.get("seed"),
        n_jobs=settings.launcher.get("n_jobs", 1),
    )


def enter_hydra(command: Command, run: Run, supervise: launcher.Supervise | None = None) -> None:
    """Run `hydra.main`; it calls `run` once, or once a job of the sweep, with what that job needs.

    In a sweep under one of our launchers, `supervise` is given all the jobs to run.
    """
    sweep = command.sweep
    failures: list[Exception] = []

    def job(composed: DictConfig) -> Any:
        if sweep is not None:
            return _sweep_job(sweep, composed, run)
        return _only_job(command, composed, run, failures)

    launcher.JobLauncher.supervise, launcher.JobLauncher.sweep = staticmethod(supervise) if supervise else None, sweep
    if sweep is not None and sweep.trials is not None and importlib.util.find_spec("optuna"):
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
        logging.getLogger("hydra_plugins").addHandler(logging.NullHandler())  # of failed trials our own lines tell
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *command.arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what a job raised, instead of printing it and exiting
    get_mode = Hydra.get_mode
    try:
        Hydra.get_mode = lambda *_, **__: _mode(command)  # type: ignore[method-assign]  # it would compose to learn it
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    finally:
        Hydra.get_mode = get_mode  # type: ignore[method-assign]
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    if failures:
        raise failures[0]


def _mode(command: Command) -> RunMode | None:
    """What Hydra is to do, where its config says so and no flag."""
    return RunMode.MULTIRUN if command.sweep is not None and "--multirun" not in command.arguments else None


def run_as_a_guest(command: Command, run: Run) -> None:
    """As `enter_hydra` does for one run, in somebody else's program: argv, environment and logging are let alone."""
    failures: list[Exception] = []
    with session(None):
        entered = GlobalHydra.instance().hydra
        assert entered is not None
        job = functools.partial(_only_job, command, run=run, failures=failures)
        entered.run("config", job, command.arguments, with_log_configuration=False)
    if failures:
        raise failures[0]


def _only_job(command: Command, composed: DictConfig, run: Run, failures: list[Exception]) -> Any:
    """Run what Hydra has composed; what that raises is kept, for Hydra would print a line of its own."""
    try:
        config = finish(composed)
        return run(config, RunLocation(exact=command.folder), records(config))
    except Exception as error:
        failures.append(error)
        return None


def _sweep_job(sweep: sweeps.Sweep, composed: DictConfig, run: Run) -> Any:
    """Run the job that Hydra has composed, in a folder that tells even that its config was refused."""
    chosen: Any = HydraConfig.get()
    name = str(chosen.sweep.subdir)
    if name == ".":  # another launcher than ours
        name = sweep.jobs[chosen.job.num].name if sweep.jobs else f"job_{chosen.job.num}"
    place = RunLocation(job=sweep.folder / name)
    try:
        config = finish(composed)
    except UserError as error:
        place.create_folder("").record("failed", time.time(), str(error), synthetic=False)
        return None
    return run(config, place, records(config))


def in_folder(command: Command, folder: Path, done: int = 0) -> Command:
    """The sweep's command for the folder it got; of a search, for what is left after `done` trials."""
    assert command.sweep is not None
    arguments = [*command.arguments, f"hydra.sweep.dir={quote(str(folder))}"]
    if command.sweep.trials is not None:
        arguments.append(f"hydra.sweeper.n_trials={command.sweep.trials - done}")
        if command.sweep.sampler_seed is not None:  # or it would draw the first trials again
            arguments.append(f"hydra.sweeper.sampler.seed={command.sweep.sampler_seed + done}")
    return replace(command, arguments=arguments, sweep=replace(command.sweep, folder=folder))


def finish(composed: DictConfig) -> Config:
    """The checked Config of what Hydra composed. Raises UserError."""
    chosen: Any = HydraConfig.get()
    config, problems = checked(composed, parse(chosen.overrides.task), chosen.runtime.choices.stock)
    if config is None:
        raise UserError(*problems)
    return config


def compose(*overrides: str) -> Config:
    """The Config that `python run.py <overrides>` would train with, without running anything. Raises UserError."""
    return read(overrides).jobs[0]


def records(config: Config) -> dict[str, str]:
    """The texts of a run's `.hydra` folder: resolved, so that nothing in them evaluates differently later."""
    mark = "# synthetic: true\n" if config.data.synthetic else ""
    texts = {"config.yaml": mark + OmegaConf.to_yaml(OmegaConf.create(literal(saved(config))))}
    if HydraConfig.initialized():
        of_this_run = [o for o in HydraConfig.get().overrides.task if not o.startswith(_OF_ONE_RUN)]
        texts["overrides.yaml"] = OmegaConf.to_yaml(OmegaConf.create(of_this_run))
        texts["hydra.yaml"] = OmegaConf.to_yaml(OmegaConf.create({"hydra": HydraConfig.get()}), resolve=True)
    return texts


# What was asked of a run, and is no part of what it is.
_OF_ONE_RUN = ("trainer.resume=", "task=", "run=", "report=", "sweep.", "export.", "audit.", "tracker")


def _help(args: argparse.Namespace) -> str:
    """The template of hydra.help, filled in. Hydra too would do it, but spends 0.2 s on listing groups of its own."""
    with session(args.config_dir):
        if faults := unknown_choices(parse(args.overrides)):
            raise UserError(*faults.values())
        try:
            composed: Any = hydra.compose("config", args.overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_line(error)) from error
        groups = [group for group in loader().list_groups("") if group not in ("hydra", "base")]
        installed = {"model": models.names(), "data": sources.names()}
        names = {group: {*options(group), *installed.get(group, [])} for group in sorted(groups)}
    choices = [f"{group}: {', '.join(sorted(of_group))}\n" for group, of_group in names.items()]
    template = string.Template(composed.hydra.help.template)
    settings = OmegaConf.to_yaml(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]))
    return template.substitute(APP_CONFIG_GROUPS="".join(choices), CONFIG=settings)


def _refuse(message: str) -> NoReturn:
    raise UserError(f"command line: {message}; python run.py --help shows what can be typed")


def _flags(args: argparse.Namespace) -> list[str]:
    """Hydra's flags as typed, less those of a saved config, whose values have become overrides."""
    pairs = {"--cfg": args.cfg, "--package": args.package, "--config-dir": args.config_dir}
    flags = [item for flag, value in pairs.items() if value is not None for item in (flag, value)]
    return [*flags, *(["--multirun"] if args.multirun else []), *(["--resolve"] if args.resolve else [])]
