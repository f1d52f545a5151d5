"""Hostile folders and files: no command executes, writes or reads what they ask for, and each ends soon."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import random_bars, write_bars
from tests.hostile.inputs import ROWS, Row
from tests.hostile.witnesses import Witness, listening

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=1", "report=false", "model=linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a sweep, and a file of bars."""
    return make(tmp_path_factory.mktemp("made"))


def make(folder: Path) -> Path:
    """Make a run, a sweep, and a file of bars in a folder."""
    from stockml import cli

    assert cli.main([*QUICK, f"hydra.run.dir={folder / 'run'}"]) == 0
    assert cli.main(["-m", *QUICK, "seed=1,2", f"hydra.sweep.dir={folder / 'sweep'}"]) == 0
    write_bars(random_bars(), folder).rename(folder / "bars.csv")
    return folder


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_nothing_hostile_is_obeyed(row: Row, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (address, heard):
        witness = Witness(tmp_path, address, heard)
        copy = shutil.copytree(made, tmp_path / "copy")
        monkeypatch.setenv("SECRET", "hunter2-of-the-environment")
        monkeypatch.chdir(witness.cwd)
        row.spoil(copy, witness)
        status = witness.run(shlex.split(row.typed.replace("COPY", str(copy))))
        witness.check()
    assert "a fault of stockml's own" not in witness.out, witness.out
    if row.says:
        assert status and re.search(row.says, witness.out), witness.out
