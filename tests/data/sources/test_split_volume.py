"""Volume is adjusted for splits, as prices are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockml import compose
from stockml.data.bars import Bars, split_ratios
from stockml.data.dataset import load_panel
from stockml.data.sources.csv import tables
from tests.conftest import random_bars, write_bars

SPLITS = {100: 4.0, 200: 0.1, 300: 1.5}
"""Day → shares that one share becomes on it; 0.1: ten become one."""
DIVIDENDS = {50: 0.01, 200: 0.004, 250: 0.12}
"""Day → share of the price that is paid."""


def raw_table(bars: Bars, folder: Path) -> pd.DataFrame:
    """The bars, which are adjusted, as a vendor of raw prices and volume has them, with Adj Close."""
    table = pd.read_csv(write_bars(bars, folder))
    table["Adj Close"] = table["Close"]
    table["Volume"] = table["Volume"].astype(float)
    for day, ratio in SPLITS.items():
        table.loc[: day - 1, ["Open", "High", "Low", "Close"]] *= ratio
        table.loc[: day - 1, "Volume"] /= ratio
    for day, paid in DIVIDENDS.items():
        table.loc[: day - 1, ["Open", "High", "Low", "Close"]] /= 1 - paid
    return table


def read(table: pd.DataFrame, folder: Path, *overrides: str) -> Bars:
    table.to_csv(folder / "TEST.csv", index=False)
    return tables.load(compose.compose("data=csv", f"data.dir={folder}", "stock.ticker=TEST", *overrides))


@pytest.mark.parametrize("newest_first", [False, True])
def test_volume_is_adjusted_for_the_splits_and_not_for_dividends(tmp_path: Path, newest_first: bool) -> None:
    bars = random_bars()
    table = raw_table(bars, tmp_path)
    found = read(table[::-1] if newest_first else table, tmp_path)
    for name, values in bars.columns.items():
        np.testing.assert_allclose(found.columns[name], values, rtol=1e-9)
    assert "volume × the splits in Adj Close / Close" in found.parsing_notes


def test_adj_volume_is_taken_where_the_file_has_it(tmp_path: Path) -> None:
    bars = random_bars()
    table = raw_table(bars, tmp_path)
    table["Adj_Volume"] = 7 * bars.columns["volume"]
    found = read(table, tmp_path)
    np.testing.assert_array_equal(found.columns["volume"], 7 * bars.columns["volume"])
    assert "Adj Volume taken for volume" in found.parsing_notes


def test_volume_that_is_not_to_be_adjusted_stays_as_it_is(tmp_path: Path) -> None:
    table = raw_table(random_bars(), tmp_path)
    table["Adj_Volume"] = 1.0
    found = read(table, tmp_path, "data.adjust_volume=false")
    np.testing.assert_array_equal(found.columns["volume"], table["Volume"])
    assert "olume" not in found.parsing_notes


def test_a_large_step_that_is_no_split_is_named_and_changes_no_volume(tmp_path: Path) -> None:
    bars = random_bars()
    table = pd.read_csv(write_bars(bars, tmp_path))
    table["Adj Close"] = table["Close"]
    table.loc[:99, ["Open", "High", "Low", "Close"]] *= 1.8  # a spin-off
    found = read(table, tmp_path)
    np.testing.assert_array_equal(found.columns["volume"], bars.columns["volume"])
    assert "1 large step of no usual ratio, for which volume is raw" in found.parsing_notes


def test_a_step_that_the_close_does_not_follow_is_no_split() -> None:
    close = random_bars(100).columns["close"]
    ratios, unclear = split_ratios(close, close * np.where(np.arange(100) < 50, 0.25, 1))
    assert (ratios == 1).all()
    assert unclear == 1


def test_a_pool_s_panel_knows_whether_volume_was_adjusted(tmp_path: Path) -> None:
    bars = random_bars()
    raw_table(bars, tmp_path).to_csv(tmp_path / "TEST.csv", index=False)
    write_bars(random_bars(seed=1, ticker="OTHER"), tmp_path)
    pool = ("data=csv", f"data.dir={tmp_path}", "data.tickers=all", "stock.features=[volume]")
    adjusted, raw = (
        load_panel(compose.compose(*pool, f"data.adjust_volume={value}"))[0] for value in ("true", "false")
    )
    changes = [
        np.abs(panel.values[panel.spans()[1]][99, 0] - np.diff(np.log1p(bars.columns["volume"]))[99])
        for panel in (adjusted, raw)
    ]
    assert changes[0] < 1e-2
    assert changes[1] > 1


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM"])
def test_prices_that_are_adjusted_for_splits_already_show_none(market: Path, ticker: str) -> None:
    table = pd.read_csv(market / "ohlcv" / f"{ticker}.csv")
    ratios, unclear = split_ratios(table["Close"].to_numpy(), table["Adj Close"].to_numpy())
    assert (ratios == 1).all()
    assert unclear == 0
