"""Composing: what Hydra makes of `conf/` under some overrides, by a loader of our own and without global state."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from stockml import models
from stockml.compose import grammar, hydra_private
from stockml.config.conf_folder import CONF
from stockml.config.schema import ResolvedText, nearest
from stockml.data import sources
from stockml.data.features import sets as feature_sets
from stockml.errors import UserError

VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}
"""Hydra 1.3 warns where it is not given its own number, later versions where they are."""

_RESOLVERS = ("now", "hydra", "python_version", "hydra_override_dirname", "hydra_deprecated_override_dirname")


def set_up_hydra() -> None:
    """Let Hydra resolve `${now:…}` and the like, where it does not yet."""
    if VERSION_BASE:
        version.setbase(VERSION_BASE["version_base"])
    if not any(map(OmegaConf.has_resolver, _RESOLVERS)):
        setup_globals()


class Recent(dict[Any, Any]):
    """A dict of the compositions that were added last; each takes up to a megabyte."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Add one, and forget the oldest."""
        if len(self) >= _MOST:
            self.pop(next(iter(self)))
        super().__setitem__(key, value)


_MOST = 64


class Composer:
    """Composes `conf/`, and a folder of the user's where one is given. UserError where there is no such folder."""

    def __init__(self, config_dir: str | None = None) -> None:
        if config_dir is not None and not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
        set_up_hydra()
        self.loader = hydra_private.new_loader(CONF, None if config_dir is None else Path(config_dir).absolute())
        self._options: dict[str, list[str]] = {}
        self._bases: dict[tuple[str, ...], DictConfig] = Recent()

    def parse(self, overrides: Iterable[str]) -> list[Override]:
        """Hydra's reading of each override, with the files that a `glob` of paths stands for.

        UserError with a line for each that has no meaning.
        """
        return [*map(grammar.with_files, grammar.parse(overrides, self.loader))]

    def groups(self) -> list[str]:
        """The config groups, those of Hydra's own left out."""
        return [group for group in self.loader.list_groups("") if group not in ("hydra", "base")]

    def options(self, group: str) -> list[str]:
        """The choices of a config group, none where it is no group."""
        if group not in self._options:
            self._options[group] = [] if "." in group else list(self.loader.get_group_options(group))
        return self._options[group]

    def is_choice(self, group: str, choice: Any) -> bool:
        """Whether a group has this choice; an installed package's model or source is added to its group."""
        if not isinstance(choice, str):
            return False
        return choice in self.options(group) or _register_installed(group, choice)

    def file_of(self, group: str, choice: str) -> tuple[str, Any, str | None] | None:
        """Where the file of a choice is, what it says by itself, uncomposed, and the package that it names."""
        path = f"{group}/{choice}".lstrip("/")
        for source in self.loader.get_sources():
            if source.is_config(path):
                loaded = source.load_config(path)
                where = Path(source.path) / f"{path}.yaml"
                return str(where), OmegaConf.to_container(loaded.config, resolve=False), loaded.header.get("package")
        return None

    def compose(self, overrides: Sequence[Override]) -> DictConfig:
        """What Hydra composes under these overrides, its own section `hydra` with it. UserError where nothing does.

        Values of settings are set in a copy of what the other overrides compose, which is remembered: Hydra too sets
        them after all else.
        """
        values = [o for o in overrides if self._is_value(o)]
        others = sorted((o for o in overrides if not self._is_value(o)), key=is_of_hydra)
        if any(not self.options(o.key_or_group) and o.type not in SETTING for o in others):
            others, values = list(overrides), []  # a deletion counts at its place among the values
        composed = copy.deepcopy(self.base(self.forced(others)))
        for o in values:
            try:
                value = o.value()
                OmegaConf.update(composed, o.key_or_group, value, merge=isinstance(value, dict), force_add=True)
            except Exception as error:  # whatever OmegaConf raises is about what was typed
                raise UserError(f"{o.input_line}: {grammar.one_line(error)}") from error
        _record(composed, overrides)
        return composed

    def base(self, lines: Sequence[str]) -> DictConfig:
        """What Hydra composes under these overrides; to be read only. UserError where nothing does."""
        key = tuple(lines)
        if key not in self._bases:
            try:
                composed = self.loader.load_configuration("config", list(lines), RunMode.RUN, from_shell=False)
            except Exception as error:  # ValueError, a YAML error and others: all of them are about files and overrides
                fault = grammar.one_line(error)
                if "Could not delete from config" in fault and (faults := self._undeletable(lines)):
                    raise UserError(*faults) from error
                if any(line.lstrip("+").startswith(_PARAMS) for line in lines) and "NoneType" in fault:
                    raise UserError(
                        f"{_PARAMS}: is of experiment files and of searches; on the command line, name what is swept "
                        "itself, after -m: seed=1,2"
                    ) from error
                raise UserError(self._with_its_file(lines, fault)) from error
            if not any(line.lstrip("+").startswith("hydra.job.name=") for line in lines):
                composed.hydra.job.name = "stockml"
            self._bases[key] = composed
        return self._bases[key]

    def _undeletable(self, lines: Sequence[str]) -> list[str]:
        """The deletions of keys that are not there, a line each."""
        composed = self.base([line for line in lines if not line.startswith("~")])
        faults = []
        for key in (line[1:].partition("=")[0] for line in lines if line.startswith("~")):
            section, _, name = key.rpartition(".")
            within = OmegaConf.select(composed, section) if section else composed
            known = list(map(str, within)) if OmegaConf.is_dict(within) else []
            if name not in known:
                hint = nearest(name, known, f"~{section}." if section else "~")
                faults.append(f"~{key}: there is no such setting{hint}")
        return faults

    def _with_its_file(self, lines: Sequence[str], fault: str) -> str:
        """A fault, after the file of the choice that has it, where that cannot even be read by itself."""
        for o in self.parse(lines) if ".yaml" not in fault else ():
            if self.options(o.key_or_group) and isinstance(o.value(), str):
                try:
                    self.file_of(o.key_or_group, str(o.value()))
                except Exception:  # whatever it was that Hydra raised
                    return f"{o.key_or_group}/{o.value()}.yaml: {fault}"
        return fault

    def structure(self, overrides: Sequence[Override]) -> DictConfig:
        """What is composed before any value is set; to be read only."""
        return self.base(self.forced([o for o in overrides if not self._is_value(o)]))

    def forced(self, overrides: Iterable[Override]) -> list[str]:
        """The overrides as they are composed: added by force, each unknown key reaches our own check."""
        given = list(overrides)
        launchers = {o.value() for o in given if o.key_or_group == "hydra/launcher"} or {"basic"}
        ours = tuple(key for name, key in _CHECKED_BY_US.items() if launchers == {name})
        return [
            f"++{str(o.input_line).lstrip('+')}"
            if o.key_or_group.startswith(ours) or not self._is_left_to_hydra(o)
            else str(o.input_line)
            for o in given
        ]

    def _is_left_to_hydra(self, o: Override) -> bool:
        return o.type not in SETTING or is_of_hydra(o) or bool(self.options(o.key_or_group))

    def _is_value(self, o: Override) -> bool:
        return not self._is_left_to_hydra(o) and o.package is None


_PARAMS = "hydra.sweeper.params"
_CHECKED_BY_US = {"basic": "hydra.launcher.n_jobs", "ray": "hydra.launcher."}
"""Beginnings of a launcher's settings that are none of Hydra's."""
SETTING = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)


def is_of_hydra(o: Override) -> bool:
    """Whether an override is about Hydra's own config."""
    return o.key_or_group.split(".")[0].split("/")[0] == "hydra"


def _record(composed: DictConfig, overrides: Sequence[Override]) -> None:
    """Write into the section `hydra` which overrides it was composed under, as Hydra does."""
    lines = [str(o.input_line) for o in overrides if not is_of_hydra(o)]
    section = composed.hydra
    section.overrides.task = lines
    if not OmegaConf.is_interpolation(section.job, "override_dirname"):
        section.job.override_dirname = grammar.literal(override_dirname(section.job.config, overrides))


def override_dirname(config: DictConfig, overrides: Sequence[Override]) -> str:
    """Hydra's name for a folder of a run under these overrides, by `hydra.job.config`."""
    options = config.override_dirname
    named = sorted(
        str(o.input_line) for o in overrides if not is_of_hydra(o) and o.key_or_group not in list(options.exclude_keys)
    )
    return str(options.item_sep.join(named).replace("=", options.kv_sep))


def settings_of(composed: DictConfig) -> dict[str, Any]:
    """All of a composition but `hydra`, resolved, as nested dicts. UserError where an interpolation has no value.

    The text that an interpolation stands for is a `ResolvedText`.
    """
    settings: dict[str, Any] = {}
    try:
        for key in (str(key) for key in composed if key != "hydra"):
            raw: Any = "${}" if OmegaConf.is_interpolation(composed, key) else None
            value = composed[key]
            if OmegaConf.is_config(value):
                raw = raw or OmegaConf.to_container(value, resolve=False)
                value = OmegaConf.to_container(value, resolve=True)
            settings[key] = _marked(value, raw)
    except Exception as error:
        raise UserError(grammar.one_line(error)) from error
    return settings


def _marked(value: Any, raw: Any) -> Any:
    """`value`, in which each text is a `ResolvedText` that is an interpolation in `raw`."""
    if isinstance(value, dict) and isinstance(raw, dict):
        return {key: _marked(item, raw.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(raw, list):
        return [_marked(item, other) for item, other in zip(value, raw, strict=True)]
    whole = isinstance(value, str) and isinstance(raw, str) and raw.startswith("${") and raw.endswith("}")
    return ResolvedText(value) if whole else value


def _register_installed(group: str, name: str) -> bool:
    if group == "features":
        columns = feature_sets.installed(name)
        if columns is not None:
            node = {"set": name, "bars": False, "columns": columns, "missing": "error"}
            ConfigStore.instance().store(group=group, name=name, node=node)
        return columns is not None
    found = models.family(name) if group == "model" else sources.source(name) if group == "data" else None
    if found is None:
        return False
    node = {f.name: f.default for f in dataclasses.fields(found.config) if f.default is not dataclasses.MISSING}
    if isinstance(found, sources.Source):  # the defaults of the settings that sources share are in conf/base
        base = f"/base/{'bars' if found.is_dated else 'panel'}@_here_"
        node = {"defaults": [base, "_self_"], **node, "source": name}
    else:
        node["name"] = name
    ConfigStore.instance().store(group=group, name=name, node=node)
    return True


def name_installed() -> None:
    """Let Hydra know the names of installed packages' models and sources, for it to list; it imports none of them."""
    for group, key, register in (("model", "name", models), ("data", "source", sources)):
        for name in set(register.names()) - set(register.BUILT_IN):
            ConfigStore.instance().store(group=group, name=name, node={key: name})


@contextlib.contextmanager
def isolated_hydra_state() -> Iterator[None]:
    """Around all that composes in a program that may use Hydra itself: neither sees the other's settings."""
    store, base = ConfigStore.instance(), vars(version.VersionBase.instance())
    repo, own_base = store.repo, dict(base)
    resolvers = {name for name in _RESOLVERS if OmegaConf.has_resolver(name)}
    store.repo = {key: node for key, node in repo.items() if key.startswith(("hydra", "_"))}
    try:
        yield
    finally:
        store.repo = repo
        base.update(own_base)
        for name in _RESOLVERS:
            if name not in resolvers and OmegaConf.has_resolver(name):
                OmegaConf.clear_resolver(name)
