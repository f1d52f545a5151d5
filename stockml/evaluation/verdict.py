"""What forecasts say of a model's skill: in figures, in a word, and in a sentence no surer than they are."""

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
    """What the samples of one part say of a model's skill; of levels, by their change since the last value known."""

    part: str
    n: int
    unit: str
    """What the samples are: days; stock-days of several stocks; samples where no dates are known."""
    horizon: int
    r2_ct: float | None
    """1 − Σ(r−f)²/Σ(r−m)², m the mean of all returns known by then (Campbell & Thompson 2008)."""
    r2_identity: Identity
    r2_zero_interval: Interval | None
    confidence: float
    block_days: int
    resamples: int
    against: dict[str, Comparison]
    """By rival: first zero (for classes the train mean; squared errors are Brier scores there), then the baseline that
    was best on validation, which may be the same."""
    ahead: tuple[str, ...]
    """The baselines whose squared error is lower than the model's."""
    pesaran_timmermann: Outcome
    minimum_detectable_r2: dict[str, float]
    """About what each test finds with 80 % power."""
    days: int
    """Of several stocks, fewer than n: they move together, so that the tests and intervals are over days."""

    @property
    def zero(self) -> str:
        """The rival without any skill."""
        return next(iter(self.against))

    @property
    def best(self) -> str:
        """The baseline that was best on validation."""
        return next(reversed(self.against))

    def to_json(self) -> dict[str, Any]:
        """As metrics.json gives it back."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def assess(scored: Predictions, best: str, horizon: int, part: str = "test") -> Assessment:
    """Compare the model with zero and with the baseline that was best on validation.

    The samples are in order of time; a horizon of 0, not known, is taken for 1 day.
    """
    truth, horizon, classes = scored.truth, max(1, horizon), scored.truth.kind == "class"
    realised, model = truth.changes(truth.y_true), truth.changes(scored.model)
    rivals = {name: truth.changes(y) for name, y in scored.baselines.items() if not baselines.is_direction_only(name)}
    errors, own = {name: squared_error(realised, f) for name, f in rivals.items()}, squared_error(realised, model)
    rivals.setdefault("zero", np.zeros_like(realised))
    zero = "train_mean" if classes else "zero"
    dates = scored.dates if scored.tickers is not None else None
    by_day = None if dates is None else cross_section.by_day(dates)
    against = compare(realised, model, {name: rivals[name] for name in (zero, best)}, horizon, by_day)
    middle = 0.5 if classes else 0.0
    moved = realised != middle
    up, forecast_up = (realised > middle)[moved], (model > middle)[moved]
    days, worth = len(realised), len(realised)
    if by_day is not None:
        days = len(by_day(realised))
        worth = effective_sample_size(np.square(realised - rivals[zero]) - np.square(realised - model), by_day)
    return Assessment(
        part=part,
        n=len(realised),
        unit="samples" if scored.dates is None else "days" if dates is None else "stock-days",
        horizon=horizon,
        r2_ct=r2_against(own, errors.get("expanding_mean", 0.0)),
        r2_identity=identity(realised, model, ic(truth, scored.model)),
        r2_zero_interval=None if classes else against[zero].r2_interval,
        confidence=CONFIDENCE,
        block_days=block_days(days, horizon),
        resamples=RESAMPLES,
        against=against,
        ahead=tuple(name for name, error in errors.items() if error < own),
        pesaran_timmermann=pesaran_timmermann(up, forecast_up, horizon)
        if dates is None
        else directions(up, forecast_up, horizon, cross_section.by_day(dates[moved])),
        minimum_detectable_r2=minimum_detectable_r2(worth, horizon),
        days=days,
    )


def skill(found: Assessment) -> Skill:
    """Shown: Diebold–Mariano rejects luck, p < 5 %, against zero and against the best baseline.

    Hinted: against zero alone; or R² is positive and Clark–West rejects luck against zero. Worse: than zero, p < 5 %.
    Classes have the train mean for zero. So few days that no R² below 1 could be shown show nothing.
    """
    zero, best = found.against[found.zero], found.against[found.best]
    p, p_best, noiseless = zero.diebold_mariano.p_value, best.diebold_mariano.p_value, zero.clark_west.p_value
    if p is None or _too_few(found):
        return "not shown"
    if p < LEVEL:
        return "shown" if p_best is not None and p_best < LEVEL else "hinted"
    if p > 1 - LEVEL:
        return "worse"
    return "hinted" if zero.mse_difference > 0 and noiseless is not None and noiseless < LEVEL else "not shown"


def verdict(found: Assessment) -> str:
    """What the assessment comes to, for readers who know no statistics, and the least R² that so many days can show."""
    sentences = [f"{_said(found)}; {_ranking(found)}.", f"{_visible(found)}."]
    r2 = found.against[found.zero].r2
    if r2 is not None and r2 > _SUSPECT_R2:
        sentences.append(f"An R² above {_SUSPECT_R2:.0%} is nearly always a leak or luck: run task=audit.")
    return " ".join(sentences)


def _said(found: Assessment) -> str:
    zero, best, size = found.against[found.zero], found.against[found.best], _size(found)
    p, p_best, noiseless = (
        1.0 if p is None else p
        for p in (zero.diebold_mariano.p_value, best.diebold_mariano.p_value, zero.clark_west.p_value)
    )
    luck = f"{size}, and luck alone does as well"
    match skill(found):
        case "shown":
            just = ", but only just" if zero.interval is not None and zero.interval[0] <= 0 else ""
            return f"Skill is shown{just}: {luck} in {_share(max(p, p_best))} of such tests"
        case "hinted" if p < LEVEL:
            against = (
                f"against {_plain(found.zero)} in {_share(p)} of such tests, against {found.best} in {_share(p_best)}"
            )
            return f"Skill is hinted at, but no more than {found.best}'s: {luck} {against}"
        case "hinted":
            fitting = f"or in {_share(noiseless)} if the noise of fitting is allowed for"
            return f"Skill is hinted at, not shown: {luck} in {_share(p)} of such tests, {fitting}"
        case "worse":
            bad = f"bad luck alone does this in {_share(1 - p)} of such tests"
            return f"Worse than forecasting {_plain(found.zero)}: {size}, and {bad}"
    if zero.mse_difference <= 0:
        return f"Skill is not shown: {size}, no better than forecasting {_plain(found.zero)}"
    tested = zero.diebold_mariano.p_value is not None and not _too_few(found)
    return f"Skill is not shown: {f'{luck} in {_share(p)} of such tests' if tested else size}"


def _size(found: Assessment) -> str:
    zero = found.against[found.zero]
    said = f"R²{'' if found.zero == 'zero' else f' against {_plain(found.zero)}'} is "
    said += "undefined" if zero.r2 is None else percent(zero.r2)
    if zero.r2_interval is not None:
        low, high = zero.r2_interval
        said += f" ({found.confidence:.0%} sure: {percent(low)} to {percent(high)})"
    return f"{said} on {_days(found, 'test ')}"


def _ranking(found: Assessment) -> str:
    """Where the model stands among the baselines by its squared error."""
    ahead = [name for name in found.ahead if name != found.best]
    gained = found.against[found.best].mse_difference
    better = "better" if gained > 0 else "worse" if gained < 0 else "no better"
    said = f"{better} than {found.best}, the best baseline"
    return said + (f", {'but' if gained > 0 else 'also'} worse than {', '.join(ahead)}" if ahead else "")


def _visible(found: Assessment) -> str:
    if _too_few(found):
        return f"{_days(found)} {'is' if found.n == 1 else 'are'} too few to show anything"
    hint, shown = (100 * found.minimum_detectable_r2[test] for test in ("clark_west", "diebold_mariano"))
    return f"{_days(found)} can hint at an R² of {hint:.2g}% and more, and show one of {shown:.2g}% and more"


def _too_few(found: Assessment) -> bool:
    return found.minimum_detectable_r2["diebold_mariano"] >= 1


def percent(r2: float) -> str:
    """An R², as it is told."""
    return f"{r2:+.2%}" if abs(r2) < 10 else f"{r2:+,.0%}"


def _share(p: float) -> str:
    return "fewer than 0.1%" if p < 0.001 else f"{p:.1%}" if p < 0.0995 else f"{p:.0%}"


def _plain(rival: str) -> str:
    return "the train mean" if rival == "train_mean" else "zero change"


def _days(found: Assessment, kind: str = "") -> str:
    return f"{found.n:,} {kind}{found.unit.removesuffix('s') if found.n == 1 else found.unit}"
