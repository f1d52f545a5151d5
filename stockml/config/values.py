"""Config values: as text to type, as plain data, and compared."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


class FrozenMapping(dict[str, Any]):
    """A setting that maps names to values; hashable, as configs are."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def show(value: Any) -> str:
    """A config value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, Mapping):
        return "{…}" if value else "{}"
    return str(value)


def plain(config: Any) -> Any:
    """A config as nested dicts, lists and scalars, which JSON and YAML can hold."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple):
        return [plain(item) for item in config]
    if isinstance(config, Mapping):
        return {name: plain(item) for name, item in config.items()}
    return config.isoformat() if isinstance(config, datetime.date) else config


def is_within(key: str, keys: Iterable[str]) -> bool:
    """Whether a dotted key is one of `keys`, or lies in a section that is."""
    return any(key == other or key.startswith(f"{other}.") for other in keys)


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested dicts, with its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values of nested dicts that differ, by dotted key: the value of each, `ABSENT` if it has none.

    An empty dict is not named where what the other has in it is.
    """
    a, b = dict(leaves(one)), dict(leaves(other))
    keys = dict.fromkeys([*a, *b])
    found = {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys if a.get(key, ABSENT) != b.get(key, ABSENT)}
    return {key: pair for key, pair in found.items() if not any(other.startswith(f"{key}.") for other in found)}


class _Absent:
    def __repr__(self) -> str:
        return "no such key"


ABSENT = _Absent()


def enumerated(names: Sequence[str]) -> str:
    """Names as an English list: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def list_names(names: Sequence[str], most: int = 5) -> str:
    """The first `most` names."""
    return f"{', '.join(names[:most])}{f' and {len(names) - most:,} more' if len(names) > most else ''}"


_DAYS = re.compile(r"(?<![\w./\\$])(?P<stocks>stock-)?(?P<initial>[Dd])ay(?P<end>s?\b)(?! of the week|[/\\]|\.\w)")


def worded(text: str, noun: str) -> str:
    """A text that speaks of days, for bars whose step has that name."""
    if noun == "day":
        return text

    def replaced(found: re.Match[str]) -> str:
        word = noun.capitalize() if found["initial"] == "D" else noun
        return f"{found['stocks'] or ''}{word}{found['end']}"

    return _DAYS.sub(replaced, text)


def list_stocks(tickers: Sequence[str], most: int = 10) -> str:
    """How many stocks, and the names of the first `most`."""
    shown = f"{', '.join(tickers[:most])}{', …' if len(tickers) > most else ''}"
    return f"{len(tickers):,} stock{'s' if len(tickers) > 1 else ''}: {shown}"


def undecoded(text: str) -> str | None:
    """The text of an argument or a file name with those of its bytes escaped that are not UTF-8; None: it has none."""
    try:
        raw = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of a character, of JSON or YAML
        raw = text.encode(errors="surrogatepass")
    shown = raw.decode(errors="backslashreplace")
    return None if shown == text else shown
