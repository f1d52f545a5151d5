"""The verdict claims no more than the tests show, in words that are true of each case."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stockml.compose import compose
from stockml.config.values import enumerated
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.data.panel import Kind
from stockml.evaluation.baselines import scored_splits
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.metrics import score
from stockml.evaluation.predictions import Predictions, collect, concatenate_folds
from stockml.evaluation.significance import Comparison, Outcome
from stockml.evaluation.truth import Target
from stockml.evaluation.verdict import Assessment, assess, not_beaten, skill, verdict
from tests.campaigns.significance import NULL, STRONG, rates, ridge_assessed

Floats = NDArray[np.float64]


def scored(realised: Floats, model: Floats, kind: Kind = "return", **rivals: Floats) -> Predictions:
    """Samples of consecutive days."""
    rows = np.arange(len(realised))
    drift = rivals.get("expanding_mean")
    return Predictions(Target(realised, kind, drift=drift), rows, rows.astype("datetime64[D]"), model, rivals)


def signal(n: int, share: float, noise: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Returns, and forecasts that have this share of them and noise of that standard deviation."""
    returns, error = 0.01 * np.random.default_rng(seed).standard_normal((2, n))
    return returns, share * returns + noise * error


def assessed(realised: Floats, model: Floats, ridge: Floats | float = 1.0, best: str = "ridge") -> Assessment:
    """The assessment against zero and a ridge, whose forecasts are far off unless they are given."""
    rivals = {"zero": 0 * realised, "ridge": ridge + 0 * realised, "always_up": 1 + 0 * realised}
    return assess(scored(realised, model, "return", **rivals), best, 1)


def drifting(seed: int, n: int = 600, horizon: int = 1) -> tuple[Floats, dict[str, Floats]]:
    """Returns with a Sharpe ratio of 1 over the horizon, and what knows their drift: known after `horizon` days."""
    daily = np.random.default_rng(seed).standard_normal(1800 + n + horizon - 1) + 1 / np.sqrt(252)
    e = np.convolve(daily, np.ones(horizon), mode="valid")
    known = np.cumsum(e) / np.arange(1, len(e) + 1)
    expanding = known[1800 - horizon : len(e) - horizon]
    return e[1800:], {"zero": np.zeros(n), "train_mean": np.full(n, e[:1800].mean()), "expanding_mean": expanding}


CASES: dict[str, tuple[tuple[Floats, Floats], Floats | float]] = {
    "shown": (signal(1000, 0.02, 0.05), 1.0),
    "no more than another's": (signal(1000, 0.02, 0.05), signal(1000, 0.02, 0.05)[1]),
    "hinted": (signal(500, 0.02, 0.15, seed=1), 1.0),
    "not shown": (signal(500, 0.0, 0.05, seed=2), 1.0),
    "worse": (signal(500, -0.02, 0.1), 1.0),
}


@pytest.mark.parametrize(
    ("case", "word", "begins"),
    [
        ("shown", "shown", "Skill is shown: R² against zero change (r2_zero) is +"),
        ("no more than another's", "not shown", "Skill is not shown: R² against zero change (r2_zero) is +"),
        ("hinted", "hinted", "Skill is hinted at, but not shown: R² against zero change (r2_zero) is "),
        ("not shown", "not shown", "Skill is not shown: R² against zero change (r2_zero) is "),
        ("worse", "worse", "The model is worse than zero change: R² against zero change (r2_zero) is -"),
    ],
)
def test_a_verdict_begins_with_the_skill(case: str, word: str, begins: str) -> None:
    (realised, model), ridge = CASES[case]
    found = assessed(realised, model, ridge)
    assert skill(found) == word
    assert verdict(found).startswith(begins)
    assert verdict(found).count(". ") <= 1  # one or two sentences


def comparison(difference: float, p: float, p_clark_west: float) -> Comparison:
    outcomes = (Outcome(0.0, p), Outcome(0.0, p_clark_west))
    return Comparison(difference, (0.0, 1.0), 0.01, (0.0, 0.02), *outcomes, 1.0, 0.01, 0.005)


@pytest.mark.parametrize(
    ("zero", "train_mean", "word"),
    [
        (comparison(1, 0.01, 0.01), comparison(1, 0.01, 0.01), "shown"),
        (comparison(1, 0.01, 0.01), comparison(1, 0.03, 0.01), "hinted"),
        (comparison(1, 0.01, 0.01), comparison(1, 0.20, 0.01), "hinted"),
        (comparison(1, 0.01, 0.01), comparison(1, 0.20, 0.20), "not shown"),
        (comparison(1, 0.01, 0.01), comparison(-1, 0.80, 0.01), "not shown"),
        (comparison(-1, 0.99, 0.50), comparison(-1, 0.80, 0.50), "worse"),
        (comparison(-1, 0.97, 0.50), comparison(-1, 0.80, 0.50), "not shown"),
    ],
)
def test_skill_is_decided_by_the_rival_that_is_hardest_to_beat(
    zero: Comparison, train_mean: Comparison, word: str
) -> None:
    realised, model = signal(500, 0.02, 0.05)
    against = {"zero": zero, "train_mean": train_mean}
    found = replace(assessed(realised, model), against=against, best="train_mean")
    assert skill(found) == word
    assert ("Skill is shown:" in verdict(found)) == (word == "shown") == (not_beaten(found) == [])


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(-0.5, 0.5), st.floats(0, 1), st.integers(0, 1000), st.booleans())
def test_skill_is_shown_only_if_the_whole_interval_of_the_gain_over_every_rival_is_above_zero(
    n: int, share: float, noise: float, seed: int, far: bool
) -> None:
    realised, model = signal(n, share, noise, seed)
    found = assessed(realised, model, 1.0 if far else 0.3 * realised)
    assert list(found.against) == ["zero", "ridge"]
    shown = all(of.interval is not None and of.interval[0] > 0 for of in found.against.values())
    assert (skill(found) == "shown") == shown == verdict(found).startswith("Skill is shown")
    if skill(found) in ("hinted", "shown"):
        assert all(of.mse_difference > 0 for of in found.against.values())
    if skill(found) == "worse":
        interval = found.against["zero"].interval
        assert interval is not None and interval[1] < 0


def test_a_verdict_gives_the_interval_the_p_values_and_what_such_forecasts_can_show() -> None:
    (realised, model), _ = CASES["hinted"]
    found, r2 = assessed(realised, model), score(Target(realised, "return"), model)["r2_zero"]
    assert found.r2_zero_interval is not None
    outcomes = [found.against["zero"].diebold_mariano, found.against["zero"].clark_west]
    assert skill(found) == "hinted"
    low, high = found.r2_zero_interval
    text = verdict(found)
    assert f"(r2_zero) is {r2:+.2%} (95 % CI {low:+.2%} to {high:+.2%}) on 500 test days" in text
    p, p_clark_west = (outcome.p_value for outcome in outcomes)
    assert f"as well against zero change in up to {p:.0%} of such tests, or in {p_clark_west:.1%} if" in text
    shown, hint = (100 * (found.minimum_detectable_r2[test] or 0) for test in ("diebold_mariano", "clark_west"))
    assert hint < shown
    assert text.endswith(f"500 days of such forecasts can show an R² of {shown:.2g}% or more, and hint at one of "
                         f"{hint:.2g}% or more.")  # fmt: skip


def test_a_verdict_names_the_best_baseline_and_all_that_are_ahead() -> None:
    realised, model = signal(400, 0.02, 0.0)
    rivals = {"zero": 0 * realised, "mean": 0.03 * realised, "ridge": 0.04 * realised, "far": 1 + realised}
    samples = scored(realised, model, "return", always_up=realised, **rivals)
    assert "a higher squared error than ridge, the best baseline on validation, and a higher one than mean." in verdict(
        assess(samples, "ridge", 1)
    )
    text = verdict(assess(samples, "far", 1))
    assert (
        "a lower squared error than far, the best baseline on validation, but a higher one than mean and ridge." in text
    )
    assert "a lower squared error than zero, the best baseline" in verdict(assess(samples, "zero", 1))
    best = replace(samples, model=0.05 * realised)
    assert "a lower squared error than ridge, the best baseline on validation." in verdict(assess(best, "ridge", 1))
    same = replace(samples, model=rivals["ridge"])
    assert "no better than ridge; the model has the same squared error as ridge" in verdict(assess(same, "ridge", 1))


def test_names_are_listed_as_in_english() -> None:
    returns, rivals = drifting(0)
    text = verdict(assess(scored(returns, 0.01 * returns[::-1], "return", **rivals, ridge=returns[::-1]), "ridge", 1))
    assert "as well against zero change, the train mean and the expanding mean in up to" in text
    assert text.count("R² against zero change (r2_zero)") == 1
    assert [enumerated(of) for of in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_an_r2_above_five_per_cent_is_called_a_leak_or_luck() -> None:
    realised, model = signal(400, 0.03, 0.0)
    assert "run task=audit" in verdict(assessed(realised, model))
    realised, model = signal(400, 0.02, 0.0)
    assert "audit" not in verdict(assessed(realised, model))


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_a_model_that_knows_the_drift_and_no_more_shows_nothing(horizon: int, noise: float) -> None:
    for seed, name in itertools.product(range(100), ("train_mean", "expanding_mean")):
        realised, rivals = drifting(seed, horizon=horizon)
        model = rivals[name] + noise * np.sign(realised)
        found = assess(scored(realised, model, "return", **rivals), "train_mean", horizon)
        assert skill(found) not in ("shown", "hinted")
        assert list(found.against) == ["zero", "train_mean", "expanding_mean"]
        assert "is shown" not in verdict(found) and "hinted" not in verdict(found)


@pytest.mark.parametrize("ticker", ["AMZN", "JNJ", "JPM", "MSFT"])
@pytest.mark.parametrize(("split", "years"), [("holdout", range(2003, 2011)), ("walk_forward", (2005,))])
def test_the_train_mean_of_a_real_stock_shows_nothing_whatever_the_first_year(
    market: Path, ticker: str, split: str, years: Sequence[int]
) -> None:
    span = ("data.end=2018-01-01", "data.test_ratio=0.4", f"data.split={split}")
    for year in years:
        settings = (f"data.dir={market / 'ohlcv'}", f"stock={ticker}", f"data.start={year}-01-01", *span)
        folds = []
        for data in dataset.prepare_folds(compose("data=csv", *settings)):
            batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
            mean = data.scaler.train_mean(data.panel)
            model = {name: mean[rows].astype(np.float32).astype(float) for name, rows in scored_splits(data)}
            folds.append(collect(data, batches, model))
        evaluated = evaluate(concatenate_folds(folds) if len(folds) > 1 else folds[0], 1, synthetic=False)
        assert evaluated["skill"] == "not shown"
        assert list(evaluated["significance"]["against"])[:3] == ["zero", "train_mean", "expanding_mean"]


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("size", [0.003, 0.03])
def test_noise_around_the_drift_is_seldom_skill(horizon: int, size: float) -> None:
    words = []
    for seed in range(300):
        realised, rivals = drifting(seed, horizon=horizon)
        model = rivals["train_mean"] + size * np.random.default_rng(seed + 10**6).standard_normal(len(realised))
        words.append(skill(assess(scored(realised, model, "return", **rivals), "zero", horizon)))
    assert words.count("shown") / 300 <= 0.025
    assert words.count("hinted") / 300 <= 0.10


def test_timing_beyond_the_drift_is_shown_in_80_per_cent_where_the_detectable_r2_says_so() -> None:
    shown, excess = 0, []
    for seed in range(200):
        realised, rivals = drifting(seed)
        timing = 0.27 * np.random.default_rng(seed + 10**6).standard_normal(len(realised))
        samples = scored(realised + timing, rivals["train_mean"] + timing, "return", **rivals)
        found = assess(samples, "train_mean", 1)
        least, r2 = found.minimum_detectable_r2["diebold_mariano"], found.against["zero"].r2
        assert least is not None and r2 is not None
        shown += skill(found) == "shown"
        excess.append(r2 - least)
    assert 0 <= np.mean(excess) <= 0.02
    assert shown / 200 >= 0.75  # with an error of 3 %


@pytest.mark.parametrize("n", [1, 2, 25])
def test_so_few_days_that_no_r2_can_be_shown_show_nothing(n: int) -> None:
    realised, model = signal(n, 0.9, 0.0)
    found = assessed(realised, model)
    assert skill(found) == "not shown"
    assert verdict(found).endswith(f"{n} day{' is' if n == 1 else 's are'} too few to show anything. An R² above "
                                   "5% is nearly always a leak or luck: run task=audit.")  # fmt: skip


def test_levels_are_assessed_by_their_changes_against_persistence_with_drift() -> None:
    realised, model = signal(300, 0.02, 0.05)
    last = 100 + np.arange(300.0)
    drift = last * (1 + 0.001)
    rivals = {
        "train_mean": np.full(300, 120.0), "persistence": last, "persistence_with_drift": drift, "always_up": last + 1
    }  # fmt: skip
    truth = Target(last * (1 + realised), "level", last, drift=drift)
    levels = Predictions(truth, np.arange(300), None, last * (1 + model), rivals)
    found, returns = assess(levels, "persistence", 1), assessed(realised, model)
    for rival in ("zero", "persistence"):
        of, zero = found.against[rival], returns.against["zero"]
        assert of.diebold_mariano.p_value == pytest.approx(zero.diebold_mariano.p_value, rel=1e-6)
        assert of.r2_interval == pytest.approx(zero.r2_interval, rel=1e-6)
    assert list(found.against) == ["zero", "persistence_with_drift", "persistence"]
    assert found.r2_ct == pytest.approx(1 - np.sum((realised - model) ** 2) / np.sum((realised - 0.001) ** 2))
    assert returns.r2_ct is None
    assert (found.unit, returns.unit) == ("samples", "days")
    same = assess(replace(levels, model=drift), "persistence", 1)
    assert skill(same) not in ("shown", "hinted")
    text = verdict(found, level=True)
    assert "R² against persistence (r2_zero) is " in text and "zero change" not in text
    dated = replace(
        levels, truth=replace(truth, relative=False, reverts=True), dates=np.arange(300).astype("datetime64[D]")
    )
    assert list(assess(dated, "persistence", 1).against)[:2] == ["zero", "train_mean"]  # as of a volatility


def test_classes_are_assessed_by_brier_scores_against_the_base_rate_of_train() -> None:
    rng = np.random.default_rng(0)
    chance = np.clip(0.5 + 0.1 * rng.standard_normal(2000), 0, 1)
    classes = (rng.random(2000) < chance).astype(float)
    rivals = {"train_mean": np.full(2000, 0.5), "ridge": np.full(2000, 0.4), "majority_class": np.ones(2000)}
    found = assess(scored(classes, chance, "class", **rivals), "ridge", 0)
    assert list(found.against) == ["train_mean", "ridge"]
    assert found.r2_zero_interval is None
    brier = np.mean((classes - 0.5) ** 2) - np.mean((classes - chance) ** 2)
    assert found.against["train_mean"].mse_difference == pytest.approx(brier)
    assert found.pesaran_timmermann.p_value is not None and found.pesaran_timmermann.p_value < 0.01
    assert "R² against the train mean is +" in verdict(found)
    assert skill(found) == "shown"
    base = assess(scored(classes, rivals["train_mean"], "class", **rivals), "ridge", 0)
    assert skill(base) == "not shown"


def test_r2_ct_is_against_the_mean_of_the_returns_known_at_that_time() -> None:
    realised, model = signal(100, 0.02, 0.05)
    mean = np.full(100, 0.003)
    found = assess(scored(realised, model, "return", zero=0 * realised, expanding_mean=mean), "zero", 0)
    assert found.r2_ct == pytest.approx(1 - np.sum((realised - model) ** 2) / np.sum((realised - mean) ** 2))
    assert found.horizon == 1
    assert list(found.against) == ["zero", "expanding_mean"]


def test_several_stocks_have_tests_of_their_order_each_day() -> None:
    days, stocks = 250, 10
    dates = np.repeat(np.arange(days).astype("datetime64[D]"), stocks)
    realised, noise = np.random.default_rng(0).standard_normal((2, days * stocks))
    samples = replace(
        scored(realised, 0.1 * realised + noise, zero=0 * realised),
        dates=dates, tickers=np.tile(np.array([f"S{k}" for k in range(stocks)]), days),
    )  # fmt: skip
    found = assess(samples, "zero", 1)
    assert (found.unit, found.days) == ("stock-days", days)
    for of, name in ((found.daily_ic, "daily_ic"), (found.daily_rank_ic, "daily_rank_ic")):
        assert of is not None and of.mean == score(samples.truth, samples.model, dates)[name]
        assert of.test.rejects(0.001) and of.interval is not None and of.interval[0] > 0
    assert assessed(*signal(100, 0.02, 0.05)).daily_ic is None


@pytest.mark.parametrize("kind", ["return", "level", "class"])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_undefined_values_are_null(n: int, kind: Kind) -> None:
    realised = np.zeros(n)
    for model in (realised, realised + 0.1, np.linspace(0, 1, n)):
        last = np.ones(n) if kind == "level" else None
        rivals = {"train_mean": np.full(n, 0.1), "ridge": realised}
        found = assess(Predictions(Target(realised, kind, last), np.arange(n), None, model, rivals), "ridge", 1)
        written = json.dumps(found.to_json(), allow_nan=False)
        assert json.loads(written) == found.to_json()
        assert "nan" not in verdict(found)


def test_ridge_shows_skill_in_a_strong_signal_and_none_in_null_data() -> None:
    """A short sample of tests/campaigns/significance.py."""
    null = rates([ridge_assessed(*NULL, f"data.seed={seed}") for seed in range(3)])
    assert "shown" not in null.skill
    assert skill(ridge_assessed(*STRONG, "data.days=20000")) == "shown"
