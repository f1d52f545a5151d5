"""task=explain: what the forecasts of a run depend on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stockml import Result, cli, compose
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.models import names
from stockml.models.ensemble import Ensemble
from stockml.runs.folder import RunFolder
from stockml.tasks import TASKS
from stockml.tasks.predictor import Predictor
from stockml.training import explaining
from tests.campaigns.explain import MODELS, rates
from tests.campaigns.explain import explained as of_history
from tests.conftest import Run

QUICK = ("+experiment=quick", "data.days=400", "data.window=7", "hardware=cpu")
MODES = {
    "single": ("model=gru", "model.hidden_dim=8"),
    "ahead": ("model=linear", "data.horizon=5", "data.valid_ratio=0.3"),
    "walk": ("model=mlp_flat", "data.split=walk_forward", "data.folds=3"),
    "ensemble": ("model=mlp_flat", "trainer.ensemble=3"),
    "pool": ("model=linear", "data.tickers=[AAPL,TSLA,XOM]", "trainer.loss=mae"),
    "ranks": ("model=linear", "data.tickers=[AAPL,TSLA,XOM]", "data.target_normalize=csrank"),
}


def explained(folder: Path, *overrides: str, split: str = "importance") -> dict[str, Any]:
    """What task=explain finds of a run."""
    assert cli.main(["task=explain", f"run={folder}", *overrides]) == 0
    found: dict[str, Any] = json.loads((folder / f"{split}.json").read_text())
    return found


@pytest.mark.parametrize("mode", MODES)
def test_any_run_is_explained_alike_each_time_and_stays_as_it_is(mode: str, run: Run, tmp_path: Path) -> None:
    run("run", *QUICK, *MODES[mode])
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    found = explained(tmp_path / "run")
    assert explained(tmp_path / "run") == found
    assert {path: path.read_bytes() for path in before} == before
    assert {row["feature"] for row in found["features"]} == {"open", "high", "low", "close", "volume"}
    importances = [row["importance"] for row in found["features"]]
    assert importances == sorted(importances, reverse=True)
    assert all(row["lower_95"] <= row["importance"] <= row["upper_95"] for row in found["features"])
    assert all(row["attribution"] > 0 for row in found["features"] + found["days"])
    assert found["completeness_error"] < 0.02
    assert sum(row["last_day"] - row["first_day"] + 1 for row in found["days"]) == 7
    table = Result(tmp_path / "run").table("importance.csv")
    assert table["importance"].tolist() == importances
    assert (tmp_path / "run" / "importance_days.csv").read_text().startswith("first_day,last_day,importance,lower_95,")


def test_importances_and_attributions_of_a_linear_model_are_those_of_their_formulas(run: Run, tmp_path: Path) -> None:
    run("run", *QUICK, "model=linear")
    config = compose.compose("task=explain", f"run={tmp_path / 'run'}", tasks=TASKS)
    fold = Predictor.load(RunFolder(tmp_path / "run"), config).folds[0]
    data = dataset.prepare(config)
    rows = torch.from_numpy(data.split.validation)
    samples = explaining.Samples(
        Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32),
        rows,
        torch.stack([torch.arange(len(rows)).roll(shift) for shift in (3, 11)]),
    )
    windows = np.stack([data.panel.values[row - 6 : row + 1] for row in rows.tolist()]).astype(np.float64)
    (weights,) = (p.detach().numpy().reshape(7, 5) for name, p in fold.model.named_parameters() if p.numel() == 35)
    group = (slice(2, 7), slice(1, 2))
    own = (windows * weights)[:, 2:7, 1].sum(1)
    y, forecasts = samples.targets.numpy(), fold.model(torch.from_numpy(windows).float()).detach().numpy()
    rises = [np.square(y - forecasts - own[other] + own) - np.square(y - forecasts) for other in samples.others.numpy()]
    found = explaining.loss_increases(
        fold.model, samples, [group], config.trainer, Predictor.load(RunFolder(tmp_path / "run"), config).chosen
    )
    np.testing.assert_allclose(found[0], np.mean(rises, axis=0), atol=1e-5)
    each, missed = explaining.attributions(fold.model, samples, [group], explaining.GRADIENTS)
    np.testing.assert_allclose(each[0], own, atol=1e-5)
    np.testing.assert_allclose(missed, 0, atol=1e-5)


class _Doubling(nn.Module):
    """Knows its own contributions, and has no gradients."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.contributions(x).sum((1, 2)).numpy())

    def contributions(self, x: Tensor) -> Tensor:
        return self.factor * x


class _Opaque(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().sum((1, 2)))


def test_contributions_of_a_module_s_own_are_taken_and_averaged_over_members(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset.prepare(compose.compose("data.days=300", "data.window=7"))
    rows = torch.from_numpy(data.split.validation)
    samples = explaining.Samples(
        Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32), rows, torch.arange(len(rows))[None]
    )
    model = Ensemble([_Doubling(1.0), _Doubling(3.0)])
    assert explaining.attribution_method(model, samples) == (explaining.SHAP, "")
    each, missed = explaining.attributions(model, samples, [(slice(None), slice(3, 4))], explaining.SHAP)
    values = np.stack([data.panel.values[row - 6 : row + 1, 3] for row in rows.tolist()])
    np.testing.assert_allclose(each[0], 2 * values.sum(1), rtol=1e-5)
    assert not missed.any()
    assert explaining.attribution_method(_Opaque(), samples)[0] is None
    monkeypatch.setitem(sys.modules, "captum", None)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(35, 1), nn.Flatten(0))
    assert explaining.attribution_method(linear, samples) == (
        None,
        "integrated gradients need captum: pip install 'stockml[explain]'",
    )


def test_a_panel_in_its_file_and_one_in_memory_are_explained_alike(run: Run, tmp_path: Path) -> None:
    for name, limit in {"memory": "4", "file": "0"}.items():
        run(name, *QUICK, "model=ridge", "data.tickers=[AAPL,TSLA,XOM]", f"data.memory_limit={limit}")
    assert explained(tmp_path / "memory") == explained(tmp_path / "file")


def test_expressions_have_their_names_and_few_samples_those_of_every_nth_day(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", *QUICK, "model=linear", "features=alpha158", "data.window=1", "data.valid_ratio=0.8")
    found = explained(tmp_path / "run", "explain.samples=100", "explain.repeats=1")
    assert (len(found["features"]), found["day_step"]) == (158, 3)
    assert 50 < found["samples"] <= 100
    assert {"KMID", "VSUMD60"} < {row["feature"] for row in found["features"]}
    assert "and 133 more\n" in capsys.readouterr().out


def test_a_page_is_drawn_again_and_the_test_is_looked_at_apart(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", *QUICK, "model=linear", "report=true")
    before = explained(tmp_path / "run")
    test = explained(tmp_path / "run", "explain.split=test", split="importance_test")
    assert "note        explain.split=test looks at the test: choose" in capsys.readouterr().out
    assert (test["split"], test["synthetic"]) == ("test", True)
    assert json.loads((tmp_path / "run" / "importance.json").read_text()) == before
    page, plots = (tmp_path / "run" / "report.html").read_text(), Result(tmp_path / "run").plots()
    for split, name in {"validation": "importance", "test": "importance_test"}.items():
        assert f"What the forecasts depend on, {split}" in page
        assert {name, f"{name}_days"} <= plots.keys()
        assert (tmp_path / "run" / "plots" / f"{name}.png").exists()


def test_a_run_of_several_ranks_is_explained(two_ranks: Path) -> None:
    assert explained(two_ranks)["samples"] > 0


def test_arrays_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 4, 2)).astype(np.float32), rng.standard_normal(500).astype(np.float32)
    y += x[:, -1, 1]
    np.savez("a.npz", X_train=x[:400], y_train=y[:400], X_test=x[400:], y_test=y[400:])
    assert cli.main(["data=npz", "data.path=a.npz", "model=ridge", "report=false", "hydra.run.dir=run"]) == 0
    found = explained(Path("run"))
    assert (found["features"][0]["feature"], found["first"]) == ("x1", "")
    assert max(found["days"], key=lambda row: row["importance"])["last_day"] == 0


@pytest.mark.parametrize("model", [model for model in MODELS if model in names()])
def test_a_signal_comes_first_and_most_intervals_of_useless_features_hold_zero(model: str) -> None:
    first, holding = rates([of_history(model, "1 day", seed) for seed in range(2)])
    assert first == 1
    assert holding >= 0.75
