"""Sweeps, as they are typed: every job in a folder of its own, and one table, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LEDGER, ROOT, Run, command, random_bars, write_bars
from tests.tasks.sweeps import (
    BATCH,
    ENDLESS,
    LAUNCHERS,
    SEVEN,
    both_launchers,
    only_sweep,
    rows,
    running,
    snapshot,
    statuses,
    wait_for_checkpoint,
)
from tests.tasks.test_train import identical

# The batch of seven.

Batch = tuple[tuple[str, ...], Path]

SIMULATED: tuple[str, ...] = ("data.days=400", "trainer.epochs=3")
REAL = ("data=csv", "data.start=2018-01-01", "trainer.epochs=2")


@pytest.fixture(scope="module", params=["basic", "joblib", "real"])
def batch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """A sweep of seven under each launcher, and one on real bars under joblib: what was typed, and its folder."""
    settings, launcher = SIMULATED, request.param
    if launcher == "real":
        settings, launcher = (*REAL, f"data.dir={request.getfixturevalue('market') / 'ohlcv'}"), "joblib"
    cwd = tmp_path_factory.mktemp("batch")
    done = command(*BATCH, *settings, *LAUNCHERS[launcher], cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    (cwd / "stdout").write_text(done.stdout)
    return settings, only_sweep(cwd)


def test_seven_stocks_end_in_seven_folders_and_one_table(batch: Batch) -> None:
    _, folder = batch
    assert re.fullmatch(r"\d{8}_\d{6}", folder.name)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(SEVEN)
    assert {path.name for path in folder.parent.parent.iterdir()} == {"multirun", "stdout", *LEDGER}
    assert statuses(folder) == dict.fromkeys(SEVEN, "ok")
    assert [row["stock"] for row in rows(folder).values()] == list(SEVEN)


def test_a_job_is_bit_identical_to_a_run_alone_under_either_launcher_and_in_any_order(
    batch: Batch, run: Run, tmp_path: Path
) -> None:
    settings, folder = batch
    for stock in reversed(SEVEN):
        run(stock, *settings, f"stock={stock}")
        assert identical(tmp_path / stock, folder / stock)


def test_the_table_says_what_the_jobs_metrics_say(batch: Batch) -> None:
    _, folder = batch
    for job, row in rows(folder).items():
        metrics = json.loads((folder / job / "metrics.json").read_text())
        rival = metrics["baselines"][metrics["best_baseline"]]
        assert float(row["val_mse"]) == metrics["validation"]["mse"]
        assert float(row["test_r2_zero"]) == metrics["test"]["r2_zero"]
        assert int(row["best_epoch"]) == metrics["timing"]["best_epoch"]
        assert row["best_baseline"] == metrics["best_baseline"]
        assert (row["beats_baseline"] == "true") == (metrics["test"]["mse"] < rival["test"]["mse"])


def test_a_sweep_prints_a_line_a_job_and_the_table_while_each_log_holds_its_epochs(batch: Batch) -> None:
    _, folder = batch
    printed = (folder.parent.parent / "stdout").read_text()
    assert "epoch 1/" not in printed
    for job in SEVEN:
        assert len(re.findall(rf"^{job} +ok .*\bdone", printed, re.MULTILINE)) == 1
        assert len(re.findall(rf"^ *{job} +ok +\d+ +[+-]", printed, re.MULTILINE)) == 1
        assert "epoch 1/" in (folder / job / "train.log").read_text()
    assert f"{folder / 'summary.csv'}" in printed


# Failures.

THREE = ("AAPL", "JNJ", "XOM")


def test_a_broken_file_costs_its_own_row_alone_until_it_is_mended(tmp_path: Path) -> None:
    for number, stock in enumerate(THREE):
        write_bars(random_bars(300, seed=number, ticker=stock), tmp_path / "bars")
    broken = tmp_path / "bars" / "JNJ.csv"
    sound = broken.read_text()
    broken.write_text(sound.replace("\n", "\nyesterday", 1))
    typed = ("-m", f"stock={','.join(THREE)}", "data=csv", "data.dir=bars", "data.window=5", "trainer.epochs=1")
    for launcher, choice in LAUNCHERS.items():
        folder = tmp_path / f"{launcher}, x=1"
        done = command(*typed, *choice, f"hydra.sweep.dir='{folder.name}'", cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert statuses(folder) == {**dict.fromkeys(THREE, "ok"), "JNJ": "failed"}
        assert re.search(r"JNJ\.csv.*line 2.*yesterday", rows(folder)["JNJ"]["error"])
        assert re.search(r"JNJ: failed: .*JNJ\.csv.*\n1 of 3 jobs", done.stderr)
        assert "yesterday" in (folder / "JNJ" / "train.log").read_text()

    broken.write_text(sound)
    before = {stock: snapshot(folder / stock) for stock in THREE}
    remedy = re.search(r"are not done; .*: python run\.py (.*)", done.stderr)
    assert remedy is not None
    again = command(*shlex.split(remedy[1]), cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert statuses(folder) == dict.fromkeys(THREE, "ok")
    assert [stock for stock in THREE if snapshot(folder / stock) != before[stock]] == ["JNJ"]


@both_launchers
def test_a_job_that_is_killed_costs_no_other(tmp_path: Path, launcher: str) -> None:
    typed = ("-m", "trainer.epochs=1000000,1,2", *ENDLESS[:2], *LAUNCHERS[launcher])
    with running(*typed, cwd=tmp_path) as (process, _):
        folder = wait_for_checkpoint(tmp_path, "AAPL-epochs_1000000")
        os.kill(json.loads((folder / "result.json").read_text())["pid"], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert list(statuses(folder.parent).values()) == ["failed", "ok", "ok"]
    assert "killed (SIGKILL)" in rows(folder.parent)[folder.name]["error"]
    assert f"{folder.name}: failed: killed (SIGKILL)" in err and "\n1 of 3 jobs" in err


def test_the_first_failure_ends_a_sweep_that_is_to_fail_fast(tmp_path: Path) -> None:
    write_bars(random_bars(400, ticker="GOOD"), tmp_path / "bars")
    typed = ("-m", "stock.ticker=MISSING,GOOD,LATER", "data=csv", "data.dir=bars", *ENDLESS[1:])
    done = command(*typed, "sweep.fail_fast=true", *LAUNCHERS["joblib"], cwd=tmp_path)
    assert done.returncode == 1
    first, second, third = statuses(only_sweep(tmp_path)).values()
    assert (first, third) == ("failed", "waiting") and second in ("interrupted", "waiting")
    assert not (only_sweep(tmp_path) / "LATER").exists()
    assert "MISSING: failed:" in done.stderr


PLUGIN = """
import os, random
import numpy as np
import torch
from stockml.models import Family, ModelConfig

def build(config, window, features):
    os.environ["STOCKML_SPOILT"] = "1"
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(11)
    raise RuntimeError("no weights\\nto be had")

FAMILY = Family(ModelConfig, "spoiler:build")
"""


def test_nothing_of_a_job_but_its_row_and_log_is_left_for_the_next(run: Run, tmp_path: Path) -> None:
    info = tmp_path / "site" / "spoiler-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "spoiler.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spoiler\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stockml.models]\nspoiler = spoiler:FAMILY\n")
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = SIMULATED
    done = command("-m", "model=spoiler,mlp", *settings, cwd=tmp_path, env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    folder = only_sweep(tmp_path)
    assert statuses(folder) == {"AAPL-model_spoiler": "failed", "AAPL-model_mlp": "ok"}
    assert "RuntimeError: no weights to be had" in rows(folder)["AAPL-model_spoiler"]["error"]
    log = (folder / "AAPL-model_spoiler" / "train.log").read_text()
    assert "Traceback" in log and 'raise RuntimeError("no weights' in log
    run("alone", *settings)
    assert identical(tmp_path / "alone", folder / "AAPL-model_mlp")


# Where forking is unsafe.

SPAWNING = """
import sys
from stockml import cli
from stockml.processes import job_pool

job_pool.START_METHOD = "spawn"
if __name__ == "__main__":
    sys.exit(cli.main())
"""


def test_jobs_in_new_interpreters_give_the_same_numbers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spawning.py").write_text(SPAWNING)
    typed = ("-m", "stock=AAPL,TSLA", *SIMULATED, *LAUNCHERS["joblib"])
    done = subprocess.run(
        [sys.executable, "spawning.py", *typed],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for stock in ("AAPL", "TSLA"):
        run(stock, f"stock={stock}", *SIMULATED)
        assert identical(tmp_path / stock, only_sweep(tmp_path) / stock)
