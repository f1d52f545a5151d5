"""Every road to new test scores is a look of the ledger, and no other is; the verdict counts them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from stockml import cli
from stockml.evaluation.multiple_testing import holm
from stockml.runs.looks import Line, append, read
from tests.conftest import Run, command, random_bars, write_bars

QUICK = ("model=linear", "trainer.epochs=1", "data.window=10", "report=false")
BARS = ("data=csv", "stock.ticker=AAA", *QUICK)
MODES = {
    "single": (),
    "horizon": ("data.horizon=5",),
    "mapped": ("data.tickers=[AAA,BBB]", "data.memory_limit=0"),
    "walk-forward": ("data.split=walk_forward", "data.folds=3"),
    "ensemble": ("trainer.ensemble=3",),
    "quantile": ("trainer.loss=quantile", "trainer.quantile=0.1"),
}


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type commands in, with bars/."""
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(random_bars(320, seed, ticker), tmp_path / "bars")
    return tmp_path


def typed(*arguments: str) -> None:
    assert cli.main([*arguments]) == 0


def metrics(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "metrics.json").read_text())
    return found


def lines(path: str = "looks.jsonl") -> list[Line]:
    ledger = read(Path(path))
    assert not ledger.faults
    return list(ledger.lines)


def test_every_mode_leaves_one_look_before_its_scores_and_none_when_it_is_run_again(bars: Path, run: Run) -> None:
    for number, (name, settings) in enumerate(MODES.items(), 1):
        for again in ("", " again"):
            found = run(f"{name}{again}", "data=csv", "stock.ticker=AAA", f"data.dir={bars / 'bars'}", *QUICK, *settings)
            looks = found["looks"]
            assert (len(lines()), looks["line"], looks["look"], looks["same_forecasts"]) == (number, number, number, True)
            assert looks["ledger"] == str(bars / "looks.jsonl")
        look = lines()[-1].look
        rows = [row for row in csv.DictReader(Path(name, "predictions.csv").open()) if row["split"] == "test"]
        assert {row["ticker"] for row in rows} == set(look.tickers)
        assert (look.first, look.last) == (min(row["date"] for row in rows), max(row["date"] for row in rows))
        assert look.run == str(bars / name)


def test_ranks_and_jobs_of_a_sweep_write_into_one_ledger(bars: Path) -> None:
    small = (*BARS, "data.dir=bars", "data.window=5")
    ranks = command(*small, "trainer=ddp", "trainer.world_size=2", "hardware=cpu", cwd=bars)
    assert (ranks.returncode, ranks.stderr) == (0, "")
    assert "This was the first look at these test days (looks.jsonl)" in " ".join(ranks.stdout.split())
    for _ in range(2):
        typed("-m", *small, "seed=1,2", "stock.ticker=AAA,BBB", "looks.path=looks.jsonl")
    assert sorted(line.look.tickers for line in lines()) == [("AAA",)] * 3 + [("BBB",)] * 2
    (sweep, _) = sorted(Path("multirun").iterdir())
    rows = list(csv.DictReader((sweep / "summary.csv").open()))
    assert sorted((row["stock"], row["look"]) for row in rows) == [("AAA", "2"), ("AAA", "3"), ("BBB", "1"), ("BBB", "2")]
    assert {row["skill_corrected"] for row in rows} <= {"shown", "hinted", "not shown", "worse"}


def test_only_new_forecasts_of_a_test_are_looks(bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        typed(*BARS, "data.dir=bars", "data.end=2016-02-01", f"seed={seed}", f"hydra.run.dir=outputs/{seed}")
    typed("task=reproduce", "run=outputs/1", "hydra.run.dir=elsewhere/1", "looks.path=looks.jsonl")
    typed("task=evaluate", "run=outputs/1")
    typed("task=predict", "run=outputs/1")
    assert [line.look.run[-9:] for line in lines()] == ["outputs/1", "outputs/2"]
    typed("task=combine", "runs=[outputs/1,outputs/2]", "report=false", "hydra.run.dir=outputs/both")
    typed("task=combine", "runs=[outputs/2,outputs/1]", "report=false", "hydra.run.dir=outputs/turned")
    typed("task=update", "run=outputs/1", "report=false", "hydra.run.dir=outputs/update", "data.end=null")
    for _ in range(2):
        typed("task=evaluate", "run=outputs/1", "stock.ticker=BBB")
    found = lines()
    assert [line.look.run.rpartition("/")[2] for line in found] == ["1", "2", "both", "turned", "update", "1"]
    assert found[4].look.first > str(found[0].look.last) and metrics("outputs/update")["looks"]["look"] == 1
    assert found[5].look.tickers == ("BBB",) and metrics("outputs/both")["looks"]["look"] == 3
    capsys.readouterr()
    typed("task=looks")
    text = capsys.readouterr().out
    assert "chain       sound: 6 looks in" in text and len([x for x in text.splitlines() if " to 201" in x]) == 3
    Path("looks.jsonl").write_bytes(b"".join(Path("looks.jsonl").read_bytes().splitlines(keepends=True)[:-2]))
    assert cli.main(["task=looks", "run=outputs/1"]) == 1
    assert "outputs/update: its look, line 5, is not there" in capsys.readouterr().err
    text = Path("looks.jsonl").read_text().replace('"skill": "', '"skill": "very ', 1)
    Path("looks.jsonl").write_text(text)
    assert cli.main(["task=looks"]) == 1
    assert capsys.readouterr().err.startswith("line 1: was edited")


def test_a_look_that_is_not_counted_is_said_to_be_none(bars: Path) -> None:
    typed(*BARS, "data.dir=bars", "looks=off", "hydra.run.dir=outputs/off")
    typed(*BARS, "data.dir=bars", "hydra.run.dir=outputs/on")
    off, on = metrics("outputs/off"), metrics("outputs/on")
    assert off["looks"] == {"ledger": None} and off["verdict"].endswith("were not counted (looks=off).")
    assert json.loads(Path("outputs/off/config.json").read_text())["config"]["looks"]["record"] is False
    assert {**off, "looks": 0, "verdict": 0, "timing": 0} == {**on, "looks": 0, "verdict": 0, "timing": 0}
    assert len(lines()) == 1


def test_skill_that_one_look_shows_is_not_shown_once_all_are_counted(bars: Path, run: Run) -> None:
    strong = ("data.days=3000", "data.signal=strong", "model=ridge", "data.window=2", "data.test_ratio=0.6")
    first = run("first", *strong)
    p = lines()[0].look.diebold_mariano
    assert p is not None
    assert (first["skill"], first["looks"]["skill"], first["looks"]["p_value"]) == ("shown", "shown", p)
    others = [min(1.0, p * factor) for factor in (0.5, *range(2, 2 + int(0.03 / p)))]
    for number, other in enumerate(others):
        append(bars / "looks.jsonl", lines()[0].look._replace(experiment=str(number), diebold_mariano=other, clark_west=1.0))
    again = run("again", *strong)
    looks = again["looks"]
    assert again["skill"] == "shown" and looks["skill"] != "shown"
    assert looks["p_value"] == pytest.approx(holm([p, *others])[0]) and looks["p_value"] > 0.025
    assert (looks["look"], looks["of"]) == (1, 1 + len(others))
    assert f"This was look 1 of {looks['of']} at these test days (looks.jsonl); corrected for all of" in again["verdict"]
    assert {**again, "looks": 0, "verdict": 0} == {**first, "looks": 0, "verdict": 0}
