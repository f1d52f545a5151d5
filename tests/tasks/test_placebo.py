"""task=placebo repeats the whole procedure on copies, looks at no test, and ranks the run that is chosen."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stockml import cli
from tests.conftest import random_bars, write_bars

SMALL = ("data.days=200", "data.window=5", "model=ridge", "report=false")
MODES = {
    "pooled": ("data.tickers=[AAPL,JNJ]",),
    "mapped": ("data.tickers=[AAPL,JNJ]", "data.memory_limit=0", "data.horizon=5"),
    "walk-forward": ("data.split=walk_forward", "data.folds=3"),
    "ensemble": ("model=linear", "trainer.epochs=1", "trainer.ensemble=3"),
    "quantile": ("model=linear", "trainer.epochs=1", "trainer.loss=quantile", "trainer.quantile=0.1"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(*arguments: str, status: int = 0) -> None:
    assert cli.main([*arguments]) == status


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def test_copies_of_a_run_are_ordinary_runs_that_say_so_and_no_looks(capsys: pytest.CaptureFixture[str]) -> None:
    for seed, ticker in enumerate(("AAPL", "JNJ")):
        write_bars(random_bars(200, seed, ticker), Path("bars"))
    typed("data=csv", "data.dir=bars", *SMALL[1:], "hydra.run.dir=run")
    looks = Path("looks.jsonl").read_bytes()
    typed("task=placebo", "run=run", "placebo.copies=2")
    assert Path("looks.jsonl").read_bytes() == looks
    output = capsys.readouterr().out
    assert "placebo     2 copies × " in output
    found = read("run/placebo.json")
    for split in ("test", "validation"):
        own, others = (
            read("run/metrics.json")[split]["r2_zero"],
            [read(f"run/placebo/AAPL-placebo_{copy}/metrics.json")[split]["r2_zero"] for copy in (1, 2)],
        )
        better = sum(other >= own for other in others)
        assert found[split] == {
            "figure": own,
            "of_copies": others,
            "at_least_as_good": better,
            "p_value": (1 + better) / 3,
        }
    copy = "run/placebo/AAPL-placebo_1"
    metrics = read(f"{copy}/metrics.json")
    assert (metrics["synthetic"], metrics["looks"], read(f"{copy}/result.json")["synthetic"]) == (
        True,
        {"ledger": None, "placebo": 1},
        True,
    )
    assert metrics["verdict"].endswith("This is placebo copy 1 of the data, in which nothing can be forecast.")
    with Path(copy, "predictions.csv").open() as file:
        assert next(csv.DictReader(file))["synthetic"] == "true"
    typed("task=reproduce", f"run={copy}", "report=false")
    assert Path("looks.jsonl").read_bytes() == looks
    assert "reproduced: identical" in capsys.readouterr().out
    typed("task=placebo", f"run={copy}", "placebo.copies=1", status=2)
    assert "AAPL-placebo_1: it is a placebo copy itself" in capsys.readouterr().err
    typed("task=placebo", "run=run", "seed=7", status=2)
    assert "run: seed was 42, and is 7 in the copies" in capsys.readouterr().err


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_placebo_copies(mode: str) -> None:
    for seed, ticker in enumerate(("AAPL", "JNJ")):
        write_bars(random_bars(300, seed, ticker), Path("bars"))
    typed("data=csv", "data.dir=bars", *SMALL[1:], *MODES[mode], "data.placebo=1", "hydra.run.dir=run")
    assert read("run/metrics.json")["synthetic"]
    assert not Path("looks.jsonl").exists()


def test_a_sealed_run_is_ranked_on_validation_until_it_is_unsealed(capsys: pytest.CaptureFixture[str]) -> None:
    typed(*SMALL, "test=sealed", "hydra.run.dir=run")
    typed("task=placebo", "run=run", "placebo.copies=1")
    assert "least as good on validation: p = " in capsys.readouterr().out
    assert "test" not in read("run/placebo.json")
    typed("task=unseal", "run=run", "report=false")
    typed("task=placebo", "run=run", "placebo.copies=1")
    assert read("run/placebo.json")["test"]["figure"] == read("run/metrics.json")["test"]["r2_zero"]


def test_copies_of_a_sweep_are_chosen_among_as_it_was_and_kept_when_it_is_asked_again() -> None:
    typed("-m", "model.alpha=1,1000", *SMALL, "hydra.sweep.dir=sweep")
    typed("task=placebo", "run=sweep", "placebo.copies=1")
    ends = Path("sweep/placebo/1").glob("*/result.json")
    kept = {path: path.read_bytes() for path in ends}
    assert len(kept) == 2
    typed("task=placebo", "run=sweep", "placebo.copies=2")
    assert all(path.read_bytes() == content for path, content in kept.items())
    found = read("sweep/placebo.json")
    assert found["copies"] == len(found["test"]["of_copies"]) == 2
    for copy, figure in enumerate(found["test"]["of_copies"], 1):
        with Path(f"sweep/placebo/{copy}/summary.csv").open() as file:
            best = max(csv.DictReader(file), key=lambda row: float(row["val_r2"]))
        assert read(f"sweep/placebo/{copy}/{best['job']}/metrics.json")["test"]["r2_zero"] == figure
    typed("task=placebo", "run=sweep", "seed=3", status=2)


def test_a_copy_of_a_search_has_a_study_of_its_own() -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.storage=sqlite:///s.db")
    typed("-m", *search, "model.alpha=interval(1,1000)", *SMALL, "hydra.sweep.dir=sweep")
    typed("task=placebo", "run=sweep", "placebo.copies=1")
    with sqlite3.connect("s.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (2,)
    assert len(read("sweep/placebo/1/search.json")["trials"]) == 2


def test_a_sweep_whose_command_was_not_kept_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    typed("-m", "model.alpha=1,1000", *SMALL, "hydra.sweep.dir=sweep")
    Path("sweep/sweep.json").write_text(json.dumps({"jobs": read("sweep/sweep.json")["jobs"]}))
    typed("task=placebo", "run=sweep", status=2)
    assert "did not keep what was typed" in capsys.readouterr().err
