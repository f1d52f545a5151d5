"""A sweep that was killed, interrupted or finished is continued: what is done stays as it is."""

from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from stockml import cli
from stockml.processes import machine
from stockml.runs.folder import RunFolder
from tests.conftest import Run, command, random_bars, write_bars
from tests.processes.test_job_pool import marked, needs_proc, wait_until
from tests.tasks.sweeps import ENDLESS, LAUNCHERS, rows, running, snapshot, statuses, wait_for_checkpoint
from tests.tasks.test_train import identical

# Kills and signals.


@needs_proc
def test_a_sweep_that_is_killed_goes_on_where_it_stood(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("-m", "trainer.epochs=1,200,2", "data.days=400", "trainer.patience=null")
    with running(*typed, cwd=tmp_path) as (process, mark):
        folder = wait_for_checkpoint(tmp_path, "AAPL-epochs_200").parent
        process.kill()
        wait_until(lambda: not marked(mark), seconds=20)
    names = ("AAPL-epochs_1", "AAPL-epochs_200", "AAPL-epochs_2")
    assert rows(folder)[names[0]]["status"] == "ok"  # the table was there before the end
    assert cli.main(["task=report", f"run={folder}"]) == 0
    assert tuple(statuses(folder).items()) == tuple(zip(names, ("ok", "killed", "waiting"), strict=True))
    assert "AAPL-epochs_200   killed" in capsys.readouterr().out

    before = snapshot(folder / names[0])
    done = command(*typed, f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(folder / names[0]) == before
    assert statuses(folder) == dict.fromkeys(names, "ok")
    log = (folder / names[1] / "train.log").read_text()
    assert re.search(r"resumed +[1-9]\d* epochs are done already", log)
    for name in names:
        run(name, f"trainer.epochs={name.split('_')[1]}", *typed[2:])
        assert identical(tmp_path / name, folder / name)


@needs_proc
@pytest.mark.parametrize(
    ("signum", "launcher", "status"),
    [
        (signal.SIGINT, "joblib", 130),
        (signal.SIGTERM, "basic", 143),
        (signal.SIGKILL, "joblib", -9),
    ],
)
def test_no_process_outlives_its_sweep(tmp_path: Path, signum: signal.Signals, launcher: str, status: int) -> None:
    typed = ("-m", "seed=range(3)", *ENDLESS, "hardware.num_workers=1", *LAUNCHERS[launcher])
    with running(*typed, cwd=tmp_path) as (process, mark):
        jobs = 1 if launcher == "basic" else min(3, machine.cores())
        for number in range(jobs):
            folder = wait_for_checkpoint(tmp_path, f"AAPL-seed_{number}").parent
        assert len(marked(mark)) >= 1 + 2 * jobs  # each with a process that gathers its batches
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as a terminal does it
        else:
            process.send_signal(signum)
        _, err = process.communicate(timeout=30)
        wait_until(lambda: not marked(mark), seconds=10)
    assert process.returncode == status
    if signum == signal.SIGKILL:
        assert len(statuses(folder)) == 3
    else:
        assert list(statuses(folder).values()) == ["interrupted"] * jobs + ["waiting"] * (3 - jobs)
        assert err.count("\n") == 1
        assert err.rstrip().endswith(f"continue with: python run.py {shlex.join(typed)} hydra.sweep.dir={folder}")


def test_a_sweep_that_is_still_running_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("-m", "seed=1,2", *ENDLESS, f"hydra.sweep.dir={tmp_path / 'multirun' / 'x'}")
    with running(*typed, cwd=tmp_path):
        folder = wait_for_checkpoint(tmp_path, "AAPL-seed_1").parent
        plan = snapshot(folder)[folder / "sweep.json"]
        assert cli.main([*typed, "trainer.epochs=1"]) == 2
        assert f"{folder}: this sweep is still running" in capsys.readouterr().err
        assert snapshot(folder)[folder / "sweep.json"] == plan
        assert RunFolder(folder / "AAPL-seed_1").status() == "running"


# What is done already.

TWINS = ("-m", "stock.ticker=TEST,TEST", "data=csv", "data.dir=bars", "data.window=5", "trainer.epochs=1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished sweep of the same job twice, and what it printed."""
    cwd = tmp_path_factory.mktemp("twins")
    write_bars(random_bars(300), cwd / "bars")
    every_core = f"hardware.threads={machine.cores()}"
    done = command(*TWINS, every_core, *LAUNCHERS["joblib"], "hydra.sweep.dir=sweep", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return cwd, done.stdout


@pytest.fixture
def twins(made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where bars/ and sweep/ are."""
    monkeypatch.chdir(made[0])
    return made[0]


CONTINUED = (*TWINS, f"hardware.threads={machine.cores()}", "hydra.sweep.dir=sweep")


def test_the_same_job_twice_gets_two_folders(twins: Path) -> None:
    assert statuses(twins / "sweep") == {"TEST": "ok", "TEST_2": "ok"}
    assert identical(twins / "sweep" / "TEST", twins / "sweep" / "TEST_2")


def test_jobs_that_take_every_core_run_one_at_a_time(made: tuple[Path, str]) -> None:
    assert "1 done" in made[1] and "running" not in made[1]


def test_a_finished_sweep_is_continued_by_leaving_it_as_it_is(twins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = twins / "sweep" / "TEST", twins / "sweep" / "TEST_2"
    before = [snapshot(job) for job in jobs]
    assert cli.main(CONTINUED) == 0
    assert before == [snapshot(job) for job in jobs]
    assert len(re.findall(r"^ *TEST(?:_2)? +ok ", capsys.readouterr().out, re.MULTILINE)) == 2


def test_another_config_is_refused_by_the_key_that_differs(twins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(twins)
    assert cli.main([*CONTINUED, "trainer.lr=0.5", "seed=7"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("seed was 42, and is to be 7, since TEST, TEST_2 ")
    assert lines[1].startswith("trainer.lr was 0.001, and is to be 0.5, since TEST, TEST_2 ")
    assert "is not continued" in lines[2]
    assert snapshot(twins) == before


def test_changed_data_are_refused(twins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = twins / "bars" / "TEST.csv"
    sound = path.read_text()
    before = snapshot(twins / "sweep")
    try:
        path.write_text(sound[: sound.rindex("\n", 0, -1) + 1])
        assert cli.main(CONTINUED) == 2
    finally:
        path.write_text(sound)
    assert re.search(r"data have changed .*TEST\.csv", capsys.readouterr().err)
    assert snapshot(twins / "sweep") == before


def test_jobs_are_added_to_a_sweep_that_is_continued_with_more(twins: Path) -> None:
    jobs = twins / "sweep" / "TEST", twins / "sweep" / "TEST_2"
    before = [snapshot(job) for job in jobs]
    done = command(*CONTINUED[:1], *CONTINUED[2:], "stock.ticker=TEST", "seed=1,2", cwd=twins)
    assert (done.returncode, done.stderr) == (0, "")
    assert statuses(twins / "sweep") == dict.fromkeys(["TEST", "TEST_2", "TEST-seed_1", "TEST-seed_2"], "ok")
    assert before == [snapshot(job) for job in jobs]
