"""A command line, read: everything that is needed to run what it asks for, composed and checked once."""

from __future__ import annotations

import argparse
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from stockml import models
from stockml.compose import grammar, hydra_private, saved, sweeps
from stockml.compose.checks import (
    TRAINING,
    Tasks,
    added_twice,
    checked,
    misused,
    unknown_choices,
    unknown_hydra_keys,
    without_effect,
)
from stockml.compose.combinations import SETTINGS, Combinations, first_values
from stockml.compose.composing import Composer, is_of_hydra, name_installed
from stockml.compose.modes import Mode, changed_for_a_job, mode
from stockml.compose.records import Records, records_of
from stockml.compose.repeats import Composing, Composition, Progress
from stockml.compose.search import corners, read_search
from stockml.config.root import Config
from stockml.config.values import plain
from stockml.data import sources
from stockml.data.features import sets as feature_sets
from stockml.errors import UserError


@dataclass(frozen=True)
class Checked:
    """One job, composed: its config and records, or what is wrong with it."""

    config: Config | None
    faults: tuple[str, ...]
    composed: DictConfig | None = None
    records: Records | None = None
    overrides: tuple[Override, ...] = ()
    """What was typed, after what a saved config adds."""


class Trials:
    """Composes and checks the jobs of a command line, those that a search chooses as it goes among them."""

    def __init__(
        self,
        composer: Composer,
        base: saved.Base | None,
        tasks: Tasks,
        fixed: Sequence[Override],
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._composer, self._base, self._tasks, self._progress = composer, base, tasks, progress
        self._composing = Composing(composer)
        self._fixed = {o.key_or_group for o in fixed}
        self._of_hydra = [o for o in fixed if is_of_hydra(o)]

    def check(self, overrides: Sequence[Override], composed: DictConfig | None = None) -> Checked:
        """The job of these overrides, which `composed` may have been composed under already."""
        try:
            keys, every = {o.key_or_group for o in overrides}, list(overrides)
            if self._base is not None:
                composed = self._composer.compose(overrides) if composed is None else composed
                changed = saved.overlay_saved(self._composer, self._base, composed, overrides)
                keys |= changed.keys()
                every = [*self._composer.parse(saved.as_overrides(changed)), *every]
            found = self._composing.compose(overrides) if composed is None else Composition.of(composed)
            composed, values = found.composed, found.settings
            faults = self._misplaced(values, overrides)
            if isinstance(values.get("sweep"), dict):
                values["sweep"] = {k: v for k, v in values["sweep"].items() if k not in SETTINGS}
            config, problems = checked(values, keys, composed.hydra.runtime.choices.get("stock"), self._tasks)
            if config is None or faults:
                return Checked(None, (*faults, *problems), composed)
            return Checked(config, (), composed, records_of(config, found.hydra, every), tuple(every))
        except UserError as error:
            return Checked(None, error.lines)

    def check_all(self, jobs: Sequence[Sequence[Override]]) -> list[Checked]:
        """Each of the jobs; those that differ in plain values alone one after another, for what they share is kept."""
        found: dict[int, Checked] = {}
        for number in sorted(range(len(jobs)), key=lambda number: self._composing.structure(jobs[number])):
            self._progress(len(found), len(jobs))
            found[number] = self.check(jobs[number])
        return [found[number] for number in range(len(jobs))]

    def trial(self, lines: Sequence[str], number: int, taken: set[str]) -> sweeps.Job:
        """The job that a search has chosen, under a name that is not taken."""
        overrides = self._composer.parse(lines)
        found = self.check([*overrides, *self._of_hydra])
        swept = {o.key_or_group: o.value() for o in overrides if o.key_or_group not in self._fixed}
        name = sweeps.name_of(swept, found.config, taken)
        return sweeps.Job(name, swept, found.config, found.records, number, found.faults)

    def _misplaced(self, values: dict[str, Any], overrides: Sequence[Override]) -> list[str]:
        """Where a chosen file's settings have landed under the name of its group, and were taken out of `values`."""
        faults = []
        for o in overrides:
            group = o.key_or_group
            if group in values and group not in _SECTIONS and self._composer.options(group):
                found = self._composer.file_of(group, str(o.value()))
                where = found[0] if found else f"{group}={o.value()}"
                faults.append(f"{where}: its first line must be '# @package _global_'; else no setting is reached")
                del values[group]
        return faults


_SECTIONS = {"stock", "data", "features", "model", "trainer", "hardware", "looks", "tracker"}


@dataclass(frozen=True)
class Command:
    """What was typed, checked: one config a job, and what is needed to run it."""

    jobs: list[Config] = field(default_factory=list)
    """The config of every job, one unless it is a sweep; none where a question is answered (--help)."""
    records: Mapping[str, str] = field(default_factory=dict)
    """Of a single run: the texts of its `.hydra` folder, by file name."""
    folder: Path | None = None
    """The run folder that `hydra.run.dir=` or `trainer.resume=` names."""
    answer: str | None = None
    """What is to be printed, and nothing run."""
    hydra_arguments: list[str] | None = None
    """What Hydra itself answers."""
    sweep: sweeps.Sweep | None = None
    """The jobs' names and how they are to be run, where it is a sweep."""
    composed: DictConfig | None = None
    """What Hydra's plugins and callbacks are given."""
    trials: Trials | None = None
    """Of a search: what composes the jobs that it chooses."""
    notes: tuple[str, ...] = ()
    """What is said before anything is run, a line each."""
    conf_changes: tuple[str, ...] = ()
    """Where today's conf/ differs from the saved config of the run that a task is about."""


def read(arguments: Sequence[str], tasks: Tasks = TRAINING, progress: Progress = lambda _done, _total: None) -> Command:
    """Check a whole command line, before anything is run; `progress` hears how far the jobs of a sweep are.

    Raises UserError with every fault found, a line each.
    """
    args = _arguments(arguments)
    if args.help:
        return Command(answer=_help(args, tasks))
    if args.hydra_help or args.shell_completion or args.info is not None:
        name_installed()
        return Command(hydra_arguments=list(arguments))
    composer = Composer(args.config_dir)
    typed = composer.parse(args.overrides)
    path = saved.saved_file(args, typed, tasks)
    implied = composer.parse(_implied(typed, tasks))
    base = None if path is None else saved.Base.of(composer, saved.SavedConfig.read(path), [*implied, *typed])
    overrides = [*composer.parse(base.lines if base else ()), *implied, *typed]
    faults = {**unknown_choices(composer, overrides), **unknown_hydra_keys(composer, overrides)}
    asked = mode(composer, _sound(overrides, faults), args.multirun)
    every = [*asked.params, *overrides]
    jobs = Combinations.of(composer, asked.composed)
    of_sets = [o for one in jobs.sets for o in one]
    wrong = {**misused(of_sets, asked), **unknown_choices(composer, of_sets)}
    if lines := [f"sweep.list: {line}" for key, line in wrong.items() if key in jobs.own_keys()]:
        raise UserError(*lines)
    faults = {**misused(every, asked), **unknown_choices(composer, asked.params), **faults}
    faults |= {line: line for line in jobs.faults(every, multirun=asked.multirun, is_search=asked.is_search)}
    sound = _sound(every, faults)
    faults = {**added_twice(composer, sound), **faults}
    sound = _sound(sound, faults)
    fixed = [o for o in sound if not o.is_sweep_override()]
    trials = Trials(composer, base, tasks, fixed, progress)
    notes = base.saved.notes if base else ()
    if asked.multirun:
        command = _sweep(composer, trials, asked, jobs, sound, list(faults.values()), args)
        every_note = (*notes, *without_effect(command.jobs, [*asked.params, *typed]))
        return command if command.sweep is None else replace(command, notes=every_note)
    firsts = first_values(composer, every)  # so that no other key is called missing
    found = trials.check([*fixed, *firsts], asked.composed if len(fixed) == len(overrides) else None)
    if faults or found.faults:
        raise UserError(*dict.fromkeys([*faults.values(), *found.faults]))
    assert found.config is not None and found.records is not None and found.composed is not None
    if args.cfg is not None:
        lines = [
            # Hydra itself takes a new name within a mapping only if it is added by force.
            f"++{str(o.input_line).lstrip('+')}" if isinstance(o.value(), dict) else str(o.input_line)
            for o in found.overrides
            if o.key_or_group != "hydra.run.dir"
        ]
        return Command([found.config], hydra_arguments=[*_flags(args), *lines])
    compares = base is not None and tasks[found.config.task].compares_conf
    return Command(
        [found.config],
        found.records.texts(),
        _folder(found.config, found.composed, fixed),
        composed=found.composed,
        notes=(*notes, *without_effect([found.config], typed)),
        conf_changes=saved.drift(composer, base, found.config, tasks) if base and compares else (),
    )


def _sound(overrides: Sequence[Override], faults: Mapping[str, str]) -> list[Override]:
    return [o for o in overrides if not {o.key_or_group, o.key_or_group.split(".")[0]} & set(faults)]


def _implied(typed: Sequence[Override], tasks: Tasks) -> list[str]:
    """What the typed task, or a resumed run, brings with it, where nothing else is typed."""
    values = {o.key_or_group: o.value() for o in typed if not o.is_sweep_override()}
    task = tasks.get(str(values.get("task")))
    of_task = [line for line in (task.implies if task else ()) if line.partition("=")[0] not in values]
    resumed = values.get("run" if values.get("task") == "unseal" else "trainer.resume")
    return [*of_task, *(saved.trackers_of(resumed, typed) if isinstance(resumed, str) else [])]


def _folder(config: Config, composed: DictConfig, overrides: Sequence[Override]) -> Path | None:
    """The run folder that was typed, or is gone on with."""
    if config.trainer.resume is not None:
        return Path(config.trainer.resume)
    if not any(o.key_or_group == "hydra.run.dir" for o in overrides):
        return None
    return Path(composed.hydra.run.dir).expanduser().absolute()


def _sweep(
    composer: Composer,
    trials: Trials,
    asked: Mode,
    combinations: Combinations,
    overrides: Sequence[Override],
    faults: list[str],
    args: argparse.Namespace,
) -> Command:
    """The command of a sweep: its jobs, each checked, where they are known."""
    if args.cfg is not None and args.multirun:
        faults.append("command line: --cfg shows one config, and -m asks for several; leave out one of them")
    fixed = [o for o in overrides if not o.is_sweep_override()]
    jobs_overrides = [fixed] if asked.is_search else combinations.grid(composer, overrides)
    swept = {o.key_or_group for o in overrides if o.is_sweep_override()} | combinations.own_keys()
    found = trials.check_all(jobs_overrides)
    if asked.is_search and found[0].faults:  # without what is searched
        found = [next((job for job in map(trials.check, corners(composer, overrides)) if not job.faults), found[0])]
    faults += _faults_of_jobs(found, jobs_overrides, swept)
    if not asked.is_search and not faults:
        faults += changed_for_a_job(asked, [job.composed for job in found], jobs_overrides, swept)
    if faults:
        raise UserError(*dict.fromkeys(faults))
    configs = [job.config for job in found if job.config is not None]
    if args.cfg is not None:
        arguments = [str(o.input_line) for o in overrides if not is_of_hydra(o) and o not in asked.params]
        return Command(configs, hydra_arguments=[*_flags(args), *arguments, *_of_hydra(fixed)])
    values = [{o.key_or_group: o.value() for o in job if o.key_or_group in swept} for job in jobs_overrides]
    search = None
    if asked.is_search:
        search = read_search(
            composer, asked.settings, overrides, plain(configs[0]), lambda job: trials.check(job).faults
        )
    names = [] if search else sweeps.names_of(values, configs)
    settings, sweeper = asked.settings, asked.settings.sweeper
    sweep = sweeps.Sweep(
        folder=Path(_resolved(settings.sweep, "dir")).expanduser().absolute(),
        is_named=any(o.key_or_group == "hydra.sweep.dir" for o in overrides),
        jobs=tuple(
            sweeps.Job(name, job, of_job.config, of_job.records, number)
            for number, (name, job, of_job) in enumerate(zip(names, values, found, strict=False))
        ),
        launcher=settings.launcher._target_,
        n_jobs=settings.launcher.get("n_jobs", 1),
        batch=None if search else sweeper.get("max_batch_size"),
        search=search,
    )
    return Command(configs, sweep=sweep, composed=asked.composed, trials=trials)


def _resolved(section: DictConfig, key: str) -> str:
    try:
        return str(section[key])
    except Exception as error:
        raise UserError(grammar.one_line(error)) from error


def _faults_of_jobs(found: Sequence[Checked], jobs: Sequence[Sequence[Override]], swept: set[str]) -> list[str]:
    """What is wrong with the jobs; of a fault that not every job has, with which of the swept choices."""
    first: dict[str, str] = {}
    for job, overrides in zip(found, jobs, strict=True):
        chosen = " ".join(str(o.input_line) for o in overrides if o.key_or_group in swept)
        for fault in job.faults:
            first.setdefault(fault, chosen)
    of_all = set.intersection(*(set(job.faults) for job in found))
    names_it = tuple(f"{key}{sign}" for key in swept for sign in "=:")
    return [
        fault if fault in of_all or fault.startswith(names_it) else f"{fault} (with {chosen})"
        for fault, chosen in first.items()
    ]


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides, in whatever order they were typed."""
    parser = hydra_private.arguments_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # argparse prints its usage over several lines
    args = parser.parse_intermixed_args(list(arguments))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: executes a pickle; run a saved config with -cp <run>/.hydra -cn config")
    return args


def _refuse(message: str) -> NoReturn:
    raise UserError(f"command line: {message}; python run.py --help shows what can be typed")


def _flags(args: argparse.Namespace) -> list[str]:
    """Hydra's flags that ask to see a config, as typed, less those of a saved config."""
    pairs = {"--cfg": args.cfg, "--package": args.package, "--config-dir": args.config_dir}
    flags = [item for flag, value in pairs.items() if value is not None for item in (flag, value)]
    return [*flags, *(["--resolve"] if args.resolve else [])]


def _of_hydra(overrides: Sequence[Override]) -> list[str]:
    return [str(o.input_line) for o in overrides if is_of_hydra(o)]


def _help(args: argparse.Namespace, tasks: Tasks) -> str:
    """The template of hydra.help, filled in."""
    composer = Composer(args.config_dir)
    overrides = composer.parse(args.overrides)
    if faults := unknown_choices(composer, overrides):
        raise UserError(*faults.values())
    composed = composer.compose(overrides)
    installed = {"model": models.names(), "data": sources.names(), "features": feature_sets.names()}
    names = {group: {*composer.options(group), *installed.get(group, [])} for group in sorted(composer.groups())}
    choices = [f"{group}: {', '.join(sorted(of_group))}\n" for group, of_group in names.items()]
    width = max(map(len, tasks), default=0)
    settings = OmegaConf.to_yaml(OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    return string.Template(composed.hydra.help.template).substitute(
        APP_CONFIG_GROUPS="".join(choices),
        TASKS="".join(f"  {name:<{width}}  {task.summary}\n" for name, task in tasks.items()),
        CONFIG=settings,
    )
