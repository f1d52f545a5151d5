"""A model's skill: in numbers, in one word, and in sentences that claim no more than the numbers show.

Skill is timing. Zero, the train mean and the expanding mean forecast the drift and no more; a model that does not beat
each of them knows at most the drift.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stockml.config.values import enumerated
from stockml.evaluation import baselines, cross_section
from stockml.evaluation.cross_section import CrossSection, DailyMean
from stockml.evaluation.metrics import ic, r2_ct
from stockml.evaluation.significance import (
    CONFIDENCE,
    ESTIMATOR,
    HINT_LEVEL,
    SHOWN_LEVEL,
    Comparison,
    Identity,
    Interval,
    Outcome,
    compare,
    directions,
    identity,
    squared_error,
    too_few,
)

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions

Skill = Literal["shown", "hinted", "not shown", "worse"]

_SUSPECT_R2 = 0.05


@dataclass(frozen=True)
class Assessment:
    """The evidence of a model's skill in the samples of one split; levels are assessed by their changes."""

    split: str
    n: int
    unit: str
    """What the samples are: days; stock-days if there are several stocks; samples if dates are not known."""
    horizon: int
    r2_ct: float | None
    """1 − Σ(r−f)²/Σ(r−m)², m the mean of all changes known at that time (Campbell & Thompson 2008)."""
    r2_identity: Identity
    r2_zero_interval: Interval | None
    confidence: float
    estimator: str
    """How the standard errors of all tests and intervals are estimated."""
    zero: str
    """The rival without any skill: zero, or for classes the train mean; their squared errors are Brier scores."""
    best: str
    """The best baseline on validation."""
    against: dict[str, Comparison]
    """By rival: first the one without any skill, then the others that know the drift and no more, then the best
    baseline on validation, which may be one of them."""
    ahead: tuple[str, ...]
    """The baselines whose squared error is lower than the model's."""
    pesaran_timmermann: Outcome
    daily_ic: DailyMean | None
    """With several stocks: the mean of the daily correlations between stocks."""
    daily_rank_ic: DailyMean | None
    minimum_detectable_r2: dict[str, float | None]
    """The R² against `zero` from which each test finds skill against every rival, with 80 % power."""
    days: int
    """With several stocks, fewer than n: stocks move together, so tests and intervals are over days."""

    @property
    def against_zero(self) -> Comparison:
        """The comparison with the rival without any skill."""
        return self.against[self.zero]

    def to_json(self) -> dict[str, Any]:
        """As plain data, equal to what is read back from metrics.json."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"part": values.pop("split"), **values}  # the key of metrics.json's first release


def assess(predictions: Predictions, best: str, horizon: int, split: str = "test") -> Assessment:
    """Compare the model with the baselines that know the drift and with the best one on validation, named `best`.

    The samples are in order of time; a horizon of 0, not known, counts as 1 day.
    """
    truth, horizon, classes = predictions.truth, max(1, horizon), predictions.truth.kind == "class"
    realised, model = truth.changes(truth.y_true), truth.changes(predictions.model)
    rivals = {
        name: truth.changes(y) for name, y in predictions.baselines.items() if not baselines.is_direction_only(name)
    }
    errors, own = {name: squared_error(realised, f) for name, f in rivals.items()}, squared_error(realised, model)
    rivals.setdefault("zero", np.zeros_like(realised))
    zero = "train_mean" if truth.has_no_zero else "zero"
    drifts = baselines.drifts(truth.kind, reverts=predictions.reverts)
    names = [zero, *(name for name in drifts if name in rivals), best]
    dates = predictions.dates if predictions.tickers is not None else None
    by_day = None if dates is None else cross_section.by_day(dates)
    against = compare(realised, model, {name: rivals[name] for name in names}, horizon, by_day)
    middle = 0.5 if classes else 0.0
    moved = realised != middle
    up, forecast_up = (realised > middle)[moved], (model > middle)[moved]
    stocks = None if dates is None else CrossSection(realised, model, dates)
    return Assessment(
        split=split,
        n=len(realised),
        unit="samples" if predictions.dates is None else "days" if dates is None else "stock-days",
        horizon=horizon,
        r2_ct=r2_ct(truth, predictions.model),
        r2_identity=identity(realised, model, ic(truth, predictions.model)),
        r2_zero_interval=None if truth.has_no_zero else against[zero].r2_interval,
        confidence=CONFIDENCE,
        estimator=ESTIMATOR,
        zero=zero,
        best=best,
        against=against,
        ahead=tuple(name for name, error in errors.items() if error < own),
        pesaran_timmermann=directions(
            up, forecast_up, horizon, None if dates is None else cross_section.by_day(dates[moved])
        ),
        daily_ic=cross_section.daily_mean(stocks.ic, horizon) if stocks else None,
        daily_rank_ic=cross_section.daily_mean(stocks.rank_ic, horizon) if stocks else None,
        minimum_detectable_r2=_minimum_detectable_r2(against, against[zero].rival_mse),
        days=len(realised) if by_day is None else len(by_day(realised)),
    )


def _minimum_detectable_r2(against: dict[str, Comparison], zero_mse: float) -> dict[str, float | None]:
    """By test, the R² against zero from which such forecasts are found better than every rival with 80 % power.

    A rival with a lower error than zero raises it: the maximum over rivals of (gain + MSE(zero) − MSE(rival)) /
    MSE(zero), with the gain that is found given this run's standard error. None if one of these is not known.
    """

    def least(gains: dict[str, float | None]) -> float | None:
        needed = [
            (gain + zero_mse - against[name].rival_mse) / zero_mse
            for name, gain in gains.items()
            if gain is not None and zero_mse > 0
        ]
        return max(needed) if len(needed) == len(against) else None

    return {
        "diebold_mariano": least({name: of.detectable for name, of in against.items()}),
        "clark_west": least({name: of.detectable_hint for name, of in against.items()}),
    }


def skill(assessment: Assessment) -> Skill:
    """The model's skill in one word.

    shown: Diebold–Mariano is significant, p < 2.5 %, against every rival, so that each confidence interval lies above
    zero. hinted: the error is lower than every rival's, and Clark–West is significant, p < 5 %, against each. worse:
    than the rival without skill, p < 2.5 %. A rival whose forecasts are the model's own is not beaten.
    """
    rivals = assessment.against.values()
    if all(of.diebold_mariano.rejects(SHOWN_LEVEL) for of in rivals):
        return "shown"
    if all(of.mse_difference > 0 and of.clark_west.rejects(HINT_LEVEL) for of in rivals):
        return "hinted"
    p = assessment.against_zero.diebold_mariano.p_value
    return "worse" if p is not None and p > 1 - SHOWN_LEVEL else "not shown"


def not_beaten(assessment: Assessment) -> list[str]:
    """The rivals that the model is not shown to beat."""
    return [name for name, of in assessment.against.items() if not of.diebold_mariano.rejects(SHOWN_LEVEL)]


def verdict(assessment: Assessment, *, level: bool = False, reverts: bool = False) -> str:
    """The assessment in sentences for readers who know no statistics, with the smallest R² that so many days show.

    Of a level, zero change is named persistence. Of a target that reverts, such as a volatility, a high R² is nothing
    to suspect.
    """
    if level:
        against = {_persistence(name): of for name, of in assessment.against.items()}
        assessment = replace(assessment, zero=_persistence(assessment.zero), against=against)
    sentences = [f"{_result(assessment)}; {_ranking(assessment)}."]
    if detectable := _detectable(assessment):
        sentences.append(f"{detectable}.")
    r2 = assessment.against_zero.r2
    if r2 is not None and r2 > _SUSPECT_R2 and not reverts:
        sentences.append(f"An R² above {_SUSPECT_R2:.0%} is nearly always a leak or luck: run task=audit.")
    return " ".join(sentences)


def _result(assessment: Assessment) -> str:
    size, zero = _size(assessment), assessment.against_zero
    p = largest_p_value(of.diebold_mariano for of in assessment.against.values())
    p_clark_west = largest_p_value(of.clark_west for of in assessment.against.values())
    rival, names = plain(assessment.zero), enumerated([plain(name) for name in not_beaten(assessment)])
    match skill(assessment):
        case "shown":
            return f"Skill is shown: {size}, and luck alone does as well in {share(p)} of such tests"
        case "hinted":
            clark_west = f"or in {share(p_clark_west)} if the noise of training is removed (Clark–West)"
            luck = f"luck alone does as well against {names} in up to {share(p)} of such tests, {clark_west}"
            return f"Skill is hinted at, but not shown: {size}, and {luck}"
        case "worse":
            bad_luck = f"bad luck alone does this in {share(1 - (zero.diebold_mariano.p_value or 0.0))} of such tests"
            return f"The model is worse than {rival}: {size}, and {bad_luck}"
    if too_few(assessment.days, assessment.horizon):
        return f"Skill is not shown: {size}"
    if worse := [plain(name) for name, of in assessment.against.items() if of.mse_difference <= 0]:
        return f"Skill is not shown: {size}, no better than {enumerated(worse)}"
    if same := [plain(name) for name, of in assessment.against.items() if of.interval is None]:
        return f"Skill is not shown: {size}, and the forecasts are those of {enumerated(same)}"
    return f"Skill is not shown: {size}, and luck alone does as well against {names} in up to {share(p)} of such tests"


def _size(assessment: Assessment) -> str:
    """R², which one it is, its confidence interval and the number of samples."""
    zero = assessment.against_zero
    metric = "" if assessment.zero == "train_mean" else " (r2_zero)"
    r2 = "undefined" if zero.r2 is None else percent(zero.r2)
    interval = ""
    if zero.r2_interval is not None:
        low, high = zero.r2_interval
        interval = f" ({100 * assessment.confidence:g} % CI {percent(low)} to {percent(high)})"
    return f"R² against {plain(assessment.zero)}{metric} is {r2}{interval} on {_days(assessment, 'test ')}"


def _ranking(assessment: Assessment) -> str:
    """The model's rank among the baselines by squared error."""
    ahead = [name for name in assessment.ahead if name != assessment.best]
    gain = assessment.against[assessment.best].mse_difference
    better = "a lower" if gain > 0 else "a higher" if gain < 0 else "the same"
    others = f", {'but' if gain > 0 else 'and'} a higher one than {enumerated(ahead)}" if ahead else ""
    than = "as" if gain == 0 else "than"
    return f"the model has {better} squared error {than} {assessment.best}, the best baseline on validation{others}"


def _detectable(assessment: Assessment) -> str | None:
    shown, hint = (assessment.minimum_detectable_r2[test] for test in ("diebold_mariano", "clark_west"))
    if too_few(assessment.days, assessment.horizon):
        return f"{_days(assessment)} {'is' if assessment.n == 1 else 'are'} too few to show anything"
    if shown is not None and shown >= 1:
        return f"{_days(assessment)} of such forecasts are too few to show anything"
    if shown is None or hint is None:
        return None
    least = f"{_days(assessment)} of such forecasts can show an R² of {100 * shown:.2g}% or more"
    return f"{least}, and hint at one of {100 * hint:.2g}% or more" if hint < shown else least


def largest_p_value(outcomes: Iterable[Outcome]) -> float:
    """The largest of some tests' p-values, 1 where one is undefined: that of beating every rival (Berger 1982)."""
    return max(1.0 if outcome.p_value is None else outcome.p_value for outcome in outcomes)


def percent(r2: float) -> str:
    """An R² as text."""
    return f"{r2:+.2%}" if abs(r2) < 10 else f"{r2:+,.0%}"


def share(p: float) -> str:
    """A probability as text."""
    return "fewer than 0.1%" if p < 0.001 else f"{p:.1%}" if p < 0.0995 else f"{p:.0%}"


def _persistence(rival: str) -> str:
    return "persistence" if rival == "zero" else rival


def plain(rival: str) -> str:
    """A baseline's name in plain words."""
    return {"zero": "zero change", "train_mean": "the train mean", "expanding_mean": "the expanding mean"}.get(
        rival, rival.replace("_", " ")
    )


def _days(assessment: Assessment, kind: str = "") -> str:
    return count(assessment.n, assessment.unit, kind)


def count(n: int, unit: str, kind: str = "") -> str:
    """A number of days, stock-days or samples as text."""
    return f"{n:,} {kind}{unit.removesuffix('s') if n == 1 else unit}"
