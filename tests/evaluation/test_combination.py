"""The weights of combined forecasts; and a short sample of tests/campaigns/combine.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from stockml.data.panel import Kind
from stockml.evaluation.combination import combined, common, non_negative, ridge_weights
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Floats, Target
from tests.campaigns import combine


def predictions(y_true: Floats, y_pred: Floats, kind: Kind = "return", last: Floats | None = None) -> Predictions:
    days = np.arange(len(y_true))
    truth = Target(y_true, kind, last, relative=last is not None)
    return Predictions(truth, days, days.astype("datetime64[D]"), y_pred, {"zero": 0 * y_true})


def members(seed: int, count: int = 3, days: int = 400) -> list[Predictions]:
    """Members of which each knows less than the one before, and the last one the contrary."""
    rng = np.random.default_rng(seed)
    signal, y = rng.standard_normal((2, days))
    noise = rng.standard_normal((count, days))
    strengths = [*np.linspace(1, 0.5, count - 1), -0.5]
    return [predictions(signal + y, s * signal + 0.3 * e) for s, e in zip(strengths, noise, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_non_negative_least_squares_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, 8)) + 2 * rng.standard_normal((50, 1))  # correlated, as forecasts are
    y = x @ rng.standard_normal(8) + rng.standard_normal(50)
    np.testing.assert_allclose(non_negative(x.T @ x, x.T @ y), nnls(x, y)[0], atol=1e-9)


def test_ridge_weights_are_non_negative_and_better_than_equal_ones_where_members_differ() -> None:
    each = members(seed=0)
    weights = ridge_weights(each, horizon=1)
    assert weights.min() >= 0 and weights.argmax() == 0 and weights[-1] == 0
    new, equal = members(seed=1), np.full(3, 1 / 3)
    errors = [
        np.square(combined(new, w).model - new[0].truth.y_true).mean() for w in (weights.tolist(), equal.tolist())
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("days", [1, 2, 5])
def test_weights_are_equal_where_validation_is_too_short_to_fit_them(days: int) -> None:
    assert ridge_weights(members(0, days=days), horizon=5).tolist() == [1 / 3] * 3


def test_the_weights_of_levels_and_classes_have_a_sum_of_one() -> None:
    returns, last = members(0), np.full(400, 50.0)
    levels = [predictions(50 * (1 + of.truth.y_true / 100), 50 * (1 + of.model / 100), "level", last) for of in returns]
    classes = [
        predictions(np.where(of.truth.y_true > 0, 1.0, 0.0), 1 / (1 + np.exp(-of.model)), "class") for of in returns
    ]
    for each in (levels, classes):
        assert ridge_weights(each, horizon=1).sum() == pytest.approx(1)
    assert ridge_weights(returns, horizon=1).sum() != pytest.approx(1)


def test_samples_that_not_all_members_have_are_left_out_and_the_others_are_in_one_order() -> None:
    first, second, third = members(0, days=10)
    each = common([first.of(np.array([8, 5, 3])), second, third.of(np.arange(4, 10))])
    assert [of.rows.tolist() for of in each] == [[8, 5]] * 3


def test_a_combination_of_the_best_on_validation_is_seldom_said_to_have_skill_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = combine.measured(4, tmp_path / "rates.json")
    assert sum(counts["shown"] for counts in found.values()) <= 1
    monkeypatch.setattr(combine, "skills", None)
    assert combine.measured(4, tmp_path / "rates.json") == found
