"""Chronological train, validation and test splits, purged so that no target reaches into the next split."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data.settings import BarsConfig
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.panel import Panel, Stocks
    from stockml.data.settings import DataConfig

Rows = NDArray[np.int64]
_FEWEST = {"train": 2, "validation": 1, "test": 1}


@dataclass(frozen=True)
class Split:
    """The samples of the train, validation and test split, as rows of the panel, in order of time."""

    train: Rows
    validation: Rows
    test: Rows
    purged: int
    """Samples left out because their target ends after the next split has begun, or for an embargo."""
    unknown: tuple[str, ...] = ()
    """Stocks left out because they have no train samples."""

    def by_name(self) -> dict[str, Rows]:
        """The rows of each split by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(panel: Panel, config: DataConfig, before_test: int | None = None) -> Split:
    """Split the panel's samples by day, all stocks at the same days; `before_test` days come before the test if given.

    A sample belongs to the split in which its window ends. It is purged if its target ends later than the first window
    of the next split: every target of a split ends before the first target of the next one begins. An embargo leaves
    out as many days more. The test split of a walk-forward config is that of its fold, 0 by default. If each stock is
    scaled by itself, stocks without train samples are left out. Raises UserError where a split is too small.
    """
    samples, dated, day = panel.samples, panel.dates is not None, panel.day_numbers
    firsts = np.unique(day[samples], return_index=True)[1]  # the first sample of each day
    first, n, embargo, valid_start = 0, len(firsts), 0, None
    if before_test is None and isinstance(config, BarsConfig):
        test_start, valid_start, embargo = config.test_start, config.valid_start, config.embargo
        days = samples[firsts]
        before_test = _from(panel, days, "test_start", test_start) if test_start else n - round(n * config.test_ratio)
        if config.split == "walk_forward":
            edges = before_test + _edges(n - before_test, config.folds)
            fold = config.fold or 0
            first = edges[fold] - before_test if config.train_span == "rolling" else 0
            before_test, n = edges[fold], edges[fold + 1]
        if config.train_days is not None:
            first = max(first, before_test - config.train_days)
    assert before_test is not None
    if valid_start:
        before_validation = _from(panel, samples[firsts], "valid_start", valid_start)
    else:
        before_validation = before_test - max(1, round((before_test - first) * config.valid_ratio))
    ends = np.append(firsts, len(samples))
    at = [first, max(first, before_validation), max(first, before_test)]
    cuts = np.split(samples[: ends[n]], ends[at])[1:]
    train, validation = (
        rows[target_days(panel, rows) + embargo <= day[later[0]]] if len(later) else rows
        for rows, later in itertools.pairwise(cuts)
    )
    purged = len(cuts[0]) + len(cuts[1]) - len(train) - len(validation)
    result = Split(train, validation, cuts[2], purged)
    if panel.stocks is not None and isinstance(config, BarsConfig) and config.scaler == "per_stock":
        result = _without_unknown_stocks(result, panel.stocks)
    sizes = {name: len(rows) for name, rows in result.by_name().items()}
    if any(sizes[name] < _FEWEST[name] for name in sizes) or before_validation > before_test:
        counts = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        folded = isinstance(config, BarsConfig) and config.split == "walk_forward"
        raise UserError(
            f"{panel.origin}: {len(samples):,} samples make a split too small ({counts}); "
            f"use more data, or change data.valid_ratio{', data.test_ratio or a split date' if dated else ''}"
            f"{', or lower data.folds' if folded else ''}"
        )
    return result


def target_days(panel: Panel, rows: Rows) -> NDArray[np.integer[Any]]:
    """(N,) the number of the day on which the target of each row's sample ends; arrays have none after their end.

    A target that depends on those of the day's other stocks ends when the last of them does.
    """
    if panel.windowed:
        return rows + panel.reach
    if not panel.joint_target:
        return panel.day_numbers[rows + panel.reach]
    day, known = panel.day_numbers, np.flatnonzero(np.isfinite(panel.target))
    latest = np.zeros(int(day.max()) + 1, dtype=np.int64)
    np.maximum.at(latest, day[known], day[np.minimum(known + panel.reach, len(day) - 1)])
    found: NDArray[np.int64] = latest[day[rows]]
    return found


def _edges(samples: int, folds: int) -> Rows:
    """(folds + 1,) the bounds of folds of nearly equal size."""
    return np.round(np.linspace(0, samples, folds + 1)).astype(np.int64)


def _without_unknown_stocks(splits: Split, stocks: Stocks) -> Split:
    """The splits without the stocks that have fewer than two train samples."""
    known = np.bincount(stocks.of(splits.train), minlength=len(stocks.tickers)) >= 2
    train, validation, test = (rows[known[stocks.of(rows)]] for rows in splits.by_name().values())
    unknown = tuple(ticker for ticker, is_known in zip(stocks.tickers, known, strict=True) if not is_known)
    return Split(train, validation, test, splits.purged, unknown)


def _from(panel: Panel, days_rows: Rows, key: str, day: object) -> int:
    """The number of days before `day`; `days_rows` has one row per day."""
    assert panel.dates is not None
    days = panel.dates[days_rows]
    position = int(np.searchsorted(days, np.datetime64(str(day))))
    if position == 0 or position == len(days):
        raise UserError(f"data.{key}={day}: must be after {days[0]} and not after {days[-1]}, the days of the samples")
    return position
