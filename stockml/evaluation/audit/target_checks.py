"""Checks of the target: that it is the right number of days ahead, and that no skill is found where there is none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.bars import PRICES
from stockml.data.settings import CLOSE_TARGETS
from stockml.data.spec import PanelSpec
from stockml.evaluation import significance
from stockml.evaluation.audit.scan import ranks
from stockml.evaluation.audit.subject import FEWEST_SAMPLES, BarsSubject, Finding, Subject
from stockml.evaluation.truth import target

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats

FORESEEABLE = "can be forecast from its past, so a high figure is no sign of a leak"
_RETURNS = (*CLOSE_TARGETS, "direction", "excess_return")
_LARGEST_AUTOCORRELATION = 0.2
_NULL_SEEDS = 20
_NULL_LEVEL = 0.05
_MOST_REJECTIONS = 4  # of 20: at 5 % each, chance gives more than 4 once in 388 times (binomial)


def ramp(subject: BarsSubject) -> Finding:
    """With a close that is the number of its day, each target is the change over the horizon from its sample's day."""
    if subject.settings.target not in CLOSE_TARGETS:
        return Finding(
            None, f"only for a target that is a return or a price, {' '.join(CLOSE_TARGETS)}; {named(subject)}"
        )
    days = np.arange(1.0, len(subject.bars.dates) + 1)
    ramp_bars = replace(subject.bars, columns={"close": days})
    spec = PanelSpec.of_bars(["close"], subject.settings)
    panel = subject.pipeline.panel(ramp_bars, spec, replace(subject.settings, lag={}))
    rows, horizon = panel.samples, panel.horizon
    assert panel.dates is not None
    today = days[np.searchsorted(subject.bars.dates, panel.dates[rows])]

    def expected(late: int) -> Floats:
        start, end = today + late, today + horizon + late
        if subject.settings.target in ("close", "difference"):
            return end if subject.settings.target == "close" else end - start
        return np.log(end / start) if subject.settings.target == "log_return" else end / start - 1

    if np.allclose(panel.target[rows], expected(0), rtol=1e-9):
        ahead = f"{horizon} day{'s' if horizon > 1 else ''}"
        return Finding(True, f"with a close that rises by 1 a day, all {len(rows):,} targets lie {ahead} ahead")
    inner = slice(3, -3)  # no shift reaches beyond the ends from there
    shifts = [n for n in (-1, 1, -2, 2) if np.allclose(panel.target[rows][inner], expected(n)[inner], rtol=1e-9)]
    where = (
        f"lie {abs(shifts[0])} day(s) too {'early' if shifts[0] < 0 else 'late'}" if shifts else "are no such change"
    )
    return Finding(
        False,
        f"with a close that rises by 1 a day, targets {where}",
        f"target i must be the change from the close of the window's last day to the close {horizon} rows later",
    )


def null_data(subject: BarsSubject) -> Finding:
    """In data without any signal, the significance test finds skill no more often than by chance."""
    forecast = subject.forecasters.get("ridge")
    if forecast is None:
        return Finding(None, "there are too many features for a ridge regression")
    if len(subject.whole.split.test) < FEWEST_SAMPLES:
        return Finding(None, f"fewer than {FEWEST_SAMPLES} test samples")
    if foreseeable(subject):
        return Finding(None, f"{named(subject)} {FORESEEABLE}")
    rejections = 0
    for seed in range(_NULL_SEEDS):
        data = subject.of_bars(without_signal(subject.bars, seed)).data()
        truth = target(data.panel, data.split.test)
        realised, forecasts = truth.changes(truth.y_true), truth.changes(forecast(data)["test"])
        rival = 0.0 if subject.settings.target in CLOSE_TARGETS else data.scaler.target_mean
        errors = np.square(realised - forecasts)
        p_value = significance.diebold_mariano(np.square(realised - rival), errors, data.panel.horizon).p_value
        rejections += p_value is not None and p_value < _NULL_LEVEL
    seen = f"with random signs of the daily moves, ridge seems to have skill in {rejections} of {_NULL_SEEDS} draws"
    if rejections > _MOST_REJECTIONS:
        return Finding(
            False,
            f"{seen}, by chance at most {_MOST_REJECTIONS}",
            "nothing can be forecast in such data: the target is known to the features, or to train",
        )
    return Finding(True, f"{seen} (Diebold–Mariano at {_NULL_LEVEL:.0%}; by chance at most {_MOST_REJECTIONS})")


def named(subject: Subject) -> str:
    """The target as it is typed."""
    return f"data.target={subject.settings.target}" if isinstance(subject, BarsSubject) else "the target"


def foreseeable(subject: Subject) -> bool:
    """Whether the target may be forecast without any leak: one that goes with what was known of it when the window
    ended, or that is not of the other sign where all moves are; a volatility, or a volume."""
    if not isinstance(subject, BarsSubject):
        return subject.whole.panel.kind == "level" and subject.whole.panel.last is None
    if subject.settings.target in _RETURNS:
        return False
    if subject.settings.target == "volatility":
        return True
    panel, target = subject.panel(), subject.spec.target
    rows = subject.whole.split.train
    past = panel.target[np.maximum(0, rows - panel.reach)]
    of_bars = subject.bars.between(subject.settings.start, subject.settings.end)
    first = len(of_bars.dates) - len(panel.target)
    (mirrored,) = target.values([with_signs(of_bars, np.full(len(of_bars.dates) - 1, -1.0))])
    now = panel.target[rows]
    return _correlation(now, past) > _LARGEST_AUTOCORRELATION or _correlation(now, mirrored[first:][rows]) > -0.3


def _correlation(x: Floats, y: Floats) -> float:
    """Of ranks; 0 where there is none."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = ranks(x[known]), ranks(y[known])
    return float(np.corrcoef(x, y)[0, 1]) if x.any() and y.any() else 0.0


def without_signal(bars: Bars, seed: int) -> Bars:
    """The bars with random signs of each day's log moves: volatility stays, and nothing can be forecast.

    Columns other than prices stay as they are: what they know of the true moves is nothing of these.
    """
    return with_signs(bars, np.random.default_rng(seed).choice([-1.0, 1.0], len(bars.dates) - 1))


def with_signs(bars: Bars, sign: Floats) -> Bars:
    """The bars with each day's log moves times its sign (R − 1,)."""
    columns, close = dict(bars.columns), bars.columns["close"]
    moves = {key: np.log(column[1:] / close[:-1]) for key, column in columns.items() if key in PRICES}
    path = math.log(close[0]) + np.append(0, np.cumsum(sign * moves["close"]))
    if {"high", "low"} <= set(moves):  # mirrored, a day's high is its low
        highest, lowest, up = moves["high"], moves["low"], sign > 0
        moves["high"], moves["low"] = np.where(up, highest, lowest), np.where(up, lowest, highest)
    for key, move in moves.items():
        columns[key] = np.append(columns[key][:1], np.exp(path[:-1] + sign * move))
    return replace(bars, columns=columns, expected=None)
