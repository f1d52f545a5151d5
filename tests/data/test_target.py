"""What is forecast: its values, its kind, how far it reaches, and what a model is trained on in its place."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from stockml import compose
from stockml.config.root import Config
from stockml.data.bars import Bars
from stockml.data.dataset import Data, load_panel, prepare, prepare_folds
from stockml.data.panel import Panel
from stockml.data.scaler import Scaler
from stockml.errors import UserError
from stockml.reporting import data_report
from tests.conftest import random_bars, write_bars

DAYS, WINDOW, HALT = 260, 5, slice(100, 103)
TICKERS = ("AAA", "BBB", "CCC", "DDD", "MKT")
POOL = ("data.tickers=[AAA,BBB,CCC,DDD]",)
LABEL = "Ref($close,-2)/Ref($close,-1)-1"
"""Qlib's: bought at tomorrow's close, sold a day later."""
Series = Any  # of pandas, whose stubs know less than it does


def bars_of(ticker: str) -> Bars:
    """CCC is halted for three days, and closes of DDD do not move on some days."""
    bars = random_bars(DAYS, TICKERS.index(ticker), ticker)
    close = bars.columns["close"].copy()
    if ticker == "DDD":
        close[60:80] = close[60]
    kept = np.delete(np.arange(DAYS), np.r_[HALT]) if ticker == "CCC" else np.arange(DAYS)
    columns = {name: values[kept] for name, values in (bars.columns | {"close": close}).items()}
    columns["high"], columns["low"] = (
        f(columns["close"], columns[n]) for f, n in ((np.maximum, "high"), (np.minimum, "low"))
    )
    return dataclasses.replace(bars, dates=bars.dates[kept], columns=columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for ticker in TICKERS:
        write_bars(bars_of(ticker), folder)
    return folder


def config(folder: Path, *overrides: str, target: str = "log_return") -> Config:
    return compose.compose(
        "data=csv", f"data.dir={folder}", "stock.ticker=AAA", "data.window=5", f"data.target='{target}'", *overrides
    )


def series(ticker: str, column: str = "close") -> Series:
    bars = bars_of(ticker)
    return pd.Series(bars.columns[column], index=pd.DatetimeIndex(bars.dates))


def volatility(close: Series, h: int) -> Series:
    moves = np.log(close).diff()
    return pd.Series(
        [np.sqrt(np.mean(np.square(moves.iloc[max(0, n - h + 1) : n + 1]))) for n in range(len(close))], close.index
    ).where(moves.rolling(h).count() == h)


def expected(ticker: str, target: str, h: int, *, pooled: bool = False) -> Series:
    """By the definition of data/README.md, with pandas."""
    close = series(ticker)
    ahead, own = close.shift(-h), np.log(close / close.shift(h))
    if target == "excess_return":
        if pooled:
            every = pd.DataFrame({name: np.log(series(name) / series(name).shift(h)) for name in TICKERS[:4]})
            other = every.mean(axis=1)
        else:
            index = series("MKT")
            other = np.log(index / index.shift(h))
        return (own - other.reindex(close.index)).shift(-h)
    return {
        "log_return": np.log(ahead / close),
        "return": ahead / close - 1,
        "direction": (ahead > close).astype(float).where(ahead.notna()),
        "volatility": volatility(close, h).shift(-h),
        LABEL: close.shift(-2) / close.shift(-1) - 1,
        "Ref($close > $open, -1)": (close > series(ticker, "open")).astype(float).shift(-1),
    }[target]


NAMED = ("log_return", "return", "direction", "volatility", "excess_return")
CASES = [*((name, h) for name in NAMED for h in (1, 5)), (LABEL, 1), ("Ref($close > $open, -1)", 1)]


def equal(panel: Panel, rows: slice, wanted: Series) -> None:
    assert panel.dates is not None
    found = panel.target[rows]
    np.testing.assert_allclose(found, wanted.loc[panel.dates[rows]].to_numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("target", "h"), CASES)
def test_the_values_of_one_stock_are_those_of_pandas(folder: Path, target: str, h: int) -> None:
    more = ["data.benchmark=MKT", "data.context=[MKT]"] if target == "excess_return" else []
    panel, _ = load_panel(config(folder, f"data.horizon={h}", *more, target=target))
    equal(panel, slice(None), expected("AAA", target, h))


@pytest.mark.parametrize(("target", "h"), CASES)
@pytest.mark.parametrize("memory_limit", [4, 0])
def test_the_values_of_a_pool_are_those_of_each_stock_also_in_a_file(
    folder: Path, target: str, h: int, memory_limit: int
) -> None:
    typed = config(folder, *POOL, f"data.horizon={h}", f"data.memory_limit={memory_limit}", target=target)
    panel, _ = load_panel(typed)
    assert panel.mapped == (memory_limit == 0) and panel.stocks is not None
    for ticker, rows in zip(panel.stocks.tickers, panel.spans(), strict=True):
        equal(panel, rows, expected(ticker, target, h, pooled=True))


@pytest.mark.parametrize(
    ("target", "horizon", "reach"),
    [
        (LABEL, 1, 2),
        ("Ref($close,-6)/Ref($close,-1)-1", 5, 6),
        ("Ref($close,-5)/$close-1", 5, 5),
        ("Ref($close,-1)/Ref($close,4)-1", 1, 1),
        ("Ref($close/$open-1,-3)", 1, 3),
        ("Ref(Std(Return($close),5),-5)", 5, 5),
    ],
)
def test_the_overlap_and_the_purge_follow_from_the_expression(
    folder: Path, target: str, horizon: int, reach: int
) -> None:
    for pool in ((), POOL):
        panel, _ = load_panel(config(folder, *pool, target=target))
        assert (panel.horizon, panel.reach) == (horizon, reach)
        assert np.isnan(panel.target[-reach:]).all() and np.isfinite(panel.target[panel.samples]).all()
        for data in prepare_folds(config(folder, *pool, "data.split=walk_forward", "data.folds=2", target=target)):
            day = data.panel.day_numbers
            assert day[data.split.train + reach].max() <= day[data.split.validation].min()
            assert day[data.split.validation + reach].max() <= day[data.split.test].min()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("direction", "class"),
        ("Ref($close,-1) > $close", "class"),
        ("Ref(($close > $open) & ($volume > 0), -1)", "class"),
        ("If(Ref($close,-1) > $close, 1, 0)", "return"),
        (LABEL, "return"),
        ("volatility", "level"),
        ("excess_return", "return"),
    ],
)
def test_comparisons_are_classes_and_other_expressions_returns(folder: Path, target: str, kind: str) -> None:
    assert load_panel(config(folder, *POOL, target=target))[0].kind == kind


@pytest.mark.parametrize("h", [1, 5])
def test_the_persistence_of_a_volatility_is_that_of_the_last_days(folder: Path, h: int) -> None:
    panel, _ = load_panel(config(folder, *POOL, f"data.horizon={h}", target="volatility"))
    assert panel.last is not None and panel.stocks is not None and not panel.relative
    for ticker, rows in zip(panel.stocks.tickers, panel.spans(), strict=True):
        assert panel.dates is not None
        wanted = volatility(series(ticker), h).loc[panel.dates[rows]]
        np.testing.assert_allclose(panel.last[rows], wanted, rtol=1e-9, atol=1e-13)
    assert (panel.last[panel.samples] == 0).any()  # DDD's close stands still


def test_an_expression_that_is_a_level_is_questioned_by_name(folder: Path) -> None:
    lines = "\n".join(data_report.lines([prepare(config(folder, target="Ref($close,-2)"))]))
    assert "data.target=Ref($close,-2) seems to be a level (its mean is " in lines
    assert " standard deviations from 0): forecast its change, such as 'Ref(x, -1) / x - 1'" in lines
    assert "seems to be" not in "\n".join(data_report.lines([prepare(config(folder, target=LABEL))]))


# What a pool is trained on


def normalized(folder: Path, how: str, *overrides: str, target: str = "return") -> Data:
    return prepare(config(folder, *POOL, f"data.target_normalize={how}", *overrides, target=target))


def slow_normalized(panel: Panel, how: str) -> NDArray[np.float64]:
    """(R,) with pandas."""
    table = pd.DataFrame({"day": panel.dates, "y": panel.target})
    by_day = table.groupby("day")["y"]
    if how == "csrank":
        return by_day.rank(pct=True).to_numpy()
    spread = by_day.transform(lambda y: y.std(ddof=0))
    return ((table["y"] - by_day.transform("mean")) / spread).to_numpy()


@pytest.mark.parametrize("memory_limit", [4, 0])
@pytest.mark.parametrize("scaler", ["per_stock", "global"])
@pytest.mark.parametrize("how", ["csrank", "cszscore"])
def test_a_pool_is_trained_on_the_targets_rank_or_standard_score_of_the_day(
    folder: Path, how: str, scaler: str, memory_limit: int
) -> None:
    data = normalized(folder, how, f"data.scaler={scaler}", f"data.memory_limit={memory_limit}")
    raw = prepare(config(folder, *POOL, f"data.scaler={scaler}", target="return"))
    panel, train = data.panel, data.split.train
    np.testing.assert_array_equal(panel.target, raw.panel.target)
    assert panel.normalized is not None
    known = panel.samples
    np.testing.assert_allclose(panel.normalized[known], slow_normalized(panel, how)[known], rtol=1e-9, atol=1e-12)
    scaled = data.scaler.transform_target(panel)
    assert scaled[train].mean() == pytest.approx(0, abs=1e-12)
    assert scaled[train].std() == pytest.approx(1)
    np.testing.assert_array_equal(data.scaler.train_mean(panel)[train], raw.scaler.train_mean(raw.panel)[train])


@pytest.mark.parametrize("scaler", ["per_stock", "global"])
@pytest.mark.parametrize("how", ["csrank", "cszscore"])
def test_forecasts_are_returns_again_by_the_line_of_least_squares_and_keep_their_order(
    folder: Path, how: str, scaler: str
) -> None:
    data = normalized(folder, how, f"data.scaler={scaler}")
    panel, train = data.panel, data.split.train
    scaled = data.scaler.transform_target(panel)
    slope, base = np.polyfit(scaled[train], panel.target[train], 1)
    forecasts = np.random.default_rng(0).standard_normal(len(data.split.test))
    found = data.scaler.inverse_transform(forecasts, panel, data.split.test)
    np.testing.assert_allclose(found, base + slope * forecasts, rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(found), np.argsort(forecasts))
    read = Scaler.from_dict(data.scaler.to_dict(panel, train))
    np.testing.assert_array_equal(read.inverse_transform(forecasts, panel, data.split.test), found)


def test_another_normalisation_is_another_panel_with_another_fingerprint(folder: Path) -> None:
    found = [normalized(folder, how) for how in ("none", "csrank", "cszscore")]
    assert len({data.fingerprint for data in found}) == 3
    assert found[0].panel.normalized is None and found[0].scaler.normalized is None


@pytest.mark.parametrize(
    ("target", "more"),
    [("return", ("data.target_normalize=csrank",)), ("CSRank(Ref($close,-1)/$close)", ())],
)
def test_no_sample_is_kept_whose_rank_knows_another_stocks_target_of_the_next_split(
    folder: Path, target: str, more: tuple[str, ...]
) -> None:
    """CCC's target of the day before its halt ends four sessions later than those of the others."""
    first = str(bars_of("AAA").dates[HALT.start])
    typed = (*POOL, *more, f"data.valid_start={first}", "data.max_gap=30")
    data = prepare(config(folder, *typed, target=target))
    assert data.panel.dates is not None
    day_before = bars_of("AAA").dates[HALT.start - 1]
    assert data.panel.dates[data.split.train].max() < day_before
    raw = prepare(config(folder, *POOL, f"data.valid_start={first}", "data.max_gap=30"))
    assert raw.panel.dates is not None
    assert raw.panel.dates[raw.split.train].max() == day_before


def test_a_rank_of_one_stock_a_day_is_refused(tmp_path: Path) -> None:
    bars = bars_of("AAA")
    for ticker, rows in (("AAA", slice(0, 130)), ("BBB", slice(130, 260))):
        columns = {name: values[rows] for name, values in bars.columns.items()}
        write_bars(dataclasses.replace(bars, ticker=ticker, dates=bars.dates[rows], columns=columns), tmp_path)
    typed = ("data.tickers=[AAA,BBB]", "data.target_normalize=csrank", "data.scaler=global")
    with pytest.raises(UserError, match="shows nothing of the target in train; use more stocks with the same days"):
        prepare(config(tmp_path, *typed))


@pytest.mark.parametrize("more", [(), POOL])
def test_an_infinite_target_is_refused_by_day(folder: Path, more: tuple[str, ...]) -> None:
    asked = config(folder, *more, target="1 / (Ref($close, -1) / $close - 1)")
    with pytest.raises(UserError, match=r"data\.target=1 / .*: is -?inf on \d{4}-\d\d-\d\d"):
        load_panel(dataclasses.replace(asked, stock=dataclasses.replace(asked.stock, ticker="DDD")))
