"""What a run says its forecasts are worth is what its own files and bars come to, in every kind of run."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli
from tests.conftest import random_bars, write_bars

TICKERS = ("AAA", "BBB", "CCC", "DDD")
QUICK = ("report=false", "model=linear", "trainer.epochs=1", "data.window=10", "data=csv", "stock.ticker=AAA")
POOL = f"data.tickers=[{','.join(TICKERS)}]"


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bars of four stocks."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate(TICKERS):
        write_bars(random_bars(400, seed=seed, ticker=ticker), folder)
    return folder


def run(bars: Path, folder: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The content of metrics.json, and the rows of the test in predictions.csv."""
    assert cli.main([*QUICK, f"data.dir={bars}", *overrides, f"hydra.run.dir={folder}"]) == 0
    with (folder / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    return json.loads((folder / "metrics.json").read_text()), rows


def net_sharpe(gross: list[float], turnover: list[float]) -> float:
    net = [earned - 0.0005 * traded for earned, traded in zip(gross, turnover, strict=True)]
    return float(np.mean(net) / np.std(net, ddof=1) * math.sqrt(252))


@pytest.mark.parametrize("overrides", [(), ("data.target=close",), ("data.split=walk_forward", "data.folds=3")])
def test_one_stock_is_worth_what_its_closes_come_to(bars: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    metrics, rows = run(bars, tmp_path / "run", *overrides)
    with (bars / "AAA.csv").open() as file:
        closes = {row["Date"]: float(row["Close"]) for row in csv.DictReader(file)}
    days, prices = list(closes), list(closes.values())
    gross, turnover, held = [], [], 0.0
    for row in rows:
        at = days.index(row["date"])
        change = prices[at + 1] / prices[at] - 1
        assert float(row["next_return"]) == pytest.approx(change, rel=1e-12)
        position = float(np.sign(float(row["y_pred"]) - (prices[at] if "data.target=close" in overrides else 0)))
        gross.append(position * change)
        turnover.append(abs(position - held))
        held = position
    found = metrics["economic"]
    assert found["n"] == len(rows)
    assert found["model"]["net"]["sharpe"] == pytest.approx(net_sharpe(gross, turnover), rel=1e-8)
    assert found["baselines"].keys() == metrics["baselines"].keys()
    assert f"{found['model']['net']['sharpe']:+.2f}" in metrics["verdict"]


def test_a_pool_is_worth_its_highest_less_its_lowest_in_tranches(bars: Path, tmp_path: Path) -> None:
    metrics, rows = run(bars, tmp_path / "run", POOL, "data.horizon=3", "data.memory_limit=0")
    aimed_at, gross, turnover, before = list[dict[str, float]](), [], [], dict.fromkeys(TICKERS, 0.0)
    for first in range(0, len(rows), len(TICKERS)):
        day = {row["ticker"]: row for row in rows[first : first + len(TICKERS)]}
        order = sorted(TICKERS, key=lambda ticker: float(day[ticker]["y_pred"]))
        aimed_at.append({**dict.fromkeys(TICKERS, 0.0), order[0]: -1.0, order[-1]: 1.0})
        held = {ticker: sum(one[ticker] for one in aimed_at[-3:]) / 3 for ticker in TICKERS}
        changes = {ticker: float(day[ticker]["next_return"]) for ticker in TICKERS}
        turnover.append(sum(abs(held[ticker] - before[ticker]) for ticker in TICKERS))
        gross.append(sum(held[ticker] * changes[ticker] for ticker in TICKERS))
        before = {ticker: held[ticker] * (1 + changes[ticker]) / (1 + gross[-1]) for ticker in TICKERS}
    found = metrics["economic"]
    assert found["model"]["net"]["sharpe"] == pytest.approx(net_sharpe(gross, turnover), rel=1e-8)
    assert found["rule"] == "quantile" and found["long_only"]["exposure"] <= 1


def test_a_finished_run_is_traded_differently_and_its_numbers_stay(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    metrics, _ = run(bars, folder)
    direct, _ = run(bars, tmp_path / "direct", "portfolio.cost_bps=50", "portfolio.delay=1")
    assert {**direct["economic"]} != metrics["economic"] and direct["test"] == metrics["test"]
    capsys.readouterr()
    assert cli.main(["task=evaluate", f"run={folder}", "portfolio.cost_bps=50", "portfolio.delay=1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "identical to its metrics.json" in printed
    assert f"at 50 bp, the Sharpe ratio after costs is {direct['economic']['model']['net']['sharpe']:+.2f}" in printed


def test_without_a_rule_nothing_is_valued(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics, _ = run(bars, tmp_path / "run", "portfolio.rule=none")
    assert "economic" not in metrics and "Traded" not in metrics["verdict"]
    metrics, _ = run(bars, tmp_path / "other", "data.target=volatility", "data.horizon=5")
    assert metrics["economic"] == {"none": "the target is a volatility, which has no direction"}
    assert "economic    none: the target is a volatility" in capsys.readouterr().out
