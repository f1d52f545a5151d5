"""Reads config dataclasses from plain values: types, bounds, unknown keys. Every problem gets a line of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import functools
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field
from typing import Any, Literal

from stockml.config.values import FrozenMapping, leaves, show

_BOUNDS, _IDENTITY, _REMEDY = "bounds", "identity", "remedy"  # keys of a field's metadata


def bounded(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    default: Any = MISSING,
) -> Any:
    """A field whose number must lie within these bounds. What `conf/` has a file for gets its default there."""
    return field(default=default, metadata={_BOUNDS: _bounds(least, above, most, below)})


def advised(remedy: str) -> Any:
    """A field of texts; where one is not allowed and none is similar, `remedy` says what to do, with `{0}` for it as a
    name."""
    return field(metadata={_REMEDY: remedy})


def incidental(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    default: Any = MISSING,
) -> Any:
    """A field that only says where or how fast a run goes: two runs that differ in it alone are the same experiment."""
    return field(default=default, metadata={_BOUNDS: _bounds(least, above, most, below), _IDENTITY: False})


def is_incidental(spec: dataclasses.Field[Any]) -> bool:
    """Whether the field is no part of what an experiment is."""
    return not spec.metadata.get(_IDENTITY, True)


def _bounds(least: float | None, above: float | None, most: float | None, below: float | None) -> dict[str, float]:
    limits = {"≥": least, ">": above, "≤": most, "<": below}
    return {sign: limit for sign, limit in limits.items() if limit is not None}


class Reader:
    """Builds config dataclasses from plain values and collects every problem in `problems`, a line each."""

    def __init__(self, sections: Mapping[str, Any], elsewhere: Callable[[str, str], str]) -> None:
        """Prepare to read.

        `sections` maps the path of a section to its dataclass, or to None where the class is unknown.
        `elsewhere(key, path)` returns a hint: where a key that is unknown at `path` belongs.
        """
        self.problems: list[str] = []
        self._sections, self._elsewhere = sections, elsewhere

    def read(self, cls: type[Any], values: Mapping[str, Any], path: str = "") -> Any:
        """Build a `cls` from `values`; None if they have problems."""
        hints = _type_hints(typing.cast("Hashable", cls))  # as a class is, for all that mypy knows
        fields = {f.name: f for f in dataclasses.fields(cls)}
        before = len(self.problems)
        self._check_keys(values, list(fields), path)
        built: dict[str, Any] = {}
        for name, spec in fields.items():
            where = f"{path}{name}"
            wanted = self._sections.get(where, hints[name])
            if name in values and wanted is not None:
                built[name] = self._field(values[name], wanted, spec.metadata.get(_BOUNDS, {}), where)
                if built[name] is None and _REMEDY in spec.metadata:
                    self._advise(values[name], wanted, spec.metadata[_REMEDY])
            elif name not in values and MISSING is spec.default is spec.default_factory:
                self.problems.append(f"{where}: missing")
        is_complete = all(self._sections.get(f"{path}{name}", cls) is not None for name in fields)
        if len(self.problems) > before or not is_complete:
            return None
        result = cls(**built)
        if hasattr(result, "conflicts"):
            self.problems.extend(f"{path}{conflict}" for conflict in result.conflicts())
        return result

    def _check_keys(self, values: Mapping[str, Any], names: Sequence[str], path: str) -> None:
        section = path.removesuffix(".")
        kind = values.get("source" if section == "data" else "name")
        where = f"known with {section}={kind}" if section in self._sections else "known here"
        for key in values:
            if key not in names:
                hint = self._elsewhere(key, path) or nearest(key, names, path) or f"; {where}: {', '.join(names)}"
                self.problems.append(f"{path}{key}: no such key{hint}")

    def _advise(self, value: Any, wanted: Any, remedy: str) -> None:
        """Add the remedy to the problem of a list that has a text which is not allowed."""
        choices = [c for option in _options(wanted) for c in _choices(option)]
        wrong = [v for v in value if v not in choices] if isinstance(value, (list, tuple)) else []
        if wrong and isinstance(wrong[0], str) and not nearest(wrong[0], choices):
            name = re.sub(r"\W", "_", wrong[0])
            self.problems[-1] += f"; {remedy.format(name)}"

    def _field(self, value: Any, wanted: Any, bounds: Mapping[str, float], where: str) -> Any:
        nested = next((t for t in _options(wanted) if dataclasses.is_dataclass(t)), None)
        if nested is not None and not (value is None and type(None) in _options(wanted)):
            if isinstance(value, Mapping):
                return self.read(typing.cast("type[Any]", nested), value, f"{where}.")
            self.problems.append(f"{where}={show(value)}: must be a group of settings, {where}.<key>=…")
            return None
        if typing.get_origin(wanted) is Mapping and isinstance(value, Mapping):
            item = typing.get_args(wanted)[1]
            # A name with a dot, as SP500.close, is a nested mapping where it was typed as part of the key.
            each = {str(key): self._field(one, item, bounds, f"{where}.{key}") for key, one in leaves(value)}
            return FrozenMapping(each)
        try:
            return _convert(value, wanted, bounds)
        except ValueError as error:
            self.problems.append(f"{where}={show(value)}: {error}")
            return None


@functools.cache
def _type_hints(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # which evaluates each annotation anew


def _options(wanted: Any) -> tuple[Any, ...]:
    return typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)


def _convert(value: Any, wanted: Any, bounds: Mapping[str, float]) -> Any:
    """`value` as one of the types in `wanted`. Raises ValueError, which says what is allowed."""
    for reading in value.readings() if isinstance(value, ResolvedText) else (value,):
        for option in _options(wanted):
            accepted, result = _accept(reading, option)
            if accepted:
                if isinstance(result, (int, float)) and not isinstance(result, bool):
                    _within(result, bounds, wanted)
                return result
    choices = [c for option in _options(wanted) for c in _choices(option)]
    given = [v for v in value if v not in choices] if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str) and any(typing.get_origin(option) is tuple for option in _options(wanted)):
        given, choices = [f"[{value}]"], [f"[{choice}]" for choice in choices]
    hint = nearest(str(given[0]), choices) if given else ""
    advice = ""
    if str in _options(wanted) and isinstance(value, (bool, int, float)):
        advice = '; quote it: \'"…"\' on the command line, "…" in YAML'
    raise ValueError(f"must be {_describe(wanted, bounds)}{advice}{hint}")


class ResolvedText(str):
    """The text that an interpolation such as `${oc.env:SEED}` stands for: an environment variable has no other type."""

    def readings(self) -> Iterator[str | int | float | bool | None]:
        """The text itself, then the whole number, number, truth or null that it spells."""
        yield str(self)
        words = {"true": True, "false": False, "null": None}
        if self.lower() in words:
            yield words[self.lower()]
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                yield kind(self)


def _choices(option: Any) -> list[str]:
    """The texts that a Literal, or a list of Literals, allows."""
    args = typing.get_args(option)
    return _choices(args[0]) if typing.get_origin(option) is tuple else [c for c in args if isinstance(c, str)]


def _accept(value: Any, option: Any) -> tuple[bool, Any]:
    """Whether `value` is of type `option`, and it as that type. Nothing is guessed: 1.5 is no int, true is no str."""
    origin = typing.get_origin(option)
    if origin is Literal:
        return isinstance(value, str) and value in typing.get_args(option), value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False, None
        item = typing.get_args(option)[0]
        pairs = [_accept(v, item) for v in value]
        return all(ok for ok, _ in pairs), tuple(v for _, v in pairs)
    if origin is Mapping:  # read item by item
        return False, None
    if option is type(None):
        return value is None, None
    if option in (datetime.date, datetime.datetime):
        try:
            found = option.fromisoformat(value)
            return isinstance(value, str) and getattr(found, "tzinfo", None) is None, found
        except (TypeError, ValueError):
            return False, None
    if option is float and isinstance(value, int) and not isinstance(value, bool):
        return True, float(value)
    return type(value) is option, value


def _within(number: float, bounds: Mapping[str, float], wanted: Any) -> None:
    holds = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
    if not (math.isfinite(number) and all(holds[sign](number, bound) for sign, bound in bounds.items())):
        raise ValueError(f"must be {_describe(wanted, bounds)}")


def _describe(wanted: Any, bounds: Mapping[str, float]) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    limits = " and ".join(f"{sign} {bound:.10g}" for sign, bound in bounds.items())
    parts = []
    for option in _options(wanted):
        if option is datetime.date:
            parts.append("a date, YYYY-MM-DD")
        elif option is datetime.datetime:
            parts.append("with a time, YYYY-MM-DDTHH:MM")
        elif typing.get_origin(option) is Literal:
            parts.append(one_of(list(typing.get_args(option))))
        elif typing.get_origin(option) is tuple:
            parts.append(f"a list of {_describe(typing.get_args(option)[0], {}).removeprefix('one of ')}")
        elif typing.get_origin(option) is Mapping:
            parts.append(f"a mapping, {{name: {_describe(typing.get_args(option)[1], bounds)}}}")
        else:
            parts.append(f"{names[option]} {limits}".rstrip() if option in (int, float) else names[option])
    return " or ".join(parts)


def one_of(names: Sequence[str]) -> str:
    """The allowed names as a phrase."""
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def nearest(name: str, known: typing.Iterable[str], path: str = "") -> str:
    """`; did you mean …?` if a known name is similar to `name`, else an empty text."""
    spelt = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    return f"; did you mean {path}{spelt[close[0]]}?" if close else ""
