"""Forecasts of a quantile are judged by their pinball loss against naive quantiles, and the share of targets below."""

from __future__ import annotations

import numpy as np
import pytest

from stockml.evaluation import quantiles
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.metrics import score
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.significance import diebold_mariano, pinball_losses
from stockml.evaluation.truth import Floats, Target

N, Q = 1000, 0.1
SCALE = np.repeat([0.5, 1.5], N // 2)


def predicted(realised: Floats, model: Floats) -> Predictions:
    """Forecasts beside those of the two rivals, the second of which knows half of the changes of scale."""
    rivals = {"train_quantile": np.full(N, -1.2816), "scaled_quantile": -1.2816 * np.sqrt(SCALE)}
    dates = np.arange("2000-01-01", N, dtype="datetime64[D]")
    return Predictions(Target(realised, "return", quantile=Q), np.arange(N), dates, model, rivals)


def realised(seed: int = 0) -> Floats:
    return SCALE * np.random.default_rng(seed).standard_normal(N)


def judged(model: Floats, seed: int = 0) -> dict[str, object]:
    of = predicted(realised(seed), model)
    return evaluate({"validation": of, "test": of}, 1, synthetic=False)


def test_the_loss_is_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    y, f = np.random.default_rng(0).standard_normal((2, 50))
    assert pinball_losses(y, f, Q).mean() == pytest.approx(metrics.mean_pinball_loss(y, f, alpha=Q))


def test_of_a_quantile_no_other_score_is_claimed() -> None:
    y, f = np.random.default_rng(0).standard_normal((2, 50))
    scores = score(Target(y, "return", quantile=Q), f)
    assert {name for name, value in scores.items() if value is not None} == {"n", "pinball", "below"}
    assert scores["below"] == pytest.approx((y < f).mean())
    assert not {"pinball", "below"} & set(score(Target(y, "return"), f))


def test_a_quantile_that_knows_the_scale_is_shown_to_be_better_and_rightly_placed() -> None:
    found = judged(-1.2816 * SCALE)
    assert (found["skill"], found["best_baseline"]) == ("shown", "scaled_quantile")
    assert "that may well be the 10.0% asked for" in str(found["verdict"])
    of = predicted(realised(), -1.2816 * SCALE)
    losses = {name: pinball_losses(realised(), f, Q) for name, f in [("model", of.model), *of.baselines.items()]}
    for name, rival in quantiles.assess(of, "scaled_quantile", 1).against.items():
        assert rival.diebold_mariano == diebold_mariano(losses[name], losses["model"], 1)
        assert rival.r1 == pytest.approx(1 - losses["model"].mean() / losses[name].mean())


def test_a_wrong_level_is_worse_and_said_to_lie_too_high() -> None:
    found = judged(np.zeros(N))
    assert found["skill"] == "worse"
    assert "too many: the forecast is too high" in str(found["verdict"])
    assert "too few: the forecast is too low" in str(judged(np.full(N, -9.0))["verdict"])


def test_a_rival_s_own_forecast_has_no_skill() -> None:
    assert judged(np.full(N, -1.2816))["skill"] == "not shown"
    assert judged(-1.2816 * np.sqrt(SCALE))["skill"] == "not shown"


def test_luck_is_seldom_taken_for_skill() -> None:
    """Nearly the best rival's forecasts, with noise that is worth nothing: rejected at 2.5 % at most."""
    rng = np.random.default_rng(1)
    shown = [
        judged(-1.2816 * np.sqrt(SCALE) + 0.05 * rng.standard_normal(N), seed)["skill"] == "shown" for seed in range(40)
    ]
    assert sum(shown) <= 3
