"""Placebo copies: data in which nothing can be forecast, since the signs of returns are drawn again.

A day's log return r becomes μ + s (r − μ), where μ is the stock's mean return and s is −1 or 1 by chance, the same for
all stocks and tickers of a day: drift, volatility and its clustering, and the correlation of stocks are kept. On a day
with s = −1 the bar is mirrored: each price's distance to the previous close becomes 2μ less itself, so that the high is
what the low was. Other columns, volume among them, are kept. It is the wild bootstrap (Wu 1986) with Rademacher weights
under the null of a martingale difference (Davidson & Flachaire 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.data.bars import PRICES, Bars, Floats, within
from stockml.data.panel import Panel

if TYPE_CHECKING:
    from stockml.data.settings import BarsConfig

_MIRRORED = {"open": "open", "high": "low", "low": "high", "close": "close"}


def columns_needed(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a copy of bars with these is made from."""
    prices = [name for name in columns if name in PRICES]
    return tuple(dict.fromkeys([*columns, *(_MIRRORED[name] for name in prices), *(["close"] if prices else [])]))


def copy_of_bars(bars: Bars, data: BarsConfig) -> Bars:
    """The copy `data.placebo` of bars; its drift is that of the days from `data.start` to `data.end`."""
    assert data.placebo is not None
    known = [name for name in PRICES if {name, _MIRRORED[name], "close"} <= bars.columns.keys()]
    columns = {name: values for name, values in bars.columns.items() if name in known or name not in PRICES}
    drift = 0.0
    if known and len(bars.dates) > 1:
        # Prices below 0 have no log returns: their differences are mirrored.
        log, exp = (np.array, np.array) if bars.below_zero else (np.log, np.exp)
        with np.errstate(all="ignore"):  # of columns that are not read
            logs = {name: log(columns[name]) for name in known}
        moves = {name: values[1:] - logs["close"][:-1] for name, values in logs.items()}
        days = bars.dates[1:]
        inside = np.ones(len(days), dtype=bool)
        if data.start is not None:
            inside &= days > np.datetime64(str(data.start))
        inside &= within(days, None, data.end)
        drift = float(moves["close"][inside].mean()) if inside.any() else 0.0
        is_kept = signs(days, data.placebo) > 0
        copied = {name: np.where(is_kept, moves[name], 2 * drift - moves[_MIRRORED[name]]) for name in known}
        close = logs["close"][0] + np.append(0.0, np.cumsum(copied["close"]))
        with np.errstate(all="ignore"):
            columns |= {name: exp(np.append(logs[name][0], close[:-1] + copied[name])) for name in known}
    return replace(
        bars,
        columns=columns,
        origin=f"placebo copy {data.placebo} of {bars.origin}",
        synthetic=True,
        expected=None if bars.expected is None else np.full(len(bars.dates), drift),
    )


def copy_of_windows(panel: Panel, before_test: int, number: int) -> Panel:
    """The copy of windowed arrays: their targets' signs are drawn again around the mean of those before the test.

    Blocks of the horizon share a sign, since their targets overlap. A level changes so from its last value; classes are
    shuffled, before the test and in it. The windows are kept: later ones hold the days of earlier targets.
    """
    if panel.kind == "class":
        parts = np.split(panel.target, [before_test])
        target: Floats = np.concatenate([np.random.default_rng(number).permutation(part) for part in parts])
    else:
        base = 0.0 if panel.last is None else panel.last
        moves = panel.target - base
        mean = moves[:before_test].mean()
        blocks = np.arange(len(moves)) // max(1, panel.horizon)
        target = base + mean + signs(blocks, number) * (moves - mean)
    return replace(
        panel,
        target=target,
        origin=f"placebo copy {number} of {panel.origin}",
        synthetic=True,
        content=panel.content and f"{panel.content} placebo {number}",
    )


def signs(days: NDArray[Any], number: int) -> Floats:
    """(R,) −1 or 1 for each day or number, drawn for the copy: SplitMix64 (Steele, Lea & Flood 2014) of both."""
    if days.dtype.kind == "M":
        days = days.astype("datetime64[s]" if frequency.has_times(days) else "datetime64[D]")
    counts = days.astype(np.int64)
    mixed = _mixed(_mixed(np.array([number], dtype=np.uint64)) + counts.astype(np.uint64))
    return np.where(mixed >> np.uint64(63), 1.0, -1.0)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
