"""The table of metrics: what each one computes, how it is printed and where it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import class_metrics, cross_section
from stockml.evaluation.cross_section import CrossSection
from stockml.evaluation.significance import pinball_losses
from stockml.evaluation.truth import Floats, Target

Value = float | int | None
"""A metric's value; None where it is undefined."""
Scores = dict[str, Value]
"""Values by the metric's name."""

SHORT_SPLITS = {"val": "validation", "test": "test"}
"""The splits that are scored, by their names in column names."""

PLACES = {
    "terminal": "the table of scores that a run prints, for validation and test",
    "page": "the tables of scores on a run's page",
    "folds": "folds.csv, for validation and test, and the page's table of folds, for test",
    "stocks": "stocks.csv, for validation and test",
    "short tables": "the terminal's tables of folds and stocks, for test, and the page's table of stocks",
    **{
        f"{split} {place}": f"{description}, for {long_name}"
        for split, long_name in SHORT_SPLITS.items()
        for place, description in (
            ("summary", "the first columns of summary.csv"),
            ("summary last", "columns of summary.csv between those of significance and of the joint tests"),
            ("summary end", "the last columns of summary.csv, which is where to add one"),
            ("sweep means", "a sweep's means over seeds and over stocks"),
            ("sweep terminal", "the table of jobs that a sweep prints"),
        )
    },
}
"""Where metrics are shown, and what each place is."""


@dataclass(frozen=True)
class Metric:
    """A metric of forecasts."""

    name: str
    """Its key in metrics.json."""
    function: Callable[..., Value]
    """Of (truth: Target, y_pred: (N,) array); of a pooled metric, of (truth, y_pred, days: CrossSection)."""
    format: Callable[[Value], str]
    """The value as text; "–" for None."""
    shown_in: frozenset[str]
    """Names of `PLACES`."""
    pooled: bool = False
    """Whether it compares stocks with one another, and so is defined for runs on several stocks only."""
    of_direction: bool = False
    """Whether it is defined for forecasts that are nothing but a direction."""
    of_classes: bool = False
    """Whether it is one of classes alone; the scores of other targets lack it."""
    of_quantiles: bool = False
    """Whether it is one of forecasts of a quantile alone, of which only these are defined; other scores lack it."""

    def __post_init__(self) -> None:
        if unknown := self.shown_in - PLACES.keys():
            raise ValueError(f"metric {self.name}: there is no place {', '.join(sorted(unknown))}")


def score(
    truth: Target, y_pred: Floats, dates: NDArray[np.datetime64] | None = None, *, direction_only: bool = False
) -> Scores:
    """Every metric of the table for forecasts (N,); None where one is undefined.

    `dates`, (N,) in order, are given for the samples of several stocks, and add the pooled metrics. For forecasts that
    are nothing but a direction, only the metrics of directions are computed; the others are None.
    """
    days = None if dates is None else CrossSection(truth.changes(truth.y_true), truth.changes(y_pred), dates)
    scores: Scores = {}
    for metric in METRICS.values():
        if (metric.pooled and days is None) or (metric.of_classes and truth.kind != "class"):
            continue
        if metric.of_quantiles and truth.quantile is None:
            continue
        arguments = (truth, y_pred, days) if metric.pooled else (truth, y_pred)
        undefined = direction_only and not metric.of_direction
        undefined |= truth.quantile is not None and not (metric.of_quantiles or metric.name == "n")
        scores[metric.name] = None if undefined else metric.function(*arguments)
    return scores


def shown(place: str, *, pooled: bool = False, of_classes: bool = False, of_quantiles: bool = False) -> list[Metric]:
    """The metrics that this place shows, in the table's order: those of any run, or the pooled ones, or of classes.

    With `of_quantiles`, those of forecasts of a quantile.
    """
    return [
        metric
        for metric in METRICS.values()
        if place in metric.shown_in
        and (metric.pooled, metric.of_classes) == (pooled, of_classes)
        and (metric.of_quantiles or metric.name == "n" if of_quantiles else not metric.of_quantiles)
    ]


def columns(place: str) -> list[str]:
    """The columns that a place of a sweep shows, such as val_mse."""
    return [
        f"{split}_{metric.name}"
        for split in SHORT_SPLITS
        for metric in METRICS.values()
        if f"{split} {place}" in metric.shown_in
    ]


def metric(name: str) -> Metric:
    """The metric of that name."""
    return METRICS[name]


def of_column(name: str) -> Metric | None:
    """The metric of a column such as val_mse or test_n; None where the column is none of a metric."""
    split, _, metric_name = name.partition("_")
    return METRICS.get(metric_name) if split in SHORT_SPLITS else None


def has_pooled(scores: Scores) -> bool:
    """Whether the scores are those of several stocks, compared with one another."""
    return any(metric.pooled and metric.name in scores for metric in METRICS.values())


def has_classes(scores: Scores) -> bool:
    """Whether the scores are those of classes; up to 2026-11-28 these had no metrics of their own."""
    return any(metric.of_classes and metric.name in scores for metric in METRICS.values())


def has_quantiles(scores: Scores) -> bool:
    """Whether the scores are those of forecasts of a quantile."""
    return "pinball" in scores


def deciding_loss(scores: Scores) -> str:
    """The name of the metric by which a forecast is better than another: the squared error, of a quantile pinball."""
    return "pinball" if has_quantiles(scores) else "mse"


def mse(truth: Target, y_pred: Floats) -> float:
    """Mean squared error, in the target's units."""
    return _squared_error(truth, y_pred) / len(y_pred)


def mae(truth: Target, y_pred: Floats) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.abs(truth.y_true - y_pred).mean())


def rmse(truth: Target, y_pred: Floats) -> float:
    """Root of the mean squared error, in the target's units."""
    return float(np.sqrt(mse(truth, y_pred)))


def r2(truth: Target, y_pred: Floats) -> float | None:
    """1 − Σ(y−f)²/Σ(y−ȳ)² of the target as it is, levels too."""
    spread = float(np.square(truth.y_true - truth.y_true.mean()).sum())
    return 1 - _squared_error(truth, y_pred) / spread if spread > 0 else None


def r2_zero(truth: Target, y_pred: Floats) -> float | None:
    """1 − Σ(r−f)²/Σr² of returns, or of changes of levels (Gu, Kelly & Xiu 2020); undefined for classes."""
    realised, forecast = truth.changes(truth.y_true), truth.changes(y_pred)
    missed, moved = realised - forecast, float(realised @ realised)
    return 1 - float(missed @ missed) / moved if not truth.has_no_zero and moved > 0 else None


def r2_ct(truth: Target, y_pred: Floats) -> float | None:
    """1 − Σ(r−f)²/Σ(r−m)², m the mean of all changes known by then (Campbell & Thompson 2008); dated samples only."""
    if truth.drift is None:
        return None
    realised = truth.changes(truth.y_true)
    missed, rival = realised - truth.changes(y_pred), realised - truth.changes(truth.drift)
    loss = float(rival @ rival)
    return 1 - float(missed @ missed) / loss if loss > 0 else None


def hit_rate(truth: Target, y_pred: Floats) -> float | None:
    """Share of moves whose sign is forecast correctly; for classes, share of forecasts on the right side of ½.

    None where nothing moved or no direction is forecast.
    """
    if truth.kind == "class":
        return float(((y_pred >= 0.5) == (truth.y_true >= 0.5)).mean())
    if truth.has_no_zero:
        return None
    realised, forecast = truth.changes(truth.y_true), truth.changes(y_pred)
    moved = realised != 0
    if not moved.any() or not forecast.any():
        return None
    return float((np.sign(forecast) == np.sign(realised))[moved].mean())


def ic(truth: Target, y_pred: Floats) -> float | None:
    """Pearson's correlation of forecast and realised returns, or changes of levels, over time.

    None where one of the two is constant but for rounding.
    """
    a, b = truth.changes(truth.y_true), truth.changes(y_pred)
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt(float(a @ a) * float(b @ b))
    if min(np.ptp(a), np.ptp(b)) <= 1e-12 or spread == 0:
        return None
    return float(np.clip(a @ b / spread, -1, 1))


def pinball(truth: Target, y_pred: Floats) -> float:
    """The mean of `pinball_losses`, in the target's units."""
    assert truth.quantile is not None
    return float(pinball_losses(truth.y_true, y_pred, truth.quantile).mean())


def share_below(truth: Target, y_pred: Floats) -> float:
    """The share of targets below their forecasts, which is the quantile if it is forecast rightly."""
    return float((truth.y_true < y_pred).mean())


def _of_classes(function: Callable[[Floats, Floats], Value]) -> Callable[[Target, Floats], Value]:
    return lambda truth, y_pred: function(truth.y_true, y_pred)


def _squared_error(truth: Target, y_pred: Floats) -> float:
    error = truth.y_true - y_pred
    return float(error @ error)


def formatter(spec: str) -> Callable[[Value], str]:
    """What prints values by a format specification, and "–" where there is none."""
    return lambda value: "–" if value is None else format(value, spec)


COUNT = formatter(",")
ERROR = formatter("#.4g")
SIGNED = formatter("+.4f")
PERCENT = formatter(".1%")

_RUN = frozenset({"terminal", "page"})
_BREAKDOWN = frozenset({"folds", "stocks", "short tables"})

METRICS = {
    metric.name: metric
    for metric in (
        Metric("n", lambda _truth, y_pred: len(y_pred), COUNT, frozenset({"short tables"}), of_direction=True),
        Metric(
            "mse",
            mse,
            ERROR,
            _RUN
            | _BREAKDOWN
            | {"val summary", "test summary", "val sweep means", "test sweep means", "test sweep terminal"},
        ),
        Metric("mae", mae, ERROR, _RUN | {"folds", "stocks", "test summary", "test sweep means"}),
        Metric("rmse", rmse, ERROR, frozenset({"page"})),
        Metric(
            "r2",
            r2,
            SIGNED,
            _RUN | _BREAKDOWN | {"val summary", "test summary", "test sweep means", "val sweep terminal"},
        ),
        Metric(
            "r2_zero",
            r2_zero,
            SIGNED,
            _RUN | _BREAKDOWN | {"test summary", "test sweep means", "test sweep terminal"},
        ),
        Metric(
            "r2_ct",
            r2_ct,
            SIGNED,
            _RUN | _BREAKDOWN | {"test summary end", "test sweep means", "test sweep terminal"},
        ),
        Metric("hit_rate", hit_rate, PERCENT, _RUN | _BREAKDOWN, of_direction=True),
        Metric("log_loss", _of_classes(class_metrics.log_loss), ERROR, _RUN, of_classes=True),
        Metric("auc", _of_classes(class_metrics.auc), formatter(".4f"), _RUN, of_classes=True),
        Metric("brier", mse, ERROR, _RUN, of_classes=True),
        Metric("mcc", _of_classes(class_metrics.mcc), SIGNED, _RUN, of_classes=True, of_direction=True),
        Metric("ic", ic, SIGNED, _RUN | _BREAKDOWN | {"test summary last"}),
        Metric(
            "pinball",
            pinball,
            ERROR,
            _RUN
            | _BREAKDOWN
            | {
                f"{split} {place}"
                for split in SHORT_SPLITS
                for place in ("summary end", "sweep terminal", "sweep means")
            },
            of_quantiles=True,
        ),
        Metric("below", share_below, PERCENT, _RUN | _BREAKDOWN | {"test summary end"}, of_quantiles=True),
        Metric("daily_ic", lambda _t, _y, days: cross_section.mean(days.ic), SIGNED, _RUN, pooled=True),
        Metric("icir", lambda _t, _y, days: cross_section.mean_over_spread(days.ic), SIGNED, _RUN, pooled=True),
        Metric("daily_rank_ic", lambda _t, _y, days: cross_section.mean(days.rank_ic), SIGNED, _RUN, pooled=True),
        Metric(
            "rank_icir", lambda _t, _y, days: cross_section.mean_over_spread(days.rank_ic), SIGNED, _RUN, pooled=True
        ),
    )
}
"""Every metric by its name, in the order in which they are shown: adding one is one entry."""
