"""A pooled run: its files, and tasks on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from stockml import cli, compose
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, evaluate, predict, train
from tests.conftest import random_bars, write_bars

TICKERS = ("AAA", "BBB", "CCC", "DDD")
QUICK = ("report=false", "+experiment=quick", "model=mlp_flat", "data.window=20", "data=csv")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bars/<ticker>.csv and the runs `own` and `shared` of all stocks but the last, by their scaler."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, ticker in enumerate(TICKERS):
        write_bars(random_bars(300, seed=seed, ticker=ticker), folder / "bars")
    for name, scaler in (("own", "per_stock"), ("shared", "global")):
        pool = (f"data.dir={folder / 'bars'}", f"data.tickers=[{','.join(TICKERS[:3])}]", f"data.scaler={scaler}")
        config = compose.compose(*QUICK, *pool)
        train.run(config, RunLocation(exact=folder / name), compose.records(config))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("name", ["own", "shared"])
def test_the_scores_of_the_stocks_average_to_those_of_the_pool(runs: Path, name: str) -> None:
    test = json.loads((runs / name / "metrics.json").read_text())["test"]
    stocks = rows(runs / name / "stocks.csv")
    assert [row["ticker"] for row in stocks] == list(TICKERS[:3])
    counts, errors = (np.array([float(row[key]) for row in stocks]) for key in ("test_n", "test_mse"))
    assert counts.sum() == test["n"]
    assert counts @ errors / counts.sum() == pytest.approx(test["mse"], rel=1e-12)
    assert test["daily_ic"] is not None
    assert test["rank_icir"] is not None


@pytest.mark.parametrize("name", ["own", "shared"])
def test_it_is_evaluated_and_forecasts_what_it_tested(
    runs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.run(compose.compose("task=evaluate", f"run={runs / name}", tasks=TASKS))
    assert "identical to its metrics.json" in capsys.readouterr().out
    predict.run(compose.compose("task=predict", f"run={runs / name}", tasks=TASKS))
    tested = {
        (row["ticker"], row["date"]): row["y_pred"]
        for row in rows(runs / name / "predictions.csv")
        if row["split"] == "test"
    }
    forecasts = {(row["ticker"], row["date"]): row for row in rows(runs / name / "forecasts.csv")}
    assert {key: row["y_pred"] for key, row in forecasts.items() if row["y_true"]} == tested
    to_come = [row for row in forecasts.values() if not row["y_true"]]
    assert sorted(row["ticker"] for row in to_come) == list(TICKERS[:3])
    assert len({row["target_date"] for row in to_come}) == 1


def test_only_a_global_scaler_forecasts_an_unknown_stock(runs: Path) -> None:
    typed = ("task=predict", "data.tickers=[DDD]")
    assert cli.main([*typed, f"run={runs / 'shared'}"]) == 0
    assert cli.main([*typed, f"run={runs / 'own'}"]) == 2
    assert {row["ticker"] for row in rows(runs / "shared" / "forecasts.csv")} == {"DDD"}


def test_one_of_the_stocks_is_forecast_by_its_own_scaler(runs: Path) -> None:
    assert cli.main(["task=predict", f"run={runs / 'own'}", "data.tickers=[]", "stock.ticker=BBB"]) == 0
    alone = {row["date"]: row["y_pred"] for row in rows(runs / "own" / "forecasts_BBB.csv")}
    tested = rows(runs / "own" / "predictions.csv")
    assert all(
        alone[row["date"]] == row["y_pred"] for row in tested if (row["ticker"], row["split"]) == ("BBB", "test")
    )


def test_it_is_reproduced_and_ranks_train_as_one_process_does(runs: Path, tmp_path: Path) -> None:
    again = [f"run={runs / 'own'}", "task=reproduce", f"hydra.run.dir={tmp_path / 'again'}"]
    assert cli.main(again) == 0
    pool = (f"data.dir={runs / 'bars'}", f"data.tickers=[{','.join(TICKERS[:3])}]", "model.dropout=0")
    pairs = []
    for name, more in (
        ("one", ["trainer.batch_size=64"]),
        ("two", ["trainer=ddp", "trainer.world_size=2", "trainer.batch_size=32"]),
    ):
        typed = [*QUICK, *pool, *more, "hardware.precision=fp64", f"hydra.run.dir={tmp_path / name}"]
        assert cli.main(typed) == 0
        pairs.append(RunFolder(tmp_path / name).read_json("metrics.json")["test"]["mse"])
    assert pairs[0] == pytest.approx(pairs[1], rel=1e-8)


def test_a_run_reports_that_it_reads_from_a_file_and_shuffles_by_blocks(runs: Path, tmp_path: Path) -> None:
    for name, limit in (("file", 0), ("memory", 4)):
        pool = [f"data.dir={runs / 'bars'}", "data.tickers=all", f"data.memory_limit={limit}"]
        assert cli.main([*QUICK, *pool, f"hydra.run.dir={tmp_path / name}"]) == 0
        assert ("shuffled    by blocks of" in (tmp_path / name / "train.log").read_text()) == (name == "file")
    errors = [RunFolder(tmp_path / name).read_json("metrics.json")["test"]["mse"] for name in ("file", "memory")]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
