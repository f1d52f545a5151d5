"""How forecasts rank several stocks against one another, day by day."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stockml.evaluation.metrics import Floats, Scores

NAMES = ("daily_ic", "icir", "daily_rank_ic", "rank_icir")

_FEWEST_STOCKS = 3  # two are correlated perfectly, whatever is forecast


def firsts_of_days(dates: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """(D,) the number of each day's first sample, of samples in order of time."""
    return np.flatnonzero(np.append(True, dates[1:] != dates[:-1]))


def by_day(dates: NDArray[np.datetime64]) -> Callable[[Floats], Floats]:
    """What makes figures of samples (…, N) figures of days (…, D): their sums, scaled so that the mean stays the same.

    Stocks move together, so that the days, not the samples, are what is independent.
    """
    firsts = firsts_of_days(dates)
    scale = len(firsts) / len(dates)
    return lambda values: np.add.reduceat(values, firsts, axis=-1) * scale


def scores(realised: Floats, forecast: Floats, dates: NDArray[np.datetime64]) -> Scores:
    """Over the days with three stocks or more, of returns and forecasts (N,): the mean correlation between stocks.

    daily_ic is the mean of Pearson's, daily_rank_ic of Spearman's; icir and rank_icir are these means over the standard
    deviation from day to day, not annualised (Grinold & Kahn 2000). None where no day has one.
    """
    found: Scores = {}
    for mean, ratio, rank in ((*NAMES[:2], False), (*NAMES[2:], True)):
        _, daily = correlations(realised, forecast, dates, rank=rank)
        found[mean] = float(daily.mean()) if len(daily) else None
        spread = float(daily.std(ddof=1)) if len(daily) > 1 else 0.0
        found[ratio] = float(daily.mean()) / spread if spread > 0 else None
    return found


def correlations(
    a: Floats, b: Floats, dates: NDArray[np.datetime64], *, rank: bool = False
) -> tuple[NDArray[np.datetime64], Floats]:
    """Days, and the correlation of a and b, (N,), on each of them: Pearson's, or of ranks.

    Of the days with enough stocks on which neither is constant but for rounding.
    """
    firsts = firsts_of_days(dates)
    if rank:
        a, b = _ranks(a, firsts), _ranks(b, firsts)
    counts = np.diff(np.append(firsts, len(a)))

    def centred(values: Floats) -> Floats:
        means: Floats = np.repeat(np.add.reduceat(values, firsts) / counts, counts)
        return values - means

    varies = np.minimum(*(np.maximum.reduceat(x, firsts) - np.minimum.reduceat(x, firsts) for x in (a, b))) > 1e-12
    a, b = centred(a), centred(b)
    usable = varies & (counts >= _FEWEST_STOCKS)
    products, squares_a, squares_b = (np.add.reduceat(x, firsts)[usable] for x in (a * b, a * a, b * b))
    return dates[firsts][usable], np.clip(products / np.sqrt(squares_a * squares_b), -1, 1)


def _ranks(values: Floats, firsts: NDArray[np.int64]) -> Floats:
    """(N,) the rank of each sample among its day's; equal ones share the mean of theirs."""
    day = np.zeros(len(values), dtype=np.int64)
    day[firsts[1:]] = 1
    order = np.lexsort((values, day.cumsum()))
    ordered = values[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])
    starts[firsts] = True
    groups = np.flatnonzero(starts)
    sizes = np.diff(np.append(groups, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(groups + (sizes - 1) / 2, sizes)
    return ranks  # counted through the days, which no correlation within a day shows
