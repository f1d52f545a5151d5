"""Saved configs: data that counts for the experiment alone, put over today's `conf/` and under what was typed.

Nothing in a saved file is evaluated, and nothing in it chooses where a run writes, what it connects to or what is
imported.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from stockml.compose.checks import Tasks, checked
from stockml.compose.composing import Composer, is_of_hydra, settings_of
from stockml.compose.grammar import from_literal, literal, one_line, quote
from stockml.config.root import INSTALLATION_KEYS, Config, identity
from stockml.config.values import ABSENT, differences, is_within, leaves, show
from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.folder import RunFolder
from stockml.runs.old_releases import upgrade_config
from stockml.runs.sweep_folder import SweepFolder
from stockml.trackers import TRACKERS

# Which key of a section names the file of its group.
_GROUPS = {
    "stock": "ticker",
    "data": "source",
    "features": "set",
    "model": "name",
    "trainer": "name",
    "hardware": "device",
}
# What is composed in the place of a saved choice: of a set of features, a saved config may lack some.
_COMPOSED = {"features": "bars"}
_MAPPINGS = ("features.columns.", "data.columns.", "data.lag.")

OF_ONE_RUN = ("task", "run", "sweep", "export", "audit", "trainer.resume")
"""Settings, or sections, that were asked of one run and say nothing of what it is."""

_MOST_BYTES = 1_000_000
_MOST_NODES = 20_000
_MOST_LEVELS = 50


@dataclass(frozen=True)
class SavedConfig:
    """A saved config that was read, and what is taken from it."""

    path: Path
    values: dict[str, Any]
    """Its settings, plain; those of this installation and of one run left out."""
    choices: dict[str, str]
    """Of each config group that has a section: the choice that the section names."""
    notes: tuple[str, ...]
    """What is said of it, a line each."""

    @classmethod
    def read(cls, path: Path) -> SavedConfig:
        """Read a saved config. UserError where it is none."""
        given = _plain_yaml(path, "a saved config")
        if not isinstance(given, dict) or not given or "defaults" in given:
            raise UserError(f"{path}: is not a run's saved config; add a folder of your own configs with -cd")
        values = upgrade_config(from_literal(given))
        hydra = values.get("hydra")
        ignored = (
            [f"hydra.{key}" for key in hydra] if isinstance(hydra, dict) else ["hydra"] if "hydra" in values else []
        )
        ignored += ["tracker"] if "tracker" in values else []
        kept = _without(values, ("hydra", *INSTALLATION_KEYS, *OF_ONE_RUN))
        sections = {group: kept[group] for group in _GROUPS if isinstance(kept.get(group), dict)}
        choices = {group: section.get(_GROUPS[group]) for group, section in sections.items()}
        notes = (f"{path}: {', '.join(ignored)}: not taken from a saved config; type what of it is wanted",)
        return cls(path, kept, {g: c for g, c in choices.items() if isinstance(c, str)}, notes if ignored else ())

    def recorded(self, composer: Composer) -> list[Override]:
        """The command that the run was made by, without what is Hydra's; empty where it cannot be read."""
        try:
            lines = _plain_yaml(self.path.with_name("overrides.yaml"), "a command")
            overrides = composer.parse(map(str, lines or ()))
        except (UserError, TypeError):
            return []
        return [o for o in overrides if not is_of_hydra(o) and "${" not in str(o.input_line)]


@dataclass(frozen=True)
class Base:
    """A saved config as the base of what was typed."""

    saved: SavedConfig
    switched: frozenset[str]
    """The groups of which another choice than the saved one is typed, or several."""
    lines: tuple[str, ...]
    """What is composed for it, as overrides: the saved choices that conf/ has and that are not typed otherwise."""

    @classmethod
    def of(cls, composer: Composer, saved: SavedConfig, typed: Sequence[Override]) -> Base:
        """The base of a command line."""
        switched = frozenset(
            o.key_or_group
            for o in typed
            if o.key_or_group in _GROUPS and (o.is_sweep_override() or o.value() != saved.choices.get(o.key_or_group))
        )
        keys = {o.key_or_group for o in typed}
        for o in _experiments(composer, typed):
            switched |= _own_switches(composer, o) & (_GROUPS.keys() - keys)
        used = {g: _COMPOSED.get(g, c) for g, c in saved.choices.items() if g not in switched}
        chosen = [f"{g}={c}" for g, c in used.items() if composer.is_choice(g, c)]
        experiments = [
            str(o.input_line)
            for o in _experiments(composer, saved.recorded(composer))
            if o.key_or_group not in keys and not _sets_hydra(composer, o)
        ]
        return cls(saved, switched, (*chosen, *_to_delete(saved, switched, typed), *experiments))


def _to_delete(saved: SavedConfig, switched: Set[str], typed: Sequence[Override]) -> list[str]:
    """The saved features, or names of columns, that typed overrides delete: Hydra deletes only what it has composed."""
    items = dict(leaves(_without(saved.values, tuple(switched))))
    keys = [o.key_or_group for o in typed if o.type == OverrideType.DEL and o.key_or_group.startswith(_MAPPINGS)]
    return [f"++{key}={quote(items[key])}" for key in dict.fromkeys(keys) if key in items]


def saved_file(args: argparse.Namespace, typed: list[Override], tasks: Tasks) -> Path | None:
    """The saved config that is the base: of -cp, a resumed run, or a task's run. UserError where it is missing."""
    resumed = [o for o in typed if o.key_or_group == "trainer.resume" and isinstance(o.value(), str)]
    asked = {o.key_or_group: o.value() for o in typed if o.key_or_group in ("task", "run")}
    task = tasks.get(str(asked.get("task")))
    if args.config_path is not None:
        path = Path(args.config_path).expanduser() / f"{(args.config_name or 'config').removesuffix('.yaml')}.yaml"
    elif resumed:
        path = Path(str(resumed[-1].value())).expanduser() / ".hydra" / "config.yaml"
    elif task is not None and task.from_run and isinstance(asked.get("run"), str):
        run = Path(str(asked["run"])).expanduser()
        if SweepFolder.is_one(run):
            if not task.takes_sweep:
                raise UserError(f"run={run}: is a sweep; task={asked['task']} is about one run, run={run}/<job>")
            return None
        path = run / ".hydra" / "config.yaml"
    elif args.config_name not in (None, "config"):
        raise UserError(f"--config-name {args.config_name}: only a saved config has another name; give its -cp too")
    else:
        return None
    if not path.is_file():
        if args.config_path is not None:
            raise UserError(f"{path}: there is no such saved config; name a run folder's")
        key, folder = "trainer.resume" if resumed else "run", path.parent.parent
        why = " (it has no .hydra/config.yaml)" if folder.exists() else ""
        raise UserError(f"{key}={folder}: there is no such run folder{why}; name one that a run has printed")
    return path


def overlay_saved(
    composer: Composer, base: Base, composed: DictConfig, overrides: Sequence[Override]
) -> dict[str, Any]:
    """Put the saved values over what is composed under its groups and what was typed; those that made a difference.

    Left as composed are keys that were typed, sections whose group was switched, and keys that a typed experiment sets.
    """
    choices, typed = composed.hydra.runtime.choices, [o for o in overrides if o.input_line not in base.lines]
    replaced = {g for g, choice in base.saved.choices.items() if _is_replaced(composer, g, choice, choices)}
    kept = {o.key_or_group for o in typed if not composer.options(o.key_or_group)}
    for o in _experiments(composer, typed):
        kept |= _own_keys(composer, o)
    today = dict(leaves({str(k): _raw(composed, k) for k in composed if k != "hydra"}))
    changed = {
        key: value
        for key, value in leaves(_without(base.saved.values, (*base.switched, *replaced)))
        if today.get(key, ABSENT) != value and not _is_related(key, kept)
    }
    for key, value in changed.items():
        OmegaConf.update(composed, key, literal(value), merge=False, force_add=True)
    return changed


def _is_replaced(composer: Composer, group: str, choice: str, choices: Any) -> bool:
    """Whether something, a typed experiment say, has replaced a choice that conf/ has."""
    used = _COMPOSED.get(group, choice)
    return composer.is_choice(group, used) and choices.get(group) != used


def _is_related(key: str, keys: set[str]) -> bool:
    """Whether a key is one of the others, or lies in one, or has one within it."""
    return is_within(key, keys) or any(is_within(other, (key,)) for other in keys)


def _raw(composed: DictConfig, key: Any) -> Any:
    if OmegaConf.is_interpolation(composed, key):
        return ABSENT
    value = composed[key]
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value


def as_overrides(changed: Mapping[str, Any]) -> list[str]:
    """Settings by their dotted keys as overrides, to make the same config again."""
    return [f"{key}={quote(value)}" for key, value in changed.items()]


def drift(composer: Composer, base: Base, config: Config, tasks: Tasks) -> tuple[str, ...]:
    """Where today's `conf/` would give the run's command another config than the one that is used, a line each."""
    path = base.saved.path.with_name("overrides.yaml")
    try:
        _plain_yaml(path, "a command")
    except UserError as error:
        return (f"{error}; today's conf/ was not compared",)
    recorded = base.saved.recorded(composer)
    values = [o for o in recorded if not composer.options(o.key_or_group)]
    used = {**base.saved.choices, **{o.key_or_group: str(o.value()) for o in recorded if o.key_or_group in _COMPOSED}}
    own = {f"{g}={c}": f"{g}={used[g]}" for g, c in _COMPOSED.items() if composer.is_choice(g, used.get(g))}
    lines = [own.get(line, line) for line in base.lines]
    try:
        composed = composer.compose([*composer.parse(lines), *values])
        keys = {o.key_or_group for o in recorded}
        today, problems = checked(settings_of(composed), keys, composed.hydra.runtime.choices.get("stock"), tasks)
    except UserError as error:
        today, problems = None, list(error.lines)
    if today is None:
        return tuple(f"today's conf/ refuses the run's command: {problem}" for problem in problems)
    typed = tuple(o.key_or_group for o in recorded if o.key_or_group not in _GROUPS)
    defaults = _default_choices(composer)
    named = {o.key_or_group for o in recorded}
    return (
        *(
            f"{group}={choice} is used, {group}={defaults[group]} is what today's conf/ has"
            for group, choice in base.saved.choices.items()
            if group not in named and defaults.get(group, choice) != choice and composer.is_choice(group, choice)
        ),
        *(
            f"{key}: {show(used)} is used, {show(new)} is what today's conf/ has"
            for key, (used, new) in differences(identity(config), identity(today)).items()
            if not key.startswith(typed)
        ),
    )


def _default_choices(composer: Composer) -> dict[str, str]:
    """The choice of each group that holds where none is typed."""
    found = composer.file_of("", "config")
    items = found[1].get("defaults", ()) if found else ()
    return {str(k): str(v) for item in items if isinstance(item, dict) for k, v in item.items()}


def trackers_of(resumed: str, typed: Sequence[Override]) -> list[str]:
    """Which trackers a resumed run goes on with, as overrides; none where some are typed. Their servers are ours."""
    path = Path(resumed).expanduser() / "tracker.json"
    if any(o.key_or_group.startswith("tracker") for o in typed) or not path.is_file():
        return []
    given = RunFolder(path.parent).read_json(path.name)
    return [f"tracker.{name}=true" for name in TRACKERS if given.get(name) is True]


def _experiments(composer: Composer, overrides: Sequence[Override]) -> list[Override]:
    """The overrides that choose from groups without a section of the config: experiments."""
    return [
        o
        for o in overrides
        if o.key_or_group not in (*_GROUPS, "looks", "tracker")
        and not is_of_hydra(o)
        and not o.is_sweep_override()
        and composer.is_choice(o.key_or_group, o.value())
    ]


def _sets_hydra(composer: Composer, o: Override) -> bool:
    found = composer.file_of(o.key_or_group, str(o.value()))
    return found is not None and isinstance(found[1], dict) and "hydra" in found[1]


def _own_files(composer: Composer, group: str, choice: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a choice's own file says, and the files of its group that its defaults name, each with where it belongs."""
    found = composer.file_of(group, choice)
    if found is None or not isinstance(found[1], dict):
        return
    _, content, package = found
    yield "" if package in ("_global_", "") else f"{package or group.replace('/', '.')}.", content
    for item in content.get("defaults") or ():
        if isinstance(item, str) and item != "_self_" and "@" not in item:
            inner_group, _, inner = (item[1:] if item.startswith("/") else f"{group}/{item}").rpartition("/")
            if (inner_group, inner) != (group, choice):
                yield from _own_files(composer, inner_group, inner)


def _own_keys(composer: Composer, o: Override) -> set[str]:
    """The dotted keys that the file of a typed choice sets."""
    files = _own_files(composer, o.key_or_group, str(o.value()))
    return {
        f"{prefix}{key}"
        for prefix, content in files
        for key, _ in leaves({k: v for k, v in content.items() if k != "defaults"})
    }


def _own_switches(composer: Composer, o: Override) -> set[str]:
    """The groups of which the file of a typed choice takes another choice."""
    files = _own_files(composer, o.key_or_group, str(o.value()))
    items = [item for _, content in files for item in content.get("defaults") or () if isinstance(item, dict)]
    return {str(key).split()[-1].lstrip("/") for item in items for key in item}


def _without(values: Mapping[str, Any], keys: Sequence[str], path: str = "") -> dict[str, Any]:
    """Nested values less some keys and sections."""
    return {
        key: _without(value, keys, f"{path}{key}.") if isinstance(value, Mapping) else value
        for key, value in values.items()
        if not is_within(f"{path}{key}", keys)
    }


def _plain_yaml(path: Path, what: str) -> Any:
    """What a YAML file says, literally. UserError where it is too large, or refers to itself, or is no YAML."""
    try:
        content = plain_files.read(path, _MOST_BYTES)
        count = depth = 0
        for event in yaml.parse(content, Loader=_Loader):
            count += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_LEVELS:
                raise UserError(f"{path}: cannot be read as {what} (it is nested more than {_MOST_LEVELS} deep)")
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{path}: cannot be read as {what} (it has a YAML alias, *{event.anchor})")
            if count > _MOST_NODES:
                raise UserError(f"{path}: cannot be read as {what} (it has more than {_MOST_NODES:,} values)")
        return yaml.load(content, Loader=_Loader)
    except UserError:
        raise
    except Exception as error:  # whatever a broken file raises, RecursionError among it
        raise UserError(f"{path}: cannot be read as {what} ({one_line(error)})") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # an untyped package's
    """Reads plain values as OmegaConf does: dates stay texts, and 1e-3 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)
