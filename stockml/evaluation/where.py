"""Where a result comes from: skill by year and by volatility, and without each month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import cross_section
from stockml.evaluation.significance import mean_of, r2_against
from stockml.evaluation.verdict import Skill, assess, percent, skill

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions
    from stockml.evaluation.truth import Floats

Figures = dict[str, Any]

LEAST_MONTHS = 12
"""Of a shorter test no month is said to carry the result: each does for a good part."""
LARGEST_SHARE = 0.5
"""A month carries the result if R² falls by more than this share of it without the month."""
REGIMES = ("low", "middle", "high")


def evaluate(test: Predictions, best: str, horizon: int, word: Skill) -> tuple[Figures, str]:
    """The section `where` of metrics.json, and its sentence of the verdict.

    R² is that against the rival without skill: zero change, of classes the train mean. `best` and `word` are the best
    baseline and the skill of the verdict. Empty without dates, and for quantiles.
    """
    if test.dates is None or test.truth.quantile is not None:
        return {}, ""
    horizon = max(1, horizon)
    days, gain, rival = _daily(test)
    years, months = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
    names, numbers = np.unique(months, return_inverse=True)
    left_gain, left_rival = (of.sum() - np.bincount(numbers, weights=of) for of in (gain, rival))
    without = {
        str(month): float(own / loss) if loss > 0 else None
        for month, own, loss in zip(names, left_gain, left_rival, strict=True)
    }
    found: Figures = {
        "against": "train_mean" if test.truth.has_no_zero else "zero",
        "by_year": {
            str(year): _figures(gain[years == year], rival[years == year], horizon) for year in np.unique(years)
        },
        "by_volatility": _by_volatility(test, gain, rival, horizon),
        "without_month": without,
    }
    r2 = _r2(gain, rival)
    if len(without) < LEAST_MONTHS or r2 is None or r2 <= 0:
        return {"where": found}, ""
    month, least = min(((name, value) for name, value in without.items() if value is not None), key=lambda one: one[1])
    left = skill(assess(test.of(test.dates.astype("datetime64[M]") != np.datetime64(month)), best, horizon))
    lost = word == "shown" and left != "shown"
    carries = lost or least < (1 - LARGEST_SHARE) * r2
    found["best_month"] = {"month": month, "r2": least, "skill": left, "carries": carries}
    text = f"One month carries the result: without {month}, R² would be {percent(least)}"
    return {"where": found}, f"{text}{f', and skill {_PLAIN[left]}' if lost else ''}." if carries else ""


_PLAIN = {"hinted": "only hinted at", "not shown": "not shown", "worse": "below zero"}


def _daily(test: Predictions) -> tuple[NDArray[np.datetime64], Floats, Floats]:
    """The days (D,), what the model saves on each of the squared error of the rival without skill, and that error."""
    truth, dates = test.truth, test.dates
    assert dates is not None
    realised, model = truth.changes(truth.y_true), truth.changes(test.model)
    zero = truth.changes(test.baselines["train_mean"]) if truth.has_no_zero else np.zeros_like(realised)
    rival = np.square(realised - zero)
    gain = rival - np.square(realised - model)
    if test.tickers is None:
        return dates, gain, rival
    by_day = cross_section.by_day(dates)
    return dates[cross_section.firsts_of_days(dates)], by_day(gain), by_day(rival)


def _by_volatility(test: Predictions, gain: Floats, rival: Floats, horizon: int) -> Figures:
    """The figures in each third of the test's days by the volatility known on the day, over stocks its mean.

    Empty where it is not known. Days between those of a third count as 0, so that days keep their distance.
    """
    if test.volatility is None:
        return {}
    known = test.volatility
    if test.tickers is not None and test.dates is not None:
        firsts = cross_section.firsts_of_days(test.dates)
        known = np.add.reduceat(known, firsts) / np.diff(np.append(firsts, len(known)))
    is_known = np.isfinite(known)
    if not is_known.any():
        return {}
    edges = np.quantile(known[is_known], [1 / 3, 2 / 3])
    third = np.where(is_known, np.searchsorted(edges, known), -1)
    return {
        name: {
            "from": float(known[own].min()),
            "to": float(known[own].max()),
            **_figures(gain * own, rival * own, horizon, int(own.sum())),
        }
        for number, name in enumerate(REGIMES)
        if (own := third == number).any()
    }


def _figures(gain: Floats, rival: Floats, horizon: int, days: int | None = None) -> Figures:
    """R² and its 95 % interval, of daily gains and rival's losses (D,)."""
    mean, loss = mean_of(gain, horizon, float(rival.max())), float(rival.mean())
    interval = [end / loss for end in mean.interval()] if mean and loss > 0 else None
    return {"days": len(gain) if days is None else days, "r2": _r2(gain, rival), "interval": interval}


def _r2(gain: Floats, rival: Floats) -> float | None:
    loss = float(rival.sum())
    return r2_against(loss - float(gain.sum()), loss)
