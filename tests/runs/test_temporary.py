"""What killed processes leave is removed, and nothing of those that run, also where a number has a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stockml.runs.folder import RunFolder
from stockml.runs.temporary import process_start, remove_leftovers, temporary, temporary_folder

DEAD = 2**22 + 1  # above the largest number that Linux gives
PARENT = os.getppid()  # a process that lives


@pytest.mark.parametrize(
    ("pid", "started", "stays"),
    [
        (PARENT, process_start(PARENT), True),
        (PARENT, 1, False),
        (PARENT, None, True),  # as earlier releases named them
        (DEAD, None, False),
        (DEAD, 1, False),
        (os.getpid(), process_start(os.getpid()), True),
        (os.getpid(), 1, False),
    ],
    ids=["parent", "parent's number", "parent, no start", "dead, no start", "dead", "own", "own number"],
)
def test_leftovers_are_those_of_processes_that_are_gone(
    tmp_path: Path, pid: int, started: int | None, stays: bool
) -> None:
    own = f".{os.getpid()}-{process_start(os.getpid())}.tmp"
    name = temporary(tmp_path / "x").name.replace(own, f".{pid}{'' if started is None else f'-{started}'}.tmp")
    for left in (tmp_path / name, tmp_path / "mine.tmp"):
        left.mkdir()
    remove_leftovers(tmp_path.iterdir())
    assert (tmp_path / name).exists() == stays
    assert (tmp_path / "mine.tmp").exists()


@pytest.mark.parametrize(
    ("started", "status"),
    [(process_start(PARENT), "running"), (1, "killed"), (None, "running")],
    ids=["its start", "another start", "no start"],
)
def test_a_run_is_not_taken_to_go_on_since_its_number_has_a_new_process(
    tmp_path: Path, started: int | None, status: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.record("running", time.time(), None, synthetic=False)
    facts = folder.read_json("result.json")
    folder.write_json("result.json", {**facts, "pid": PARENT, "process_start": started})
    assert folder.status() == status


def test_a_killed_process_s_temporary_folder_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os; from stockml.runs.temporary import temporary_folder\n"
        "with temporary_folder(): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with temporary_folder() as own:
        assert list(tmp_path.iterdir()) == [own]
    assert not list(tmp_path.iterdir())
