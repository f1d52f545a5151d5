"""Values of one day compared across the stocks, in float64.

Each function takes x (R,) and the day's number of each row (R,), and returns (R,): at a row a value of that day's rows
alone. Stocks with NaN on a day have no part in it, and NaN as their value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Days = NDArray[np.int64]


def rank(x: Floats, days: Days) -> Floats:
    """Rank within the day divided by the number of stocks, ties by their average rank; in (0, 1]."""
    values = np.full(x.size, np.nan)
    kept = np.flatnonzero(~np.isnan(x))
    order = kept[np.lexsort((x[kept], days[kept]))]
    if not order.size:
        return values
    day, value = days[order], x[order]
    new_day = np.r_[True, day[1:] != day[:-1]]
    first = _starts(new_day)
    last = np.r_[first[1:], order.size]
    new_value = new_day | np.r_[True, value[1:] != value[:-1]]
    tie = _starts(new_value)
    tie_end = np.r_[tie[1:], order.size]
    which_day, which_tie = np.cumsum(new_day) - 1, np.cumsum(new_value) - 1
    mean_rank = (tie + 1 + tie_end)[which_tie] / 2 - first[which_day]
    values[order] = mean_rank / (last - first)[which_day]
    return values


def z_score(x: Floats, days: Days) -> Floats:
    """Deviation from the day's mean in standard deviations (ddof 0); 0 where all are equal."""
    deviation = demean(x, days)
    squares = _mean(deviation * deviation, days)
    return np.where(squares == 0, deviation, deviation / np.sqrt(squares))


def demean(x: Floats, days: Days) -> Floats:
    """Deviation from the day's mean; exactly 0 where all are equal."""
    first = _first(x, days)
    shifted = x - first
    return shifted - _mean(shifted, days)


def _starts(new: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(new).astype(np.int64)


def _first(x: Floats, days: Days) -> Floats:
    """The day's first value that is not NaN, at each row."""
    kept = np.flatnonzero(~np.isnan(x))[::-1]
    first = np.full(_number(days), np.nan)
    first[days[kept]] = x[kept]
    return first[days]


def _mean(x: Floats, days: Days) -> Floats:
    """The day's mean without NaN, at each row."""
    kept = ~np.isnan(x)
    counts = np.bincount(days[kept], minlength=_number(days))
    return (np.bincount(days[kept], weights=x[kept], minlength=_number(days)) / counts)[days]


def _number(days: Days) -> int:
    return int(days.max(initial=-1)) + 1
