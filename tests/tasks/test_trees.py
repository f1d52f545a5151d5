"""Runs of trees are used like any other: in every mode they are reproduced, and forecast digit for digit."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from stockml.errors import Interrupted
from stockml.reporting.terminal import RunLog
from stockml.training.interface import EpochStats
from tests.conftest import Run, command, metrics, require_not_imported

SHORT = ("data.days=500", "data.window=6", "data.signal=strong", "model.days=3", "hardware=cpu")
BOOSTED = ("model=lightgbm", *SHORT, "model.rounds=12", "model.min_data_in_leaf=30", "trainer.min_delta=0")
DRAWING = "model.feature_fraction=0.5"
POOL = "data.tickers=[AAPL,JPM,XOM]"
MODES = {
    "single": (*BOOSTED, "data.horizon=5"),
    "pool": (*BOOSTED, POOL, "data.scaler=global", "trainer.loss=mae"),
    "mapped": (*BOOSTED, POOL, "data.memory_limit=0"),
    "folds": (*BOOSTED, "data.split=walk_forward", "data.folds=3"),
    "members": (*BOOSTED, DRAWING, "trainer.ensemble=3"),
    "forests": ("model=extra_trees", *SHORT, POOL, "model.n_estimators=4", "trainer.ensemble=2"),
    "kernels": ("model=svr", *SHORT),
}


def forecasts(path: Path) -> dict[tuple[str, str], str]:
    """The forecasts of a file by day and ticker, as they are written; of predictions those of the test."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("split", "test") == "test"]
    return {(row["date"], row["ticker"]): row["y_pred"] for row in rows}


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_reproduced_and_used_in_every_mode(
    mode: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", *MODES[mode])
    for task in ("reproduce", "evaluate", "predict"):
        export = ["export.onnx=true"] if task == "predict" and mode not in ("mapped", "forests") else []
        assert cli.main([f"task={task}", f"run={tmp_path / 'a'}", *export]) == 0, capsys.readouterr()
        assert task == "predict" or "identical" in capsys.readouterr().out
    own, again = forecasts(tmp_path / "a" / "predictions.csv"), forecasts(tmp_path / "a" / "forecasts.csv")
    assert len(set(own.values())) > 5
    assert {key: again[key] for key in own} == own
    assert (tmp_path / "a" / "model.onnx").exists() == bool(export)  # its forecasts are compared before it is written


def interrupt_at(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    report = RunLog.epoch

    def reported(log: RunLog, stats: EpochStats, total: int) -> None:
        report(log, stats, total)
        if stats.epoch == epoch:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunLog, "epoch", reported)


@pytest.mark.parametrize(("more", "note"), [((), "5 epochs are done already"), ((DRAWING,), "begins again")])
def test_an_interrupted_run_is_continued_to_the_same_result(
    more: tuple[str, ...], note: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = (*BOOSTED, "trainer.patience=null", *more)
    run("whole", *typed)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_at(5, patch)
        run("cut", *typed)
    assert json.loads((tmp_path / "cut" / "result.json").read_text())["status"] == "interrupted"
    run("cut", *typed, f"trainer.resume={tmp_path / 'cut'}")
    assert note in (tmp_path / "cut" / "train.log").read_text()
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    for name in ("best.pt", "predictions.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [np.genfromtxt(tmp_path / name / "history.csv", delimiter=",", skip_header=1) for name in ("cut", "whole")]
    assert rows[0][:, :4].tolist() == rows[1][:, :4].tolist() and len(rows[0]) == 12


def test_a_sweep_s_jobs_use_several_threads(tmp_path: Path) -> None:
    typed = ("seed=1,2", "hardware.threads=2")
    done = command("-m", *BOOSTED, *typed, f"hydra.sweep.dir={tmp_path / 'sweep'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_models_import_nothing_of_the_libraries(tmp_path: Path) -> None:
    heavy = {"lightgbm", "sklearn", "skops", "onnxmltools", "skl2onnx"}
    require_not_imported(heavy, "model=ridge", *SHORT[:3], "report=false", cwd=tmp_path)
