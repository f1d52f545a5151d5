"""Checks of several stocks that one model is trained on: what joins them shows no stock's future to another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.data.samples import rows_of
from stockml.data.split import target_days
from stockml.evaluation.audit import scan
from stockml.evaluation.audit.noise import noisy_after
from stockml.evaluation.audit.strength_checks import finding
from stockml.evaluation.audit.subject import BarsSubject, Finding, train_rows

if TYPE_CHECKING:
    from stockml.data.bars import Bars
    from stockml.data.panel import Panel
    from stockml.data.scaler import Scaler
    from stockml.data.spec import PanelSpec
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
    spec: PanelSpec
    bars: Callable[[], Sequence[Bars]]
    """Loads the bars of all stocks, in the panel's order."""


def rows_of_stocks(pool: PoolSubject) -> Finding:
    """The rows of each stock in the pool are those that its own bars give, but for what compares stocks."""
    panel, compared = pool.panel, pool.spec.features.expressions
    assert panel.stocks is not None and panel.dates is not None
    own_names = [
        n for n, name in enumerate(panel.features) if name not in compared or not compared[name].cross_sectional
    ]
    spans = panel.spans()
    for ticker, subjects in pool.stocks.items():
        own, span = subjects[-1].panel(), spans[panel.stocks.tickers.index(ticker)]
        targets = pool.spec.target.cross_sectional or np.array_equal(own.target, panel.target[span], equal_nan=True)
        same = np.array_equal(subjects[-1].dates, panel.dates[span]) and np.array_equal(
            own.values[:, own_names], panel.values[span][:, own_names], equal_nan=True
        )
        if not (same and targets):
            return Finding(
                False,
                f"{ticker}: features, targets or days in the pool are not those of its own bars",
                "what was found in single stocks does not hold for the pool; build the pool again (data.panel_cache)",
            )
    return Finding(
        True, f"features, targets and days of {len(pool.stocks)} stocks are, bit for bit, those of their bars"
    )


def comparisons(pool: PoolSubject) -> Finding:
    """What compares stocks on a day is the same if the later rows of all stocks are noise, or are not there."""
    if not pool.spec.cross_sectional:
        return Finding(None, "no feature compares stocks")
    panel, each, spec = pool.panel, pool.bars(), pool.spec.lenient()
    assert panel.dates is not None
    if found := _changed(panel, rows_of(each, pool.spec), panel.dates.max()):
        return Finding(
            False,
            f"{found} in the pool and from the bars of all stocks",
            "the pool is not made of these bars; build it again (data.panel_cache)",
        )
    days = np.unique(np.quantile(panel.day_numbers[pool.splits[-1].test], [0.1, 0.5, 0.9], method="nearest"))
    calendar = np.unique(panel.dates)
    for day in calendar[days]:
        known = [int(np.searchsorted(bars.dates, day, side="right")) for bars in each]
        noisy = [noisy_after(bars, last - 1, seed) for seed, (bars, last) in enumerate(zip(each, known, strict=True))]
        cut = [bars.first(last) for bars, last in zip(each, known, strict=True)]
        for what, bars in (("every later row of all stocks is noise", noisy), ("there are no later rows", cut)):
            if found := _changed(panel, rows_of(bars, spec), day):
                return Finding(
                    False,
                    f"{found} if after {day} {what}",
                    "a feature knows days after its own; compute each one only from rows up to its own day",
                )
    return Finding(
        True,
        f"features of all {len(each)} stocks up to a day of the test are the same if all later rows of all stocks are "
        f"noise, or are not there; tried on {len(days)} days",
    )


def _changed(panel: Panel, rows: Sequence[dict[str, Any]], day: np.datetime64) -> str:
    """Which features of which stock differ up to that day, in words; an empty text if none does."""
    assert panel.stocks is not None and panel.dates is not None
    for ticker, span, own in zip(panel.stocks.tickers, panel.spans(), rows, strict=True):
        count = int((panel.dates[span] <= day).sum())
        before, after = panel.values[span][:count], own["values"][:count]
        if before.shape != after.shape:
            return f"{ticker}: the number of rows differs"
        differ = (before != after) & ~(np.isnan(before) & np.isnan(after))
        if differ.any():
            names = [name for name, column in zip(panel.features, differ.T, strict=True) if column.any()]
            return f"{ticker}: {', '.join(names)} differ"
    return ""


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
    values[later] = rng.standard_normal(values[later].shape) + 0 * values[later]  # what is missing stays so
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
    panel, spans = pool.panel, pool.panel.spans()
    assert panel.stocks is not None and panel.dates is not None
    looked, days, rows, start = list[scan.Looked](), list[scan.NextDays](), list["Rows"](), 0
    for ticker, subjects in pool.stocks.items():
        span, train = spans[panel.stocks.tickers.index(ticker)], pool.splits[-1].train
        looked.append(subjects[-1].looked_at(panel.values[span], panel.dates[span]))
        days.append(subjects[-1].days_of(panel.dates[span]))
        rows.append(train_rows(panel, train[(train >= span.start) & (train < span.stop)]) - span.start + start)
        start += span.stop - span.start
    shared = [name for name in days[0].columns if all(name in own.columns for own in days)]
    expected = [own.expected for own in days if own.expected is not None]
    dates = np.concatenate([own.dates for own in days])
    bars = scan.NextDays(
        close=np.concatenate([own.close for own in days]),
        dates=dates,
        columns={name: np.concatenate([own.columns[name] for own in days]) for name in shared},
        expected=np.concatenate(expected) if len(expected) == len(days) else None,
        stock=np.repeat(np.arange(len(days)), [len(own.close) for own in days]),
        day=np.unique(dates, return_inverse=True)[1],
    )
    together = replace(looked[0], values=np.concatenate([own.values for own in looked]))
    every = np.concatenate(rows)
    return finding(scan.scan_next_day(together, bars, every, panel.window), every)
