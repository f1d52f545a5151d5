"""Composing jobs, of which many differ in plain values alone: one is composed, and the others' values set in a copy."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from stockml.compose.composing import SETTING, Composer, Recent, is_of_hydra, override_dirname, settings_of
from stockml.compose.records import plain_hydra

# Interpolations that have the same value whatever is set outside Hydra's own config.
_SAFE = re.compile(r"\$\{(?=oc\.env:|now:|hydra[.:])(?!hydra[.:]\S*overrid)")


Progress = Callable[[int, int], None]
"""Is called before each job that is composed: how many are done, and how many there are."""


class Composition:
    """What Hydra has composed, and the settings in it as plain nested dicts."""

    def __init__(self, composed: DictConfig, settings: dict[str, Any]) -> None:
        self.composed, self.settings = composed, settings

    @classmethod
    def of(cls, composed: DictConfig) -> Composition:
        """The composition with its settings resolved. UserError where an interpolation has no value."""
        return cls(composed, settings_of(composed))

    @functools.cached_property
    def hydra(self) -> dict[str, Any]:
        """Hydra's own config, plain. UserError where it is unsound."""
        return plain_hydra(self.composed)

    def changed(self, values: dict[str, Any], overrides: Sequence[Override]) -> Composition:
        """What would be composed with other values in the place of some of its own."""
        found = Composition(self.composed, _copy(self.settings))
        for key, value in values.items():
            section = _section(found.settings, key)
            assert section is not None
            section[key.rpartition(".")[2]] = value
        dirname = override_dirname(self.composed.hydra.job.config, overrides)
        found.hydra = {**self.hydra, "job": {**self.hydra["job"], "override_dirname": dirname}}
        return found


class Composing:
    """Composes jobs, and remembers what others differ from in plain values alone."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._known: dict[tuple[str, ...], Composition | None] = Recent()

    def compose(self, overrides: Sequence[Override]) -> Composition:
        """What Hydra composes under these overrides. UserError where nothing does."""
        values = {o.key_or_group: o.value() for o in overrides if self._is_plain(o)}
        key = self.structure(overrides)
        if (known := self._known.get(key)) is not None:
            return known.changed(values, overrides)
        found = Composition.of(self._composer.compose(overrides))
        if values and key not in self._known:
            can_change = _can_change(found, values, overrides)
            self._known[key] = Composition(found.composed, _copy(found.settings)) if can_change else None
        return found

    def structure(self, overrides: Sequence[Override]) -> tuple[str, ...]:
        """What jobs have in common that differ in plain values alone."""
        return tuple(o.key_or_group if self._is_plain(o) else str(o.input_line) for o in overrides)

    def _is_plain(self, o: Override) -> bool:
        """Whether it gives a setting a number, a text or nothing."""
        if o.type != OverrideType.CHANGE or is_of_hydra(o) or o.package or self._composer.options(o.key_or_group):
            return False
        value = o.value()
        return isinstance(value, (bool, int, float, str, type(None))) and value != "???" and "${" not in str(value)


def _can_change(found: Composition, values: dict[str, Any], overrides: Sequence[Override]) -> bool:
    """Whether nothing but the settings themselves follows from these values."""
    if any(o.type not in SETTING or isinstance(o.value(), dict) for o in overrides):
        return False
    if len({o.key_or_group for o in overrides}) < len(overrides):  # then the order of the overrides counts
        return False
    raw = OmegaConf.to_container(found.composed, resolve=False)
    is_safe = all(text.count("${") == len(_SAFE.findall(text)) for text in _texts(raw))
    return is_safe and all(_section(found.settings, key) is not None for key in values)


def _section(settings: dict[str, Any], key: str) -> dict[str, Any] | None:
    """The section of a setting; None where there is no such setting, or it is a section itself."""
    within: Any = settings
    *names, name = key.split(".")
    for part in names:
        within = within.get(part) if isinstance(within, dict) else None
    return within if isinstance(within, dict) and not isinstance(within.get(name, {}), (dict, list)) else None


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested dicts and lists."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
