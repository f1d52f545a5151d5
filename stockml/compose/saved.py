"""Saved configs: laid over today's `conf/`, under what was typed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from stockml.compose.checks import compose_job
from stockml.compose.grammar import composition, is_choice, one_line, parse, quote, settings_of
from stockml.config.root import Config, saved
from stockml.config.values import ABSENT, differences, leaves, show
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from stockml.trackers.tracking import saved_overrides

# Which key of a section names the file of its group.
_GROUPS = {"stock": "ticker", "data": "source", "model": "name", "trainer": "name", "hardware": "device"}


# Tasks whose config is that of the run which they are about.
_FROM_A_RUN = ("reproduce", "evaluate", "predict", "audit", "doctor")


def saved_file(args: argparse.Namespace, typed: list[Override]) -> Path | None:
    """The saved config that today's is to be laid under: of -cp, of a resumed run, or of a task's run."""
    resumed = [o for o in typed if o.key_or_group == "trainer.resume" and isinstance(o.value(), str)]
    tasks = {o.key_or_group: o.value() for o in typed if o.key_or_group in ("task", "run")}
    if args.config_path is not None:
        path = Path(args.config_path).expanduser() / f"{(args.config_name or 'config').removesuffix('.yaml')}.yaml"
    elif resumed:
        path = Path(str(resumed[-1].value())).expanduser() / ".hydra" / "config.yaml"
    elif tasks.get("task") in _FROM_A_RUN and isinstance(tasks.get("run"), str):
        run = Path(str(tasks["run"])).expanduser()
        if SweepFolder.is_one(run):
            if tasks["task"] in ("audit", "doctor"):
                raise UserError(f"run={run}: is a sweep; task={tasks['task']} is about one run, run={run}/<job>")
            return None
        path = run / ".hydra" / "config.yaml"
    elif args.config_name not in (None, "config"):
        raise UserError(f"--config-name {args.config_name}: only a saved config has another name; give its -cp too")
    else:
        return None
    if not path.is_file():
        raise UserError(f"{path}: there is no such saved config; name a run folder's")
    return path


def laid_over(path: Path, typed: list[Override]) -> list[str]:
    """A saved config as overrides of today's `conf/`; typed ones follow, and win.

    A group that a typed override switches to another choice takes the values of today's file instead.
    """
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a saved config ({one_line(error)})") from error
    if not isinstance(values, dict) or not values or "defaults" in values:
        raise UserError(f"{path}: is not a run's saved config; add a folder of your own configs with -cd")
    plain_choices = [o for o in typed if not o.is_sweep_override()]
    sections = {group: values[group] for group in _GROUPS if isinstance(values.get(group), dict)}
    choices = {group: section.get(_GROUPS[group]) for group, section in sections.items()}
    switched = {o.key_or_group for o in typed if o.is_sweep_override() or o.value() != choices.get(o.key_or_group)}
    switched &= set(_GROUPS)
    groups = [f"{g}={choice}" for g, choice in choices.items() if g not in switched and is_choice(g, choice)]
    experiments = [str(o.input_line) for o in plain_choices if is_choice(o.key_or_group, o.value())]
    today = dict(leaves(settings_of(composition(*groups))))
    changed = {k for k, v in leaves(settings_of(composition(*groups, *experiments))) if today.get(k, ABSENT) != v}
    leaves_laid_over = [
        f"{key}={quote(value)}"
        for key, value in leaves({k: v for k, v in values.items() if k not in switched})
        if today.get(key, ABSENT) != value and key not in changed
    ]
    return [*groups, *leaves_laid_over]


def followed_as_before(typed: list[Override]) -> list[str]:
    """A resumed run's trackers, as overrides; none where others are typed, or it has none."""
    resumed = [o.value() for o in typed if o.key_or_group == "trainer.resume"]
    if not resumed or not isinstance(resumed[-1], str) or any(o.key_or_group.startswith("tracker") for o in typed):
        return []
    return [
        f"{key}={quote(value)}" for key, value in saved_overrides(RunFolder(Path(resumed[-1]).expanduser())).items()
    ]


def drift(folder: Path, config: Config) -> list[str]:
    """Where today's `conf/` would give a saved run's command another config than the one that is used, a line each."""
    path = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = parse([str(item) for item in OmegaConf.to_container(OmegaConf.load(path)) or []])
    except Exception as error:  # whatever a broken YAML file raises
        return [f"{path}: cannot be read, so today's conf/ was not compared ({one_line(error)})"]
    today, _, problems = compose_job(overrides)
    if today is None:
        return [f"today's conf/ refuses the run's command: {problem}" for problem in problems]
    typed = tuple(o.key_or_group for o in overrides if o.key_or_group not in _GROUPS)
    return [
        f"{key}: {show(used)} is used, {show(new)} is what today's conf/ has"
        for key, (used, new) in differences(saved(config), saved(today)).items()
        if not key.startswith(typed)
    ]
