"""Sweeps under plugins of others: searches by optuna, jobs started by submitit."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import RUN_PY, command, metrics, random_bars, write_bars

SMALL = ("data.days=400", "trainer.epochs=1")
SEARCH = ("+experiment=tune_mlp", "hydra.sweeper.n_trials=5", "hydra.sweep.dir=s", *SMALL)


def rows(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def trials(sweep: Path) -> list[tuple[str, float | None]]:
    """State and value of each trial of the study, in order."""
    with sqlite3.connect(sweep / "study.db") as study:
        states = study.execute("select trial_id, state from trials order by trial_id").fetchall()
        values = dict(study.execute("select trial_id, value from trial_values").fetchall())
    return [(state, values.get(trial)) for trial, state in states]


def done(sweep: Path) -> list[str]:
    """The jobs that have ended well."""
    return [path.parent.name for path in sweep.glob("*/result.json") if '"ok"' in path.read_text()]


@pytest.fixture(scope="module")
def killed_and_continued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A search killed after two trials and continued; its folder, and the trials that were done before."""
    folder = tmp_path_factory.mktemp("search")
    killed = subprocess.Popen(
        [sys.executable, str(RUN_PY), *SEARCH], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(done(folder / "s")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = done(folder / "s")
    continued = command(*SEARCH, cwd=folder)
    assert continued.returncode == 0, continued.stderr
    return folder / "s", before


def test_a_killed_search_goes_on_until_it_has_all_its_trials(killed_and_continued: tuple[Path, list[str]]) -> None:
    sweep, before = killed_and_continued
    ended = [row for row in rows(sweep) if row["status"] == "ok"]
    assert 2 <= len(before) < 5 == len(ended)
    assert {row["job"] for row in ended} >= set(before)
    assert len({row["model.hidden_dim"] + row["trainer.lr"] for row in ended}) == 5, "a trial was drawn twice"


def test_a_search_is_told_of_the_validation_loss_alone(killed_and_continued: tuple[Path, list[str]]) -> None:
    sweep, _ = killed_and_continued
    told = {value for state, value in trials(sweep) if state == "COMPLETE"}
    losses = {metrics(path.parent)["validation"]["mse"] for path in sweep.glob("*/metrics.json")}
    assert len(told) >= 4  # the kill may have come between a job's end and the study's hearing of it
    assert all(any(value == pytest.approx(loss, rel=1e-5) for loss in losses) for value in told)


def test_a_failed_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    ended = command(*SEARCH, "trainer.lr=choice(1e-3,-1.0)", cwd=tmp_path)  # of which one is refused
    found = {row["job"]: row for row in rows(tmp_path / "s")}
    states = [state for state, _ in trials(tmp_path / "s")]
    assert len(found) == len(states) == 5
    failed = [row for row in found.values() if row["status"] == "failed"]
    assert len(failed) == states.count("FAIL") > 0
    assert states.count("COMPLETE") > 0
    assert all("trainer.lr=-1.0: must be" in row["error"] for row in failed)
    assert ended.returncode == 1
    assert all(row["job"] in ended.stderr for row in failed)


def test_jobs_that_another_launcher_starts_end_in_the_same_table(tmp_path: Path) -> None:
    write_bars(random_bars(), tmp_path / "bars")
    sweep = ("-m", "stock.ticker=TEST,NONE", "data=csv", "data.dir=bars", "trainer.epochs=1")
    ours = command(*sweep, "hydra.sweep.dir=ours", cwd=tmp_path)
    theirs = command(*sweep, "hydra.sweep.dir=theirs", "hydra/launcher=submitit_local", cwd=tmp_path)
    assert ours.returncode == theirs.returncode == 1
    found = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in rows(tmp_path / name)]
        for name in ("ours", "theirs")
    ]
    assert found[0] == found[1]
    assert [row["status"] for row in found[0]] == ["ok", "failed"]


def test_a_preset_for_slurm_says_what_is_missing_where_there_is_none(tmp_path: Path) -> None:
    ended = command("-m", "seed=1,2", *SMALL, "hydra/launcher=slurm", cwd=tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "slurm" in ended.stderr


def test_presets_warn_of_nothing(tmp_path: Path) -> None:
    for preset in ("hydra/launcher=slurm", "+experiment=tune_mlp", "+experiment=all_stocks"):
        ended = command("--cfg", "hydra", preset, cwd=tmp_path, env={"PYTHONWARNINGS": "default"})
        assert (ended.returncode, ended.stderr) == (0, ""), preset
