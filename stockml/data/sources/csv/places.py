"""Which columns of a table are the date, the prices and the volume; of an unknown table, which they may be."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from stockml.config.schema import nearest
from stockml.data.bars import PRICES, Floats, MissingColumnsError
from stockml.data.sources.csv import cells, stamps
from stockml.data.sources.csv.column_names import words
from stockml.data.sources.csv.columns import AmbiguousTableError, Header, quoted
from stockml.data.sources.csv.table_files import Table
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.csv import CsvConfig

ROLES = (*PRICES, "volume")
_MOST_SHOWN = 300  # characters of a list of columns
_SAMPLE = 200  # rows from which the columns are guessed
_CLEARLY = 0.8  # of the usual order's distance, from which another order of open and close is proposed
_NEAR = 0.2  # the median distance of two prices of a bar, as a log


@dataclass(frozen=True)
class Places:
    """The numbers of a table's columns."""

    roles: dict[str, int]
    """Of the date, the prices and the volume, those that are there."""
    names: dict[str, str]
    """Columns asked for that are a price or the volume, by whatever name: the role."""
    further: dict[str, int]
    """Of the other columns asked for."""
    volume_is_adjusted: bool

    @classmethod
    def of(cls, table: Table, config: Config, asked: Sequence[str]) -> Places:
        """The places of the columns asked for. UserError where the table lacks one."""
        header, data = table.header, cast("CsvConfig", config.data)
        ticker = table.ticker or config.stock.ticker
        found = {role: header.column(role, ticker) for role in ("date", *PRICES, "adj close", "volume")}
        adjusts = data.adjust_volume and found["adj close"] is not None
        adj_volume = header.column("adj volume", ticker) if adjusts else None
        is_adjusted = adj_volume is not None and "volume" in map(words, asked)
        if is_adjusted:
            found["volume"] = adj_volume
        names = {name: words(name) for name in asked if words(name) in ROLES}
        missing = [role.title() for role in ("date", *names.values()) if found[role] is None]
        further: dict[str, int] = {}
        for name in (name for name in asked if name not in names):
            number = header.extra(name, ticker)
            role = next((role for role, n in found.items() if n == number is not None), None)
            if role == "date":
                raise UserError(f"{table.path}: {name} is the day of a bar, no number; use DayOfWeek() or Month()")
            if number is None:
                missing.append(name)
            elif role is not None:
                names[name] = role
            else:
                further[name] = number
        there = {role: number for role, number in found.items() if number is not None}
        if missing:
            listed = textwrap.shorten(", ".join(_known(header)), _MOST_SHOWN, placeholder=" …") or "none"
            hint = nearest(missing[0], _known(header)) if len(missing) == 1 else ""
            lacks = [role for role in ("date", *ROLES) if role.title() in missing]
            hint += _proposal(table, there, lacks, config.stock.features if config.features.bars else ())
            absent = [name for name in asked if found.get(names.get(name, "")) is None and name not in further]
            has = f"it has {listed}" if header.has_names else "its first line holds no names"
            raise MissingColumnsError(f"{table.path}: has no column {', '.join(missing)}; {has}{hint}", absent)
        return cls(there, names, further, is_adjusted)

    @property
    def all(self) -> dict[str, int]:
        """Of the roles and the further columns."""
        return self.roles | self.further


def _known(header: Header) -> list[str]:
    return [name.strip() for name in header.names if name.strip()]


def _proposal(table: Table, found: Mapping[str, int], lacks: Sequence[str], features: Sequence[str]) -> str:
    """How to name the roles that a table lacks, as its cells show them, and how to do without the others."""
    guessed, header = _guess(table, found, lacks), table.header
    rest = [role for role in lacks if role not in guessed]
    if len(header.names) == 1:
        return "; its columns must be separated by commas, semicolons, tabs or |"
    hints = []
    if guessed:
        places = {role: place(header, number) for role, number in guessed.items()}
        names = [f"{header.names[number].strip()} is the {role}" for role, number in guessed.items()]
        which = f"if {names[0]}" if len(names) == 1 else "if these are they"
        setting = f"'data.columns={{{', '.join(f'{role}: {place}' for role, place in places.items())}}}'"
        hints.append(f"{which}: {'' if header.has_names else 'data.header=false '}{setting}")
    kept = [role for role in features if role not in rest]
    if rest and "date" not in rest and "close" not in rest and kept and len(kept) < len(features):
        hints.append(f"without {', '.join(rest)}: 'stock.features=[{','.join(kept)}]'")
    elif rest:
        hints.append(f"name the column of the {rest[0]}: 'data.columns={{{rest[0]}: NAME}}'")
    return "".join(f"; {hint}" for hint in hints)


def place(header: Header, number: int) -> str:
    """A column as it is typed in data.columns: by its name, if it is the only one of this name."""
    name = header.names[number].strip()
    alike = [other for other in header.names if words(other) == words(name)]
    if not name or not header.has_names or len(alike) > 1 or header.tickers is not None or {"'", '"', "\\"} & set(name):
        return str(number + 1)
    return quoted(name)


def _guess(table: Table, found: Mapping[str, int], lacks: Collection[str]) -> dict[str, int]:
    """The columns that the cells show to be some of the lacking roles."""
    sample, names = table.cells.iloc[:_SAMPLE], table.header.names
    free = [
        n
        for n, name in enumerate(names)
        if n not in found.values() and name.strip() and not {"%", "€", "$", "£", "¥"} & {*name}
    ]
    guessed: dict[str, int] = {}
    is_falling = False
    if len(sample) < 3:
        return guessed
    for number in [found["date"]] if "date" in found else free:
        try:
            days, _ = cells.days(sample[number])
        except AmbiguousTableError:
            days = np.arange(len(sample)).astype("datetime64[D]")  # dates all the same
        steps = np.diff(days[~np.isnat(days)]).astype(np.int64)
        if len(steps) * 2 > len(sample) - 2 and ((steps >= 0).all() or (steps <= 0).all()):
            is_falling = bool((steps < 0).any())
            guessed |= {} if "date" in found else {"date": number}
            break
    if table.header.clock(-1) is None and (times := [n for n in free if stamps.are_times(sample[n])]):
        guessed["time"] = times[0]
    prices = {role: number for role, number in found.items() if role in PRICES}
    free = [n for n in free if n != guessed.get("date") and not cells.is_text(sample[n])]
    try:
        every, _ = cells.numbers({str(n): sample[n] for n in [*free, *prices.values()]}, [str(n) for n in free])
    except AmbiguousTableError:
        return guessed
    values = {int(n): column for n, column in every.items() if np.isfinite(column).mean() > 0.9}
    free = [n for n in free if n in values and (values[n] >= 0).mean() > 0.9]
    positive = {n: np.where(column > 0, column, np.nan) for n, column in values.items() if (column > 0).mean() > 0.9}
    logs = {n: np.log(column) for n, column in positive.items()}
    prices = {role: number for role, number in prices.items() if number in logs}
    near = _alike(logs, prices, free)
    guessed |= _prices(logs, prices, near, [role for role in lacks if role in PRICES], is_falling=is_falling)
    rest = [n for n in free if n not in near and len(np.unique(values[n])) > 1]
    if "volume" in lacks and rest:
        guessed["volume"] = next((n for n in rest if (values[n] % 1 == 0).all()), rest[0])
    return {role: guessed[role] for role in ("date", "time", *ROLES) if role in guessed}


def _alike(logs: Mapping[int, Floats], prices: Mapping[str, int], free: Sequence[int]) -> list[int]:
    """The free columns that are as large as a price that is known; else the most that are as large as one of them."""
    free = [n for n in free if n in logs]
    groups = [
        [n for n in free if np.nanmedian(np.abs(logs[n] - logs[centre])) < _NEAR]
        for centre in [*prices.values()][:1] or free
    ]
    return max(groups, key=len, default=[])


def _prices(
    logs: Mapping[int, Floats],
    prices: Mapping[str, int],
    near: Sequence[int],
    lacks: Sequence[str],
    *,
    is_falling: bool,
) -> dict[str, int]:
    """Which of the columns that are near each other are the lacking prices: the highest is the high, and an open
    is near the close before it."""
    if len(near) < len(lacks):
        return {"close": near[0]} if near and "close" in lacks else {}
    guessed, left = {}, list(near)
    for role, pick in (("high", np.nanargmax), ("low", np.nanargmin)):
        if role in lacks:
            guessed[role] = left.pop(int(pick([np.nanmean(logs[n]) for n in left])))
    step = -1 if is_falling else 1
    sides = [left if role in lacks else [prices[role]] if role in prices else [] for role in ("open", "close")]
    pairs = [(one, other) for one, other in itertools.product(*sides) if one != other]
    if pairs:
        gaps = [np.nanmean(np.abs(logs[one][::step][1:] - logs[other][::step][:-1])) for one, other in pairs]
        usual = int(np.argmin([one > other for one, other in pairs]))  # the open stands first, unless cells contradict
        best = int(np.argmin(gaps))
        guessed["open"], guessed["close"] = pairs[best if gaps[best] < _CLEARLY * gaps[usual] else usual]
    elif "close" in lacks and left:
        guessed["close"] = left[0]
    return {role: number for role, number in guessed.items() if role in lacks}
