"""Every task works on data that stay in their file (data.memory_limit), with the numbers of data in memory."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli, compose
from stockml.data.dataset import load_panel
from tests.conftest import random_bars, write_bars

TICKERS = ("AAA", "BBB", "CCC")
QUICK = ("report=false", "+experiment=quick", "model=mlp_flat", "data.memory_limit=0")
RUNS = {
    "own": ("data.scaler=per_stock",),
    "shared": ("data.scaler=global",),
    "walk": ("data.split=walk_forward", "data.folds=2"),
    "ensemble": ("trainer.ensemble=2", "trainer.epochs=1"),
    "both": ("data.split=walk_forward", "data.folds=2", "trainer.ensemble=2", "trainer.epochs=1"),
}


def save_arrays(path: Path, seed: int = 0) -> Path:
    """Windows of a series, one day after another, that are not scaled by anyone."""
    series = np.random.default_rng(seed).standard_normal((320, 2))
    x = np.stack([series[start : start + 10] for start in range(300)]).astype(np.float32)
    y = np.roll(series[:, 0], -10)[:300]
    np.savez(path, X_train=x[:240], y_train=y[:240], X_test=x[241:], y_test=y[241:])
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bars/<ticker>.csv, a.npz, and mapped runs of them, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, ticker in enumerate(TICKERS):
        write_bars(random_bars(300, seed=seed, ticker=ticker), folder / "bars")
    pool = ("data=csv", f"data.dir={folder / 'bars'}", f"data.tickers=[{','.join(TICKERS)}]", "data.window=20")
    for name, more in RUNS.items():
        assert cli.main([*QUICK, *pool, *more, f"hydra.run.dir={folder / name}"]) == 0
    arrays = ("data=npz", f"data.path={save_arrays(folder / 'a.npz')}")
    assert cli.main([*QUICK, *arrays, f"hydra.run.dir={folder / 'arrays'}"]) == 0
    return folder


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    """The runs, to be written to."""
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


def rows(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Of a table, by ticker and date."""
    with path.open() as lines:
        return {
            (row["ticker"], row["date"]): row for row in csv.DictReader(lines) if row.get("split", "test") == "test"
        }


def forecasts(run: Path, *overrides: str) -> dict[tuple[str, str], str]:
    """What task=predict forecasts, by ticker and date."""
    assert cli.main(["task=predict", f"run={run}", *overrides]) == 0
    return {key: row["y_pred"] for key, row in rows(run / "forecasts.csv").items()}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_forecasts_what_it_tested_and_what_it_forecasts_in_memory(copy: Path, name: str) -> None:
    tested = {key: row["y_pred"] for key, row in rows(copy / name / "predictions.csv").items()}
    found = forecasts(copy / name)
    assert {key: found[key] for key in tested} == tested
    assert set(found) - set(tested)
    in_memory = forecasts(copy / name, "data.memory_limit=4")
    assert {key: float(value) for key, value in found.items()} == pytest.approx(
        {key: float(value) for key, value in in_memory.items()}, rel=1e-4, abs=1e-7
    )


@pytest.mark.parametrize("name", [*RUNS, "arrays"])
def test_a_run_is_evaluated_and_reproduced(copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["task=evaluate", f"run={copy / name}"]) == 0
    assert cli.main(["task=reproduce", f"run={copy / name}", "report=false", f"hydra.run.dir={copy / 'again'}"]) == 0
    printed = capsys.readouterr().out
    assert "identical to its metrics.json" in printed and "reproduced: identical" in printed


def evaluated(run: Path, *overrides: str) -> dict[str, Any]:
    """The test scores on other data."""
    shutil.rmtree(run / "evaluations", ignore_errors=True)
    assert cli.main(["task=evaluate", f"run={run}", *overrides]) == 0
    (path,) = (run / "evaluations").iterdir()
    scores: dict[str, Any] = json.loads(path.read_text())["test"]
    return scores


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_evaluated_on_other_bars(copy: Path, name: str) -> None:
    shutil.copytree(copy / "bars", copy / "elsewhere")
    then = json.loads((copy / name / "metrics.json").read_text())["test"]
    assert evaluated(copy / name, f"data.dir={copy / 'elsewhere'}") == then


def test_a_run_is_evaluated_on_other_arrays(copy: Path) -> None:
    path = save_arrays(copy / "b.npz", seed=1)
    mapped, in_memory = (evaluated(copy / "arrays", f"data.path={path}", f"data.memory_limit={n}") for n in (0, 4))
    assert mapped["mse"] == pytest.approx(in_memory["mse"], rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs stockml[onnx]")
@pytest.mark.parametrize("limit", [0, 4])
def test_a_run_is_exported(copy: Path, limit: int) -> None:
    assert cli.main(["task=predict", "export.onnx=true", f"run={copy / 'shared'}", f"data.memory_limit={limit}"]) == 0
    assert (copy / "shared" / "model.onnx").is_file()


def test_arrays_are_audited_as_they_are_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for limit in (0, 4):
        path = save_arrays(tmp_path / "a.npz")
        cli.main(["task=audit", "data=npz", f"data.path={path}", f"data.memory_limit={limit}", "model=linear"])
        printed = capsys.readouterr()
        assert printed.err.count("\n") <= 1
        found.append([line for line in printed.out.splitlines() if "passed" in line or "FAILED" in line])
    assert found[0] == found[1] and len(found[0]) > 4


def test_a_copy_of_mapped_values_is_in_memory(runs: Path) -> None:
    config = compose.compose("data=npz", f"data.path={runs / 'a.npz'}", "data.memory_limit=0")
    panel, _ = load_panel(config)
    assert panel.mapped
    assert not dataclasses.replace(panel, values=panel.values.copy()).mapped
    assert not dataclasses.replace(panel, values=np.concatenate([panel.values, panel.values], axis=-1)).mapped


def test_an_evaluation_is_labelled_with_the_stock_of_its_file(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_arrays(copy / "OTHER.npz", seed=1)
    assert cli.main(["task=evaluate", f"run={copy / 'arrays'}", f"data.path={path}"]) == 0
    assert "data        OTHER from " in capsys.readouterr().out
    assert [one.name[:6] for one in (copy / "arrays" / "evaluations").iterdir()] == ["OTHER_"]


def test_a_run_is_continued_from_bars_that_were_moved(copy: Path, tmp_path: Path) -> None:
    bars = shutil.copytree(copy / "bars", tmp_path / "moved")
    once = ("report=false", "data=csv", "stock.ticker=AAA", "data.window=20", "model=mlp_flat")
    run = f"hydra.run.dir={copy / 'one'}"
    assert cli.main([*once, "trainer.epochs=1", f"data.dir={copy / 'bars'}", run]) == 0
    shutil.rmtree(copy / "bars")
    resumed = [f"trainer.resume={copy / 'one'}", f"data.dir={bars}"]
    assert cli.main([*resumed, "trainer.epochs=2"]) == 0
    write_bars(random_bars(300, seed=9, ticker="AAA"), bars)
    assert cli.main([*resumed, "trainer.epochs=3"]) == 2  # other bars
