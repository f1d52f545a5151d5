"""The real program: failing runs, stderr, full and read-only disks, tracebacks."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pytest

from stockml import cli
from stockml.processes import machine
from tests.wrong_input.inputs import (
    ARRAYS,
    BARS,
    SIMULATED,
    Making,
    assert_told,
    bars,
    cell,
    contents,
    mounted,
    nothing,
    npz,
    run_py,
)

FAILING = [
    pytest.param("trainer.lr=1e30", "train loss became …in epoch 1, batch 2 of 4; …a lower trainer.lr", id="diverging"),
    pytest.param(
        "trainer.overfit_batches=1 trainer.lr=1e-9",
        "overfit_batches=1: the train loss ended at …not near zero …trainer.epochs",
        id="not-overfitting",
    ),
    pytest.param(
        "model.hidden_dim=100000000000000", "out of memory (…); lower …model.hidden_dim", id="model-beyond-memory"
    ),
]


@pytest.mark.parametrize(("typed", "says"), FAILING)
def test_a_run_that_fails_says_why_and_keeps_its_folder(
    typed: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: math.inf)  # so that what is too large is not refused before
    status = cli.main(shlex.split(f"{SIMULATED} hardware=cpu hydra.run.dir=run {typed}"))
    err = capsys.readouterr().err
    assert_told(err, [says])
    assert status == 1
    result = json.loads(Path("run/result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"] == err.strip()


REAL = [
    pytest.param(nothing, "trainer.lrr=0.1 seed=-1", 2, ["seed=-1: must be", "trainer.lrr: …trainer.lr?"], id="typos"),
    pytest.param(cell(5, "Close", "abc"), BARS, 2, ["AAPL.csv, line 5: Close is 'abc', no number"], id="bars"),
    pytest.param(nothing, f"{SIMULATED} trainer.lr=1e30", 1, ["train loss became …trainer.lr"], id="diverging"),
]


@pytest.mark.parametrize(("making", "typed", "status", "says"), REAL)
def test_the_real_program_says_nothing_else_on_stderr(making: Making, typed: str, status: int, says: list[str]) -> None:
    making()
    before = contents()
    done = run_py(typed)
    assert_told(done.stderr, says)
    assert done.returncode == status
    if status == 2:
        assert contents() == before


DISKS = [
    pytest.param("ro", 2, "disk/run: cannot make a run folder here (Read-only …hydra.run.dir=FOLDER", id="read-only"),
    pytest.param("nr_inodes=2", 2, "disk/run: cannot make a run folder here (No space …hydra.run.dir", id="no-inode"),
    pytest.param(
        "nr_inodes=4", 2, "disk/run: cannot make a run folder here (No space …hydra.run.dir", id="full-at-its-config"
    ),
    pytest.param("nr_inodes=9", 1, "disk/run: …No space left on device…hydra.run.dir", id="full-at-the-first-file"),
    pytest.param("size=40k", 1, "disk/run: …No space left on device…hydra.run.dir", id="full-at-the-checkpoint"),
]


@pytest.mark.parametrize(("options", "status", "says"), DISKS)
def test_a_disk_that_takes_no_run_is_told_and_keeps_no_part_of_one(options: str, status: int, says: str) -> None:
    done = run_py(f"{SIMULATED} model.hidden_dim=512 hydra.run.dir=disk/run", mounted(options))
    assert_told(done.stderr, [says])
    assert done.returncode == status
    assert Path("left").read_text() == ""
    assert "trainer.resume" not in done.stderr  # there is nothing to resume


@pytest.mark.parametrize(("making", "typed"), [(npz(), ARRAYS), (bars(), BARS), (nothing, SIMULATED)])
def test_what_the_rows_spoil_is_sound(making: Making, typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    making()
    assert cli.main(shlex.split(typed)) == 0
    assert capsys.readouterr().err == ""


def test_a_traceback_is_there_for_who_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert cli.main(["trainer.lrr=0.1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1] == "trainer.lrr: no such key; did you mean trainer.lr?"
