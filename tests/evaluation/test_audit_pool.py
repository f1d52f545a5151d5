"""The audit of several stocks finds what joins them wrongly, and a stock that knows the future."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from stockml import cli, compose
from stockml.config.root import Config
from stockml.data import dataset, pooled
from stockml.data.scaler import Scaler
from stockml.data.sources.loading import load_bars
from stockml.data.spec import PanelSpec
from stockml.data.split import split
from stockml.evaluation.audit import leaks, pool_checks
from stockml.evaluation.audit.pool_checks import PoolSubject
from stockml.evaluation.audit.subject import BarsSubject
from tests.conftest import random_bars, write_bars

TICKERS = ("AAA", "BBB", "CCC")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate(TICKERS):
        write_bars(random_bars(400, seed=seed, ticker=ticker), folder)
    return compose.compose("data=csv", f"data.dir={folder}", "data.tickers=all", "data.window=10", "data.horizon=3")


@pytest.fixture(scope="module")
def pool(config: Config) -> PoolSubject:
    panel, _ = dataset.load_panel(config)
    stocks = {
        one.stock.ticker: [BarsSubject(one, {}, load_bars(one), leaks.pipeline())] for one in pooled.each_stock(config)
    }
    fit, bars = functools.partial(dataset.fit_scaler, config), functools.partial(pooled.each_bars, config)
    each = pooled.each_stock(config)
    return PoolSubject(panel, [split(panel, config.data)], fit, stocks, PanelSpec.of(config), lambda: bars(each))


def test_a_pool_without_a_leak_passes(pool: PoolSubject) -> None:
    for check in (pool_checks.rows_of_stocks, pool_checks.splits_by_day, pool_checks.scaler_on_train):
        assert check(pool).passed
    assert pool_checks.next_day(pool).passed


def test_rows_that_are_not_the_stock_s_own_are_seen(pool: PoolSubject) -> None:
    values = pool.panel.values.copy()
    values[-1, 0] += 1
    found = pool_checks.rows_of_stocks(dataclasses.replace(pool, panel=dataclasses.replace(pool.panel, values=values)))
    assert found.passed is False and found.evidence.startswith("CCC")


def test_stocks_that_are_split_at_different_days_are_seen(pool: PoolSubject) -> None:
    (right,) = pool.splits
    day = pool.panel.day_numbers
    first = right.validation[day[right.validation] == day[right.validation].min()]
    wrong = dataclasses.replace(right, train=np.append(right.train, first[0]), validation=right.validation[1:])
    found = pool_checks.splits_by_day(dataclasses.replace(pool, splits=[wrong]))
    assert found.passed is False and "1 targets of train" in found.evidence


def test_a_scaler_of_all_rows_is_seen(pool: PoolSubject) -> None:
    wrong = dataclasses.replace(pool, fit=lambda panel, _: Scaler.fit(panel, panel.samples, per_stock=True))
    assert pool_checks.scaler_on_train(wrong).passed is False


@pytest.mark.parametrize("column", ["open", "volume"])
def test_a_stock_that_knows_tomorrow_is_found_and_named(
    market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    for ticker in ("JPM", "MSFT", "XOM"):
        bars = load_bars(compose.compose("data=csv", f"data.dir={market / 'ohlcv'}", f"stock={ticker}"))
        columns = {name: values[3000:4500] for name, values in bars.columns.items()}
        if ticker == "MSFT":
            columns[column] = bars.columns[column][3001:4501]
        write_bars(dataclasses.replace(bars, dates=bars.dates[3000:4500], columns=columns), tmp_path / "bars")
    settings = ["task=audit", "data=csv", f"data.dir={tmp_path / 'bars'}", "data.window=10", "data.horizon=5"]
    assert cli.main([*settings, "data.tickers=all", "model=ridge"]) == 1
    printed = capsys.readouterr()
    assert "3 of 3 stocks" in printed.out
    assert "features and next day     FAILED          MSFT (1 of 3 stocks): feature" in printed.out
    assert "features and next day" in printed.err
    assert cli.main([*settings, "data.tickers=[JPM,XOM]", "model=ridge"]) == 0
    assert "no leak found" in capsys.readouterr().out
