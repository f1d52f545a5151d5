"""Run folders are made for one run alone, and their files are whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.runs.names import safe_name

RECORDS = {"config.yaml": "seed: 0\n"}


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunLocation().create_folder("AAPL", RECORDS).path, range(20)))
    assert len(set(folders)) == 20
    assert all(folder.parent == tmp_path / "outputs" and folder.name.startswith("AAPL_") for folder in folders)


def test_an_exact_folder_takes_one_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunLocation(exact=tmp_path).create_folder("AAPL", RECORDS)
    with pytest.raises(UserError, match="already holds a run"):
        RunLocation(exact=tmp_path).create_folder("AAPL", RECORDS)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("ticker", "name"), [("^GSPC", "_GSPC"), ("BRK.B", "BRK.B"), ("A B,C=D", "A_B_C_D"), ("Ä-1", "_-1")]
)
def test_names_need_no_quotes_to_be_typed(ticker: str, name: str) -> None:
    assert safe_name(ticker) == name


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("metrics.json", "old")

    def rows() -> object:
        yield [1]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        folder.write_csv("metrics.json", ["x"], rows())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.write_json("metrics.json", {"x": float("nan")})
    assert (tmp_path / "metrics.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_discarding_removes_what_the_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunLocation(exact=tmp_path).create_folder("AAPL", RECORDS)
    folder.write_text("metrics.json", "{}")
    folder.write_text(".hydra/config.yaml", "")
    folder.log().close()
    folder.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_whose_process_is_gone_reads_as_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    program = (
        "import os, pathlib, sys, time; from stockml.runs.folder import RunFolder;"
        "folder = RunFolder(pathlib.Path(sys.argv[1])); folder.record('running', time.time(), None, synthetic=False);"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "running"
    assert folder.status() == "killed"
    folder.record("ok", 0.0, None, synthetic=False)
    assert folder.status() == "ok"


def test_a_run_folder_appears_with_its_config_or_not_at_all(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from stockml.runs.location import RunLocation;"
        "pathlib.Path.rename = lambda *_: os.kill(os.getpid(), 9);"
        "RunLocation(exact=pathlib.Path(sys.argv[1])).create_folder('AAPL', {'config.yaml': 'seed: 0'})"
    )
    for path in (tmp_path / "a" / "run", tmp_path / "b"):
        done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
        assert done.returncode == -9
        assert not path.exists()
        assert len(list(path.parent.glob(".*.tmp"))) == 1
        folder = RunLocation(exact=path).create_folder("AAPL", RECORDS)  # and the leftover goes
        assert not list(path.parent.glob(".*.tmp"))
        assert (folder.path / ".hydra" / "config.yaml").read_text() == RECORDS["config.yaml"]
        with pytest.raises(UserError, match=r"killed before it began to train; start it: trainer\.resume="):
            RunFolder.existing(path)


def test_a_run_in_progress_is_locked_against_other_processes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    program = (
        "import pathlib, sys; from stockml.runs.folder import RunFolder;"
        "RunFolder(pathlib.Path(sys.argv[1])).held().__enter__()"
    )

    def other() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        ).stderr

    with folder.held(), RunFolder(tmp_path).held():  # within one process it is free
        assert "that run is still running" in other()
    assert other() == ""


def test_a_folder_that_is_removed_while_its_run_is_in_progress_is_not_made_again(tmp_path: Path) -> None:
    folder = RunLocation(exact=tmp_path / "run").create_folder("AAPL", RECORDS)
    with folder.held():
        shutil.rmtree(folder.path)
        with pytest.raises(FileNotFoundError):
            folder.write_text("metrics.json", "{}")
        assert folder.missing() == [".hydra/config.yaml", ".lock"]
    assert not folder.path.exists()
