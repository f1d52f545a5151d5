"""What holds of days holds of weeks, months, hours and minutes, whatever the mode."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from stockml import cli, compose
from stockml.evaluation.predictions import Predictions
from stockml.reporting import predictions_file as written
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import train
from tests.conftest import metrics

Dates = NDArray[np.datetime64]


def _sessions(days: int, first: str, last: str, step: str) -> Dates:
    each = [
        pd.date_range(f"{day.date()} {first}", f"{day.date()} {last}", freq=step)
        for day in pd.bdate_range("2024-04-01", periods=days)
    ]
    return np.concatenate([one.to_numpy() for one in each])


FREQUENCIES = {
    "week": pd.date_range("2019-01-04", periods=160, freq="W-FRI").to_numpy(),
    "month": pd.date_range("2010-01-01", periods=160, freq="MS").to_numpy(),
    "bar": _sessions(26, "09:30", "15:30", "1h"),
    "bar, around the clock": pd.date_range("2024-04-01", periods=180, freq="1h").to_numpy(),
    "bar of 5 minutes": _sessions(3, "09:30", "15:55", "5min"),
}
QUICK = ("stock.ticker=A", "model=linear", "trainer.epochs=1", "data.window=4", "report=false")
POOL = ("data.tickers=all",)
MAPPED = ("data.tickers=all", "data.memory_limit=0")
FOLDS = ("data.split=walk_forward", "data.folds=3")
ROWS = {
    "week": ("data.horizon=5",),
    "month": (*POOL, *FOLDS),
    "bar": (*MAPPED, *FOLDS, "trainer.ensemble=2"),
    "bar, around the clock": (*POOL, "data.horizon=5"),
    "bar of 5 minutes": (),
}


def write(folder: Path, dates: Dates, bars: int) -> list[str]:
    """The first bars of two stocks as files of a folder; the settings that read them."""
    folder.mkdir(exist_ok=True)
    for seed, ticker in enumerate("AB"):
        rng = np.random.default_rng(seed)
        close = 100 * np.exp(np.cumsum(rng.standard_t(5, len(dates)) * 0.01))
        ends = close * np.exp(rng.normal(0, 0.003, (2, len(dates))))
        high, low = np.maximum(close, ends.max(axis=0)), np.minimum(close, ends.min(axis=0))
        columns = {"Date": dates, "Open": ends[0], "High": high, "Low": low, "Close": close}
        table = pd.DataFrame({**columns, "Volume": rng.integers(1_000, 9_000, len(dates))})
        table[:bars].to_csv(folder / f"{ticker}.csv", index=False)
    return ["data=csv", f"data.dir={folder}"]


def trained(folder: Path, *overrides: str) -> Path:
    config = compose.compose(*QUICK, *overrides)
    train.run(config, RunLocation(exact=folder), compose.records(config))
    return folder


def task(name: str, run: Path, *overrides: str) -> None:
    assert cli.main([f"task={name}", f"run={run}", "report=false", *overrides]) == 0


def of_test(run: Path) -> Predictions:
    return written.read(RunFolder(run))["test"]


@pytest.mark.parametrize("name", ROWS)
def test_a_run_is_forecast_evaluated_updated_and_reproduced_with_later_bars(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("exchange_calendars")
    dates, mode, noun = FREQUENCIES[name], ROWS[name], name.split(maxsplit=1)[0].rstrip(",")
    part = len(dates) * 4 // 5 + 2  # ends within a day
    old = write(tmp_path / "old", dates, part)
    new = write(tmp_path / "new", dates, len(dates))[1:]
    run, horizon = trained(tmp_path / "run", *old, *mode), 5 if "data.horizon=5" in mode else 1
    found, test = metrics(run), of_test(run)
    assert test.dates is not None
    text = capsys.readouterr().out
    assert f"test {noun}s" in text or f"stock-{noun}s" in text
    assert found["step"] == noun and " days" not in text and " day " not in found["verdict"]

    task("predict", run)
    with (run / "forecasts.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert np.datetime64(last["date"]) == dates[part - 1]
    assert np.datetime64(last["target_date"]) == dates[part - 1 + horizon]

    write(tmp_path / "old", dates, len(dates))
    task("reproduce", run)
    assert "reproduced: identical" in capsys.readouterr().out

    task("evaluate", run, *new)
    (path,) = (run / "evaluations").glob("*.json")
    task("update", run, *new, f"hydra.run.dir={tmp_path / 'updated'}")
    later = of_test(tmp_path / "updated")
    assert later.dates is not None and test.dates[-1] < later.dates[0]
    since = json.loads(path.read_text())["test"]["n"]
    assert since == len(test.rows) + len(later.rows)  # no bar between the tests is left out, none is counted twice
    capsys.readouterr()
    task("evaluate", tmp_path / "updated")
    assert "no forecasts of" not in capsys.readouterr().out


def test_a_chain_of_intraday_updates_equals_the_walk_forward_of_its_bars(tmp_path: Path) -> None:
    own = write(tmp_path / "bars", FREQUENCIES["bar"], 10_000)
    walk = trained(tmp_path / "walk", *own, "data.split=walk_forward", "data.folds=2", "trainer.warm_start=true")
    folds = json.loads((walk / "config.json").read_text())["data"]["folds"]
    first, second = (np.datetime64(fold["spans"]["test"][0]) for fold in folds)
    trained(tmp_path / "first", *own, f"data.test_start={first}", f"data.end={second}")
    task("update", tmp_path / "first", f"hydra.run.dir={tmp_path / 'second'}", "data.end=null")
    whole, parts = of_test(walk), [of_test(tmp_path / name) for name in ("first", "second")]
    assert np.array_equal(whole.model, np.concatenate([part.model for part in parts]))
    assert [part.dates[0] for part in parts if part.dates is not None] == [first, second]


def test_runs_of_intraday_bars_are_combined_bar_by_bar(tmp_path: Path) -> None:
    own = write(tmp_path / "bars", FREQUENCIES["bar"], 10_000)
    runs = [trained(tmp_path / str(seed), *own, f"seed={seed}") for seed in (0, 1)]
    together = tmp_path / "together"
    names = ",".join(map(str, runs))
    assert cli.main(["task=combine", f"runs=[{names}]", f"hydra.run.dir={together}", "report=false"]) == 0
    mean = (of_test(runs[0]).model + of_test(runs[1]).model) / 2
    assert np.allclose(of_test(together).model, mean)
