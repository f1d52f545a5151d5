"""Intervals in every kind of run: they are written, evaluated, predicted again to the last digit, and reproduced."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stockml import Result, cli
from tests.conftest import random_bars, write_bars
from tests.tasks.test_mapped import save_arrays

QUICK = ("report=false", "model=linear", "trainer.epochs=1", "data.window=10")
POOL = ("data.tickers=[AAA,BBB,CCC]",)
WALK = ("data.split=walk_forward", "data.folds=3")
RUNS = {
    "single": (),
    "five_days": ("data.horizon=5",),
    "pool": (*POOL, "data.horizon=5"),
    "mapped": (*POOL, "data.memory_limit=0"),
    "walk": (*POOL, *WALK),
    "ensemble": (*WALK, "trainer.ensemble=2", "data.horizon=5"),
    "price": ("data.target=close",),
    "volatility": ("data.target=volatility", "data.horizon=5", "intervals=[0.5]"),
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bars of three stocks."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate(("AAA", "BBB", "CCC")):
        write_bars(random_bars(400, seed=seed, ticker=ticker), folder)
    return folder


def run(bars: Path, folder: Path, *overrides: str) -> Path:
    source = (
        ()
        if any(text.startswith("data=") for text in overrides)
        else ("data=csv", f"data.dir={bars}", "stock.ticker=AAA")
    )
    assert cli.main([*QUICK, *source, *overrides, f"hydra.run.dir={folder}"]) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return list(csv.DictReader(lines))


def has_intervals(folder: Path) -> list[str]:
    """The columns of the run's intervals, which every test sample has and which lie within one another."""
    split: dict[str, list[dict[str, str]]] = {"validation": [], "test": []}
    for row in rows(folder / "predictions.csv"):
        split[row["split"]].append(row)
    columns = [name for name in split["test"][0] if name.startswith(("lower_", "upper_"))]
    nested = sorted(columns, key=lambda name: (name[0] == "u", float(name[6:]) * (1 if name[0] == "u" else -1)))
    for row in split["test"]:
        ends = [float(row[name]) for name in nested]
        assert ends == sorted(ends)
    assert not any(row[name] for row in split["validation"] for name in columns)
    metrics = json.loads((folder / "metrics.json").read_text())["intervals"]
    for level, found in metrics.items():
        inside = [float(r[f"lower_{level}"]) <= float(r["y_true"]) <= float(r[f"upper_{level}"]) for r in split["test"]]
        assert found["coverage"] == pytest.approx(np.mean(inside)) and found["n"] == len(split["test"])
    return columns


def predicts_the_same(folder: Path, columns: list[str]) -> None:
    """Forecasts of the test are those of the run to the last digit, intervals too; the next day's have them as well."""
    found = {(row["date"], row["ticker"]): row for row in rows(folder / "forecasts.csv")}
    for row in rows(folder / "predictions.csv"):
        if row["split"] == "test":
            again = found[row["date"], row["ticker"]]
            assert [again[name] for name in columns] == [row[name] for name in columns]
    news = [row for row in found.values() if not row["y_true"]]
    assert news and all(float(row[name]) != 0 for row in news for name in columns if name.startswith("upper"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_intervals_which_evaluate_and_predict_repeat(bars: Path, tmp_path: Path, name: str) -> None:
    folder = run(bars, tmp_path / name, *RUNS[name])
    columns = has_intervals(folder)
    assert cli.main(["task=evaluate", f"run={folder}"]) == 0
    assert cli.main(["task=predict", f"run={folder}"]) == 0
    predicts_the_same(folder, columns)


@pytest.mark.parametrize("name", ["walk", "mapped"])
def test_a_run_with_intervals_is_reproduced(bars: Path, tmp_path: Path, name: str) -> None:
    folder = run(bars, tmp_path / name, *RUNS[name])
    assert cli.main(["task=reproduce", f"run={folder}", f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again/predictions.csv").read_text() == (folder / "predictions.csv").read_text()


def test_two_ranks_have_the_intervals_of_their_forecasts(two_ranks: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two_ranks, tmp_path / "ranks"))
    columns = has_intervals(folder)
    assert cli.main(["task=evaluate", f"run={folder}"]) == 0
    assert cli.main(["task=predict", f"run={folder}"]) == 0
    predicts_the_same(folder, columns)


def test_arrays_have_intervals_where_it_is_known_when_their_targets_end(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = ("data=npz", f"data.path={save_arrays(tmp_path / 'a.npz')}", "~data.window")
    folder = tmp_path / "arrays"
    own = [text for text in QUICK if not text.startswith("data.window")]
    assert cli.main([*own, *arrays[:2], "data.horizon=1", f"hydra.run.dir={folder}"]) == 0
    has_intervals(folder)
    assert cli.main(["task=evaluate", f"run={folder}"]) == 0
    capsys.readouterr()
    assert cli.main([*own, *arrays[:2], "data.horizon=0", f"hydra.run.dir={tmp_path / 'unknown'}"]) == 0
    assert "intervals   none: how far ahead the targets lie is not known (data.horizon)" in capsys.readouterr().out
    assert "intervals" not in json.loads((tmp_path / "unknown/metrics.json").read_text())


def test_another_stock_is_evaluated_with_intervals_calibrated_on_the_run_s_validation(
    bars: Path, tmp_path: Path
) -> None:
    folder = run(bars, tmp_path / "run")
    assert cli.main(["task=evaluate", f"run={folder}", "stock.ticker=BBB"]) == 0
    (path,) = (folder / "evaluations").iterdir()
    found = json.loads(path.read_text())["intervals"]
    assert 0.6 < found["80"]["coverage"] <= 1 and set(found["80"]["constant"]) == {"coverage", "width", "score"}


def test_without_levels_and_of_classes_there_are_none(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(bars, tmp_path / "none", "intervals=[]")
    assert "intervals" not in capsys.readouterr().out
    assert list(Result(tmp_path / "none").predictions)[-2:] == ["y_pred", "next_return"]
    run(bars, tmp_path / "class", "data.target=direction")
    assert "intervals   none: the target is a class" in capsys.readouterr().out
    assert list(Result(tmp_path / "class").predictions)[-2:] == ["y_pred", "next_return"]
