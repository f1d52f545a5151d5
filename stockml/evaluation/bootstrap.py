"""The stationary bootstrap of daily series, all of them by the same days."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
_AT_ONCE = 2**16
"""Numbers that are computed together: more of them leave the processor's cache, which takes twice the time."""


def block_days(n: int, least: int = 1) -> int:
    """The mean length of a block for n days: n^⅓, the rate of Politis & White (2004), and not less than `least`."""
    return max(1, least, round(math.cbrt(n)))


def means(series: Floats, block: int, resamples: int = RESAMPLES) -> Floats:
    """(B, S) the means of S daily series (n, S) over resampled days, the same days for each series.

    The stationary bootstrap (Politis & Romano 1994): blocks that begin on any day with equal probability, of geometric
    length with mean `block`; after the last day comes the first. The draws depend on n, block and B alone.
    """
    n = len(series)
    rng = np.random.default_rng((n, block))
    found, chunk = [], max(1, _AT_ONCE // (2 * n))
    for size in [min(chunk, resamples - done) for done in range(0, resamples, chunk)]:
        blocks = int(n / block + 8 * np.sqrt(n / block) + 16)
        ends = np.minimum(np.cumsum(rng.geometric(1 / block, (size, blocks)), axis=1), n)
        ends[:, -1] = n
        lengths = np.diff(ends, prepend=0, axis=1)
        first = rng.integers(n, size=(size, blocks)) + 2 * n * np.arange(size)[:, None]
        # How often each day is drawn: a block adds one from its first day on, and takes it away after its last.
        shape = (size, 2 * n)
        started = np.bincount(first[lengths > 0], minlength=size * 2 * n)
        ended = np.bincount((first + lengths)[lengths > 0], minlength=size * 2 * n + 1)[:-1]
        counts = np.cumsum((started - ended).reshape(shape), axis=1)
        found.append((counts[:, :n] + counts[:, n:]) @ series / n)
    return np.concatenate(found)
