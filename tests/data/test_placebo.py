"""A placebo copy keeps drift, volatility and what belongs together, and nothing of it can be forecast."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data import dataset
from stockml.data.bars import Bars
from stockml.data.placebo import copy_of_bars, signs
from stockml.data.settings import BarsConfig
from stockml.data.sources import loading
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars

DAYS = np.datetime64("1990-01-01") + np.arange(10_000)


def settings(copy: int, *overrides: str) -> BarsConfig:
    data = compose.compose("data.window=5", f"data.placebo={copy}", *overrides).data
    assert isinstance(data, BarsConfig)
    return data


def returns(bars: Bars) -> Any:
    return np.diff(np.log(bars.columns["close"]))


def test_signs_are_fair_and_depend_on_the_day_and_the_copy_alone() -> None:
    drawn = np.array([signs(DAYS, copy) for copy in range(1, 51)])
    assert np.abs(drawn).min() == 1
    assert np.abs(np.corrcoef(drawn) - np.eye(50)).max() < 0.05  # five standard errors
    assert np.abs(drawn.mean(axis=1)).max() < 0.05
    assert np.abs((drawn[:, 1:] * drawn[:, :-1]).mean(axis=1)).max() < 0.05
    assert (signs(DAYS[17::3], 7) == drawn[6, 17::3]).all()


def test_a_copy_keeps_drift_volatility_and_volume_and_mirrors_whole_bars() -> None:
    bars = random_bars(2000)
    copy = copy_of_bars(bars, settings(3))
    r, own = returns(bars), returns(copy)
    drift = r.mean()
    np.testing.assert_allclose(np.abs(own - drift), np.abs(r - drift), atol=1e-12)
    assert (np.sign(own - drift) == np.sign(r - drift) * signs(bars.dates[1:], 3)).all()
    assert (copy.columns["volume"] == bars.columns["volume"]).all()
    assert copy.synthetic
    assert copy.origin == "placebo copy 3 of test"
    ranges, own_ranges = (np.log(of.columns["high"] / of.columns["low"]) for of in (bars, copy))
    np.testing.assert_allclose(ranges, own_ranges, atol=1e-12)
    for name in ("open", "close"):
        assert (copy.columns["low"] <= copy.columns[name] * (1 + 1e-12)).all()
        assert (copy.columns["high"] >= copy.columns[name] * (1 - 1e-12)).all()


def test_nothing_of_a_copy_can_be_forecast_from_the_days_before_even_where_much_could() -> None:
    bars = random_bars(5000)
    r = np.zeros(5000)
    for day, noise in enumerate(returns(bars), 1):
        r[day] = 0.5 * r[day - 1] + noise
    trending = dataclasses.replace(bars, columns={"close": np.exp(np.cumsum(r))})
    found = [
        np.corrcoef(own[1:], own[:-1])[0, 1]
        for n in range(1, 21)
        for own in [returns(copy_of_bars(trending, settings(n)))]
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(20)
    assert np.max(np.abs(found)) < 0.1 < np.corrcoef(r[1:], r[:-1])[0, 1]


def test_days_that_come_later_or_before_the_start_change_nothing_of_a_copy() -> None:
    bars = random_bars(300)
    until = settings(1, "data.start=2015-03-02", "data.end=2015-12-31")
    whole = copy_of_bars(bars, until).between(until.start, until.end)
    cut = copy_of_bars(bars.between(None, until.end), until).between(until.start, until.end)
    for name, values in whole.columns.items():
        assert (values == cut.columns[name]).all()


def test_stocks_of_a_pool_and_their_context_share_each_days_sign(tmp_path: Path) -> None:
    market = random_bars(200, 9, "MKT")
    for seed, ticker in enumerate(("AAA", "BBB")):
        own = random_bars(200, seed, ticker)
        close = own.columns["close"] * market.columns["close"]
        write_bars(
            dataclasses.replace(
                own, columns={**own.columns, "close": close, "open": close, "low": close, "high": close}
            ),
            tmp_path / "bars",
        )
    write_bars(market, tmp_path / "bars")
    asked = (
        "data=csv",
        f"data.dir={tmp_path / 'bars'}",
        "stock.ticker=AAA",
        "data.window=5",
        "data.context=[MKT]",
        "+features.columns.m='$MKT.high/$MKT.close'",
    )
    real, copy = (loading.load_bars(compose.compose(*asked, *more)) for more in ((), ("data.placebo=2",)))
    drawn = signs(real.dates[1:], 2)
    for column in ("close", "MKT.close"):
        r, copied = (np.diff(np.log(of.columns[column])) for of in (real, copy))
        np.testing.assert_allclose(copied, r.mean() + drawn * (r - r.mean()), atol=1e-9)
    high = real.columns["MKT.high"][1:] / real.columns["MKT.close"][:-1]
    assert np.allclose((copy.columns["MKT.high"][1:] / copy.columns["MKT.close"][:-1])[drawn > 0], high[drawn > 0])
    assert (copy.columns["MKT.high"] >= copy.columns["MKT.close"] * (1 - 1e-12)).all()
    pooled = [
        dataset.load_panel(compose.compose(*asked[:2], "data.window=5", "data.tickers=[AAA,BBB]", *more))[0]
        for more in ((), ("data.placebo=2",), ("data.placebo=2", "data.memory_limit=0"))
    ]
    assert [panel.synthetic for panel in pooled] == [False, True, True]
    assert pooled[1].fingerprint() == pooled[2].fingerprint() != pooled[0].fingerprint()
    by_stock = pooled[1].target[np.isfinite(pooled[1].target)].reshape(2, -1)
    kept = pooled[0].target[np.isfinite(pooled[0].target)].reshape(2, -1)
    assert np.corrcoef(*by_stock)[0, 1] == pytest.approx(np.corrcoef(*kept)[0, 1], abs=0.1)


@pytest.mark.parametrize("limit", [4, 0])
def test_targets_of_arrays_are_drawn_around_the_mean_of_train(tmp_path: Path, limit: int) -> None:
    rng = np.random.default_rng(0)
    y = 0.1 + rng.standard_normal(300)
    x = rng.standard_normal((300, 5, 1)).astype(np.float32)
    np.savez(tmp_path / "a.npz", X_train=x[:200], y_train=y[:200], X_test=x[200:], y_test=y[200:])
    asked = ("data=npz", f"data.path={tmp_path / 'a.npz'}", f"data.memory_limit={limit}", "data.horizon=3")
    real, copy, other = (
        dataset.load_panel(compose.compose(*asked, *more))[0] for more in ((), ("data.placebo=1",), ("data.placebo=2",))
    )
    mean = y[:200].mean()
    np.testing.assert_allclose(copy.target - mean, np.repeat(signs(np.arange(100), 1), 3) * (y - mean), atol=1e-6)
    assert len({panel.fingerprint() for panel in (real, copy, other)}) == 3
    np.savez(tmp_path / "a.npz", X_train=x[:200], y_train=y[:200] > 1, X_test=x[200:], y_test=y[200:] > 1)
    real, copy = (dataset.load_panel(compose.compose(*asked, *more))[0] for more in ((), ("data.placebo=1",)))
    assert [copy.target[:200].sum(), copy.target[200:].sum()] == [real.target[:200].sum(), real.target[200:].sum()]
    assert (copy.target != real.target).any()


def test_volatility_that_a_copy_keeps_has_no_placebo() -> None:
    with pytest.raises(UserError, match=r"data\.placebo: 1: a copy keeps the volatility"):
        compose.compose("data.target=volatility", "data.placebo=1")
