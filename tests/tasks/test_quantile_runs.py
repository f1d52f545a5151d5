"""trainer.loss=quantile in every kind of run: trained, evaluated, predicted, reproduced, and summed up in a sweep."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from tests.conftest import random_bars, write_bars

QUICK = ("report=false", "model=linear", "trainer.epochs=2", "data.window=10", "trainer.loss=quantile")
POOL = ("data.tickers=[AAA,BBB]",)
WALK = ("data.split=walk_forward", "data.folds=2")
RUNS = {
    "single": ("report=true",),
    "walk": (*POOL, *WALK, "data.horizon=5"),
    "ensemble": ("trainer.ensemble=2", "data.target=close"),
    "mapped": (*POOL, "data.memory_limit=0", "data.scaler=global"),
    "volatility": ("data.target=volatility", "data.horizon=5"),
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bars of two stocks."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(random_bars(400, seed=seed, ticker=ticker), folder)
    return folder


def source(bars: Path) -> tuple[str, ...]:
    return ("data=csv", f"data.dir={bars}", "stock.ticker=AAA")


@pytest.mark.parametrize("name", RUNS)
def test_a_quantile_run_is_judged_by_its_pinball_loss(
    bars: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    assert cli.main([*QUICK, "trainer.quantile=0.2", *source(bars), *RUNS[name], f"hydra.run.dir={folder}"]) == 0
    out, metrics = capsys.readouterr().out, json.loads((folder / "metrics.json").read_text())
    assert "pinball loss" in metrics["verdict"] and "targets lie below the forecast" in metrics["verdict"]
    assert "intervals   none: the forecast is a quantile itself" in out and "r2" not in out
    if name == "single":
        page = (folder / "report.html").read_text()
        assert "Targets below the forecast" in page and "Hit rate" not in page
    assert cli.main(["task=evaluate", f"run={folder}"]) == 0
    assert cli.main(["task=predict", f"run={folder}"]) == 0
    assert "y_pred is the 0.2 quantile of the target" in capsys.readouterr().out
    if name in ("single", "walk"):
        assert cli.main(["task=reproduce", f"run={folder}", f"hydra.run.dir={tmp_path / 'again'}", "report=false"]) == 0


def test_the_rivals_are_quantiles_of_the_train_split(bars: Path, tmp_path: Path) -> None:
    assert cli.main([*QUICK, "trainer.quantile=0.2", *source(bars), f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    close = random_bars(400, seed=0).columns["close"]
    returns = np.diff(np.log(close))[1:]  # of the days from the first row on, which is a change itself
    metadata = json.loads((tmp_path / "run/config.json").read_text())
    train = returns[9 : 9 + metadata["data"]["samples"]["train"]]
    with (tmp_path / "run/baselines.csv").open() as lines:
        test = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    assert [float(row["train_quantile"]) for row in test] == pytest.approx([np.quantile(train, 0.2)] * len(test))
    assert np.std([float(row["scaled_quantile"]) for row in test]) > 0


def test_a_sweep_of_quantile_runs_has_skills_and_its_best_job(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [*QUICK, "trainer.quantile=0.2", *source(bars), "trainer.lr=1e-3,1e-2", f"hydra.sweep.dir={tmp_path / 's'}"]
    assert cli.main(["-m", *sweep]) == 0
    with (tmp_path / "s/summary.csv").open() as lines:
        found = list(csv.DictReader(lines))
    assert all(
        row["skill"] and row["test_pinball"] and row["beats_baseline"] and "test_mse" not in row for row in found
    )
    best = min(found, key=lambda row: float(row["val_pinball"]))
    assert f"best on validation: {best['job']} (val_pinball" in capsys.readouterr().out
    assert "test_pinball" in (tmp_path / "s/summary.md").read_text()


def test_a_class_has_no_quantiles_and_another_stock_no_rivals(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*QUICK, "trainer.quantile=0.2", *source(bars), f"hydra.run.dir={tmp_path / 'run'}"]
    assert cli.main([*quick, "data.target=direction"]) == 2
    assert "the target is a class, 0 or 1, which has no quantiles" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main([*quick, *POOL, "data.target_normalize=csrank"]) == 2
    assert "trainer.loss=quantile: not with data.target_normalize=csrank" in capsys.readouterr().err
    assert cli.main(quick) == 0
    assert cli.main(["task=evaluate", f"run={tmp_path / 'run'}", "stock.ticker=BBB"]) == 2
    assert "evaluated on its own data only" in capsys.readouterr().err
