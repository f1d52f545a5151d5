"""Daily bars read from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.dataset import prepare
from stockml.data.sources.csv import cells, tables
from tests.conftest import random_bars, write_bars

EIGHT = ("AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM")


def load(folder: Path, ticker: str = "TEST", *overrides: str) -> Bars:
    return tables.load(compose.compose("data=csv", f"data.dir={folder}", f"stock.ticker={ticker}", *overrides))


def test_values_are_read_to_the_last_digit(tmp_path: Path) -> None:
    bars = random_bars()
    write_bars(bars, tmp_path)
    read = load(tmp_path)
    assert np.array_equal(read.dates, bars.dates)
    assert all(np.array_equal(read.columns[name], bars.columns[name]) for name in bars.columns)


@given(st.lists(st.floats(1e-6, 1e9), min_size=3, max_size=3))
def test_any_number_is_read_to_the_last_digit(values: list[float]) -> None:
    read, _ = cells.numbers({"close": pd.Series([repr(v) for v in values])})
    assert read["close"].tolist() == values


def test_prices_are_adjusted_and_volume_is_not(tmp_path: Path) -> None:
    bars = random_bars(5)
    path = write_bars(bars, tmp_path)
    table = pd.read_csv(path)
    table["Adj Close"] = table["Close"] * 0.5
    table.to_csv(path, index=False)
    read = load(tmp_path)
    for name in ("open", "high", "low", "close"):
        assert np.allclose(read.columns[name], bars.columns[name] * 0.5, rtol=1e-12)
    assert np.array_equal(read.columns["volume"], bars.columns["volume"])


def test_parquet_and_csv_give_the_same_bars(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = write_bars(random_bars(), tmp_path)
    from_csv = load(tmp_path)
    table = pd.read_csv(path, parse_dates=["Date"])
    path.unlink()
    for frame, index in ((table, False), (table.set_index("Date"), True)):
        frame.to_parquet(path.with_suffix(".parquet"), index=index)
        from_parquet = load(tmp_path)
        assert np.array_equal(from_csv.dates, from_parquet.dates)
        assert all(np.array_equal(v, from_parquet.columns[k]) for k, v in from_csv.columns.items())


def test_a_ticker_with_another_meaning_in_yaml_names_its_file(tmp_path: Path) -> None:
    for ticker in ("ON", "NO", "0700.HK", "^GSPC", "BRK-B", "null_", "1e3x"):
        write_bars(random_bars(5, ticker=ticker), tmp_path)
        assert load(tmp_path, f"'{ticker}'").ticker == ticker


def test_blank_lines_at_the_end_and_names_in_any_case_are_accepted(tmp_path: Path) -> None:
    path = write_bars(random_bars(5), tmp_path)
    path.write_text(path.read_text().replace("Close", " CLOSE ") + "\n\n,,,,,\n")
    assert len(load(tmp_path).dates) == 5


@pytest.mark.parametrize("ticker", EIGHT)
def test_real_bars_are_read_completely_and_agree_with_an_independent_reader(market: Path, ticker: str) -> None:
    path = market / "ohlcv" / f"{ticker}.csv"
    config = compose.compose("data=csv", f"data.dir={path.parent}", f"stock={ticker}")
    read = tables.load(config)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    columns = dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    assert [str(day) for day in read.dates] == list(columns["Date"])
    close, adjusted = (np.array(columns[name], dtype=np.float64) for name in ("Close", "Adj Close"))
    assert np.allclose(read.columns["close"], adjusted, rtol=1e-12)
    if ticker != "SP500":
        assert np.allclose(read.columns["low"], np.array(columns["Low"], dtype=np.float64) * adjusted / close)
        assert np.array_equal(read.columns["volume"], np.array(columns["Volume"], dtype=np.float64))
    assert prepare(config).split.purged == 0
