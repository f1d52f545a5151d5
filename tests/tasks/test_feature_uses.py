"""Runs with expressions: forecasts of newer bars, ONNX files."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from stockml.data.bars import Bars
from tests.conftest import random_bars, write_bars

DAYS = 520
QUICK = ["+experiment=quick", "report=false", "model=mlp_flat", "data=csv"]
WINDOWED = [
    "features.bars=false",
    '+features.columns.fast="Return($close, 5)"',
    '+features.columns.slow="Std(LogReturn($close), 40)"',
    '+features.columns.mood="Mean($mood, 3)"',
    '+features.columns.market="Return($SPX.close)"',
    "data.context=[SPX]",
]


def bars(ticker: str, seed: int, days: int = DAYS) -> Bars:
    made = random_bars(days, seed=seed, ticker=ticker)
    mood = np.random.default_rng(seed).standard_normal(days)
    return dataclasses.replace(made, columns=made.columns | {"mood": mood})


def part(of: Bars, first: int, last: int) -> Bars:
    columns = {name: column[first:last] for name, column in of.columns.items()}
    return dataclasses.replace(of, dates=of.dates[first:last], columns=columns)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `bars` has four tickers, without the last 20 days, and `later` has them all."""
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate(["AAA", "BBB", "CCC", "SPX"]):
        write_bars(part(bars(ticker, seed), 0, DAYS - 20), tmp_path / "bars")
        write_bars(bars(ticker, seed), tmp_path / "later")
    return tmp_path


def train(name: str, *settings: str) -> Path:
    assert (
        cli.main([*QUICK, "data.dir=bars", "stock.ticker=AAA", "data.window=5", f"hydra.run.dir={name}", *settings])
        == 0
    )
    return Path(name)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return list(csv.DictReader(lines))


def of_test(run: Path) -> dict[tuple[str, str], str]:
    table = rows(run / "predictions.csv")
    return {(row["date"], row["ticker"]): row["y_pred"] for row in table if row["split"] == "test"}


def forecasts(run: Path, *settings: str, name: str = "forecasts.csv") -> dict[tuple[str, str], str]:
    assert cli.main(["task=predict", f"run={run}", *settings]) == 0
    return {(row["date"], row["ticker"]): row["y_pred"] for row in rows(run / name)}


@pytest.mark.parametrize("mode", [(), ("data.split=walk_forward", "data.folds=2"), ("trainer.ensemble=2",)])
def test_newer_bars_give_the_same_features_bit_for_bit(folder: Path, mode: tuple[str, ...]) -> None:
    run = train("run", *WINDOWED, *mode)
    again = forecasts(run, "data.dir=later")
    assert of_test(run).items() <= again.items() and len(again) > len(of_test(run)) + 15
    for seed, ticker in enumerate(["AAA", "SPX"]):  # without the first days
        write_bars(part(bars(ticker, seed * 3), 250, DAYS), folder / "short")
    assert of_test(run).items() <= forecasts(run, "data.dir=short").items()


def test_features_from_the_first_bar_on_need_the_same_first_bar(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("run", "trainer.lr=1e-3", '+features.columns.trend="$close / EMA($close, 200)"')
    capsys.readouterr()
    assert of_test(run).items() <= forecasts(run, "data.dir=later").items()
    assert "are others than then" not in capsys.readouterr().out
    write_bars(part(bars("AAA", 0), 250, DAYS), folder / "short")
    forecasts(run, "data.dir=short")
    printed = capsys.readouterr().out
    assert "forecasts of the run's test are others than then" in printed and "trend: computed from" in printed


def test_bars_that_are_too_few_for_the_features_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("run", *WINDOWED)
    for seed, ticker in enumerate(["AAA", "SPX"]):
        write_bars(part(bars(ticker, seed * 3), DAYS - 44, DAYS), folder / "short")
    assert cli.main(["task=predict", f"run={run}", "data.dir=short"]) == 2
    printed = capsys.readouterr().err
    assert "44 bars are too few to forecast from: a window needs 45, since the features look back 40 days" in printed


@pytest.mark.parametrize(
    ("missing", "named"),
    [("mood", "AAA.csv: has no column mood"), ("SPX", "data.context: SPX"), ("close", "AAA.csv: has no column Close")],
)
def test_what_newer_bars_lack_is_named(
    folder: Path, missing: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("run", *WINDOWED)
    own, market = bars("AAA", 0), bars("SPX", 3)
    kept = {name: column for name, column in own.columns.items() if name != missing}
    write_bars(dataclasses.replace(own, columns=kept), folder / "poor")
    if missing != "SPX":
        write_bars(market, folder / "poor")
    assert cli.main(["task=predict", f"run={run}", "data.dir=poor"]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("pool", [(), ("data.tickers=[AAA,BBB]",)])
def test_missing_values_of_newer_bars_are_to_be_filled_and_the_old_market_is_named(
    folder: Path, pool: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("run", *WINDOWED, *pool)
    poor = bars("AAA", 0).columns["mood"].copy()
    poor[-3] = np.nan
    later = bars("AAA", 0)
    write_bars(dataclasses.replace(later, columns=later.columns | {"mood": poor}), folder / "later")
    capsys.readouterr()
    remedy = "fill these days in the file, or train again with features.missing=drop, ffill or zero"
    assert cli.main(["task=predict", f"run={run}", "data.dir=later"]) == 2
    printed = capsys.readouterr().err
    assert "AAA: features.columns.mood=Mean($mood, 3): no value on 3 of " in printed and remedy in printed
    assert "since" not in printed and "set features.missing" not in printed
    write_bars(later, folder / "later")
    write_bars(part(bars("SPX", 3), 0, DAYS - 8), folder / "later")
    assert cli.main(["task=predict", f"run={run}", "data.dir=later"]) == 2
    printed = capsys.readouterr().err
    path = folder / "later" / "SPX.csv"
    assert f", since SPX.close of {path} has none: no bar up to that day, or an older one than data.conte" in printed
    assert remedy in printed


def test_the_target_s_day_is_that_of_the_expression() -> None:
    run = train("run", "data.target='Ref($close,-2)/Ref($close,-1)-1'")
    assert cli.main(["task=predict", f"run={run}", "data.dir=later"]) == 0
    table = rows(run / "forecasts.csv")
    days = [str(day) for day in bars("AAA", 0).dates]
    known = [row for row in table if row["target_date"] in days]
    assert len(known) == len(table) - 2 and len(table) > 20
    assert all(days.index(row["target_date"]) == days.index(row["date"]) + 2 for row in known)
    close = dict(zip(days, bars("AAA", 0).columns["close"].tolist(), strict=True))
    row = known[5]
    day = days.index(row["date"])
    assert float(row["y_true"]) == pytest.approx(close[days[day + 2]] / close[days[day + 1]] - 1)


def test_other_stocks_than_the_run_compares_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    pool = ["data.tickers=[AAA,BBB,CCC]", '+features.columns.rank="CSRank(Return($close, 5))"', "data.scaler=global"]
    run = train("run", *pool)
    capsys.readouterr()
    assert of_test(run).items() <= forecasts(run, "data.dir=later").items()
    assert "warning     rank" not in capsys.readouterr().out
    forecasts(run, "data.dir=later", "data.tickers=[AAA,BBB]")
    printed = capsys.readouterr().out
    assert "rank: compares the stocks of a day: without 1 stock: CCC" in printed
    assert "forecasts of the run's test are others than then" in printed
    assert cli.main(["task=predict", f"run={run}", "data.tickers=[]", "stock.ticker=AAA"]) == 2
    assert "features.columns.rank" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["mlp_flat", "ridge"])
def test_an_onnx_file_names_its_inputs_and_forecasts_the_same(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    never = '+features.columns.never="$volume < 0"'
    run = train("run", *WINDOWED[1:], never, f"model={model}")
    assert cli.main(["task=predict", f"run={run}", "export.onnx=true"]) == 0
    described = {prop.key: prop.value for prop in onnx.load(run / "model.onnx").metadata_props}
    names = ["open", "high", "low", "close", "volume", "fast", "slow", "mood", "market", "never"]
    assert json.loads(described["features"]) == names
    assert json.loads(described["expressions"])["market"] == "Return($SPX.close)"
    windows = np.zeros((2, 5, len(names)), dtype=np.float32)
    (found,) = runtime.InferenceSession(run / "model.onnx").run(None, {"windows": windows})
    assert found.shape == (2,) and np.isfinite(found).all()
