"""Hostile folders and files: no command executes, writes or reads what they ask for, and each ends soon."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

from stockml import Result, cli
from tests.conftest import command, random_bars, write_bars
from tests.hostile.inputs import ROWS, SAMPLE, Row
from tests.hostile.witnesses import Witness, listening

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=1", "report=false", "model=linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a sweep, and a file of bars."""
    return make(tmp_path_factory.mktemp("made"))


def make(folder: Path) -> Path:
    """Make a run, a sweep, and a file of bars in a folder."""
    assert cli.main([*QUICK, f"hydra.run.dir={folder / 'run'}"]) == 0
    assert cli.main(["-m", *QUICK, "seed=1,2", f"hydra.sweep.dir={folder / 'sweep'}"]) == 0
    write_bars(random_bars(), folder).rename(folder / "bars.csv")
    return folder


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.name in SAMPLE])
def test_nothing_hostile_is_obeyed(row: Row, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (address, heard):
        witness = Witness(tmp_path, address, heard)
        copy = shutil.copytree(made, tmp_path / "copy")
        for variable, value in witness.environment().items():
            monkeypatch.setenv(variable, value)
        monkeypatch.chdir(witness.cwd)
        row.spoil(copy, witness)
        status = witness.run(shlex.split(row.typed.replace("COPY", str(copy))))
        witness.check()
    assert "a fault of stockml's own" not in witness.out, witness.out
    if row.says:
        assert status and re.search(row.says, witness.out), witness.out


def test_no_cell_of_a_csv_file_is_a_formula_and_tickers_are_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tickers = ['=HYPERLINK("http://x","y")', "@SUM(A1)", "-2+3", "'=1"]
    bars = [random_bars(300, seed, ticker) for seed, ticker in enumerate(tickers)]
    names = ["date", "ticker", "open", "high", "low", "close", "volume"]
    with Path("bars.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for of in bars:
            writer.writerows(
                zip(of.dates, [of.ticker] * 300, *(of.columns[n].tolist() for n in names[2:]), strict=True)
            )
    pool = ("data=csv", "data.path=bars.csv", "data.tickers=all", "stock.ticker=POOL", "data.window=10")
    assert command(*pool, *QUICK[2:], "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    assert command(*pool, "task=features", "export.features=run/features.csv", cwd=tmp_path).returncode == 0
    assert command("task=predict", "run=run", cwd=tmp_path).returncode == 0
    assert command("task=evaluate", "run=run", cwd=tmp_path).returncode == 0
    for path in Path("run").rglob("*.csv"):
        with path.open(newline="") as file:
            cells = {cell for line in csv.reader(file) for cell in line}
        assert not [cell for cell in cells if cell[:1] in tuple("=@+\t\r")], path
        assert not [cell for cell in cells if cell[:1] == "-" and not is_number(cell)], path
        assert not [cell for cell in cells if cell[:1] == "'" and is_number(cell[1:])], path
    assert set(Result("run").predictions["ticker"]) == set(tickers)
    assert set(Result("run").table("stocks.csv")["ticker"]) == set(tickers)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
