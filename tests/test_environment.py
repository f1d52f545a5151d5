"""Where the environment lacks something, commands go on or say why in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RUN_PY, command
from tests.wrong_input.inputs import assert_told

QUICK = ("data.days=300", "data.window=5", "trainer.epochs=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert command(*QUICK, "hydra.run.dir=run", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("typed", "makes"),
    [
        ((*QUICK, "hydra.run.dir=new"), "new/metrics.json"),
        (
            ("-m", "seed=1,2", *QUICK, "hydra/launcher=joblib", "hydra.sweep.dir=swept"),
            "swept/AAPL-seed_2/metrics.json",
        ),
        (("task=predict", "run=run"), "run/forecasts.csv"),
    ],
    ids=["train", "sweep", "predict"],
)
def test_a_command_needs_no_home_no_temporary_folder_no_terminal_and_few_open_files(
    trained: Path, typed: tuple[str, ...], makes: str
) -> None:
    lacking = {"HOME": "/nowhere", "TMPDIR": "/nowhere", "COLUMNS": "20", "MPLCONFIGDIR": "/proc/nowhere"}
    env = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | lacking
    shell = 'ulimit -n 64; exec "$0" "$@" <&- >&-'
    report = () if typed[0] == "task=predict" else ("report=false",)
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, str(RUN_PY), *typed, *report],
        cwd=trained,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (trained / makes).is_file()


@pytest.mark.parametrize("typed", [QUICK, ("-m", "seed=1,2", *QUICK), ("task=looks",)], ids=["train", "sweep", "looks"])
def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path: Path, typed: tuple[str, ...]) -> None:
    folder = tmp_path / os.fsdecode(b"odd\xff")
    folder.mkdir()
    done = command(*typed, cwd=folder)
    assert done.returncode == 2
    assert_told(done.stderr, [r"odd\xff: this folder's name holds bytes that are not UTF-8; rename it, or start in an"])
    assert not list(folder.iterdir())


def test_other_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"A\xff.csv")).touch()
    done = command("-m", "data=csv", "data.path=glob(*.csv)", cwd=tmp_path)
    assert done.returncode == 2
    assert_told(done.stderr, [r"A\xff.csv: its name holds bytes that are not UTF-8; rename it"])
    done = command(*QUICK, cwd=tmp_path, env={"XDG_CACHE_HOME": str(tmp_path / os.fsdecode(b"\xff"))})
    assert done.returncode == 2
    assert_told(done.stderr, [r"\xff…: holds bytes that are not UTF-8; choose another name"])
