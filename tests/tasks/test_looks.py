"""Every road to new test scores is a look of the ledger, and no other is; the verdict counts them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from stockml import cli, compose
from stockml.evaluation.multiple_testing import holm
from stockml.reporting import predictions_file
from stockml.runs.folder import RunFolder
from stockml.runs.looks import Line, Look, append, read
from stockml.tasks.looks import record
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
            run(f"{name}{again}", "data=csv", "stock.ticker=AAA", f"data.dir={bars / 'bars'}", *QUICK, *settings)
            looks = metrics(f"{name}{again}")["looks"]
            assert (len(lines()), looks["line"], looks["look"], looks["same_forecasts"]) == (
                number,
                number,
                number,
                True,
            )
            assert looks["ledger"] == str(bars / "looks.jsonl")
        look = lines()[-1].look
        every = csv.DictReader(Path(name, "predictions.csv").read_text().splitlines())
        rows = [row for row in every if row["split"] == "test"]
        assert {row["ticker"] for row in rows} == set(look.tickers)
        assert (look.first, look.last) == (min(row["date"] for row in rows), max(row["date"] for row in rows))
        assert look.run == str(bars / name)


def test_ranks_and_jobs_of_a_sweep_write_into_one_ledger(bars: Path) -> None:
    small = (*BARS, "data.dir=bars", "data.window=5")
    ranks = command(*small, "trainer=ddp", "trainer.world_size=2", "hardware=cpu", cwd=bars)
    assert (ranks.returncode, ranks.stderr) == (0, "")
    assert "This was the first look at these test days (looks.jsonl)" in " ".join(ranks.stdout.split())
    typed("-m", *small, "seed=1,2", "stock.ticker=AAA,BBB")
    assert sorted(line.look.tickers for line in lines()) == [("AAA",)] * 3 + [("BBB",)] * 2
    (sweep,) = Path("multirun").iterdir()
    rows = list(csv.DictReader((sweep / "summary.csv").read_text().splitlines()))
    looks = sorted((row["stock.ticker"], row["look"]) for row in rows)
    assert looks == [("AAA", "2"), ("AAA", "3"), ("BBB", "1"), ("BBB", "2")]
    assert {row["skill_corrected"] for row in rows} <= {"shown", "hinted", "not shown", "worse"}
    typed("task=looks", f"run={sweep}")


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
    assert str(found[4].look.first) > str(found[0].look.last) and metrics("outputs/update")["looks"]["look"] == 1
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


@pytest.mark.parametrize(
    ("others", "skill", "says"),
    [
        ([], "shown", "This was the first look at these test days (looks.jsonl)."),
        (
            [0.5],
            "shown",
            "This was look 2 at these test days (looks.jsonl); corrected for all of them, p = 0.016: skill",
        ),
        (
            [0.5] * 3,
            "hinted",
            "This was look 4 at these test days (looks.jsonl); corrected for all of them, p = 0.032:",
        ),
        ([0.5] * 19, "not shown", "corrected for all of them, p = 0.16: not shown."),
        ([0.0001] * 19, "shown", "corrected for all of them, p = 0.008: skill is shown."),
    ],
)
def test_skill_is_what_is_left_once_all_looks_are_counted(
    bars: Path, run: Run, others: list[float], skill: str, says: str
) -> None:
    settings = (*BARS, f"data.dir={bars / 'bars'}")
    found = run("run", *settings, "looks=off")
    for of in found["significance"]["against"].values():
        of["diebold_mariano"]["p_value"], of["clark_west"]["p_value"] = 0.008, 0.005
    for number, p in enumerate(others):
        days = ("2000-01-01", "2030-01-01")
        append(bars / "looks.jsonl", Look("", "", str(number), "", "", ("AAA",), *days, p, p, "not shown", ""))
    folder = RunFolder(bars / "run")
    test = predictions_file.read(folder)["test"]
    counted = record({**found, "skill": "shown", "verdict": "Shown."}, test, compose.compose(*settings), folder)
    assert (counted["skill"], counted["looks"]["skill"]) == ("shown", skill)
    assert (counted["looks"]["look"], counted["looks"]["of"]) == (len(others) + 1, len(others) + 1)
    assert counted["looks"]["p_value"] == pytest.approx(holm([0.008, *others])[0])
    assert counted["verdict"].startswith("Shown. ") and says in counted["verdict"]
