"""The panel: features, targets and dates in one copy. A window is an index into it."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stockml.data import calendar, frequency

if TYPE_CHECKING:
    from stockml.data.bars import Floats
    from stockml.data.store import Stored

Kind = Literal["return", "level", "class"]


@dataclass(frozen=True)
class Stocks:
    """Which rows of a pooled panel belong to which stock: each stock's are together, in order of time."""

    tickers: tuple[str, ...]
    """(K,)"""
    starts: NDArray[np.int64]
    """(K + 1,) the first row of each stock, then the number of rows."""

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) the index of each row's stock."""
        return np.searchsorted(self.starts, rows, side="right") - 1


@dataclass(frozen=True)
class WideGaps:
    """Gaps between two bars of a stock across which no window and no target may reach."""

    rows: NDArray[np.int64]
    """(G,) the rows after the gaps."""
    days_before: NDArray[np.datetime64]
    """(G,) the last day before each gap."""
    counted_in: str
    """What the missing days were counted in, as shown to the user; empty where no weekdays were missing."""


@dataclass(frozen=True)
class Panel:
    """Features and targets, unscaled; sample i is the window that ends in row i.

    R rows of bars, or R windows of windowed arrays.
    """

    ticker: str
    """Of the stock; a pool has a name of its own."""
    origin: str
    """Where the numbers come from, as shown to the user."""
    features: Sequence[str]
    values: NDArray[np.float32]
    """(R, F), one row per bar; or (R, T, F) of windowed arrays."""
    window: int
    """T, the days of a window."""
    target: Floats
    """(R,) the target; NaN in rows that are not a sample."""
    kind: Kind
    """A return around zero, a level like a price, or a class, 0 or 1."""
    samples: NDArray[np.int64]
    """(N,) the rows in which a full window with a known target ends, in order of time, then of the stock."""
    dropped: tuple[str, ...]
    """What was left out and why, one text each, as shown to the user."""
    parsing_notes: str = ""
    """How the file was read, as shown to the user."""
    data_warnings: tuple[str, ...] = ()
    """Warnings of the data doctor, one text each; only for dated bars."""
    synthetic: bool = False
    dates: NDArray[np.datetime64] | None = None
    """(R,) days of the rows, times of intraday bars; None for undated arrays."""
    days_before: NDArray[np.datetime64] | None = None
    """(K,) the day of the bar that each stock's first row is a change from, (1,) for one stock; NaT where it has none.
    None if no row is a change."""
    gaps_in: str = ""
    """One stock only: what gaps between bars were counted in, as shown to the user; empty where none was wide."""
    horizon: int = 0
    """Rows over which a target reaches, from the window's end on unless `target_end` is later; 0 if unknown."""
    target_end: int = 0
    """Rows from a window's end to its target's end, if those are more than the horizon."""
    last: Floats | None = None
    """(R,) levels only: the last known value of the target series, which is the persistence forecast."""
    last_name: str = ""
    relative: bool = True
    """Levels only: whether changes are relative to `last` (prices), or differences."""
    target_name: str = ""
    """Dated bars only: the target as the config names it."""
    transform: str = ""
    """Dated bars only: how their columns became features."""
    normalized: Floats | None = None
    """(R,) pooled panels only: what a model is trained on in place of the target: its rank or standard score among the
    day's stocks."""
    joint_target: bool = False
    """Pooled panels only: whether a stock's target, or what is trained on, depends on those of the day's others."""
    expected: Floats | None = None
    """(R,) simulated returns only: the best possible forecast."""
    next_return: Floats | None = None
    """(R,) dated bars only: the simple return from the row's close to that of the stock's next bar; NaN in its last."""
    expressions: int = 0
    """How many of the features, the last ones, are expressions."""
    incomplete: NDArray[np.bool_] | None = None
    """(R,) where a row lacks a feature's value; None: in none."""
    missing: NDArray[np.int64] | None = None
    """(F,) how many rows lacked each feature's value, those that were filled with them; None: none."""
    stocks: Stocks | None = None
    """Pooled panels only."""
    origins: tuple[str, ...] = ()
    """Pooled panels only: where the numbers of each stock come from."""
    content: str = ""
    """A hash of the stored file that the panel was read from; empty for other panels."""
    stored: Stored | None = None
    """Pooled panels only: the stored file."""

    @property
    def mapped(self) -> bool:
        """Whether the values stay in their file, where they are never scaled; a copy of them is in memory."""
        return getattr(self.values, "filename", None) is not None

    @property
    def windowed(self) -> bool:
        """Whether it was read from windowed arrays."""
        return self.values.ndim == 3

    @property
    def reach(self) -> int:
        """Rows from a window's end to its target's end, which the splits are purged by; 0 if unknown."""
        return max(self.horizon, self.target_end)

    def fingerprint(self, content: str | None = None) -> str:
        """A hash of every number that is an input or a target; `content` in place of the panel's own."""
        digest = hashlib.sha256(f"{self.features} {self.window} {self.horizon} {self.values.shape}".encode())
        digest.update((content or self.content).encode())
        for array in (self.samples,) if self.content else (self.values, self.target, self.samples, self.dates):
            if array is not None:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()

    def date(self, row: int) -> str:
        """The day of a row; an empty text for undated arrays."""
        return "" if self.dates is None else str(self.dates[row])

    def days(self) -> str:
        """The first and the last day of any stock, as shown to the user; only for dated panels."""
        assert self.dates is not None
        return f"{self.dates.min()} to {self.dates.max()}"

    def spans(self) -> list[slice]:
        """The rows of each stock; all rows for one stock."""
        edges = [0, len(self.values)] if self.stocks is None else self.stocks.starts.tolist()
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    @functools.cached_property
    def day_numbers(self) -> NDArray[np.integer[Any]]:
        """(R,) the number of each row's day among the days of all stocks; the row numbers for one stock or undated."""
        if self.stocks is None:
            return np.arange(len(self.values))
        assert self.dates is not None
        if self.dates.dtype != np.dtype("datetime64[D]"):
            return np.unique(self.dates, return_inverse=True)[1]
        since = (self.dates - self.dates.min()).astype(np.int32)
        is_day = np.zeros(int(since.max()) + 1, dtype=bool)
        is_day[since] = True
        numbers: NDArray[np.int32] = (is_day.cumsum(dtype=np.int32) - 1)[since]
        return numbers

    @functools.cached_property
    def frequency(self) -> frequency.Frequency:
        """How far the bars are apart; of a pool, those of the stock with the most."""
        assert self.dates is not None
        return frequency.of(self.dates[max(self.spans(), key=lambda rows: rows.stop - rows.start)])

    @property
    def noun(self) -> str:
        """What the step from a row to the next is called."""
        return "day" if self.dates is None else self.frequency.noun

    def ended(self) -> dict[str, np.datetime64]:
        """The last day of each stock of a pooled panel that ends before the pool does: delisted, halted or not up to
        date."""
        if self.stocks is None or self.dates is None:
            return {}
        spans = zip(self.stocks.tickers, self.spans(), strict=True)
        days = {ticker: self.dates[rows.stop - 1] for ticker, rows in spans if rows.start < rows.stop}
        last = max(days.values())
        return {ticker: day for ticker, day in days.items() if day < last}

    def wide_gaps(self, most: int, exchange: str) -> WideGaps:
        """The gaps of more than `most` sessions between two bars of a stock, one after the other.

        Sessions are the days from Monday to Friday, of bars on all days every day, on which the exchange was open, if
        its calendar is known; of a pooled panel, those on which any of the stocks has a row. Of weekly and monthly
        bars, weeks and months count.
        """
        assert self.dates is not None
        exchange = calendar.resolve(exchange, every_day=self.frequency.every_day)
        days = self.dates.astype("datetime64[D]")
        before = np.append(days[:1], days[:-1])
        firsts = [rows.start for rows in self.spans() if rows.start < rows.stop]
        before[firsts] = days[firsts]
        if self.days_before is not None:
            known = self.days_before[[rows.start < rows.stop for rows in self.spans()]]
            before[firsts] = np.where(np.isnat(known), days[firsts], known)
        if self.frequency.period not in ("day", "intraday"):
            rows = np.flatnonzero(
                frequency.periods_missing(np.stack([before, days], axis=1), self.frequency)[:, 0] > most
            )
            return WideGaps(rows, before[rows], f"{self.frequency.noun}s" if len(rows) else "")
        named, mask = ("days", "1111111") if self.frequency.every_day else ("weekdays", "1111100")
        rows = np.flatnonzero(np.busday_count(before, days, mask) - 1 > most)
        last, after = before[rows], days[rows]
        if not len(rows):
            return WideGaps(rows, last, "")
        if self.stocks is not None:
            counted_in, sessions = "sessions", np.unique(days)
        elif (found := calendar.days_between(last.min(), after.max(), exchange)) is not None:
            counted_in, sessions = f"sessions of {exchange}", found
        else:
            return WideGaps(rows, last, named)
        is_wide = np.searchsorted(sessions, after) - np.searchsorted(sessions, last, side="right") > most
        return WideGaps(rows[is_wide], last[is_wide], counted_in)

    @property
    def past_return(self) -> Floats | None:
        """(R,) the last return over one horizon that is known at the end of each row; None unless dated returns."""
        if self.dates is None or self.kind != "return":
            return None
        known = np.full(len(self.target), np.nan)
        for rows in self.spans():
            known[rows][self.reach :] = self.target[rows][: -self.reach]
        return known
