"""From dated bars to a panel: the values of its rows, and which rows end a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.data import frequency, store
from stockml.data.panel import Panel
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats
    from stockml.data.settings import BarsConfig
    from stockml.data.spec import PanelSpec


def from_bars(bars: Bars, spec: PanelSpec, config: BarsConfig, *, to_forecast: bool = False) -> Panel:
    """Features and targets of dated bars; UserError where there are too few bars.

    With `to_forecast`, one full window is enough, and full windows whose target is not known yet are samples too.
    """
    bars = bars.between(config.start, config.end)
    spec = spec.resolved(bars)
    lost, end = spec.lost, spec.target.end
    window, rows, noun = config.window, len(bars.dates) - lost, frequency.of(bars.dates).noun
    if to_forecast and rows < window:
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few to forecast from: a window needs {window + lost}"
            + (f", since the features look back {lost} {noun}s" if lost > 1 else "")
        )
    if not to_forecast and rows < window + end + 2:
        needed = "the features" if spec.features.lookback == lost else "the last known values of the target"
        first = f" after the first {lost:,}, which {needed} need" if lost > 1 else ""
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few for train, validation and test samples of "
            f"{window} {noun}s, {end} ahead{first}; more bars, or a lower data.window"
        )
    panel = Panel(
        ticker=bars.ticker,
        origin=bars.origin,
        features=spec.features.names,
        expressions=len(spec.features.expressions),
        window=window,
        kind=spec.target.kind,
        samples=np.arange(window - 1, rows if to_forecast else rows - end),
        dropped=bars.dropped + unusable(spec, window),
        parsing_notes=bars.parsing_notes,
        synthetic=bars.synthetic,
        horizon=spec.target.horizon,
        target_end=end,
        target_name=spec.target.name,
        last_name=spec.target.last_name,
        relative=spec.target.last is None and not bars.below_zero,
        transform=spec.features.transform,
        days_before=None if lost == 0 else np.array([day_before(bars, lost)]),
        **rows_of([bars], spec)[0],
    )
    return usable(panel, spec, config, to_forecast=to_forecast)


def usable(panel: Panel, spec: PanelSpec, config: BarsConfig, *, to_forecast: bool) -> Panel:
    """The panel without the samples that have missing values, or span too wide a gap; they are counted in `dropped`.

    Raises UserError where none is left.
    """
    panel = _without_gaps(_without_missing(panel, to_forecast=to_forecast), spec, config)
    return _within_sessions(panel, spec, config)


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
    if config.max_gap is None:
        return panel
    wide = panel.wide_gaps(config.max_gap, config.calendar)
    gaps, panel = wide.rows, replace(panel, gaps_in=wide.counted_in if panel.stocks is None else "")
    if not len(gaps):
        return panel
    assert panel.dates is not None
    # A value of the window's first row looks back as far as its feature does: a change by one row.
    first = panel.samples - panel.window + 2 - spec.features.lookback
    last = panel.samples + panel.reach
    if panel.stocks is not None:
        last = np.minimum(last, panel.stocks.starts[panel.stocks.of(panel.samples) + 1] - 1)
    spans_gap = np.searchsorted(gaps, first) < np.searchsorted(gaps, last, side="right")
    row, more = gaps[0], f" and {len(gaps) - 1:,} more" if len(gaps) > 1 else ""
    of_stock = "" if panel.stocks is None else f"{panel.stocks.tickers[int(panel.stocks.of(row))]} "
    where = f"{of_stock}{wide.days_before[0]} to {panel.date(row)}{more}"
    if spans_gap.all():
        raise UserError(
            f"{panel.origin}: every window or target spans more than {config.max_gap} missing {wide.counted_in} "
            f"({where}); "
            "set data.max_gap=null if that is as it should be"
        )
    text = f"{spans_gap.sum():,} samples (more than {config.max_gap} {wide.counted_in} missing: {where}; data.max_gap)"
    return replace(panel, samples=panel.samples[~spans_gap], dropped=(*panel.dropped, text))


def _within_sessions(panel: Panel, spec: PanelSpec, config: BarsConfig) -> Panel:
    """The panel without the samples of intraday bars whose target, or window, spans a session's end, as
    `across_sessions` says; UserError where none is left. Targets after the last bar are not known to span one."""
    if config.across_sessions == "all" or panel.dates is None or panel.frequency.period != "intraday":
        return panel
    starts = np.concatenate([frequency.session_starts(panel.dates[rows], panel.frequency) for rows in panel.spans()])
    firsts = np.flatnonzero(starts)
    begins = panel.samples + 1
    if config.across_sessions == "none":
        begins = panel.samples - panel.window + 2 - spec.features.lookback
    last = panel.samples + panel.reach
    if panel.stocks is not None:
        last = np.minimum(last, panel.stocks.starts[panel.stocks.of(panel.samples) + 1] - 1)
    spans_end = np.searchsorted(firsts, begins) < np.searchsorted(firsts, last, side="right")
    if not spans_end.any():
        return panel
    what = "target" if config.across_sessions == "windows" else "window or target"
    if spans_end.all():
        raise UserError(
            f"{panel.origin}: every {what} of these {panel.frequency.name} bars spans the end of a session "
            f"(data.across_sessions={config.across_sessions}); set data.across_sessions=all, or a lower data.horizon"
            + (" and data.window" if config.across_sessions == "none" else "")
        )
    text = f"{spans_end.sum():,} samples (the {what} spans the end of a session; data.across_sessions)"
    return replace(panel, samples=panel.samples[~spans_end], dropped=(*panel.dropped, text))


def unusable(spec: PanelSpec, window: int, stocks: int = 1) -> tuple[str, ...]:
    """How many bars of how many stocks end no sample and why, one text each."""
    lost, end = spec.lost, spec.target.end
    of_each = " of each stock" if stocks > 1 else ""
    why_lost = "no day before it to change from" if lost == 1 else f"the features look back {lost} days"
    if spec.features.lookback < lost:
        why_lost = "no last known value of the target yet"
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
    """The fields of a panel that have one row per bar, by name, of each of the stocks whose bars are given; `missing`.

    Raises UserError where a value is missing that may not be, and for numbers beyond float32.
    """
    lost, found = spec.lost, []
    values, targets, lasts = spec.features.values(each, lost), spec.target.values(each), spec.target.last_values(each)
    normalized = spec.target.normalized(each, targets)
    for number, bars in enumerate(each):
        own: dict[str, Any] = {"values": values[number], "target": targets[number][lost:], "dates": bars.dates[lost:]}
        close = bars.columns["close"][lost:]
        own[store.NEXT_RETURN] = _next_return(close)
        if spec.features.missing != "error":
            own["missing"] = np.isnan(values[number]).sum(axis=0)
            spec.features.fill(values[number])
        if spec.features.missing in ("drop", "ffill"):
            own["incomplete"] = np.isnan(values[number]).any(axis=1)
        if normalized is not None:
            own["normalized"] = normalized[number][lost:]
        if lasts is not None:
            own["last"] = lasts[number][lost:]
        found.append(own | {"expected": _oracle(bars, spec, lost)})
    return found


def _next_return(close: Floats) -> Floats:
    """(R,) the simple return to the next close; NaN in the last row, and where a close is not positive."""
    if (close <= 0).any():
        close = np.where(close > 0, close, np.nan)
    return np.append(close[1:] / close[:-1] - 1, np.nan)[: len(close)]


def day_before(bars: Bars, lost: int) -> np.datetime64:
    """The day of the bar that the first row is a change from; NaT where no row is a change."""
    is_change = 0 < lost < len(bars.dates)
    return bars.dates[lost - 1].astype("datetime64[D]") if is_change else np.datetime64("NaT", "D")


def _oracle(bars: Bars, spec: PanelSpec, lost: int) -> Floats | None:
    """The best possible forecast of the next day's log return; None unless the bars are simulated."""
    if bars.expected is None or spec.target.name != "log_return" or spec.target.horizon != 1:
        return None
    return np.append(bars.expected[lost + 1 :], np.nan)
