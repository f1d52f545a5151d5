"""Chronological train, validation and test samples, purged so that no target reaches into the next part."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stockml.data.settings import BarsConfig
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.panel import Panel, Stocks
    from stockml.data.settings import DataConfig

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The samples of each part, as rows of the panel, in order of time."""

    train: Rows
    validation: Rows
    test: Rows
    purged: int
    """Samples left out because their target ends after the next part has begun, or for an embargo."""
    unknown: tuple[str, ...] = ()
    """Stocks left out because they have no train samples."""

    def by_name(self) -> dict[str, Rows]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(panel: Panel, config: DataConfig, before_test: int | None = None) -> Split:
    """Cut the panel's samples by day, all stocks alike; `before_test` days of them come before the test where given.

    A sample belongs to the part in which its window ends. A sample is purged whose target ends later than the first
    window end of the next part: so every target of a part ends before the next part's first target begins. An embargo
    leaves out as many days more. A walk-forward config's test is the piece that its fold names, 0 by default.
    Of stocks that are scaled each by itself, those without train samples are left out. Raises UserError where a part is
    left empty.
    """
    samples, dated, day = panel.samples, panel.dates is not None, panel.day_numbers
    firsts = np.unique(day[samples], return_index=True)[1]  # of each day's samples, the first one
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
    assert before_test is not None
    if valid_start:
        before_validation = _from(panel, samples[firsts], "valid_start", valid_start)
    else:
        before_validation = before_test - max(1, round((before_test - first) * config.valid_ratio))
    ends = np.append(firsts, len(samples))
    at = [first, max(first, before_validation), max(first, before_test)]
    cuts = np.split(samples[: ends[n]], ends[at])[1:]
    train, validation = (
        part[day[part + panel.horizon] + embargo <= day[later[0]]] if len(later) else part
        for part, later in itertools.pairwise(cuts)
    )
    purged = len(cuts[0]) + len(cuts[1]) - len(train) - len(validation)
    result = Split(train, validation, cuts[2], purged)
    if panel.stocks is not None and isinstance(config, BarsConfig) and config.scaler == "per_stock":
        result = _known_stocks(result, panel.stocks)
    sizes = {name: len(part) for name, part in result.by_name().items()}
    least = {"train": 2, "validation": 1, "test": 1}
    if any(sizes[name] < least[name] for name in sizes) or before_validation > before_test:
        told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise UserError(
            f"{panel.origin}: {len(samples):,} samples leave a part of the split too small ({told}); "
            f"more data, or another data.valid_ratio{', data.test_ratio or split date' if dated else ''}"
        )
    return result


def _edges(samples: int, folds: int) -> Rows:
    """(folds + 1,) where pieces of nearly equal size begin and end."""
    return np.round(np.linspace(0, samples, folds + 1)).astype(np.int64)


def _known_stocks(parts: Split, stocks: Stocks) -> Split:
    """The parts without the stocks that have fewer than two train samples."""
    known = np.bincount(stocks.of(parts.train), minlength=len(stocks.tickers)) >= 2
    train, validation, test = (part[known[stocks.of(part)]] for part in parts.by_name().values())
    unknown = tuple(ticker for ticker, is_known in zip(stocks.tickers, known, strict=True) if not is_known)
    return Split(train, validation, test, parts.purged, unknown)


def _from(panel: Panel, days_rows: Rows, key: str, day: object) -> int:
    """How many of the days that samples are of, each given by one of its rows, come before `day`."""
    assert panel.dates is not None
    days = panel.dates[days_rows]
    position = int(np.searchsorted(days, np.datetime64(str(day), "D")))
    if position == 0 or position == len(days):
        raise UserError(f"data.{key}={day}: must lie after {days[0]} and not after {days[-1]}, where samples are")
    return position
