"""A model's skill: in numbers, in one word, and in sentences that claim no more than the numbers show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stockml.evaluation import baselines, cross_section
from stockml.evaluation.metrics import ic
from stockml.evaluation.multiple_testing import LEVEL
from stockml.evaluation.significance import (
    CONFIDENCE,
    RESAMPLES,
    Comparison,
    Identity,
    Interval,
    Outcome,
    block_days,
    compare,
    directions,
    effective_sample_size,
    identity,
    minimum_detectable_r2,
    pesaran_timmermann,
    r2_against,
    squared_error,
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
    """1 − Σ(r−f)²/Σ(r−m)², m the mean of all returns known at that time (Campbell & Thompson 2008)."""
    r2_identity: Identity
    r2_zero_interval: Interval | None
    confidence: float
    block_days: int
    resamples: int
    against: dict[str, Comparison]
    """By rival: first zero (for classes the train mean; squared errors are Brier scores there), then the best baseline
    on validation, which may be the same."""
    ahead: tuple[str, ...]
    """The baselines whose squared error is lower than the model's."""
    pesaran_timmermann: Outcome
    minimum_detectable_r2: dict[str, float]
    """About what each test finds with 80 % power."""
    days: int
    """With several stocks, fewer than n: stocks move together, so tests and intervals are over days."""

    @property
    def zero(self) -> str:
        """The rival without any skill."""
        return next(iter(self.against))

    @property
    def best(self) -> str:
        """The best baseline on validation."""
        return next(reversed(self.against))

    def to_json(self) -> dict[str, Any]:
        """As plain data, equal to what is read back from metrics.json."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"part": values.pop("split"), **values}  # the key of metrics.json's first release


def assess(predictions: Predictions, best: str, horizon: int, split: str = "test") -> Assessment:
    """Compare the model with zero and with the best baseline on validation, whose name is `best`.

    The samples are in order of time; a horizon of 0, not known, counts as 1 day.
    """
    truth, horizon, classes = predictions.truth, max(1, horizon), predictions.truth.kind == "class"
    realised, model = truth.changes(truth.y_true), truth.changes(predictions.model)
    rivals = {
        name: truth.changes(y) for name, y in predictions.baselines.items() if not baselines.is_direction_only(name)
    }
    errors, own = {name: squared_error(realised, f) for name, f in rivals.items()}, squared_error(realised, model)
    rivals.setdefault("zero", np.zeros_like(realised))
    zero = "train_mean" if classes else "zero"
    dates = predictions.dates if predictions.tickers is not None else None
    by_day = None if dates is None else cross_section.by_day(dates)
    against = compare(realised, model, {name: rivals[name] for name in (zero, best)}, horizon, by_day)
    middle = 0.5 if classes else 0.0
    moved = realised != middle
    up, forecast_up = (realised > middle)[moved], (model > middle)[moved]
    days, effective_n = len(realised), len(realised)
    if by_day is not None:
        days = len(by_day(realised))
        gain = np.square(realised - rivals[zero]) - np.square(realised - model)
        effective_n = effective_sample_size(gain, by_day)
    return Assessment(
        split=split,
        n=len(realised),
        unit="samples" if predictions.dates is None else "days" if dates is None else "stock-days",
        horizon=horizon,
        r2_ct=r2_against(own, errors.get("expanding_mean", 0.0)),
        r2_identity=identity(realised, model, ic(truth, predictions.model)),
        r2_zero_interval=None if classes else against[zero].r2_interval,
        confidence=CONFIDENCE,
        block_days=block_days(days, horizon),
        resamples=RESAMPLES,
        against=against,
        ahead=tuple(name for name, error in errors.items() if error < own),
        pesaran_timmermann=pesaran_timmermann(up, forecast_up, horizon)
        if dates is None
        else directions(up, forecast_up, horizon, cross_section.by_day(dates[moved])),
        minimum_detectable_r2=minimum_detectable_r2(effective_n, horizon),
        days=days,
    )


def skill(assessment: Assessment) -> Skill:
    """The model's skill in one word.

    shown: Diebold–Mariano is significant, p < 5 %, against zero and against the best baseline. hinted: against zero
    only; or R² is positive and Clark–West is significant against zero. worse: than zero, p < 5 %. Classes have the
    train mean in place of zero. With so few days that no R² below 1 could be shown, skill is not shown.
    """
    zero, best = assessment.against[assessment.zero], assessment.against[assessment.best]
    p, p_best, p_clark_west = zero.diebold_mariano.p_value, best.diebold_mariano.p_value, zero.clark_west.p_value
    if p is None or _too_few(assessment):
        return "not shown"
    if p < LEVEL:
        return "shown" if p_best is not None and p_best < LEVEL else "hinted"
    if p > 1 - LEVEL:
        return "worse"
    return "hinted" if zero.mse_difference > 0 and p_clark_west is not None and p_clark_west < LEVEL else "not shown"


def verdict(assessment: Assessment) -> str:
    """The assessment in sentences for readers who know no statistics, with the smallest R² that so many days show."""
    sentences = [f"{_result(assessment)}; {_ranking(assessment)}.", f"{_detectable(assessment)}."]
    r2 = assessment.against[assessment.zero].r2
    if r2 is not None and r2 > _SUSPECT_R2:
        sentences.append(f"An R² above {_SUSPECT_R2:.0%} is nearly always a leak or luck: run task=audit.")
    return " ".join(sentences)


def _result(assessment: Assessment) -> str:
    zero, best, size = assessment.against[assessment.zero], assessment.against[assessment.best], _size(assessment)
    p, p_best, p_clark_west = (
        1.0 if p is None else p
        for p in (zero.diebold_mariano.p_value, best.diebold_mariano.p_value, zero.clark_west.p_value)
    )
    rival = _plain(assessment.zero)
    luck = f"{size}, and luck alone does as well"
    match skill(assessment):
        case "shown":
            just = ", but only just" if zero.interval is not None and zero.interval[0] <= 0 else ""
            return f"Skill is shown{just}: {luck} in {_share(max(p, p_best))} of such tests"
        case "hinted" if p < LEVEL:
            against = f"against {rival} in {_share(p)} of such tests, against {assessment.best} in {_share(p_best)}"
            return f"Skill is hinted at, but no more than {assessment.best} has: {luck} {against}"
        case "hinted":
            clark_west = f"or in {_share(p_clark_west)} if the noise of training is removed (Clark–West)"
            return f"Skill is hinted at, but not shown: {luck} in {_share(p)} of such tests, {clark_west}"
        case "worse":
            bad = f"bad luck alone does this in {_share(1 - p)} of such tests"
            return f"The model is worse than a forecast of {rival}: {size}, and {bad}"
    if zero.mse_difference <= 0:
        return f"Skill is not shown: {size}, no better than a forecast of {rival}"
    tested = zero.diebold_mariano.p_value is not None and not _too_few(assessment)
    return f"Skill is not shown: {f'{luck} in {_share(p)} of such tests' if tested else size}"


def _size(assessment: Assessment) -> str:
    """R², its confidence interval and the number of samples."""
    zero = assessment.against[assessment.zero]
    against = "" if assessment.zero == "zero" else f" against {_plain(assessment.zero)}"
    r2 = "undefined" if zero.r2 is None else percent(zero.r2)
    interval = ""
    if zero.r2_interval is not None:
        low, high = zero.r2_interval
        interval = f" ({100 * assessment.confidence:g} % CI {percent(low)} to {percent(high)})"
    return f"R²{against} is {r2}{interval} on {_days(assessment, 'test ')}"


def _ranking(assessment: Assessment) -> str:
    """The model's rank among the baselines by squared error."""
    ahead = [name for name in assessment.ahead if name != assessment.best]
    gain = assessment.against[assessment.best].mse_difference
    better = "better" if gain > 0 else "worse" if gain < 0 else "no better"
    others = f", {'but' if gain > 0 else 'and'} worse than {', '.join(ahead)}" if ahead else ""
    return f"the model is {better} than {assessment.best}, the best baseline{others}"


def _detectable(assessment: Assessment) -> str:
    if _too_few(assessment):
        return f"{_days(assessment)} {'is' if assessment.n == 1 else 'are'} too few to show anything"
    hint, shown = (100 * assessment.minimum_detectable_r2[test] for test in ("clark_west", "diebold_mariano"))
    return f"{_days(assessment)} can hint at an R² of {hint:.2g}% or more, and show one of {shown:.2g}% or more"


def _too_few(assessment: Assessment) -> bool:
    return assessment.minimum_detectable_r2["diebold_mariano"] >= 1


def percent(r2: float) -> str:
    """An R² as text."""
    return f"{r2:+.2%}" if abs(r2) < 10 else f"{r2:+,.0%}"


def _share(p: float) -> str:
    return "fewer than 0.1%" if p < 0.001 else f"{p:.1%}" if p < 0.0995 else f"{p:.0%}"


def _plain(rival: str) -> str:
    return "the train mean" if rival == "train_mean" else "zero change"


def _days(assessment: Assessment, kind: str = "") -> str:
    unit = assessment.unit.removesuffix("s") if assessment.n == 1 else assessment.unit
    return f"{assessment.n:,} {kind}{unit}"
