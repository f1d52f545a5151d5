"""No model sees more than there is to see: a short sample of `tests/campaigns/oracle.py`."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from stockml.compose import compose
from stockml.data.dataset import prepare
from tests.campaigns.oracle import MODELS, SIGNALS, Outcome, faults, gain, history, ridge_baseline, trained

DAYS = 20_000
SETTINGS = ("trainer.loss=huber", "trainer.lr=3e-5", "trainer.epochs=5")


@functools.cache
def outcome(signal: str, name: str) -> Outcome:
    data = history(signal, 0, DAYS)
    return ridge_baseline(*data) if name == "ridge" else trained(*data, f"model={name}", *SETTINGS)


@pytest.mark.parametrize("name", [*MODELS, "ridge"])
@pytest.mark.parametrize("signal", ["null", "strong"])
def test_no_forecast_is_better_than_the_oracle_nor_finds_anything_in_null_data(signal: str, name: str) -> None:
    assert faults(signal, name, [outcome(signal, name)]) == []


def test_linear_model_finds_a_part_of_a_strong_signal() -> None:
    found = outcome("strong", "linear")
    assert found.share > 0.25
    assert found.test.z > 2


@pytest.mark.parametrize("signal", list(SIGNALS))
def test_forecast_that_knows_the_future_is_found_out(signal: str) -> None:
    data = prepare(compose(*history(signal, 0, DAYS)))
    assert data.panel.expected is not None
    y_true, best = (values[data.split.test] for values in (data.panel.target, data.panel.expected))
    leaking = best + 0.1 * (y_true - best)
    error = gain(y_true, leaking, best)
    assert error.value == pytest.approx(0.19 * np.square(y_true - best).sum() / np.square(y_true).sum())
    assert error.z > 3
    assert faults(signal, "leaking", [Outcome(0.0, gain(y_true, leaking, 0.0), error, 0.0)])


def test_standard_error_of_a_gain_is_its_spread_over_histories() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(300):
        sigma = np.exp(0.5 * rng.standard_normal(500))  # not equally volatile
        gains.append(gain(sigma * rng.standard_normal(500), sigma * 0.1 * rng.standard_normal(500), 0.0))
    spread = float(np.std([g.value for g in gains]))
    assert float(np.mean([g.error for g in gains])) == pytest.approx(spread, rel=0.15)
