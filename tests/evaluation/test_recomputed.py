"""Every number of real runs equals what pandas, numpy, scipy and statsmodels make of the raw CSV files.

Only the forecasts and intervals of the model are taken from the runs. The definitions use nothing of stockml.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import stockml
from tests.evaluation import definitions, interval_definitions, raw_samples
from tests.evaluation.raw_samples import Fold, Moments, Plan

DAYS, LATE_FROM, NEW_FROM, STILL, DEAD_AFTER = 430, 231, 285, 365, 385
HALTS = (slice(120, 142), slice(240, 245), slice(350, 356))  # 22, 5 and 6 sessions
POOL = ("STEADY", "HALT", "LATE", "DEAD", "CALM", "NEW")
FLOAT64, FLOAT32 = 1e-9, 1e-5
SPLITS = ("validation", "test")
OF_OTHER_TESTS = ("looks", "economic", "where", "factor")  # tests/tasks/test_looks.py, test_economic.py, test_where.py

CASES = {
    "single": Plan(),
    "single, ridge": Plan(model="ridge", test_ratio=0.33),
    "single, 5 days, dates and embargo": Plan(
        horizon=5, target="return", embargo=2, valid_start="2016-01-04", test_start="2016-03-15"
    ),
    "single, walk-forward": Plan(folds=3, rolling=True),
    "single, 5 days, walk-forward": Plan(horizon=5, folds=3, embargo=1),
    "close": Plan(target="close", levels=True, model="ridge"),
    "close, 10 days, walk-forward": Plan(target="close", horizon=10, folds=2),
    "halted": Plan(tickers=("HALT",), features=("close",), window=10),
    "pool": Plan(tickers=POOL),
    "pool, 5 days, walk-forward": Plan(tickers=POOL, horizon=5, folds=3, embargo=1),
    "pool, 5 days, one scaler": Plan(tickers=POOL, horizon=5, target="return", per_stock=False),
    "pool, walk-forward, rolling": Plan(tickers=POOL, features=("close",), folds=2, rolling=True, max_gap=30),
    "direction": Plan(target="direction", model="ridge"),
    "direction, 5 days, pool": Plan(tickers=POOL, target="direction", horizon=5, per_stock=False),
    "classes": Plan(target="up", test_ratio=0.4),
    "classes, 5 days": Plan(target="up", horizon=5),
}


def write_stocks(folder: Path) -> dict[str, Path]:
    """Daily bars: one stock with a signal, a split and dividends; a pool with a halted, a late, a dead, a new stock."""
    rng, dates = np.random.default_rng(7), pd.bdate_range("2015-01-02", periods=DAYS)
    market = 0.008 * rng.standard_normal(DAYS)
    kept = {
        "HALT": np.delete(np.arange(DAYS), np.r_[HALTS]),
        "LATE": np.arange(LATE_FROM, DAYS),
        "DEAD": np.arange(DEAD_AFTER),
        "NEW": np.arange(NEW_FROM, DAYS),
    }
    files = {}
    for ticker in ("ONE", *POOL):
        moves = (0.0 if ticker == "ONE" else market) + 0.01 * rng.standard_t(5, DAYS)
        if ticker == "ONE":  # today's move goes on tomorrow in part
            moves = np.array([*itertools.accumulate(moves, lambda last, noise: 0.5 * last + noise)])
        adjusted = 20 * np.exp(0.0003 + moves).cumprod()
        adjusted[STILL] = adjusted[STILL - 1]
        factor = np.where(np.arange(DAYS) < 200, 0.25, 1.0) * 0.995 ** (4 - np.arange(DAYS) // 100)
        close = adjusted / factor
        table = pd.DataFrame({"Date": dates.strftime("%Y-%m-%d"), "Open": close * np.exp(0.3 * moves)})
        table["High"] = np.maximum(table["Open"], close) * 1.004
        table["Low"] = np.minimum(table["Open"], close) * 0.996
        table["Close"], table["Adj Close"] = close, adjusted
        volume = np.exp(13 + 0.3 * rng.standard_normal(DAYS)) * np.where(np.arange(DAYS) < 200, 1, 4)
        table["Volume"] = volume.round()
        files[ticker] = folder / f"{ticker}.csv"
        table.iloc[kept.get(ticker, np.arange(DAYS))].to_csv(files[ticker], index=False)
    return files


@dataclass(frozen=True, eq=False)
class Run:
    """A run of stockml, and what its files must hold."""

    plan: Plan
    folder: Path
    folds: list[Fold]
    scalers: list[dict[str, Moments]]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / name, keep_default_na=False)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return found

    @functools.cached_property
    def scored(self) -> dict[str, pd.DataFrame]:
        """The samples of each split, those of one fold after the other."""
        return {
            split: pd.concat(
                [fold.scored[split].assign(fold=number) for number, fold in enumerate(self.folds)], ignore_index=True
            )
            for split in SPLITS
        }

    @functools.cached_property
    def baselines(self) -> dict[str, pd.DataFrame]:
        """What the baselines must forecast, and a ridge regression, by split."""
        each = [raw_samples.baselines(*of, self.plan) for of in zip(self.folds, self.scalers, strict=True)]
        return {split: pd.concat([of[split] for of in each], ignore_index=True) for split in SPLITS}

    @functools.cached_property
    def forecasts(self) -> dict[str, pd.DataFrame]:
        """Those of the run's model and, as they are float32's, of its ridge; the other baselines as they must be."""
        found = {}
        for split, must in self.baselines.items():
            own, others = (of[of["split"] == split] for of in map(self.table, ("predictions.csv", "baselines.csv")))
            found[split] = must.drop(columns="ridge").assign(y_pred=own["y_pred"].to_numpy())
            if self.plan.model != "ridge":
                found[split]["ridge"] = others["ridge"].to_numpy()
        return found


def trained(plan: Plan, files: Mapping[str, Path], folder: Path) -> Run:
    """A short run by this plan, and its samples from the raw files."""
    every, by_stock, days = raw_samples.samples(files, plan)
    settings: dict[str, object] = {"hardware.device": "cpu", "data.valid_ratio": plan.valid_ratio}
    settings |= {} if plan.model == "ridge" else {"trainer.epochs": 3, "trainer.lr": 3e-3}
    n_train = None
    if plan.dated:
        settings |= {
            "data.dir": next(iter(files.values())).parent,
            "stock.ticker": "POOLED" if plan.pooled else plan.tickers[0],
            "stock.features": list(plan.features),
            "data.tickers": list(plan.tickers) if plan.pooled else [],
            "data.window": plan.window,
            "data.horizon": plan.horizon,
            "data.target": plan.target,
            "data.transform": "levels" if plan.levels else "returns",
            "data.test_ratio": plan.test_ratio,
            "data.valid_start": plan.valid_start,
            "data.test_start": plan.test_start,
            "data.split": "walk_forward" if plan.folds else "holdout",
            **({"data.folds": plan.folds} if plan.folds else {}),
            "data.train_span": "rolling" if plan.rolling else "expanding",
            "data.embargo": plan.embargo,
            "data.max_gap": plan.max_gap,
            "data.scaler": "per_stock" if plan.per_stock else "global",
            "data.min_scaler_samples": plan.min_scaler_samples,
        }
    else:
        n_train = len(every) - round(len(every) * plan.test_ratio)
        windows = every.filter(regex=r"^x\d").to_numpy().reshape(len(every), plan.window, -1)
        (x_train, x_test), (y_train, y_test) = (np.split(of, [n_train]) for of in (windows, every["y"].to_numpy(int)))
        path = folder.with_suffix(".npz")
        np.savez(path, X_train=x_train, X_test=x_test, y_train=y_train, y_test=y_test)
        settings |= {"data.path": path, "stock.ticker": "ONE", "stock.features": []}
        settings["data.horizon"] = 1 if plan.horizon == 1 else None  # as the arrays themselves show it
    stockml.train(folder=folder, data="csv" if plan.dated else "npz", model=plan.model, quiet=True, settings=settings)
    folds = raw_samples.folds(every, days, plan, n_train)
    return Run(plan, folder, folds, [raw_samples.scalers(fold.train, by_stock, plan) for fold in folds])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_stocks(tmp_path_factory.mktemp("bars"))


@pytest.fixture(scope="module")
def runs(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {case: trained(plan, files, folder / str(number)) for number, (case, plan) in enumerate(CASES.items())}


@pytest.fixture(params=list(CASES))
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


def test_true_values_days_and_splits_are_those_of_the_raw_prices(run: Run) -> None:
    found = run.table("predictions.csv")
    expected = pd.concat([run.scored[split].assign(split=split) for split in SPLITS], ignore_index=True)
    days = expected["day"].dt.strftime("%Y-%m-%d") if run.plan.dated else pd.Series([""] * len(expected))
    for name, column in {"sample": expected["sample"], "ticker": expected["ticker"], "date": days}.items():
        assert found[name].tolist() == column.tolist(), name
    assert found["split"].tolist() == expected["split"].tolist()
    assert found.get("fold", expected["fold"]).tolist() == expected["fold"].tolist()
    np.testing.assert_allclose(found["y_true"], expected["y"].to_numpy(), rtol=FLOAT64, atol=1e-15)
    recorded = json.loads((run.folder / "config.json").read_text())["data"]
    for fold, own in zip(run.folds, recorded.get("folds", [recorded]), strict=True):
        of_splits = {"train": fold.train, **fold.scored}
        assert own["samples"] == {name: len(part) for name, part in of_splits.items()}
        ends = {name: part["day"].dt.strftime("%Y-%m-%d").iloc[[0, -1]].tolist() for name, part in of_splits.items()}
        assert own["spans"] == (ends if run.plan.dated else dict.fromkeys(ends))
        assert own["purged"] == fold.purged


def test_baselines_are_those_of_the_raw_prices(run: Run) -> None:
    found = run.table("baselines.csv")
    if run.plan.model == "ridge":
        found["ridge"] = run.table("predictions.csv")["y_pred"]
    for split in SPLITS:
        expected, own = run.baselines[split], found[found["split"] == split]
        names = ("sample", "ticker", "date", "split", "fold")
        assert set(expected) == {name for name in own if name not in names}
        for name in expected:
            tolerance = FLOAT64 if name != "ridge" else FLOAT32
            spread = float(run.scored[split]["y"].std())
            np.testing.assert_allclose(
                own[name].to_numpy(float), expected[name].to_numpy(), rtol=tolerance, atol=tolerance * spread,
                err_msg=name,
            )  # fmt: skip


def test_every_number_of_metrics_json_is_known_and_right(run: Run) -> None:
    plan, found = run.plan, {name: of for name, of in run.metrics.items() if name not in OF_OTHER_TESTS}
    parts = {split: run.scored[split] for split in SPLITS}
    forecasts = {split: run.forecasts[split] for split in parts}
    first = (parts["validation"]["fold"] == 0).to_numpy()
    parts["validation"], forecasts["validation"] = parts["validation"][first], forecasts["validation"][first]
    expected = definitions.metrics(parts, forecasts, plan.horizon, plan.kind, pooled=plan.pooled)
    expected["significance"]["unit"] = expected["significance"]["unit"] if plan.dated else "samples"
    own = expected["significance"]["against"]
    assert list(found["significance"]["against"]) == list(own)
    zero, named = next(iter(own.values())), {"class": "the train mean", "level": "persistence (r2_zero)"}
    against = named.get(plan.kind, "zero change (r2_zero)")
    r2, low, high = (f"{x:+.2%}" if abs(x) < 10 else f"{x:+,.0%}" for x in (zero["r2"], *zero["r2_interval"]))
    size = f"R² against {against} is {r2} (95 % CI {low} to {high}) on {len(parts['test']):,} test "
    assert size + expected["significance"]["unit"] in found["verdict"]
    if plan.folds is not None:
        days = parts["validation"]["day"].dt.strftime("%Y-%m-%d")
        expected["decided_on"] = {"fold": 0, "first": days.iloc[0], "last": days.iloc[-1]}
    loss = raw_samples.loss(run.folds[0], run.scalers[0], forecasts["validation"]["y_pred"].to_numpy())
    assert found.pop("validation_loss") == pytest.approx(loss, rel=FLOAT32)
    assert list(definitions.differences(_timing(run), found.pop("timing"), 1e-2)) == []
    text = {"format": 2, "synthetic": False, "verdict": found["verdict"]}
    ends = run.table("predictions.csv")
    expected |= interval_definitions.intervals(ends, parts, forecasts, plan.kind, pooled=plan.pooled)
    assert list(definitions.differences({**expected, **text}, found)) == []


def _timing(run: Run) -> dict[str, Any]:
    """As history.csv has it, whose seconds are rounded to microseconds, of which a fit may take a few hundred."""
    within = [run.folder / f"folds/{number}" for number in range(len(run.folds))] if run.plan.folds else [run.folder]
    histories = [pd.read_csv(folder / "history.csv") for folder in within]
    seconds = sum(float(history["seconds"].sum()) for history in histories)
    seen = sum(len(fold.train) * len(history) for fold, history in zip(run.folds, histories, strict=True))
    total = run.metrics["timing"]["total_seconds"]
    assert total > seconds * 0.99
    return {
        "total_seconds": total,
        "train_seconds": seconds,
        "epochs": max(map(len, histories)),
        "best_epoch": int(histories[0]["best_epoch"].iloc[-1]) if len(histories) == 1 else None,
        "samples_per_second": seen / seconds,
        "world_size": 1,
        "samples_per_second_per_rank": seen / seconds,
        "communication_share": 0.0,
    }


def _scores(run: Run, of_splits: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """The columns of scores of a row of folds.csv or stocks.csv: of the samples of each split that are chosen."""
    found: dict[str, Any] = {}
    for short, split in (("val", "validation"), ("test", "test")):
        chosen, part, forecast = of_splits[split], run.scored[split], run.forecasts[split]["y_pred"].to_numpy()
        of: dict[str, Any] = {}
        if chosen.any():
            of = definitions.scores(part[chosen], forecast[chosen], run.plan.kind, pooled=False)
        found |= {f"{short}_{name}": of.get(name) for name in definitions.COLUMNS}
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """With numbers as numbers, and None in empty cells."""

    def value(text: str) -> Any:
        try:
            return None if not text else float(text) if "." in text or "e" in text else int(text)
        except ValueError:
            return text

    with path.open(newline="") as file:
        return [{name: value(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def test_every_number_of_the_folds_is_right(run: Run) -> None:
    assert (run.folder / "folds.csv").exists() == (run.plan.folds is not None)
    if run.plan.folds is None:
        return
    expected = {}
    for number, fold in enumerate(run.folds):
        row: dict[str, Any] = {"fold": number}
        for split, part in {"train": fold.train, **fold.scored}.items():
            row[f"{split}_first"], row[f"{split}_last"] = part["day"].dt.strftime("%Y-%m-%d").iloc[[0, -1]]
            row[f"{split}_n"] = len(part)
        history = pd.read_csv(run.folder / f"folds/{number}/history.csv")
        row |= {"purged": fold.purged, "epochs": len(history), "best_epoch": int(history["best_epoch"].iloc[-1])}
        chosen = {split: (run.scored[split]["fold"] == number).to_numpy() for split in fold.scored}
        expected[number] = row | _scores(run, chosen)
    assert list(definitions.differences(expected, dict(enumerate(_rows(run.folder / "folds.csv"))))) == []


def test_every_number_of_the_stocks_is_right(run: Run) -> None:
    assert (run.folder / "stocks.csv").exists() == run.plan.pooled
    if not run.plan.pooled:
        return
    validation, test = run.scored["validation"], run.scored["test"]
    expected = {}
    for ticker in {*validation["ticker"], *test["ticker"]}:
        chosen = {
            "validation": ((validation["ticker"] == ticker) & (validation["fold"] == 0)).to_numpy(),
            "test": (test["ticker"] == ticker).to_numpy(),
        }
        counts = {f"{split}_n": int(of.sum()) for split, of in chosen.items()}
        expected[ticker] = {"ticker": ticker, **counts, **_scores(run, chosen)}
    found = {row["ticker"]: row for row in _rows(run.folder / "stocks.csv")}
    assert list(definitions.differences(expected, found)) == []


def test_the_cases_hold_what_they_are_for(runs: dict[str, Run]) -> None:
    train, test = runs["pool"].folds[0].train, runs["pool"].folds[0].test
    counts = train["ticker"].value_counts()
    assert 2 <= counts["LATE"] < CASES["pool"].min_scaler_samples <= counts["HALT"] <= counts["STEADY"] - 6
    assert "NEW" not in set(test["ticker"])
    assert "NEW" in set(runs["pool, 5 days, walk-forward"].folds[-1].test["ticker"])
    new = runs["pool, 5 days, one scaler"].scored["validation"].query("ticker == 'NEW'")
    assert new["row"].min() == CASES["pool, 5 days, one scaler"].window - 1 < 5  # no return over 5 days is known yet
    assert test[test["ticker"] == "DEAD"]["day"].max() < test["day"].max()
    assert test["ticker"].value_counts()["HALT"] < test["ticker"].value_counts()["CALM"]
    assert {run.metrics["skill"] for run in runs.values()} >= {"shown", "not shown"}
    assert (runs["single"].folds[0].test["y"] == 0).sum() == 1 == (test.groupby("day")["y"].std() == 0).sum()
    assert all(run.folds[0].purged for run in runs.values() if run.plan.horizon > 1)
    assert runs["pool"].folds[0].purged == 1  # HALT's next bar lies within the next split


def test_a_number_that_is_not_known_or_not_there_is_a_difference() -> None:
    assert list(definitions.differences({"a": {"b": 1.0}}, {"a": {"b": 1.0, "c": 2.0}})) == ["a.c: unknown"]
    assert list(definitions.differences({"a": {"b": 1.0}}, {"a": {}})) == ["a.b: missing"]
    assert list(definitions.differences({"a": 1.0}, {"a": 1.0 + 1e-8})) == ["a: 1.00000001 in place of 1.0"]
    assert list(definitions.differences({"a": [0.5, 1.0]}, {"a": [0.6, 1.0]})) == [
        "a: [0.6, 1.0] in place of [0.5, 1.0]"
    ]
    assert list(definitions.differences({"a": None}, {"a": 0.0})) == ["a: 0.0 in place of None"]
