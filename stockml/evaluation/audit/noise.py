"""Bars whose later days are noise that a stock could have had."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.bars import COLUMNS, PRICES

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats

_SPREAD = 0.1


def noisy_after(bars: Bars, row: int, seed: int) -> Bars:
    """The bars with noise in place of every row after that one.

    A noisy day has the shape of another day, drawn at random: the ratios of its prices, its volume, its further
    columns. So high is above low, and what is never negative stays so. Its close lies on the other side of that row's.
    Where a value is missing, it stays missing.
    """
    first, rng = row + 1, np.random.default_rng(seed)
    count = len(bars.dates) - first
    donors = rng.integers(0, len(bars.dates), count)
    columns = {name: column.copy() for name, column in bars.columns.items()}
    for ticker in dict.fromkeys(_of_ticker(name)[0] for name in columns):
        own = [name for name in columns if _of_ticker(name)[0] == ticker]
        prices = sorted(
            (name for name in own if _of_ticker(name)[1] in PRICES), key=lambda n: _of_ticker(n)[1] != "close"
        )
        noise, turnover = rng.standard_normal(count), np.exp(_SPREAD * rng.standard_normal(count))
        for name in own:
            column, part = bars.columns[name], _of_ticker(name)[1]
            if name in prices:
                reference = bars.columns[prices[0]]
                columns[name][first:] = _mirrored(reference, row, noise) * _drawn(column / reference, donors, None)
            else:
                drawn = _drawn(column, donors, column[first:])
                columns[name][first:] = drawn * turnover if part in COLUMNS else drawn
            columns[name][first:][np.isnan(column[first:])] = np.nan
    return replace(bars, columns=columns)


def _mirrored(prices: Floats, row: int, noise: Floats) -> Floats:
    """Prices after a row that lie on the other side of that row's: each direction from there is another."""
    known = prices[: max(1, row + 1)]
    known = known[~np.isnan(known)] if not np.isnan(known).all() else prices[~np.isnan(prices)][:1]
    if not len(known):
        return prices[row + 1 :]
    since = np.log(prices[row + 1 :] / known[-1])
    away = np.where(since > 0, -1, 1) * (np.abs(since) + np.abs(_SPREAD * noise))
    found: Floats = known[-1] * np.exp(away)
    return found


def _of_ticker(name: str) -> tuple[str, str]:
    """The ticker of another ticker's column, else an empty text, and the column without it."""
    ticker, _, column = name.rpartition(".")
    return ticker, column


def _drawn(column: Floats, donors: np.ndarray, instead_of: Floats | None) -> Floats:
    """The values of the donors, of those that are not missing; where they equal the present ones, others."""
    known = column[~np.isnan(column)]
    if not len(known):
        return np.full(len(donors), np.nan)
    found: Floats = known[donors % len(known)]
    if instead_of is not None:
        values = np.unique(known)
        same = found == instead_of
        found[same] = values[(np.searchsorted(values, found[same]) + 1) % len(values)]
    return found
