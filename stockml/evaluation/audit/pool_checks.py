"""Checks of several stocks that one model is trained on: what joins them shows no stock's future to another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.split import target_days
from stockml.evaluation.audit import scan
from stockml.evaluation.audit.strength_checks import finding
from stockml.evaluation.audit.subject import BarsSubject, Finding

if TYPE_CHECKING:
    from stockml.data.panel import Panel
    from stockml.data.scaler import Scaler
    from stockml.data.split import Rows, Split

_NOISE_SEED = 1


@dataclass(frozen=True)
class PoolSubject:
    """A pooled panel, and some of its stocks, each as it would be audited alone."""

    panel: Panel
    """Not scaled."""
    splits: Sequence[Split]
    """One for each fold."""
    fit: Callable[[Panel, Rows], Scaler]
    """Fits a scaler on train rows, as training does."""
    stocks: Mapping[str, Sequence[BarsSubject]]
    """By ticker: one subject for each fold."""


def rows_of_stocks(pool: PoolSubject) -> Finding:
    """The rows of each stock in the pool are those that its own bars give."""
    panel = pool.panel
    assert panel.stocks is not None and panel.dates is not None
    spans = panel.spans()
    for ticker, subjects in pool.stocks.items():
        own, span = subjects[-1].panel(), spans[panel.stocks.tickers.index(ticker)]
        same = (
            np.array_equal(subjects[-1].dates, panel.dates[span])
            and np.array_equal(own.values, panel.values[span])
            and (own.target_name != panel.target_name or np.array_equal(own.target, panel.target[span], equal_nan=True))
        )
        if not same:
            return Finding(
                False,
                f"{ticker}: features, targets or days in the pool are not those of its own bars",
                "what was found in single stocks does not hold for the pool; build the pool again (data.panel_cache)",
            )
    return Finding(
        True, f"features, targets and days of {len(pool.stocks)} stocks are, bit for bit, those of their bars"
    )


def splits_by_day(pool: PoolSubject) -> Finding:
    """Each target of a split, of any stock, ends before the first target of the next split, of any stock, begins."""
    panel, day = pool.panel, pool.panel.day_numbers
    for split in pool.splits:
        for (earlier, rows), (later, later_rows) in itertools.pairwise(split.by_name().items()):
            over = int((target_days(panel, rows) > day[later_rows].min()).sum())
            if over:
                return Finding(
                    False,
                    f"{over:,} targets of {earlier} end after {later} has begun in another stock",
                    "stocks move together, so the model is scored on days that it was trained on; split by day",
                )
    return Finding(True, "no stock's target ends after the next split has begun in any stock")


def scaler_on_train(pool: PoolSubject) -> Finding:
    """The scalers stay the same if validation and test of all stocks change."""
    panel, split, day = pool.panel, pool.splits[-1], pool.panel.day_numbers
    if panel.mapped:
        return Finding(None, "the pool stays in its file")
    rng, later = np.random.default_rng(_NOISE_SEED), day > day[split.validation].min()
    values, targets = panel.values.copy(), panel.target.copy()
    values[later] = rng.standard_normal(values[later].shape)
    outside = np.setdiff1d(np.arange(len(targets)), split.train)
    targets[outside] = rng.standard_normal(len(outside))
    normalized = panel.normalized
    if normalized is not None:
        normalized = normalized.copy()
        normalized[outside] = targets[outside]
    before, after = (
        pool.fit(one, split.train).to_dict(one, split.train)
        for one in (panel, replace(panel, values=values, target=targets, normalized=normalized))
    )
    if before != after:
        return Finding(
            False,
            "noise after the start of validation changes the mean or standard deviation of a stock",
            "a scaler has seen validation or test; fit it on train rows only",
        )
    return Finding(True, "norm_stats do not change if all rows of all stocks after the start of validation are noise")


def next_day(pool: PoolSubject) -> Finding:
    """Over all stocks together, no feature shows what the next day brings."""
    each = [subjects[-1] for subjects in pool.stocks.values()]
    found = [subject.next_days() for subject in each]
    sizes = [len(values) for values, _, _ in found]
    starts = np.cumsum([0, *sizes[:-1]])
    volumes = [bars.volume for _, bars, _ in found if bars.volume is not None]
    expected = [bars.expected for _, bars, _ in found if bars.expected is not None]
    bars = scan.NextDays(
        close=np.concatenate([bars.close for _, bars, _ in found]),
        volume=np.concatenate(volumes) if len(volumes) == len(found) else None,
        expected=np.concatenate(expected) if len(expected) == len(found) else None,
        stock=np.repeat(np.arange(len(found)), sizes),
        day=np.unique(np.concatenate([subject.dates for subject in each]), return_inverse=True)[1],
    )
    rows = np.concatenate([start + rows for start, (_, _, rows) in zip(starts, found, strict=True)])
    values, panel = np.concatenate([values for values, _, _ in found]), each[0].whole.panel
    return finding(scan.scan_next_day(values, panel.features, bars, rows, panel.window), rows)
