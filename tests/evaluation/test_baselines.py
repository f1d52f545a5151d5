"""Each baseline forecasts what its name says, from what was known at that time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stockml import compose
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.data.panel import Panel
from stockml.evaluation import baselines, predictions
from stockml.evaluation.baselines import BASELINES, Baseline
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.metrics import score
from stockml.evaluation.truth import target
from stockml.reporting import score_sections
from tests.conftest import Run, random_bars, write_bars


def scored(folder: Path, *overrides: str) -> tuple[Data, dict[str, Any]]:
    write_bars(random_bars(), folder)
    data = prepare(compose.compose("data=csv", f"data.dir={folder}", "stock.ticker=TEST", "data.window=5", *overrides))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    nothing = {split: np.zeros(len(rows)) for split, rows in baselines.scored_splits(data)}
    return data, evaluate(predictions.collect(data, batches, nothing), 1, synthetic=False)


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
        wanted = score(target(data.panel, rows, expected["expanding_mean"]), values)
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
    assert found["best_baseline"] in ("persistence", "persistence_with_drift", "ridge")


@pytest.mark.parametrize("horizon", [1, 3])
def test_persistence_with_drift_adds_the_mean_change_that_is_known(tmp_path: Path, horizon: int) -> None:
    data, found = scored(tmp_path, "data.target=close", f"data.horizon={horizon}")
    close, rows = random_bars().columns["close"][1:], data.split.test
    changes = close[horizon:] / close[:-horizon] - 1
    expected = np.array([close[row] * (1 + changes[: row - horizon + 1].mean()) for row in rows])
    of = found["baselines"]["persistence_with_drift"]["test"]
    assert of["mse"] == pytest.approx(np.mean((expected - close[rows + horizon]) ** 2), rel=1e-9)
    assert of["r2_ct"] == 0
    assert list(found["significance"]["against"])[:2] == ["zero", "persistence_with_drift"]


def test_until_a_return_is_known_the_last_one_is_zero_as_is_the_mean(tmp_path: Path) -> None:
    panel = scored(tmp_path, "data.horizon=7")[0].panel  # a stock that comes late is scored from its fifth row on
    found = dict(baselines.naive(panel, np.zeros(len(panel.target))))
    for name in ("last_return", "expanding_mean"):
        assert not found[name][:7].any() and np.isfinite(found[name]).all() and found[name][7:].all()


def test_the_best_baseline_is_chosen_on_validation(tmp_path: Path) -> None:
    _, found = scored(tmp_path)
    errors = {name: splits["validation"]["mse"] for name, splits in found["baselines"].items() if name != "always_up"}
    assert errors[found["best_baseline"]] == min(e for e in errors.values() if e is not None)


def _knows_half(panel: Panel, _train_mean: NDArray[np.float64]) -> NDArray[np.float64]:
    return panel.target / 2


def _no_data(_panel: Panel, _train_mean: NDArray[np.float64]) -> None:
    return None


@pytest.mark.parametrize("direction_only", [False, True])
def test_a_baseline_added_to_the_register_is_in_every_table_and_is_the_best_one_where_it_is_best(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    direction_only: bool,
) -> None:
    monkeypatch.setitem(BASELINES, "half", Baseline("half", _knows_half, direction_only=direction_only))
    monkeypatch.setitem(BASELINES, "levels", Baseline("levels", _knows_half, frozenset({"level"})))
    monkeypatch.setitem(BASELINES, "none", Baseline("none", _no_data))
    found = run("a", "+experiment=quick", "data.days=400")
    assert {"levels", "none"}.isdisjoint(found["baselines"])
    assert found["baselines"]["half"]["test"]["hit_rate"] == 1
    assert (found["baselines"]["half"]["test"]["mse"] is None) == direction_only
    assert (found["best_baseline"] == "half") != direction_only
    assert ("half" in found["significance"]["against"]) != direction_only
    assert ("than half, the best baseline on validation" in found["verdict"]) != direction_only
    assert "half" in (tmp_path / "a" / "baselines.csv").read_text().splitlines()[0].split(",")
    name = "half" if direction_only else "half *"
    assert f" {name} " in capsys.readouterr().out
    assert name in [row[0] for row in score_sections.score_table(found, "test").rows]


def test_a_model_is_not_compared_with_the_baseline_of_its_name(tmp_path: Path) -> None:
    write_bars(random_bars(), tmp_path)
    data = prepare(compose.compose("data=csv", f"data.dir={tmp_path}", "stock.ticker=TEST", "data.window=5"))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    for name in ("ridge", "zero"):
        assert BASELINES.keys() - baselines.forecasts(data, batches, name)["test"].keys() >= {name}
    assert {"ridge", "zero"} <= baselines.forecasts(data, batches, "mlp")["test"].keys()
