"""The panel: features, targets and dates in one copy. A window is an index into it."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data.target import Kind
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats
    from stockml.data.settings import BarsConfig
    from stockml.data.spec import PanelSpec

__all__ = ["Kind", "Panel", "Stocks", "from_bars", "rows_of", "unusable", "usable"]


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
    """(R,) days of the rows; None for undated arrays."""
    horizon: int = 0
    """Rows over which a target reaches, from the window's end on unless `target_end` is later; 0 if unknown."""
    target_end: int = 0
    """Rows from a window's end to its target's end, if those are more than the horizon."""
    last: Floats | None = None
    """(R,) levels only: the last known value of the target series, which is the persistence forecast."""
    last_name: str = ""
    relative: bool = True
    """Levels only: whether changes are relative to `last` (prices), or differences."""
    expected: Floats | None = None
    """(R,) simulated returns only: the best possible forecast."""
    incomplete: NDArray[np.bool_] | None = None
    """(R,) where a row lacks a feature's value; None: in none."""
    stocks: Stocks | None = None
    """Pooled panels only."""
    origins: tuple[str, ...] = ()
    """Pooled panels only: where the numbers of each stock come from."""
    content: str = ""
    """A hash of the stored file that the panel was read from; empty for other panels."""

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

    def fingerprint(self) -> str:
        """A hash of every number that is an input or a target."""
        digest = hashlib.sha256(f"{self.features} {self.window} {self.horizon} {self.values.shape}".encode())
        digest.update(self.content.encode())
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
        since = (self.dates - self.dates.min()).astype(np.int32)
        is_day = np.zeros(int(since.max()) + 1, dtype=bool)
        is_day[since] = True
        numbers: NDArray[np.int32] = (is_day.cumsum(dtype=np.int32) - 1)[since]
        return numbers

    def ended(self) -> dict[str, np.datetime64]:
        """The last day of each stock of a pooled panel that ends before the pool does: delisted, halted or not up to
        date."""
        if self.stocks is None or self.dates is None:
            return {}
        spans = zip(self.stocks.tickers, self.spans(), strict=True)
        days = {ticker: self.dates[rows.stop - 1] for ticker, rows in spans if rows.start < rows.stop}
        last = max(days.values())
        return {ticker: day for ticker, day in days.items() if day < last}

    def wide_gaps(self, most: int) -> NDArray[np.int64]:
        """The rows before which more than `most` sessions are missing since the row before, of the same stock.

        Sessions are the days from Monday to Friday; of a pooled panel, those on which any of the stocks has a row.
        """
        assert self.dates is not None
        found = []
        for rows in self.spans():
            days = self.dates[rows].astype("datetime64[D]")
            missing = np.busday_count(days[:-1], days[1:]) - 1
            if self.stocks is not None:
                missing = np.minimum(missing, np.diff(self.day_numbers[rows]) - 1)
            found.append(rows.start + 1 + np.flatnonzero(missing > most))
        return np.concatenate(found)

    @property
    def past_return(self) -> Floats | None:
        """(R,) the last return over one horizon that is known at the end of each row; None unless dated returns."""
        if self.dates is None or self.kind != "return":
            return None
        known = np.full(len(self.target), np.nan)
        for rows in self.spans():
            known[rows][self.reach :] = self.target[rows][: -self.reach]
        return known


def from_bars(bars: Bars, spec: PanelSpec, config: BarsConfig, *, to_forecast: bool = False) -> Panel:
    """Features and targets of dated bars; UserError where there are too few bars.

    With `to_forecast`, one full window is enough, and full windows whose target is not known yet are samples too.
    """
    bars = bars.between(config.start, config.end)
    lost, end = spec.lost, spec.target.end
    window, rows = config.window, len(bars.dates) - lost
    if to_forecast and rows < window:
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few to forecast from: a window needs {window + lost}"
        )
    if not to_forecast and rows < window + end + 2:
        first = f" after the first {lost:,}, which the features need" if lost > 1 else ""
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few for train, validation and test samples of "
            f"{window} days, {end} ahead{first}; more bars, or a lower data.window"
        )
    panel = Panel(
        ticker=bars.ticker,
        origin=bars.origin,
        features=spec.features.names,
        window=window,
        kind=spec.target.kind,
        samples=np.arange(window - 1, rows if to_forecast else rows - end),
        dropped=bars.dropped + unusable(spec, window),
        parsing_notes=bars.parsing_notes,
        synthetic=bars.synthetic,
        horizon=spec.target.horizon,
        target_end=end,
        last_name=spec.target.last_name,
        relative=spec.target.last is None,
        **rows_of([bars], spec)[0],
    )
    return usable(panel, spec, config, to_forecast=to_forecast)


def usable(panel: Panel, spec: PanelSpec, config: BarsConfig, *, to_forecast: bool) -> Panel:
    """The panel without the samples that have missing values, or span too wide a gap; they are counted in `dropped`.

    Raises UserError where none is left.
    """
    return _without_gaps(_without_missing(panel, to_forecast=to_forecast), spec, config)


def _without_missing(panel: Panel, *, to_forecast: bool) -> Panel:
    """The panel without the samples whose window or target has a missing value."""
    samples, dropped = panel.samples, list(panel.dropped)
    if panel.incomplete is not None:
        before = np.append(0, np.cumsum(panel.incomplete))
        has_missing = before[samples + 1] > before[samples + 1 - panel.window]
        if has_missing.any():
            dropped.append(f"{has_missing.sum():,} samples (a value is missing in the window; features.missing)")
        samples = samples[~has_missing]
    if not to_forecast and (unknown := np.isnan(panel.target[samples])).any():
        dropped.append(f"{unknown.sum():,} samples (the target has no value)")
        samples = samples[~unknown]
    if len(panel.samples) and not len(samples):
        raise UserError(f"{panel.origin}: no sample is left, since {' and '.join(dropped[len(panel.dropped) :])}")
    return replace(panel, samples=samples, dropped=tuple(dropped))


def _without_gaps(panel: Panel, spec: PanelSpec, config: BarsConfig) -> Panel:
    """The panel without the samples whose window or target spans more missing sessions in a row than `max_gap`."""
    if config.max_gap is None or not len(gaps := panel.wide_gaps(config.max_gap)):
        return panel
    assert panel.dates is not None
    # The first row of a window of changes is itself a change since the row before.
    first = panel.samples - panel.window + (1 if spec.lost else 2)
    last = panel.samples + panel.reach
    if panel.stocks is not None:
        last = np.minimum(last, panel.stocks.starts[panel.stocks.of(panel.samples) + 1] - 1)
    spans_gap = np.searchsorted(gaps, first) < np.searchsorted(gaps, last, side="right")
    row, more = gaps[0], f" and {len(gaps) - 1:,} more" if len(gaps) > 1 else ""
    of_stock = "" if panel.stocks is None else f"{panel.stocks.tickers[int(panel.stocks.of(row))]} "
    where = f"{of_stock}{panel.date(row - 1)} to {panel.date(row)}{more}"
    if spans_gap.all():
        raise UserError(
            f"{panel.origin}: every window or target spans more than {config.max_gap} missing sessions ({where}); "
            "set data.max_gap=null if the bars are not daily"
        )
    text = f"{spans_gap.sum():,} samples (more than {config.max_gap} sessions missing: {where}; data.max_gap)"
    return replace(panel, samples=panel.samples[~spans_gap], dropped=(*panel.dropped, text))


def unusable(spec: PanelSpec, window: int, stocks: int = 1) -> tuple[str, ...]:
    """How many bars of how many stocks end no sample and why, one text each."""
    lost, end = spec.lost, spec.target.end
    of_each = " of each stock" if stocks > 1 else ""
    why_lost = "no day before it to change from" if lost == 1 else f"the features look back {lost} days"
    return tuple(
        f"{count} bar{'s' if count > 1 else ''}{of_each} ({why})"
        for count, why in (
            (lost, why_lost),
            (window - 1, f"no full window of {window} days yet"),
            (end, f"target {end} ahead not known yet"),
        )
        if count
    )


def rows_of(each: Sequence[Bars], spec: PanelSpec) -> list[dict[str, Any]]:
    """The fields of a panel that have one row per bar, by name, of each of the stocks whose bars are given.

    Raises UserError where a value is missing that may not be, and for numbers beyond float32.
    """
    lost, found = spec.lost, []
    values, targets, lasts = spec.features.values(each, lost), spec.target.values(each), spec.target.last_values(each)
    for number, bars in enumerate(each):
        own: dict[str, Any] = {"values": values[number], "target": targets[number][lost:], "dates": bars.dates[lost:]}
        if spec.features.missing in ("drop", "ffill"):
            own["incomplete"] = np.isnan(values[number]).any(axis=1)
        if lasts is not None:
            own["last"] = lasts[number][lost:]
        found.append(own | {"expected": _oracle(bars, spec, lost)})
    return found


def _oracle(bars: Bars, spec: PanelSpec, lost: int) -> Floats | None:
    """The best possible forecast of the next day's log return; None unless the bars are simulated."""
    if bars.expected is None or spec.target.name != "log_return" or spec.target.horizon != 1:
        return None
    return np.append(bars.expected[lost + 1 :], np.nan)
