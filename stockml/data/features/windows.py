"""Rolling windows over the rows of one stock, in float64.

Each function takes (R,) arrays in order of time and the window's length n, and returns (R,): at row t a value of rows
t−n+1 … t, NaN where there are fewer rows or where one of them is NaN. No sum runs from row to row: a row's value is
computed from its window alone, in an order that depends on n only. So it is the same bit for bit, whatever rows come
before or after the window.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = tuple[Floats, ...]
Merge = Callable[[State, State, int, int], State]

_BLOCK_ROWS = 16_384
_BLOCK_BYTES = 4 << 20  # of a matrix of windows


def over_windows(function: Callable[[Floats], Floats]) -> Callable[..., Floats]:
    """A window operator (x (R,), n) → (R,) from a function that takes windows (W, n), oldest row first, to (W,).

    The function sees no window with NaN in it.
    """

    def rolled(x: Floats, n: int) -> Floats:
        def of_block(block: Floats) -> Floats:
            windows = sliding_window_view(block, n)
            values = np.full(len(windows), np.nan)
            whole = ~np.isnan(windows).any(axis=-1)
            values[whole] = function(windows[whole])
            return values

        return _by_blocks(of_block, (x,), n, _rows_of_matrix(n))

    return rolled


def shift(x: Floats, n: int) -> Floats:
    """The value n rows earlier; with n < 0, −n rows later."""
    shifted = np.full(x.size, np.nan)
    if n >= 0:
        shifted[n:] = x[: max(x.size - n, 0)]
    else:
        shifted[:n] = x[-n:]
    return shifted


def total(x: Floats, n: int) -> Floats:
    """Sum, added in pairs."""
    return _by_blocks(lambda block: _merged((block,), n, _add)[0], (x,), n)


def mean(x: Floats, n: int) -> Floats:
    """Mean; of equal values exactly that value."""

    def of_block(block: Floats) -> Floats:
        most, least = maximum(block, n)[n - 1 :], minimum(block, n)[n - 1 :]
        return np.where(most == least, most, _merged((block,), n, _add)[0] / n)

    return _by_blocks(of_block, (x,), n)


def maximum(x: Floats, n: int) -> Floats:
    """Maximum."""
    return _by_blocks(lambda block: _merged((block,), n, _maximum)[0], (x,), n)


def minimum(x: Floats, n: int) -> Floats:
    """Minimum."""
    return _by_blocks(lambda block: _merged((block,), n, _minimum)[0], (x,), n)


def variance(x: Floats, n: int) -> Floats:
    """Variance with n − 1 in the denominator; of equal values exactly 0."""
    return _by_blocks(lambda block: _merged((block, np.zeros_like(block)), n, _variance)[1] / (n - 1), (x,), n)


def covariance(x: Floats, y: Floats, n: int) -> Floats:
    """Covariance with n − 1 in the denominator; 0 where either is constant."""
    return _by_blocks(lambda a, b: _merged((a, b, np.zeros_like(a)), n, _covariance)[2] / (n - 1), (x, y), n)


def slope(x: Floats, n: int) -> Floats:
    """Slope of the regression on 1 … n; of equal values exactly 0."""
    spread = n * (n * n - 1) / 12
    return _by_blocks(lambda block: _merged((block, np.zeros_like(block)), n, _slope)[1] / spread, (x,), n)


def weighted_mean(x: Floats, n: int) -> Floats:
    """Qlib's WMA: the mean of w·x, with the weights w = 1 … n divided by their sum (so 1/n of a weighted average)."""
    weights = n * (n + 1) / 2
    return _by_blocks(lambda block: _merged((block, block), n, _weighted)[1] / weights / n, (x,), n)


def skewness(x: Floats, means: Floats, n: int) -> Floats:
    """Skewness, corrected for bias as pandas does; NaN where all values are equal."""

    def of_block(block: Floats, centres: Floats) -> Floats:
        m2, m3 = _powers(block, centres[n - 1 :], n, 2, 3)
        return m3 / (m2 * np.sqrt(m2)) * (n * math.sqrt(n - 1) / (n - 2))

    return _by_blocks(of_block, (x, means), n)


def kurtosis(x: Floats, means: Floats, n: int) -> Floats:
    """Excess kurtosis, corrected for bias as pandas does; NaN where all values are equal."""

    def of_block(block: Floats, centres: Floats) -> Floats:
        m2, m4 = _powers(block, centres[n - 1 :], n, 2, 4)
        scale = (n - 1) / ((n - 2) * (n - 3))
        return scale * (n * (n + 1) * m4 / m2**2 - 3 * (n - 1))

    return _by_blocks(of_block, (x, means), n)


def mean_deviation(x: Floats, means: Floats, n: int) -> Floats:
    """Mean absolute deviation from the window's mean."""

    def of_block(block: Floats, centres: Floats) -> Floats:
        centres = centres[n - 1 :]
        result = np.zeros_like(centres)
        for lag in range(n):
            result += np.abs(block[lag : lag + centres.size] - centres)
        return result / n

    return _by_blocks(of_block, (x, means), n)


def rank(x: Floats, n: int) -> Floats:
    """Rank of the newest value divided by n, ties by their average rank; in (0, 1]."""

    def of_block(block: Floats) -> Floats:
        newest = block[n - 1 :]
        twice = np.ones(newest.size)
        for lag in range(n):
            value = block[lag : lag + newest.size]
            twice += value < newest
            twice += value <= newest
        twice[np.isnan(maximum(block, n)[n - 1 :])] = np.nan
        return twice / (2 * n)

    return _by_blocks(of_block, (x,), n)


def position_of_maximum(x: Floats, n: int) -> Floats:
    """Position of the first maximum, 1 for the oldest row of the window."""
    return _position(x, n, np.argmax)


def position_of_minimum(x: Floats, n: int) -> Floats:
    """Position of the first minimum, 1 for the oldest row of the window."""
    return _position(x, n, np.argmin)


def quantile(x: Floats, n: int, q: float) -> Floats:
    """Quantile q in [0, 1], linear between the two values nearest to it."""
    low = min(int(q * (n - 1)), n - 1)
    high, share = min(low + 1, n - 1), q * (n - 1) - low

    def of_block(block: Floats) -> Floats:
        ordered = np.sort(sliding_window_view(block, n), axis=-1)
        below, above = ordered[:, low], ordered[:, high]
        values = np.where(below == above, below, below + share * (above - below)) if share else below
        return np.where(np.isnan(ordered[:, -1]), np.nan, values)

    return _by_blocks(of_block, (x,), n, _rows_of_matrix(n))


def count(x: Floats, n: int) -> Floats:
    """Number of values that are not NaN; NaN only where there are fewer than n rows."""
    return total((~np.isnan(x)).astype(np.float64), n)


def exponential_mean(x: Floats, n: int) -> Floats:
    """pandas' ewm(span=n, adjust=True).mean() from the first row on; NaN where x is."""
    import pandas as pd

    values = pd.Series(x).ewm(span=n, adjust=True).mean().to_numpy(dtype=np.float64, copy=True)
    values[np.isnan(x)] = np.nan
    return values


def _position(x: Floats, n: int, find: Callable[..., NDArray[np.int64]]) -> Floats:
    def of_block(block: Floats) -> Floats:
        found = find(sliding_window_view(block, n), axis=-1).astype(np.float64) + 1
        found[np.isnan(maximum(block, n)[n - 1 :])] = np.nan
        return found

    return _by_blocks(of_block, (x,), n, _rows_of_matrix(n))


def _powers(block: Floats, centres: Floats, n: int, *powers: int) -> list[Floats]:
    """Sums over each window of the deviations from its centre, to these powers."""
    sums = [np.zeros_like(centres) for _ in powers]
    for lag in range(n):
        deviation = block[lag : lag + centres.size] - centres
        square = deviation * deviation
        for power, result in zip(powers, sums, strict=True):
            result += {2: square, 3: square * deviation, 4: square * square}[power]
    return sums


def _rows_of_matrix(n: int) -> int:
    return max(_BLOCK_BYTES // (8 * n), 1)


def _by_blocks(kernel: Callable[..., Floats], arrays: State, n: int, rows: int | None = None) -> Floats:
    """The kernel's values, a block of rows at a time; it takes B + n − 1 rows of each array and returns (B,)."""
    size = arrays[0].size
    values = np.full(size, np.nan)
    step = max(rows or _BLOCK_ROWS, n)
    for first in range(n - 1, size, step):
        last = min(first + step, size)
        values[first:last] = kernel(*(array[first - n + 1 : last] for array in arrays))
    return values


def _merged(rows: State, n: int, merge: Merge) -> State:
    """Statistics of each window of n rows, from those of one row each, by merging neighbours log2(n) times.

    `merge(older, newer, a, b)` gives the statistics of a + b rows from those of a rows and of the b rows after them.
    """
    powers, size = rows, 1
    merged: State = ()
    done = 0
    while True:
        if n & size:
            merged = _neighbours(powers, merged, size, done, merge) if done else powers
            done += size
        if done == n:
            return merged
        powers = _neighbours(powers, powers, size, size, merge)
        size *= 2


def _neighbours(older: State, newer: State, a: int, b: int, merge: Merge) -> State:
    windows = newer[0].size - a
    return merge(tuple(part[:windows] for part in older), tuple(part[a:] for part in newer), a, b)


def _add(older: State, newer: State, *_sizes: int) -> State:
    return (older[0] + newer[0],)


def _maximum(older: State, newer: State, *_sizes: int) -> State:
    return (np.maximum(older[0], newer[0]),)


def _minimum(older: State, newer: State, *_sizes: int) -> State:
    return (np.minimum(older[0], newer[0]),)


# The three merges below are those of Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing
# sample variances (1979): mean, and sum of squares (products) of the deviations from it.
def _variance(older: State, newer: State, a: int, b: int) -> State:
    step = newer[0] - older[0]
    return older[0] + step * (b / (a + b)), older[1] + newer[1] + step * step * (a * b / (a + b))


def _covariance(older: State, newer: State, a: int, b: int) -> State:
    step, other = newer[0] - older[0], newer[1] - older[1]
    share = b / (a + b)
    products = older[2] + newer[2] + step * other * (a * b / (a + b))
    return older[0] + step * share, older[1] + other * share, products


def _slope(older: State, newer: State, a: int, b: int) -> State:
    step = newer[0] - older[0]  # the mean of the row numbers grows by (a + b) / 2
    return older[0] + step * (b / (a + b)), older[1] + newer[1] + step * (a * b / 2)


def _weighted(older: State, newer: State, a: int, _b: int) -> State:
    return older[0] + newer[0], older[1] + newer[1] + a * newer[0]
