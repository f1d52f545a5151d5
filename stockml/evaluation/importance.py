"""How much a model's loss rises where a feature's values, or those of some days, are those of other samples.

Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019), over blocks of days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.evaluation.cross_section import by_day
from stockml.evaluation.significance import Floats, Interval, mean_of, too_few

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Importance:
    """The mean increase of a loss, as a share of the target's variance or standard deviation."""

    value: float
    interval: Interval | None
    """95 % confidence interval; None if there are too few days."""


def of(increases: Floats, days: NDArray[np.integer[Any]], horizon: int) -> Importance:
    """The mean of the samples' increases (N,), each averaged over repeats, and its interval.

    `days` (N,) are their days, in any order; targets overlap over the horizon. The interval is that of the mean of a
    daily series (`significance.mean_of`). What repeats differ by is in that series too: each day draws its own values.
    """
    order = np.argsort(days, kind="stable")
    daily = by_day(days[order])(increases[order])
    if not daily.any() and not too_few(len(daily), horizon):
        return Importance(0.0, (0.0, 0.0))  # the model does not use these values
    mean = mean_of(daily, horizon)
    return Importance(float(daily.mean()), mean.interval() if mean else None)


def other_samples(
    days: NDArray[np.integer[Any]], stocks: NDArray[np.int64], horizon: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(N,) for each sample the position of the one whose values it gets; `days` are in order, `stocks` are numbers.

    Blocks of max(n^⅓, horizon) days change places, and no day keeps its own values. The stocks change places too, the
    same on all days, so that what tells stocks apart counts. Where a day lacks the stock, another one is taken.
    """
    _, days, counts = np.unique(days, return_inverse=True, return_counts=True)
    day = _other_days(len(counts), max(horizon, round(len(counts) ** (1 / 3))), rng)[days]
    position = np.full((len(counts), int(stocks.max()) + 1), -1)
    position[days, stocks] = np.arange(len(days))
    found = position[day, rng.permutation(position.shape[1])[stocks]]
    firsts = np.cumsum(counts) - counts
    any_stock = firsts[day] + (rng.random(len(days)) * counts[day]).astype(np.int64)
    chosen: NDArray[np.int64] = np.where(found < 0, any_stock, found)
    return chosen


def _other_days(count: int, block: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(D,) for each day the one whose values it gets: a permutation in which no day keeps its own."""
    days = np.roll(np.arange(count), int(rng.integers(count)))
    blocks = np.array_split(days, max(2, count // block))
    shuffled = np.concatenate([blocks[number] for number in rng.permutation(len(blocks))])
    found = np.empty(count, dtype=np.int64)
    found[shuffled] = np.roll(shuffled, block)
    return found


def day_groups(window: int) -> list[tuple[int, int]]:
    """The first and the last day of groups of a window's days, counted back from its last day, 0.

    The last five days are alone; before them groups grow, so that there are few of any window.
    """
    edges = [day for day in (0, 1, 2, 3, 4, 5, *(5 * 2**n for n in range(1, window.bit_length()))) if day < window]
    return [(1 - later, -first) for first, later in zip(edges, [*edges[1:], window], strict=True)]
