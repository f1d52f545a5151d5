"""What the jobs of a sweep share: they have the numbers of single runs, and nothing of one reaches another."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stockml import cli
from stockml.compose import compose
from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.data.dataset import Data
from stockml.data.sources.csv import table_files
from stockml.processes import job_pool
from stockml.tasks import shared_data
from stockml.tasks.shared_data import SharedData
from tests.conftest import metrics, random_bars

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=2", "report=false")
pytestmark = pytest.mark.skipif(job_pool.START_METHOD != "fork", reason="data are shared by forking")


def test_jobs_that_share_data_are_their_single_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    readings, prepare = tmp_path / "readings", dataset.prepare_folds

    def counted(config: Config) -> list[Data]:
        with readings.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return prepare(config)

    monkeypatch.setattr(dataset, "prepare_folds", counted)
    modes = ["model=linear,ridge", "data.horizon=5", "data.split=holdout,walk_forward", "data.folds=2"]
    assert cli.main(["-m", *QUICK, *modes, "hydra.sweep.dir=x"]) == 0
    assert readings.read_text().split() == [str(os.getpid())] * 2  # for 4 jobs
    single = ["model=linear", "data.horizon=5", "data.split=walk_forward", "data.folds=2"]
    assert cli.main([*QUICK, *single, "hydra.run.dir=y"]) == 0
    (job,) = Path("x").glob("*linear*walk*")
    assert metrics(job) == metrics(Path("y"))
    for name in ("predictions.csv", "baselines.csv", "folds/1/best.pt"):
        assert (job / name).read_bytes() == (Path("y") / name).read_bytes()


def test_a_long_file_is_read_once_for_the_jobs_of_its_stocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    each = [random_bars(100, seed=seed, ticker=ticker) for seed, ticker in enumerate(("AAA", "BBB", "CCC"))]
    table = pd.concat(pd.DataFrame({"date": x.dates, **x.columns, "ticker": x.ticker}) for x in each)
    table.to_csv("long.csv", index=False)
    whole = table_files.whole

    def counted(*arguments: Any, **settings: Any) -> table_files.Table:
        with Path("readings").open("a") as file:
            file.write("once ")
        return whole(*arguments, **settings)

    monkeypatch.setattr(table_files, "whole", counted)
    bars = ("data=csv", "data.path=long.csv", "data.window=5", "model=ridge", "report=false")
    assert cli.main(["-m", *bars, "stock.ticker=AAA,BBB,CCC", "hydra.sweep.dir=x"]) == 0
    assert Path("readings").read_text() == "once "
    assert cli.main([*bars, "stock.ticker=BBB", "hydra.run.dir=y"]) == 0
    assert metrics(Path("x") / "BBB") == metrics(Path("y"))


def shared(*typed: str) -> Data:
    config = compose(*QUICK, *typed)
    (found,) = SharedData([config, config]).folds(config, 1) or []
    return found


def test_a_job_cannot_write_into_what_it_shares() -> None:
    data = shared()
    assert data.forecasts is not None
    for array in (
        data.panel.values,
        data.panel.target,
        data.split.train,
        data.scaler.mean,
        data.forecasts["test"]["ridge"],
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_what_a_job_writes_all_the_same_reaches_no_other(tmp_path: Path) -> None:
    data = shared()
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    before = data.panel.values.copy()

    def write() -> float:
        batches.values.zero_()  # tensors have no flag that forbids it
        return float(batches.values.abs().sum())

    def read() -> float:
        return float(batches.values.abs().sum())

    calls = [job_pool.Call(functools.partial(_itself, call), tmp_path / "log") for call in (write, read)]
    values = [event[1].value for event in job_pool.run_each(calls, cores=1, at_once=1) if event and event[1]]
    assert values == [0, read()] and read() > 0
    assert np.array_equal(data.panel.values, before)


def _itself(call: Callable[[], float]) -> Callable[[], float]:
    return call


def test_data_are_read_here_only_for_several_jobs_and_kept_until_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    once, often = compose(*QUICK, "stock=XOM"), compose(*QUICK, "stock=AAPL")
    found = SharedData([once, often, often])
    assert found.folds(once, 1) is None
    assert found.folds(often, 1) is not None and any(found._kept.values())
    assert found.folds(often, 1) is not None and not any(found._kept.values())
    search = SharedData([])  # whose jobs are not known beforehand
    assert [search.folds(often, 1) is None for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(shared_data, "_MOST_BYTES", 1000)
    assert SharedData([often, often]).folds(often, 1) is None


@pytest.mark.parametrize(
    "typed",
    [("data.tickers=[AAPL,XOM]",), ("data=csv", "data.dir=nowhere"), ("trainer=ddp",)],
    ids=["pooled", "missing", "ranks"],
)
def test_a_job_reads_by_itself_what_is_not_shared(typed: tuple[str, ...]) -> None:
    config = compose(*typed)
    assert SharedData([config, config]).folds(config, 1) is None


def test_a_job_of_several_threads_forecasts_the_baselines_itself() -> None:
    config = compose(*QUICK)
    found = SharedData([config, config]).folds(config, 2)
    assert found is not None and found[0].forecasts is None
