"""What metrics.json says of predictions: scores, baselines, significance and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.values import worded
from stockml.evaluation import baselines, economic, factor, intervals, quantiles, where
from stockml.evaluation.metrics import deciding_loss
from stockml.evaluation.predictions import deciding
from stockml.evaluation.verdict import Skill, assess, skill, verdict

if TYPE_CHECKING:
    from stockml.evaluation.metrics import Scores
    from stockml.evaluation.portfolio import Portfolio
    from stockml.evaluation.predictions import Predictions, PredictionsBySplit

Table = dict[str, dict[str, "Scores"]]
"""Scores by forecaster and split."""


def evaluate(
    splits: PredictionsBySplit,
    horizon: int,
    *,
    synthetic: bool,
    best: str | None = None,
    calibration: Predictions | None = None,
    portfolio: Portfolio | None = None,
) -> dict[str, Any]:
    """The scores of metrics.json, as plain data. `horizon` is in days; 0 where it is not known.

    `best` names the best baseline; without it, that is the one with the lowest squared error on validation, or pinball
    loss where a quantile is forecast. Of a walk-forward run, validation is that of the first fold alone
    (`predictions.deciding`), and `decided_on` its days. `calibration` has the errors that intervals are calibrated on,
    those of validation by default. `portfolio` is how the forecasts are traded; without it they are not valued.
    Where the test is sealed, `splits` lack it, and so do the scores; `portfolio` is written for a sweep's validation.
    """
    splits = deciding(splits)
    table = _table(splits)
    model, oracle = table.pop("model"), table.pop("oracle", None)
    best = best or min(filter(baselines.may_be_best, table), key=lambda name: _error(table[name]["validation"]))
    found = {**model, "baselines": table, "best_baseline": best}
    further = {**({"oracle": oracle} if synthetic else {}), **_decided_on(splits)}
    if "test" not in splits:
        how = {} if portfolio is None or portfolio.settings.rule == "none" else {"portfolio": portfolio.to_json()}
        return {**found, "verdict": _SEALED, **further, **how}
    significance, word, text = _judged(splits["test"], best, horizon)
    origin, month = where.evaluate(splits["test"], best, horizon, word)
    calibration = calibration or splits.get("validation")
    noun = splits["test"].frequency.noun
    value, worth = ({}, "") if portfolio is None else economic.evaluate(splits["test"], portfolio, calibration)
    return {
        **found,
        "significance": significance,
        "skill": word,
        "verdict": worded(" ".join(filter(None, [text, month, "" if horizon else _HORIZON_UNKNOWN, worth])), noun),
        **({} if noun == "day" else {"step": noun}),
        **further,
        **_intervals(splits["test"], calibration),
        **value,
        **origin,
        **factor.evaluate(splits["test"], horizon),
    }


def _judged(test: Predictions, best: str, horizon: int) -> tuple[dict[str, Any], Skill, str]:
    """The section `significance` of metrics.json, the skill and the verdict."""
    if test.truth.quantile is not None:
        of_quantile = quantiles.assess(test, best, horizon)
        return of_quantile.to_json(), quantiles.skill(of_quantile), quantiles.verdict(of_quantile)
    found = assess(test, best, horizon)
    return (
        found.to_json(),
        skill(found),
        verdict(
            found,
            level=test.truth.last is not None,
            reverts=test.reverts or (test.truth.has_no_zero and test.truth.kind == "level"),
        ),
    )


_SEALED = "The test is sealed: it is neither forecast nor scored before task=unseal."
_HORIZON_UNKNOWN = (
    "How far ahead the targets lie is not known: if they overlap, luck does this more often than is said here (with "
    "data=npz, set data.horizon)."
)


def _decided_on(splits: PredictionsBySplit) -> dict[str, Any]:
    """Of a walk-forward run: the fold and the days of the validation that choices between runs are made by."""
    validation = splits.get("validation")
    if validation is None or validation.folds is None or validation.dates is None:
        return {}
    first, last = validation.dates[0], validation.dates[-1]
    return {"decided_on": {"fold": int(validation.folds[0]), "first": str(first), "last": str(last)}}


def _intervals(test: Predictions, calibration: Predictions | None) -> dict[str, Any]:
    return {} if calibration is None or not test.intervals else {"intervals": intervals.evaluate(test, calibration)}


def _table(splits: PredictionsBySplit) -> Table:
    table: Table = {"model": {split: samples.scores(samples.model) for split, samples in splits.items()}}
    for name in next(iter(splits.values())).baselines:
        only = baselines.is_direction_only(name)
        table[name] = {
            split: samples.scores(samples.baselines[name], direction_only=only) for split, samples in splits.items()
        }
    oracles = {split: samples.scores(samples.oracle) for split, samples in splits.items() if samples.oracle is not None}
    return {**table, "oracle": oracles} if oracles else table


def _error(scores: Scores) -> float:
    """The loss that baselines are chosen by; infinite where there is none."""
    loss = scores[deciding_loss(scores)]
    return np.inf if loss is None else float(loss)
