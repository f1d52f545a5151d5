"""Dated bars of one ticker, from any source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stockml.config.schema import nearest
from stockml.errors import UserError

Floats = NDArray[np.float64]

PRICES = ("open", "high", "low", "close")
"""The columns of a bar that are prices of its stock."""
COLUMNS = (*PRICES, "volume")
"""The columns of a bar; any other is a further one."""


@dataclass(frozen=True)
class Bars:
    """Daily, weekly, monthly or intraday bars, oldest first; prices adjusted for splits and dividends."""

    ticker: str
    dates: NDArray[np.datetime64]
    """(R,) days, or of intraday bars times in seconds as at the exchange, strictly increasing."""
    columns: dict[str, Floats]
    """(R,) each: always `close`, and the other features that are needed."""
    origin: str
    """Where they come from, as shown to the user: a path, or the simulator's settings."""
    parsing_notes: str = ""
    """How a table was read, as shown to the user."""
    dropped: tuple[str, ...] = ()
    """What the reader left out and why, one text each, as shown to the user."""
    synthetic: bool = False
    """Whether they are simulated, as `synthetic` of the source's settings says too."""
    lines: NDArray[np.int64] | None = None
    """(R,) line of each bar in the file `origin`, from 1; None if unknown."""
    expected: Floats | None = None
    """(R,) simulated bars only: the expected log return of each day given all days before it."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Columns of other tickers, and where each comes from."""
    takes_any_price: bool = False
    """Whether the config can use prices of 0 or less, as of oil futures in April 2020."""

    @property
    def below_zero(self) -> bool:
        """Whether some price is below 0."""
        return any((self.columns[name] < 0).any() for name in PRICES if name in self.columns)

    def where(self, row: int) -> str:
        """Where a bar comes from, as shown to the user: the file, and the line (for Parquet the row) if known."""
        if self.lines is None:
            return self.origin
        return place(self.origin, int(self.lines[row]))

    def lagged(self, lag: Mapping[str, int]) -> Bars:
        """The bars as they are known on each day: the columns in `lag` hold the values of so many bars earlier, NaN in
        the first rows."""
        columns = dict(self.columns)
        for name, count in lag.items():
            if count and name in columns:
                columns[name] = np.concatenate([np.full(count, np.nan), columns[name][:-count]])[: len(self.dates)]
        return replace(self, columns=columns)

    def first(self, count: int) -> Bars:
        """The first `count` bars."""
        return self._select(slice(count))

    def between(self, start: object, end: object) -> Bars:
        """The bars from `start` to `end`, both included; None means no limit. UserError where there are none."""
        keep = within(self.dates, start, end)
        if keep.all():
            return self
        if not keep.any():
            given = [f"data.{name}={value}" for name, value in (("start", start), ("end", end)) if value is not None]
            raise UserError(
                f"{self.origin}: no bars within {' and '.join(given)}; it holds {self.dates[0]} to {self.dates[-1]}"
            )
        return self._select(keep)

    def _select(self, keep: slice | NDArray[np.bool_]) -> Bars:
        return replace(
            self,
            dates=self.dates[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
            lines=None if self.lines is None else self.lines[keep],
            expected=None if self.expected is None else self.expected[keep],
        )


class NoTableError(UserError):
    """A file that holds no table at all."""

    def __init__(self, path: Path, why: str, advice: str) -> None:
        super().__init__(f"{path}: {why}; {advice}")
        self.why = why


class MissingColumnsError(UserError):
    """A table lacks columns."""

    def __init__(self, line: str, columns: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.columns = tuple(columns)


def require_columns(asked: Iterable[str], known: Iterable[str], origin: str) -> None:
    """Raise UserError where `origin` lacks a column, with those that it has."""
    known = list(known)
    if missing := [name for name in asked if name not in known]:
        hint = nearest(missing[0], known) if len(missing) == 1 else ""
        has = f"it has {', '.join(known) or 'none'}{hint}"
        raise MissingColumnsError(f"{origin}: has no column {', '.join(missing)}; {has}", missing)


def within(dates: NDArray[np.datetime64], start: object, end: object) -> NDArray[np.bool_]:
    """(R,) which bars are from `start` to `end`, both included; a day without a time is all of it, None no limit."""
    found = np.ones(len(dates), dtype=bool)
    if start is not None:
        found &= dates >= np.datetime64(str(start))
    if end is not None:
        last = np.datetime64(str(end))
        found &= (dates.astype(last.dtype) if last.dtype == "M8[D]" else dates) <= last
    return found


def place(path: str, line: int) -> str:
    """A line of a table's file, as shown to the user; of a file that has no lines, the row."""
    has_rows = re.search(r"\.(parquet|pq|xlsx?|ods|jsonl?)(\.\w+)?$", path.lower())
    return f"{path}, {'row' if has_rows else 'line'} {line}"


_SPLITS = np.array([5 / 4, 4 / 3, 3 / 2, 2, 5 / 2, *range(3, 51), 100])
"""Usual numbers of shares that one share becomes; those of a reverse split are their inverses."""
_SPLIT_TOLERANCE = 0.01
"""How far a split's step of adj close / close may be from its ratio: a dividend of the same day, and rounding."""
_LARGEST_MOVE = 0.3
"""Largest log return of a split day. A step that the close does not follow this closely is a fault of the file."""


def split_ratios(close: Floats, adj_close: Floats) -> tuple[Floats, int]:
    """(R,) shares that one share of the day before became, 1 on days without a split, told by adj close / close; and
    how many steps of that factor are too large for a dividend but no split.

    A split multiplies this factor by its ratio and divides the close by it. A dividend moves the factor too, but by a
    few percent: only a step near a usual ratio, of at least 5/4, is taken for a split.
    """
    ratios = np.ones(len(close))
    with np.errstate(all="ignore"):  # a price of 0 or less shows no split
        steps = np.diff(np.log(adj_close / close))
        moves = np.diff(np.log(close)) + steps
    size = np.exp(np.abs(steps))
    nearest = _SPLITS[np.abs(np.log(_SPLITS[None, :] / size[:, None])).argmin(axis=1)] if len(steps) else size
    is_split = (np.abs(size / nearest - 1) <= _SPLIT_TOLERANCE) & (np.abs(moves) <= _LARGEST_MOVE)
    ratios[1:][is_split] = np.where(steps > 0, nearest, 1 / nearest)[is_split]
    unclear = ~is_split & (size >= _SPLITS[0] * (1 - _SPLIT_TOLERANCE))
    return ratios, int(unclear.sum())


def adjusted_volume(volume: Floats, ratios: Floats) -> Floats:
    """The volume (R,) in shares of the last day, given the split ratio of each day."""
    later: Floats = np.append(np.cumprod(ratios[::-1])[::-1][1:], 1.0)
    return volume * later


def adjusted(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """The columns with prices × `adj close` / `close` and without `adj close`; unchanged if there is no such column."""
    kept = {name: values for name, values in columns.items() if name != "adj close"}
    if "adj close" not in columns:
        return kept
    factor = adjustment(columns)
    return {name: values if name == "volume" else values * factor for name, values in kept.items()}


def adjustment(columns: Mapping[str, Floats]) -> Floats:
    """(R,) adj close / close: what prices are multiplied by; 1 where the two are the same, 0 too."""
    close, adj_close = columns["close"], columns["adj close"]
    return np.divide(adj_close, close, out=np.ones(len(close)), where=adj_close != close)
