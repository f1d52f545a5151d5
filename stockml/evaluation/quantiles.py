"""The skill of forecasts of a quantile: their pinball loss against naive quantiles, and the share of targets below."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stockml.config.values import enumerated
from stockml.evaluation import cross_section
from stockml.evaluation.significance import (
    CONFIDENCE,
    ESTIMATOR,
    SHOWN_LEVEL,
    UNDEFINED,
    Floats,
    Interval,
    Outcome,
    are_same,
    mean_of,
    pinball_losses,
    r2_against,
    too_few,
)
from stockml.evaluation.verdict import Skill, count, largest_p_value, percent, plain, share

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions


@dataclass(frozen=True)
class QuantileComparison:
    """The model's pinball losses against a rival's; positive where the model is better."""

    pinball_difference: float
    """Mean loss of the rival minus the model's."""
    interval: Interval | None
    """Confidence interval of `pinball_difference`; None if there are too few days, or both forecast the same."""
    r1: float | None
    """1 − the model's loss over the rival's (Koenker & Machado 1999)."""
    r1_interval: Interval | None
    diebold_mariano: Outcome


@dataclass(frozen=True)
class QuantileAssessment:
    """The evidence that a quantile is forecast better than naively; levels are assessed by their changes."""

    split: str
    n: int
    unit: str
    """What the samples are: days; stock-days if there are several stocks; samples if dates are not known."""
    horizon: int
    days: int
    confidence: float
    estimator: str
    """How the standard errors of all tests and intervals are estimated."""
    quantile: float
    below: float
    """The share of targets below their forecasts."""
    below_interval: Interval | None
    """Its confidence interval, which allows for targets that overlap; None if there are too few days."""
    best: str
    """The best baseline on validation."""
    against: dict[str, QuantileComparison]
    """By rival."""

    def to_json(self) -> dict[str, Any]:
        """As plain data, equal to what is read back from metrics.json."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"part": values.pop("split"), **values}


def assess(predictions: Predictions, best: str, horizon: int, split: str = "test") -> QuantileAssessment:
    """Compare the model with the naive quantiles and with the best baseline on validation, named `best`.

    The samples are in order of time; a horizon of 0, not known, counts as 1 day.
    """
    truth, horizon = predictions.truth, max(1, horizon)
    quantile, dates = truth.quantile, predictions.dates if predictions.tickers is not None else None
    assert quantile is not None
    daily = cross_section.by_day(dates) if dates is not None else lambda values: values
    realised, model = truth.changes(truth.y_true), truth.changes(predictions.model)
    loss = daily(pinball_losses(realised, model, quantile))

    def against(rival: str) -> QuantileComparison:
        forecast = truth.changes(predictions.baselines[rival])
        other = daily(pinball_losses(realised, forecast, quantile))
        same = are_same(realised, model, forecast)
        gain = None if same else mean_of(other - loss, horizon, float(max(other.max(), loss.max())))
        interval, mean = gain.interval() if gain else None, float(other.mean())
        return QuantileComparison(
            pinball_difference=float(mean - loss.mean()),
            interval=interval,
            r1=r2_against(float(loss.mean()), mean),
            r1_interval=(interval[0] / mean, interval[1] / mean) if interval and mean > 0 else None,
            diebold_mariano=gain.test() if gain else UNDEFINED,
        )

    is_below = daily((realised < model).astype(float))
    return QuantileAssessment(
        split=split,
        n=len(realised),
        unit="samples" if predictions.dates is None else "days" if dates is None else "stock-days",
        horizon=horizon,
        days=len(loss),
        confidence=CONFIDENCE,
        estimator=ESTIMATOR,
        quantile=quantile,
        below=float(is_below.mean()),
        below_interval=_share_interval(is_below, horizon),
        best=best,
        against={rival: against(rival) for rival in dict.fromkeys(["train_quantile", "scaled_quantile", best])},
    )


def _share_interval(daily: Floats, horizon: int) -> Interval | None:
    """The confidence interval of a share, given that of each day; None if there are too few days.

    Of none and of all it is that of a binomial share (Clopper & Pearson 1934) of the days whose targets do not overlap.
    """
    if (mean := mean_of(daily, horizon, 1.0)) is not None:
        low, high = mean.interval()
        return max(0.0, low), min(1.0, high)
    if too_few(len(daily), horizon) or 0 < daily.mean() < 1:
        return None
    furthest = 1 - SHOWN_LEVEL ** (horizon / len(daily))
    return (0.0, furthest) if daily.mean() == 0 else (1 - furthest, 1.0)


def skill(assessment: QuantileAssessment) -> Skill:
    """The model's skill in one word.

    shown: Diebold–Mariano is significant, p < 2.5 %, against every rival. worse: than the train split's quantile.
    """
    if all(of.diebold_mariano.rejects(SHOWN_LEVEL) for of in assessment.against.values()):
        return "shown"
    p = assessment.against["train_quantile"].diebold_mariano.p_value
    return "worse" if p is not None and p > 1 - SHOWN_LEVEL else "not shown"


def verdict(assessment: QuantileAssessment) -> str:
    """The assessment in sentences for readers who know no statistics."""
    return f"{_result(assessment)}. {_share_below(assessment)}."


def _result(assessment: QuantileAssessment) -> str:
    against = assessment.against
    p = largest_p_value(of.diebold_mariano for of in against.values())
    what, found = f"the {assessment.quantile:.4g} quantile's", skill(assessment)
    rival = "train_quantile" if found == "worse" else assessment.best
    size = f"{what} pinball loss is {_lower(assessment, rival)} on {count(assessment.n, assessment.unit, 'test ')}"
    if found == "shown":
        return f"Skill is shown: {size}, and luck alone does as well in {share(p)} of such tests"
    if found == "worse":
        luck = share(1 - (against[rival].diebold_mariano.p_value or 0.0))
        return f"The model is worse than {_name(rival)}: {size}, and bad luck alone does this in {luck} of such tests"
    if too_few(assessment.days, assessment.horizon):
        return f"Skill is not shown: {size}, too few to show anything"
    if ahead := [name for name, of in against.items() if of.pinball_difference <= 0]:
        others = enumerated([_name(name) for name in ahead if name != rival])
        return f"Skill is not shown: {size}{f', and no lower than that of {others}' if others else ''}"
    names = enumerated([_name(name) for name, of in against.items() if not of.diebold_mariano.rejects(SHOWN_LEVEL)])
    return f"Skill is not shown: {size}, and luck alone does as well against {names} in up to {share(p)} of such tests"


def _lower(assessment: QuantileAssessment, rival: str) -> str:
    """How much lower the loss is than a rival's, with the confidence interval."""
    of = assessment.against[rival]
    best = ", the best baseline on validation" if rival == assessment.best else ""
    if of.r1 is None:
        return f"that of {_name(rival)}{best}"
    interval = ""
    if of.r1_interval is not None:
        low, high = of.r1_interval
        interval = f" ({100 * assessment.confidence:g} % CI of the gain {percent(low)} to {percent(high)})"
    side = "higher" if of.r1 < 0 else "lower"
    return f"{percent(abs(of.r1)).removeprefix('+')} {side} than that of {_name(rival)}{best}{interval}"


def _share_below(assessment: QuantileAssessment) -> str:
    """Whether the share of targets below the forecasts is right."""
    below, interval = f"{assessment.below:.1%} of targets lie below the forecast", assessment.below_interval
    if interval is None:
        return f"{below}, {assessment.quantile:.1%} if it is right"
    low, high = interval
    bounds = f"{100 * assessment.confidence:g} % CI {low:.1%} to {high:.1%}"
    if low <= assessment.quantile <= high:
        return f"{below} ({bounds}): that may well be the {assessment.quantile:.1%} asked for"
    off = "too many: the forecast is too high" if low > assessment.quantile else "too few: the forecast is too low"
    return f"{below} ({bounds}), not {assessment.quantile:.1%}: {off}"


def _name(rival: str) -> str:
    return {"train_quantile": "the train quantile", "scaled_quantile": "the volatility-scaled train quantile"}.get(
        rival, plain(rival)
    )
