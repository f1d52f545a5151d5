"""A result that a month carries is said to be carried by it; parts are those of the samples in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stockml.evaluation import where
from stockml.evaluation.metrics import r2_zero
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Target
from stockml.evaluation.verdict import assess, skill

Floats = NDArray[np.float64]
DAYS = np.arange("2019-01-01", "2021-01-01", dtype="datetime64[D]")
MARCH = DAYS.astype("datetime64[M]") == np.datetime64("2020-03")


def samples(model: Floats, realised: Floats, dates: NDArray[Any] = DAYS, **further: Any) -> Predictions:
    rivals = {"zero": 0 * realised, "train_mean": 0 * realised + 1e-4}
    return Predictions(Target(realised, "return"), np.arange(len(realised)), dates, model, rivals, **further)


def returns(seed: int = 0) -> Floats:
    return 0.01 * np.random.default_rng(seed).standard_normal(len(DAYS))


def parts(of: Predictions, horizon: int = 1) -> tuple[dict[str, Any], str]:
    word = skill(assess(of, "train_mean", horizon))
    found, text = where.evaluate(of, "train_mean", horizon, word)
    return found["where"], text


def test_the_month_that_carries_a_result_is_named() -> None:
    realised = np.where(MARCH, 6, 1) * returns()
    noise = 0.001 * np.random.default_rng(1).standard_normal(len(DAYS))
    carried = samples(np.where(MARCH, 0.2 * realised, 0) + noise, realised)
    found, text = parts(carried)
    assert found["best_month"]["month"] == "2020-03" and found["best_month"]["carries"]
    assert text.startswith("One month carries the result: without 2020-03, R² would be -")
    left = carried.of(~MARCH)
    assert found["best_month"]["r2"] == pytest.approx(r2_zero(left.truth, left.model), abs=1e-12)
    steady, text = parts(samples(0.1 * returns() + noise, returns()))
    assert text == "" and not steady["best_month"]["carries"]


def test_a_month_without_which_skill_is_not_shown_carries_the_result() -> None:
    realised = returns()
    helped = np.where(MARCH, 0.1, 0.017) * realised + 0.0014 * np.random.default_rng(5).standard_normal(len(DAYS))
    of = samples(helped, realised)
    left = skill(assess(of.of(~MARCH), "train_mean", 1))
    assert (skill(assess(of, "train_mean", 1)), left) == ("shown", "hinted")
    found, text = parts(of)
    assert found["best_month"] == {**found["best_month"], "month": "2020-03", "skill": "hinted", "carries": True}
    assert text.endswith(", and skill only hinted at.")


def test_a_result_that_is_not_above_zero_or_short_is_carried_by_no_month() -> None:
    realised = np.where(MARCH, 6, 1) * returns()
    assert parts(samples(-0.2 * realised, realised))[1] == ""
    of = samples(np.where(MARCH, 0.2 * realised, 0), realised)
    found, text = parts(of.of(np.datetime64("2019-12-01") > DAYS))
    assert text == "" and "best_month" not in found and len(found["without_month"]) == where.LEAST_MONTHS - 1


@pytest.mark.parametrize("stocks", [1, 6])
def test_parts_have_the_scores_of_their_samples(stocks: int) -> None:
    rng = np.random.default_rng(stocks)
    n = len(DAYS) * stocks
    realised, model, known = 0.01 * rng.standard_normal(n), 0.002 * rng.standard_normal(n), rng.random(n)
    tickers = None if stocks == 1 else np.tile([f"S{k}" for k in range(stocks)], len(DAYS))
    known[: 5 * stocks] = np.nan
    of = samples(model, realised, DAYS.repeat(stocks), tickers=tickers, volatility=known)
    found, _ = parts(of)
    assert of.dates is not None
    for year, figures in found["by_year"].items():
        own = of.of(of.dates.astype("datetime64[Y]") == np.datetime64(year))
        assert figures["r2"] == pytest.approx(r2_zero(own.truth, own.model), abs=1e-12)
        low, high = figures["interval"]
        assert low < figures["r2"] < high
        assert own.dates is not None and figures["days"] == len(np.unique(own.dates))
    for month, r2 in found["without_month"].items():
        left = of.of(of.dates.astype("datetime64[M]") != np.datetime64(month))
        assert r2 == pytest.approx(r2_zero(left.truth, left.model), abs=1e-12)
    day_s = known.reshape(-1, stocks).mean(axis=1).repeat(stocks)
    assert [figures["days"] for figures in found["by_volatility"].values()] == [242, 242, 242]
    for figures in found["by_volatility"].values():
        own = of.of((day_s >= figures["from"] - 1e-15) & (day_s <= figures["to"] + 1e-15))
        assert figures["r2"] == pytest.approx(r2_zero(own.truth, own.model), abs=1e-12)
        assert figures["interval"][0] < figures["r2"] < figures["interval"][1]


def test_what_has_no_days_has_no_parts() -> None:
    of = samples(0.1 * returns(), returns())
    assert where.evaluate(replace(of, dates=None), "zero", 1, "shown") == ({}, "")
    quantile = Target(returns(), "return", quantile=0.1)
    assert where.evaluate(replace(of, truth=quantile), "zero", 1, "shown") == ({}, "")
    assert parts(of)[0]["by_volatility"] == {}


def test_classes_are_compared_with_the_train_mean() -> None:
    ones = (returns() > 0).astype(float)
    rivals = {"train_mean": 0 * ones + 0.5}
    of = Predictions(Target(ones, "class"), np.arange(len(ones)), DAYS, 0.4 + 0.2 * ones, rivals)
    found, _ = where.evaluate(of, "train_mean", 1, "shown")
    assert found["where"]["against"] == "train_mean"
    assert [of["r2"] for of in found["where"]["by_year"].values()] == pytest.approx([1 - 0.4**2 / 0.25] * 2)
