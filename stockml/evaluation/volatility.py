"""How volatile the target of each stock was, as known on each day."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data.split import target_days
from stockml.evaluation.truth import Floats, target

if TYPE_CHECKING:
    from stockml.data.panel import Panel

DECAY = 0.94
"""How much the weight of a day falls with each later day (RiskMetrics 1996, for daily returns)."""


def volatility(panel: Panel, rows: NDArray[np.int64]) -> Floats:
    """(N,) the volatility of the target that is known on the day of each row; NaN before the first.

    The root of the exponentially weighted mean of the stock's squared targets that have ended by then; of levels, of
    their changes since the last known value.
    """
    found = np.full(len(rows), np.nan)
    of_target = target(panel, np.arange(len(panel.target)))
    squares = np.square(of_target.changes(of_target.y_true))
    for span, known, ends in known_targets(panel):
        own = np.flatnonzero((rows >= span.start) & (rows < span.stop))
        if not len(own) or not len(known):
            continue
        sums = itertools.accumulate(squares[known].tolist(), lambda total, square: DECAY * total + square)
        weights = (1 - DECAY ** np.arange(1, len(known) + 1)) / (1 - DECAY)
        values = np.append(np.nan, np.sqrt(np.fromiter(sums, np.float64, len(known)) / weights))
        found[own] = values[np.searchsorted(ends, panel.day_numbers[rows[own]], side="right")]
    found[found == 0] = np.nan
    return found


def known_targets(panel: Panel) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.integer[Any]]]]:
    """For each stock: its rows; those of them with a target, in order of time; and the numbers of the days on which
    these are known."""
    within = np.concatenate([np.arange(rows.start, max(rows.start, rows.stop - panel.reach)) for rows in panel.spans()])
    known = within[np.isfinite(panel.target[within])] if panel.reach else within[:0]
    ends = target_days(panel, known)
    for span in panel.spans():
        own = slice(*np.searchsorted(known, [span.start, span.stop]))
        # Where a target depends on other stocks, an earlier one may end later.
        yield span, known[own], np.maximum.accumulate(ends[own])
