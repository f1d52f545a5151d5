"""Further columns of a file, by their names or by those that data.columns gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml import compose
from stockml.config.root import identity
from stockml.data.bars import Bars
from stockml.data.dataset import load_panel
from stockml.data.sources import loading
from stockml.data.sources.csv import cells, tables
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars

DAYS = 60
RNG = np.random.default_rng(1)
MOOD = np.round(RNG.standard_normal(DAYS), 4)


def table(folder: Path, ticker: str = "TEST", **columns: Any) -> Path:
    """A file with further columns, in the order given."""
    path = write_bars(random_bars(DAYS, ticker=ticker), folder)
    frame = pd.read_csv(path)
    for name, values in columns.items():
        frame[name.replace("_", " ") if name.startswith("news") else name] = values
    frame.to_csv(path, index=False)
    return path


def read(folder: Path, *asked: str, typed: tuple[str, ...] = (), ticker: str = "TEST") -> Bars:
    """The bars with the columns asked for, each an expression of its own."""
    features = [f"+features.columns.x{number}='{text}'" for number, text in enumerate(asked)]
    config = compose.compose("data=csv", f"data.dir={folder}", f"stock.ticker={ticker}", *features, *typed)
    return loading.load_bars(config)


@pytest.mark.parametrize(
    ("header", "asked", "name"),
    [
        ("sentiment", "$sentiment", "sentiment"),
        ("Sentiment", "$sentiment", "sentiment"),
        ("news score", "$news_score", "news_score"),
        ("news score", '$"news score"', "news score"),
        ("News-Score (%)", "$news_score", "news_score"),
        ("^N225", '$"^N225"', "^N225"),
        ("^N225", "$N225", "N225"),
        ("P.E.", "$P_E", "P_E"),
        ("Stimmung ü", '$"Stimmung ü"', "Stimmung ü"),
    ],
)
def test_a_column_is_found_by_its_name_and_keeps_the_name_that_was_asked_for(
    tmp_path: Path, header: str, asked: str, name: str
) -> None:
    path = table(tmp_path)
    further: dict[str, Any] = {header: MOOD, "unread": "text"}
    pd.read_csv(path).assign(**further).to_csv(path, index=False)
    bars = read(tmp_path, asked)
    assert list(bars.columns) == ["open", "high", "low", "close", "volume", name]
    assert np.array_equal(bars.columns[name], MOOD)


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    table(tmp_path, mood=MOOD, junk="?")
    assert "junk" not in read(tmp_path, "$mood").columns
    assert "mood" not in read(tmp_path).columns


def test_a_name_that_two_columns_have_is_refused_unless_it_is_exact(tmp_path: Path) -> None:
    path = table(tmp_path)
    further: dict[str, Any] = {"News score": 1.0, "news-score": MOOD}
    pd.read_csv(path).assign(**further).to_csv(path, index=False)
    with pytest.raises(
        UserError, match=r"TEST\.csv: has the column News score for news_score \(News score, news-score"
    ):
        read(tmp_path, "$news_score")
    assert np.array_equal(read(tmp_path, '$"news-score"').columns["news-score"], MOOD)


def test_prices_and_vwap_are_adjusted_and_other_columns_are_not(tmp_path: Path) -> None:
    path = table(tmp_path, vwap=50.0, amount=1e9, mood=MOOD)
    frame = pd.read_csv(path)
    frame.assign(**{"Adj Close": frame["Close"] * 0.5}).to_csv(path, index=False)
    bars = read(tmp_path, "$vwap", "$amount", "$mood", "$adj_close")
    assert np.allclose(bars.columns["vwap"], 25.0, rtol=1e-12)
    assert np.allclose(bars.columns["close"], frame["Close"] * 0.5, rtol=1e-12)
    assert np.array_equal(bars.columns["adj_close"], (frame["Close"] * 0.5).to_numpy())
    assert np.array_equal(bars.columns["amount"], np.full(DAYS, 1e9))
    assert np.array_equal(bars.columns["mood"], MOOD)


def test_a_price_by_any_name_is_the_adjusted_one(tmp_path: Path) -> None:
    path = table(tmp_path)
    frame = pd.read_csv(path)
    frame.assign(**{"Adj Close": frame["Close"] * 0.5}).to_csv(path, index=False)
    assert np.allclose(read(tmp_path, "$Close").columns["Close"], frame["Close"] * 0.5, rtol=1e-12)


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "N/A", "null", "None", "-", "."])
def test_an_empty_cell_of_a_further_column_is_nan_and_its_row_is_kept(tmp_path: Path, empty: str) -> None:
    texts = [str(value) for value in MOOD]
    texts[3] = texts[7] = empty
    table(tmp_path, mood=texts)
    mood = read(tmp_path, "$mood").columns["mood"]
    assert np.isnan(mood).nonzero()[0].tolist() == [3, 7]
    assert np.array_equal(np.delete(mood, [3, 7]), np.delete(MOOD, [3, 7]))


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1,234.5", "2.5"], [1234.5, 2.5]),
        (["$1,234.50", "$3.00"], [1234.5, 3.0]),
        (["-0.5%", "12%"], [-0.5, 12.0]),
        (["1.2M", "3K"], [1.2e6, 3e3]),
        (["True", "False"], [1.0, 0.0]),
        (["1e3", "-2"], [1000.0, -2.0]),
    ],
)
def test_numbers_are_read_as_those_of_prices(tmp_path: Path, texts: list[str], values: list[float]) -> None:
    table(tmp_path, mood=texts * (DAYS // 2))
    assert read(tmp_path, "$mood").columns["mood"].tolist() == values * (DAYS // 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e30, 1e30)), min_size=2, max_size=6))
def test_any_number_of_a_further_column_is_read_to_the_last_digit(values: list[float | None]) -> None:
    texts = pd.Series(["" if value is None else repr(value) for value in values])
    found, _ = cells.numbers({"close": pd.Series(["1.5"] * len(values)), "mood": texts}, ["mood"])
    wanted = np.array([np.nan if value is None else value for value in values])
    assert np.array_equal(found["mood"], wanted, equal_nan=True)
    assert found["close"].tolist() == [1.5] * len(values)


def test_decimal_commas_hold_for_every_column(tmp_path: Path) -> None:
    path = table(tmp_path, mood=MOOD)
    pd.read_csv(path).to_csv(path, index=False, sep=";", decimal=",")
    bars = read(tmp_path, "$mood")
    assert np.array_equal(bars.columns["mood"], MOOD)
    assert "decimal commas" in bars.parsing_notes


@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet], ids=["csv", "parquet"])
def test_csv_and_parquet_have_the_same_columns(tmp_path: Path, write: Callable[..., None]) -> None:
    pytest.importorskip("pyarrow")
    path = table(tmp_path, mood=MOOD, count=pd.array([None, *range(DAYS - 1)], dtype="Int64"), flag=MOOD > 0)
    frame = pd.read_csv(path, parse_dates=["Date"]).astype({"count": "Int64"})
    path.unlink()
    write(frame, tmp_path / f"TEST.{'csv' if write is pd.DataFrame.to_csv else 'parquet'}", index=False)
    columns = read(tmp_path, "$mood", "$count", "$flag").columns
    assert np.array_equal(columns["mood"], MOOD)
    assert np.isnan(columns["count"]).tolist() == [True, *[False] * (DAYS - 1)]
    assert np.array_equal(columns["flag"], (MOOD > 0).astype(float))


@pytest.mark.parametrize("layout", ["long", "header", "prefix"])
def test_each_stock_of_a_file_has_its_own_values(tmp_path: Path, layout: str) -> None:
    pytest.importorskip("pyarrow")
    one, two = (pd.read_csv(table(tmp_path / t, t, mood=MOOD * n)) for n, t in ((1, "AA"), (2, "BB")))
    if layout == "long":
        pd.concat([one.assign(Ticker="AA"), two.assign(Ticker="BB")]).to_csv(tmp_path / "all.csv", index=False)
    elif layout == "header":
        both = pd.concat({"AA": one.set_index("Date"), "BB": two.set_index("Date")}, axis=1, names=["Ticker", "Price"])
        both.swaplevel(axis=1).to_csv(tmp_path / "all.csv")
    else:
        named = [frame.set_index("Date").add_prefix(f"{t}.") for frame, t in ((one, "AA"), (two, "BB"))]
        pd.concat(named, axis=1).to_csv(tmp_path / "all.csv")
    for ticker, values in (("AA", MOOD), ("BB", 2 * MOOD)):
        config = compose.compose(
            "data=csv", f"data.path={tmp_path / 'all.csv'}", f"stock.ticker={ticker}", "+features.columns.m='$mood'"
        )
        assert np.array_equal(tables.load(config).columns["mood"], values)


def test_columns_with_foreign_names_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, mood=MOOD)
    frame = pd.read_csv(path)
    frame.columns = ["Datum", "Auf", "Hoch", "Tief", "Zuletzt", "Menge", "Stimmung"]
    frame.to_csv(path, index=False, sep=";", decimal=",")
    names = "{date: Datum, open: Auf, high: Hoch, low: Tief, close: zuletzt, volume: Menge, mood: Stimmung}"
    bars = read(tmp_path, "$mood", typed=(f"data.columns={names}",))
    plain = random_bars(DAYS)
    assert all(np.allclose(bars.columns[name], plain.columns[name], rtol=1e-12) for name in plain.columns)
    assert np.array_equal(bars.columns["mood"], MOOD)
    for note in ("Zuletzt taken for close", "Datum taken for date", "Menge taken for volume"):
        assert note in bars.parsing_notes


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_file_without_a_header_is_read_by_positions(tmp_path: Path, delimiter: str) -> None:
    path = table(tmp_path, mood=MOOD)
    pd.read_csv(path).to_csv(path, index=False, header=False, sep=delimiter, decimal="." if delimiter == "," else ",")
    typed = "data.columns={date: 1, open: 2, high: 3, low: 4, close: 5, volume: 6, mood: 7}"
    bars = read(tmp_path, "$mood", typed=(typed,))
    assert len(bars.dates) == DAYS
    assert np.allclose(bars.columns["close"], random_bars(DAYS).columns["close"], rtol=1e-12)
    assert np.array_equal(bars.columns["mood"], MOOD)


def test_a_position_in_a_file_with_a_header_skips_the_header(tmp_path: Path) -> None:
    table(tmp_path, mood=MOOD)
    assert np.array_equal(read(tmp_path, "$feeling", typed=("data.columns={feeling: 7}",)).columns["feeling"], MOOD)


def test_a_column_named_for_one_role_is_taken_for_no_other(tmp_path: Path) -> None:
    path = table(tmp_path)
    frame = pd.read_csv(path)
    frame.assign(**{"Adj Close": frame["Close"] * 0.5}).to_csv(path, index=False)
    bars = read(tmp_path, typed=("data.columns={close: 'Adj Close'}",))
    assert np.array_equal(bars.columns["close"], (frame["Close"] * 0.5).to_numpy())
    assert "no Adj Close" in bars.parsing_notes


def test_named_columns_and_late_ones_are_part_of_what_an_experiment_is(tmp_path: Path) -> None:
    both = ("data=csv", "data.dir=.", "data.context=[SP500,VIX]")
    read = '+features.columns.m="Return($SP500.close / $VIX.close)"'
    plain = compose.compose(*both, read)
    for typed in (
        "data.columns={mood: Stimmung}",
        "data.context=[VIX,SP500]",
        "data.context_max_age=3",
        "data.lag.close=1",
    ):
        assert identity(compose.compose(*both, read, typed)) != identity(plain), typed


@pytest.mark.parametrize("source", ["simulated", "yahoo"])
def test_a_source_without_further_columns_names_those_it_has(tmp_path: Path, source: str) -> None:
    config = compose.compose(f"data={source}", "stock=AAPL", "+features.columns.m='$mood'")
    with pytest.raises(UserError, match="has no column mood; it has open, high, low, close, volume"):
        loading.load_bars(config)


def test_several_stocks_have_their_own_further_columns(tmp_path: Path) -> None:
    for number, ticker in enumerate(("AA", "BB")):
        table(tmp_path / "bars", ticker, mood=MOOD + number)
    config = compose.compose(
        "data=csv",
        f"data.dir={tmp_path / 'bars'}",
        "data.tickers=all",
        f"data.panel_cache={tmp_path / 'panels'}",
        "data.window=5",
        "+features.columns.m='$mood'",
    )
    panel, _ = load_panel(config)
    column = panel.values[:, list(panel.features).index("m")]
    lost = DAYS - len(column) // 2
    assert np.array_equal(column, np.r_[MOOD[lost:], MOOD[lost:] + 1].astype(np.float32))
    table(tmp_path / "bars", "BB", mood=-MOOD)
    assert load_panel(config)[0].fingerprint() != panel.fingerprint()
