"""Each baseline forecasts what it says, from what was known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stockml import compose
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.evaluation import baselines, predictions
from stockml.evaluation.metrics import score, target
from tests.conftest import random_bars, write_bars


def scored(folder: Path, *overrides: str) -> tuple[Data, dict[str, Any]]:
    write_bars(random_bars(), folder)
    data = prepare(compose.compose("data=csv", f"data.dir={folder}", "stock.ticker=TEST", "data.window=5", *overrides))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    nothing = {part: np.zeros(len(rows)) for part, rows in baselines.scored_splits(data)}
    return data, predictions.evaluate(predictions.collect(data, batches, nothing), 1, synthetic=False)


@pytest.mark.parametrize("horizon", [1, 3])
def test_baselines_of_returns(tmp_path: Path, horizon: int) -> None:
    data, found = scored(tmp_path, f"data.horizon={horizon}")
    close, rows = random_bars().columns["close"][1:], data.split.test
    returns = np.log(close[horizon:] / close[:-horizon])  # returns[i] is known at the end of row i + horizon
    expected = {
        "zero": np.zeros(len(rows)),
        "train_mean": np.full(len(rows), data.panel.target[data.split.train].mean()),
        "expanding_mean": np.array([returns[: row - horizon + 1].mean() for row in rows]),
        "last_return": np.array([returns[row - horizon] for row in rows]),
    }
    for name, values in expected.items():
        wanted = score(target(data.panel, rows), values)
        for metric, value in wanted.items():
            assert found["baselines"][name]["test"][metric] == (value and pytest.approx(value, rel=1e-9)), (
                name,
                metric,
            )
    ups = data.panel.target[rows] > 0
    assert found["baselines"]["always_up"]["test"]["hit_rate"] == pytest.approx(ups.mean())
    assert found["baselines"]["always_up"]["test"]["mse"] is None
    assert set(found["baselines"]) == {*expected, "ridge", "always_up"}


def test_persistence_forecasts_the_last_close(tmp_path: Path) -> None:
    data, found = scored(tmp_path, "data.target=close")
    close = random_bars().columns["close"][1:]
    rows = data.split.test
    error = close[rows + 1] - close[rows]
    assert found["baselines"]["persistence"]["test"]["mse"] == pytest.approx(np.mean(error**2))
    assert found["baselines"]["persistence"]["test"]["r2_zero"] == 0
    assert found["best_baseline"] in ("persistence", "ridge")


def test_the_best_baseline_is_chosen_on_validation(tmp_path: Path) -> None:
    _, found = scored(tmp_path)
    errors = {name: parts["validation"]["mse"] for name, parts in found["baselines"].items() if name != "always_up"}
    assert errors[found["best_baseline"]] == min(e for e in errors.values() if e is not None)
