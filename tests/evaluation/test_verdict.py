"""The verdict claims no more than the tests show, in words that are true of each case."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stockml.data.panel import Kind
from stockml.evaluation.metrics import Target, score
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.verdict import Assessment, assess, skill, verdict
from tests.campaigns.significance import NULL, STRONG, rates, ridge_assessed

Floats = NDArray[np.float64]


def scored(realised: Floats, model: Floats, kind: Kind = "return", **rivals: Floats) -> Predictions:
    """Samples of consecutive days."""
    rows = np.arange(len(realised))
    return Predictions(Target(realised, kind), rows, rows.astype("datetime64[D]"), model, rivals)


def signal(n: int, share: float, noise: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Returns, and forecasts that have this share of them and noise of that standard deviation."""
    returns, error = 0.01 * np.random.default_rng(seed).standard_normal((2, n))
    return returns, share * returns + noise * error


def assessed(realised: Floats, model: Floats, ridge: Floats | float = 1.0, best: str = "ridge") -> Assessment:
    """The assessment against zero and a ridge, whose forecasts are far off unless they are given."""
    rivals = {"zero": 0 * realised, "ridge": ridge + 0 * realised, "always_up": 1 + 0 * realised}
    return assess(scored(realised, model, "return", **rivals), best, 1)


CASES: dict[str, tuple[tuple[Floats, Floats], Floats | float]] = {
    "shown": (signal(1000, 0.02, 0.05), 1.0),
    "no more than another's": (signal(1000, 0.02, 0.05), signal(1000, 0.02, 0.05)[1]),
    "hinted": (signal(500, 0.02, 0.15, seed=1), 1.0),
    "not shown": (signal(500, 0.0, 0.05, seed=0), 1.0),
    "worse": (signal(500, -0.02, 0.1), 1.0),
}


@pytest.mark.parametrize(
    ("case", "word", "begins"),
    [
        ("shown", "shown", "Skill is shown: R² is +"),
        ("no more than another's", "hinted", "Skill is hinted at, but no more than ridge has: R² is +"),
        ("hinted", "hinted", "Skill is hinted at, but not shown: R² is "),
        ("not shown", "not shown", "Skill is not shown: R² is "),
        ("worse", "worse", "The model is worse than a forecast of zero change: R² is -"),
    ],
)
def test_a_verdict_begins_with_the_skill(case: str, word: str, begins: str) -> None:
    (realised, model), ridge = CASES[case]
    found = assessed(realised, model, ridge)
    assert skill(found) == word
    assert verdict(found).startswith(begins)
    assert verdict(found).count(". ") == 1  # two sentences


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(-0.5, 0.5), st.floats(0, 1), st.integers(0, 1000), st.booleans())
def test_skill_is_shown_only_if_diebold_mariano_is_significant_against_zero_and_the_best_baseline(
    n: int, share: float, noise: float, seed: int, far: bool
) -> None:
    realised, model = signal(n, share, noise, seed)
    found = assessed(realised, model, 1.0 if far else 0.3 * realised)
    p_values = [rival.diebold_mariano.p_value for rival in found.against.values()]
    assert list(found.against) == ["zero", "ridge"]
    shown = n > 25 and all(p is not None and p < 0.05 for p in p_values)
    assert (skill(found) == "shown") == shown == verdict(found).startswith("Skill is shown")
    if skill(found) in ("hinted", "shown"):
        assert found.against["zero"].mse_difference > 0


def test_a_verdict_gives_the_interval_the_p_values_and_what_so_many_days_can_show() -> None:
    realised, model = signal(492, 0.02, 0.2)
    found, r2 = assessed(realised, model), score(Target(realised, "return"), model)["r2_zero"]
    assert found.r2_zero_interval is not None
    outcomes = [found.against["zero"].diebold_mariano, found.against["zero"].clark_west]
    assert skill(found) == "hinted"
    low, high = found.r2_zero_interval
    text = verdict(found)
    assert f"R² is {r2:+.2%} (95 % CI {low:+.2%} to {high:+.2%}) on 492 test days" in text
    p, p_clark_west = (outcome.p_value for outcome in outcomes)
    assert f"luck alone does as well in {p:.0%} of such tests, or in {p_clark_west:.1%} if" in text
    assert text.endswith("492 days can hint at an R² of 1.2% or more, and show one of 5.1% or more.")


def test_a_verdict_names_the_best_baseline_and_all_that_are_ahead() -> None:
    realised, model = signal(400, 0.02, 0.0)
    rivals = {"zero": 0 * realised, "mean": 0.03 * realised, "ridge": 0.04 * realised, "far": 1 + realised}
    samples = scored(realised, model, "return", always_up=realised, **rivals)
    assert "the model is worse than ridge, the best baseline, and worse than mean." in verdict(
        assess(samples, "ridge", 1)
    )
    assert "better than far, the best baseline, but worse than mean, ridge." in verdict(assess(samples, "far", 1))
    assert "better than zero, the best baseline, but" in verdict(assess(samples, "zero", 1))
    best = replace(samples, model=0.05 * realised)
    assert "better than ridge, the best baseline." in verdict(assess(best, "ridge", 1))
    same = replace(samples, model=rivals["ridge"])
    assert "no more than ridge has" in verdict(assess(same, "ridge", 1))
    assert "no better than ridge, the best baseline." in verdict(assess(same, "ridge", 1))


def test_an_r2_above_five_per_cent_is_called_a_leak_or_luck() -> None:
    realised, model = signal(400, 0.03, 0.0)
    assert "run task=audit" in verdict(assessed(realised, model))
    realised, model = signal(400, 0.02, 0.0)
    assert "audit" not in verdict(assessed(realised, model))


def test_skill_is_only_just_shown_if_the_interval_holds_zero() -> None:
    realised, model = signal(1000, 0.02, 0.05)
    found = assessed(realised, model)
    zero = replace(found.against["zero"], interval=(-1e-9, 1.0))
    assert verdict(replace(found, against={**found.against, "zero": zero})).startswith(
        "Skill is shown, but only just: "
    )


@pytest.mark.parametrize("n", [1, 2, 25])
def test_so_few_days_that_no_r2_can_be_shown_show_nothing(n: int) -> None:
    realised, model = signal(n, 0.9, 0.0)
    found = assessed(realised, model)
    assert skill(found) == "not shown"
    assert verdict(found).endswith(f"{n} day{' is' if n == 1 else 's are'} too few to show anything. An R² above "
                                   "5% is nearly always a leak or luck: run task=audit.")  # fmt: skip


def test_levels_are_assessed_by_their_changes() -> None:
    realised, model = signal(300, 0.02, 0.05)
    last = 100 + np.arange(300.0)
    levels = Predictions(
        Target(last * (1 + realised), "level", last), np.arange(300), None, last * (1 + model),
        {"train_mean": np.full(300, 120.0), "persistence": last, "always_up": last + 1},
    )  # fmt: skip
    found, returns = assess(levels, "persistence", 1), assessed(realised, model)
    for rival in ("zero", "persistence"):
        of, zero = found.against[rival], returns.against["zero"]
        assert of.diebold_mariano.p_value == pytest.approx(zero.diebold_mariano.p_value, rel=1e-6)
        assert of.r2_interval == pytest.approx(zero.r2_interval, rel=1e-6)
    assert found.r2_ct is None
    assert (found.unit, returns.unit) == ("samples", "days")


def test_classes_are_assessed_by_brier_scores_against_the_train_mean() -> None:
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


def test_r2_ct_is_against_the_mean_of_the_returns_known_at_that_time() -> None:
    realised, model = signal(100, 0.02, 0.05)
    mean = np.full(100, 0.003)
    found = assess(scored(realised, model, "return", zero=0 * realised, expanding_mean=mean), "zero", 0)
    assert found.r2_ct == pytest.approx(1 - np.sum((realised - model) ** 2) / np.sum((realised - mean) ** 2))
    assert found.horizon == 1
    assert list(found.against) == ["zero"]


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
