"""Forecasts of several stocks compared with one another, day by day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation.significance import UNDEFINED, Floats, Interval, Outcome, mean_of, newey_west

_FEWEST_STOCKS = 3  # two points always lie on a line


def firsts_of_days(dates: NDArray[Any]) -> NDArray[np.int64]:
    """(D,) positions of each day's first sample; the samples are in order of time, `dates` or numbers of days."""
    return np.flatnonzero(np.append(True, dates[1:] != dates[:-1]))


def by_day(dates: NDArray[Any]) -> Callable[[Floats], Floats]:
    """A function from values of samples (…, N) to values of days (…, D): sums, scaled so that the mean is the same.

    Stocks move together, so days are independent, and samples are not.
    """
    firsts = firsts_of_days(dates)
    scale = len(firsts) / len(dates)
    return lambda values: np.add.reduceat(values, firsts, axis=-1) * scale


class Grid:
    """Values of samples (N,) as (D, K), by day and stock."""

    def __init__(self, days: NDArray[Any], stocks: NDArray[Any]) -> None:
        """`days` and `stocks` are those of each sample (N,); a day may be a date or a number."""
        self.days: NDArray[Any]
        self.days, self._day = np.unique(days, return_inverse=True)
        names, self._stock = np.unique(stocks, return_inverse=True)
        self.shape = (len(self.days), len(names))

    def of(self, values: Floats) -> Floats:
        """NaN where there is no sample."""
        found = np.full(self.shape, np.nan)
        found[self._day, self._stock] = values
        return found


def mean(daily: Floats) -> float | None:
    """Of daily correlations (D,); None where there is none."""
    return float(daily.mean()) if len(daily) else None


def mean_over_spread(daily: Floats) -> float | None:
    """Mean of daily correlations (D,) over their standard deviation, not annualised (Grinold & Kahn 2000)."""
    spread = float(daily.std(ddof=1)) if len(daily) > 1 else 0.0
    return float(daily.mean()) / spread if spread > 0 else None


@dataclass(frozen=True)
class DailyMean:
    """The mean of daily correlations between stocks, and its test."""

    mean: float
    interval: Interval | None
    test: Outcome
    """One-sided, that the mean is positive."""
    standard_error: float | None
    newey_west: float
    """Newey & West's (1987) standard error, for comparison with published figures."""


def daily_mean(daily: Floats, horizon: int) -> DailyMean | None:
    """The mean of daily correlations (D,) whose targets overlap over the horizon; None where there are none."""
    if not len(daily):
        return None
    found = mean_of(daily, horizon, 1.0)
    lags = max(horizon - 1, int(4 * (len(daily) / 100) ** (2 / 9)))  # the rule of thumb of Newey & West (1994)
    return DailyMean(
        mean=float(daily.mean()),
        interval=found.interval() if found else None,
        test=found.test() if found else UNDEFINED,
        standard_error=found.standard_error if found else None,
        newey_west=newey_west(daily, min(lags, len(daily) - 1)),
    )


@dataclass(frozen=True)
class CrossSection:
    """Returns and forecasts (N,) of several stocks, in order of their dates (N,)."""

    realised: Floats
    forecast: Floats
    dates: NDArray[np.datetime64]

    @cached_property
    def ic(self) -> Floats:
        """(D,) Pearson's correlation between stocks, on each day with three stocks or more."""
        return correlations(self.realised, self.forecast, self.dates)[1]

    @cached_property
    def rank_ic(self) -> Floats:
        """(D,) Spearman's correlation between stocks, on each day with three stocks or more."""
        return correlations(self.realised, self.forecast, self.dates, rank=True)[1]


def correlations(
    a: Floats, b: Floats, dates: NDArray[np.datetime64], *, rank: bool = False
) -> tuple[NDArray[np.datetime64], Floats]:
    """Days (D,), and the correlation of a and b, (N,), on each of them: Pearson's, or Spearman's with `rank`.

    Days with fewer than three stocks, or on which a or b is constant but for rounding, are left out.
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
    """(N,) the rank of each sample within its day; equal values share the mean of their ranks."""
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
    return ranks  # counted through all days: a constant within a day, which no correlation depends on
