"""Bars that lie elsewhere than when a run was made."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd
import pytest

from stockml import cli, compose
from stockml.data import dataset, store
from stockml.runs.folder import RunFolder
from tests.conftest import random_bars, write_bars

QUICK = ("data=csv", "model=linear", "trainer.epochs=1", "data.window=5", "report=false")
TICKERS = ("AAA", "BBB")
MODES = {
    "pool": ("data.dir=bars", "data.tickers=[AAA,BBB]", "data.memory_limit=0"),
    "long": ("data.path=long/long.csv", "data.tickers=all", "data.split=walk_forward", "data.folds=2"),
}


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with bars/<ticker>.csv and long/long.csv."""
    monkeypatch.chdir(tmp_path)
    each = [random_bars(150, seed=seed, ticker=ticker) for seed, ticker in enumerate(TICKERS)]
    for one in each:
        write_bars(one, tmp_path / "bars")
    (tmp_path / "long").mkdir()
    table = pd.concat(pd.DataFrame({"Date": x.dates, **x.columns, "Ticker": x.ticker}) for x in each)
    table.to_csv(tmp_path / "long" / "long.csv", index=False)
    return tmp_path


def moved(settings: tuple[str, ...], folder: Path) -> str:
    """Move the bars; the setting that says where they are."""
    key, _, path = settings[0].partition("=")
    first = path.split("/")[0]
    (folder / first).rename(folder / "elsewhere")
    return f"{key}={path.replace(first, 'elsewhere', 1)}"


@pytest.mark.parametrize("mode", MODES)
def test_every_task_takes_bars_that_were_moved(mode: str, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, *MODES[mode], "hydra.run.dir=run"]) == 0
    there = moved(MODES[mode], bars)
    assert cli.main(["task=predict", "run=run"]) == 2
    assert f"name it where it is: {there.partition('=')[0]}=F" in capsys.readouterr().err
    for task in ("predict", "explain", "placebo") if mode == "pool" else ("reproduce",):
        own = ["placebo.copies=1"] if task == "placebo" else []
        assert (task, cli.main([f"task={task}", "run=run", there, "report=false", *own])) == (task, 0)
        assert "fingerprint: " not in capsys.readouterr().out
    assert cli.main(["trainer.resume=run", there, "trainer.epochs=2", "report=false"]) == 0
    for path in bars.glob("elsewhere/*.csv"):
        path.write_text("\n".join(line for n, line in enumerate(path.read_text().splitlines()) if n != 40))
    assert cli.main(["task=reproduce", "run=run", there, "report=false"]) == 1
    assert "the data have changed" in capsys.readouterr().err


def test_the_fingerprint_of_an_earlier_release_which_held_the_paths_is_accepted(
    bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*QUICK, *MODES["pool"], "hydra.run.dir=run"]) == 0
    panel, folder = dataset.load_panel(compose.compose(*QUICK, *MODES["pool"]))[0], RunFolder(bars / "run")
    stored = panel.stored
    assert stored is not None
    facts = {name: stored.facts[name] for name in ("tickers", "starts")}
    facts |= {name: stored.facts[store.UNHASHED][name] for name in ("origins", "understood", "doubts", "dropped")}
    then = folder.read_json("config.json")
    then["data"]["fingerprint"] = panel.fingerprint(store.content_hash(stored.heads, facts))
    folder.write_json("config.json", then)
    there = moved(MODES["pool"], bars)
    assert cli.main(["task=reproduce", "run=run", there, "hydra.run.dir=again", "report=false"]) == 0
    assert "same config" not in capsys.readouterr().out  # data.dir differs
    assert cli.main(["trainer.resume=run", there, "trainer.epochs=2", "report=false"]) == 0


@pytest.mark.parametrize("task", ["task=report run=run", "task=combine 'runs=[run,run]'", "task=looks"])
def test_a_task_that_reads_no_bars_says_so(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*shlex.split(task), "data.dir=elsewhere"]) == 2
    assert "reads no bars" in capsys.readouterr().err
