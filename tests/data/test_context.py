"""Columns of other tickers, and columns that are known late: each day has what was known at its close."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml import cli, compose
from stockml.config.root import Config, identity
from stockml.data import pooled
from stockml.data.bars import Bars
from stockml.data.context import joined
from stockml.data.dataset import load_panel, prepare_folds
from stockml.data.sources import loading
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars
from tests.yahoo_server import YahooServer

DAYS = 120


def typed(folder: Path, *overrides: str, index: str = "$SP500.close") -> Config:
    return compose.compose(
        "data=csv",
        f"data.dir={folder}",
        "stock.ticker=TEST",
        "data.window=5",
        "data.context=[SP500]",
        f"+features.columns.index='{index}'",
        *overrides,
    )


def written(folder: Path, rows: slice | np.ndarray = np.s_[:], seed: int = 3) -> tuple[Bars, Bars]:
    """TEST.csv and SP500.csv, of which some rows are there; the bars of both."""
    stock, index = random_bars(DAYS), random_bars(DAYS, seed, "SP500")
    index = dataclasses.replace(
        index, dates=index.dates[rows], columns={name: values[rows] for name, values in index.columns.items()}
    )
    write_bars(stock, folder)
    write_bars(index, folder)
    return stock, index


@functools.cache
def data(age: int) -> object:
    return compose.compose("data=csv", "data.dir=.", f"data.context_max_age={age}").data


def slow_join(days: np.ndarray, known: np.ndarray, values: np.ndarray, age: int) -> np.ndarray:
    """The same, day by day."""
    found = np.full(len(days), np.nan)
    for row, day in enumerate(days):
        before = [n for n, other in enumerate(known) if other <= day]
        if before and np.busday_count(known[before[-1]], day) <= age:
            found[row] = values[before[-1]]
    return found


days_of = st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(
    lambda numbers: np.datetime64("2020-01-01") + np.array(sorted(numbers))
)


@settings(max_examples=100, deadline=None)
@given(days_of, days_of, st.integers(0, 10), st.randoms())
def test_a_day_has_the_last_bar_up_to_it_unless_it_is_too_old(
    days: np.ndarray, known: np.ndarray, age: int, random: object
) -> None:
    values = np.arange(len(known), dtype=np.float64)
    stock = Bars("A", days, {"close": np.ones(len(days))}, "a")
    other = Bars("I", known, {"close": values}, "i")
    found = joined(stock, {"I": other}, data(age)).columns["I.close"]
    assert np.array_equal(found, slow_join(days, known, values, age), equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(days_of, days_of, st.integers(0, 10), st.integers(0, 400))
def test_no_later_bar_of_the_other_ticker_has_an_influence(
    days: np.ndarray, known: np.ndarray, age: int, last: int
) -> None:
    day = np.datetime64("2020-01-01") + np.timedelta64(last, "D")
    values, up_to = np.random.default_rng(0).random(len(known)), known <= day
    later = np.where(up_to, values, 1e9)
    stock = Bars("A", days, {"close": np.ones(len(days))}, "a")
    whole = joined(stock, {"I": Bars("I", known, {"close": later}, "i")}, data(age)).columns["I.close"]
    cut = joined(stock, {"I": Bars("I", known[up_to], {"close": values[up_to]}, "i")}, data(age)).columns["I.close"]
    assert np.array_equal(whole[days <= day], cut[days <= day], equal_nan=True)


def test_the_columns_of_another_ticker_are_read_from_the_same_folder(tmp_path: Path) -> None:
    _, index = written(tmp_path)
    bars = loading.load_bars(typed(tmp_path))
    assert list(bars.columns)[-1] == "SP500.close"
    assert np.array_equal(bars.columns["SP500.close"], index.columns["close"])
    assert f"SP500 from {tmp_path / 'SP500.csv'}" in bars.parsing_notes


def test_a_market_that_trades_on_other_days_is_joined_by_date(tmp_path: Path) -> None:
    rows = np.delete(np.arange(DAYS), [10, 11, *range(40, 50)])
    stock, index = written(tmp_path, rows)
    found = loading.load_bars(typed(tmp_path, "data.context_max_age=2")).columns["SP500.close"]
    assert np.array_equal(found, slow_join(stock.dates, index.dates, index.columns["close"], 2), equal_nan=True)
    assert found[10] == found[11] == index.columns["close"][9]
    assert np.isnan(found[40:50]).tolist() == [False, False, *[True] * 8]


def test_changing_all_later_bars_of_the_other_market_changes_no_earlier_feature(tmp_path: Path) -> None:
    _, index = written(tmp_path)
    config = typed(tmp_path, index="ZScore($SP500.close, 5)")
    before = load_panel(config)[0]
    later = {name: np.r_[values[:80], 7 * values[80:]] for name, values in index.columns.items()}
    write_bars(dataclasses.replace(index, columns=later), tmp_path)
    after = load_panel(config)[0]
    assert before.dates is not None
    same = before.dates < index.dates[80]
    assert np.array_equal(before.values[same], after.values[same])
    assert not np.array_equal(before.values[~same], after.values[~same])
    assert before.fingerprint() != after.fingerprint()


@pytest.mark.parametrize("where", ["folder", "long file", "file"])
def test_other_tickers_may_come_from_elsewhere(tmp_path: Path, where: str) -> None:
    _, index = written(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "SP500.csv").rename(other / "SP500.csv")
    path = other if where == "folder" else other / "SP500.csv"
    if where == "long file":
        frame = pd.read_csv(path).assign(Symbol="SP500")
        path = other / "long.csv"
        pd.concat([frame, frame.assign(Symbol="DAX", Close=1.0)]).to_csv(path, index=False)
    bars = loading.load_bars(typed(tmp_path, f"data.context_path={path}"))
    assert np.array_equal(bars.columns["SP500.close"], index.columns["close"])


def test_one_long_file_holds_stocks_and_context(tmp_path: Path) -> None:
    stock, index = written(tmp_path)
    frames = [pd.read_csv(tmp_path / f"{t}.csv").assign(Symbol=t) for t in ("TEST", "SP500")]
    pd.concat(frames).to_csv(tmp_path / "all.csv", index=False)
    config = typed(tmp_path, "data.dir=null", f"data.path={tmp_path / 'all.csv'}")
    bars = loading.load_bars(config)
    assert np.array_equal(bars.columns["close"], stock.columns["close"])
    assert np.array_equal(bars.columns["SP500.close"], index.columns["close"])


def test_a_file_of_another_ticker_needs_no_close_if_none_is_used(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "SP500.csv"
    pd.read_csv(path)[["Date"]].assign(DGS10=4.0).to_csv(path, index=False)
    bars = loading.load_bars(typed(tmp_path, index="$SP500.DGS10"))
    assert bars.columns["SP500.DGS10"].tolist() == [4.0] * DAYS


def test_names_of_columns_hold_for_other_tickers_where_they_have_them(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "TEST.csv"
    pd.read_csv(path).rename(columns={"Close": "Zuletzt"}).to_csv(path, index=False)
    bars = loading.load_bars(typed(tmp_path, "data.columns={close: Zuletzt}"))
    assert np.isfinite(bars.columns["SP500.close"]).all()


def test_a_ticker_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    write_bars(random_bars(DAYS), tmp_path)
    with pytest.raises(UserError, match=r"data\.context: SP500: data\.dir=.*: holds no SP500\.csv"):
        loading.load_bars(typed(tmp_path))


def test_a_file_that_does_not_name_its_ticker_is_not_taken_for_another_one(tmp_path: Path) -> None:
    path = write_bars(random_bars(DAYS), tmp_path)
    config = typed(tmp_path, "data.dir=null", f"data.path={path}")
    with pytest.raises(UserError, match=r"TEST\.csv: does not say whether its bars are of SP500; .*context_path="):
        loading.load_bars(config)


@pytest.mark.parametrize("start", ["null", "2015-03-02"])
def test_a_pool_reads_its_context_once_and_a_change_of_it_makes_another_panel(
    tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bars"
    _, index = written(folder)
    write_bars(random_bars(DAYS, 9, "BB"), folder)
    other = tmp_path / "other"
    other.mkdir()
    (folder / "SP500.csv").rename(other / "SP500.csv")
    overrides = (f"data.context_path={other}", f"data.panel_cache={tmp_path / 'panels'}", f"data.start={start}")
    config = typed(folder, "data.tickers=all", *overrides)
    counted: list[str] = []
    read = loading.load_columns

    def reading(config: Config, columns: Sequence[str]) -> Bars:
        counted.append(config.stock.ticker)
        return read(config, columns)

    monkeypatch.setattr(loading, "load_columns", reading)
    panel = load_panel(config)[0]
    assert counted == ["SP500"] * 2  # for the key, and for the panel
    alone = load_panel(typed(folder, *overrides))[0]
    column = list(panel.features).index("index")
    assert panel.stocks is not None and panel.stocks.tickers == ("BB", "TEST")
    assert np.array_equal(panel.values[panel.spans()[1], column], alone.values[:, column])
    write_bars(dataclasses.replace(index, columns={n: 2 * v for n, v in index.columns.items()}), other)
    assert load_panel(config)[0].fingerprint() != panel.fingerprint()


def test_all_files_of_a_folder_have_a_context_among_them(tmp_path: Path) -> None:
    written(tmp_path / "bars")
    config = typed(tmp_path / "bars", "data.tickers=all", f"data.panel_cache={tmp_path / 'panels'}")
    assert [one.stock.ticker for one in pooled.each_stock(config)] == ["SP500", "TEST"]
    assert load_panel(config)[0].features[-1] == "index"


def test_simulated_tickers_have_a_history_of_their_own() -> None:
    config = compose.compose(
        "data.days=300", "data.window=5", "data.context=[MARKET]", "+features.columns.m='$MARKET.close'"
    )
    bars = loading.load_bars(config)
    pool = compose.compose("data.days=300", "data.window=5", "data.tickers=[MARKET]")
    other = loading.load_bars(pooled.each_stock(pool)[0])
    assert np.array_equal(bars.columns["MARKET.close"], other.columns["close"])
    assert not np.array_equal(bars.columns["MARKET.close"], bars.columns["close"])
    assert bars.expected is not None


def test_folds_have_the_columns_of_other_tickers(tmp_path: Path) -> None:
    written(tmp_path)
    folds = prepare_folds(typed(tmp_path, "data.split=walk_forward", "data.folds=2", index="Return($SP500.close)"))
    assert [fold.panel.features[-1] for fold in folds] == ["index", "index"]


def test_a_late_column_has_the_value_of_so_many_bars_earlier_and_the_target_is_not_late(tmp_path: Path) -> None:
    written(tmp_path)
    plain = load_panel(typed(tmp_path))[0]
    late = load_panel(typed(tmp_path, "data.lag={SP500.close: 2, close: 3}"))[0]
    assert late.dates is not None and plain.dates is not None
    assert late.dates[0] == plain.dates[3]
    index, close = list(plain.features).index("index"), list(plain.features).index("close")
    assert np.array_equal(late.values[:, index], plain.values[1:-2, index])
    assert np.array_equal(late.values[:, close], plain.values[:-3, close])
    assert np.array_equal(late.target, plain.target[3:], equal_nan=True)


@given(st.integers(0, 12), st.integers(1, 10))
def test_the_first_values_of_a_late_column_are_not_known(lag: int, rows: int) -> None:
    values = np.arange(rows, dtype=np.float64)
    bars = Bars("A", np.arange(rows).astype("datetime64[D]"), {"close": values, "mood": values}, "a")
    late = bars.lagged({"mood": lag}).columns
    assert np.array_equal(late["mood"], np.r_[[np.nan] * lag, values][:rows], equal_nan=True)
    assert np.array_equal(late["close"], values)


def test_a_name_with_a_dot_may_be_typed_as_part_of_the_key() -> None:
    each = ("data.lag={SP500.close: 1}", "+data.lag.SP500.close=1")
    context = ("data=csv", "data.dir=.", "data.context=[SP500]", "+features.columns.i='$SP500.close'")
    lags = [identity(compose.compose(*context, lag))["data"]["lag"] for lag in each]
    assert lags == [{"SP500.close": 1}] * 2


def test_a_run_with_late_columns_and_another_market_is_forecast_and_reproduced(tmp_path: Path) -> None:
    written(tmp_path / "bars")
    run = tmp_path / "run"
    arguments = [
        "data=csv",
        f"data.dir={tmp_path / 'bars'}",
        "stock.ticker=TEST",
        "data.window=5",
        "data.context=[SP500]",
        "+features.columns.index='Return($SP500.close)'",
        "data.lag={SP500.close: 1}",
        "model=linear",
        "+experiment=quick",
    ]
    assert cli.main([*arguments, f"hydra.run.dir={run}"]) == 0
    assert cli.main(["task=predict", f"run={run}"]) == 0
    assert cli.main(["task=reproduce", f"run={run}", f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert cli.main(["task=predict", f"run={run}", "data=csv", f"data.dir={tmp_path / 'bars'}"]) == 0


@pytest.mark.parametrize("start", ["null", "2015-03-02"])
def test_other_tickers_are_downloaded_too(server: YahooServer, tmp_path: Path, start: str) -> None:
    pytest.importorskip("yfinance")
    stock, index = random_bars(DAYS), random_bars(DAYS, 3, "^VIX")
    server.hold(stock)
    server.hold(index)
    config = compose.compose(
        "data=yahoo",
        "stock.ticker=TEST",
        f"data.cache_dir={tmp_path}",
        "data.window=5",
        f"data.start={start}",
        'data.context=["^VIX"]',
        "+features.columns.fear='$\"^VIX\".close'",
        "data.lag={_VIX.close: 1}",
    )
    bars = loading.load_bars(config)
    assert np.allclose(bars.columns["^VIX.close"], index.columns["close"][-len(bars.dates) :])
    assert load_panel(config)[0].features[-1] == "fear"
