"""The simulator follows its formulas, resembles daily bars, and has the best possible forecast."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from stockml.compose import compose
from stockml.config.root import Config
from stockml.data.bars import Bars, Floats
from stockml.data.batches import Batches
from stockml.data.dataset import prepare
from stockml.data.settings import GarchConfig, SimulatorConfig
from stockml.data.sources.simulated import SimulatedConfig
from stockml.data.sources.simulated.simulator import load, simulate
from stockml.evaluation import baselines

STOCKS = ("AAPL", "AMZN", "JNJ", "JPM", "MSFT", "TSLA", "XOM")
TICKERS = (*STOCKS, "SP500")
MARKET_VOL = 0.183
YEAR = 252
STILL = GarchConfig(alpha=0.0, gamma=0.0, beta=0.0)


@functools.cache
def config(ticker: str) -> Config:
    return compose(f"stock={ticker}")


@functools.cache
def bars(ticker: str, signal: Any = None, days: int = 30_000) -> Bars:
    data = dataclasses.replace(cast(SimulatedConfig, config(ticker).data), signal=signal, days=days)
    return load(dataclasses.replace(config(ticker), data=data))


def figures(ticker: str) -> SimulatorConfig:
    found = config(ticker).stock.simulator
    assert found is not None
    return found


def close_returns(columns: dict[str, Floats]) -> Floats:
    return np.diff(np.log(columns["close"]))


def overnight_and_intraday(columns: dict[str, Floats]) -> tuple[Floats, Floats]:
    opened, closed = np.log(columns["open"][1:]), np.log(columns["close"])
    return opened - closed[:-1], closed[1:] - opened


def kurtosis(x: Floats) -> float:
    return float((np.square(x - x.mean()) ** 2).mean() / x.var() ** 2)


def correlation(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def annual_vol(ticker: str) -> float:
    return math.hypot(figures(ticker).market_beta * MARKET_VOL, figures(ticker).idio_vol_percent / 100)


def same(one: Bars, other: Bars) -> bool:
    assert one.expected is not None and other.expected is not None
    return np.array_equal(one.expected, other.expected) and all(
        np.array_equal(column, other.columns[name]) for name, column in one.columns.items()
    )


def test_bars_depend_on_the_data_seed_and_not_on_the_run_seed() -> None:
    first, again, other = (
        load(compose("data.days=300", f"data.seed={data_seed}", f"seed={seed}"))
        for data_seed, seed in ((3, 1), (3, 2), (4, 1))
    )
    assert same(first, again)
    assert not same(first, other)


def test_two_tickers_share_only_the_market() -> None:
    apart = dataclasses.replace(figures("AAPL"), market_beta=0.0)
    together = dataclasses.replace(figures("AAPL"), idio_vol_percent=0.0)
    for kept, shared in ((apart, 0.0), (together, 1.0)):
        one, other = (close_returns(simulate(kept, ticker, 20_000, 0, 0.0)[0]) for ticker in ("ONE", "OTHER"))
        assert correlation(one, other) == pytest.approx(shared, abs=0.05)


@pytest.mark.parametrize("signal", [None, "strong"])
@pytest.mark.parametrize("ticker", TICKERS)
def test_every_bar_is_possible(ticker: str, signal: str | None) -> None:
    found = bars(ticker, signal, 2_520 if signal else 30_000)
    columns = found.columns
    assert set(columns) == {"open", "high", "low", "close", "volume"}
    assert all(np.isfinite(column).all() and len(column) == len(found.dates) for column in columns.values())
    assert (columns["low"] > 0).all()
    for price in ("open", "close"):
        assert (columns["low"] <= columns[price]).all()
        assert (columns[price] <= columns["high"]).all()
    assert (columns["volume"] >= 0).all()
    assert np.array_equal(columns["volume"], np.rint(columns["volume"]))
    assert (np.diff(found.dates) > np.timedelta64(0, "D")).all()
    assert np.is_busday(found.dates).all()
    assert found.synthetic


# Returns whose variance clusters and whose tails are fat give no sharp moments, even in 30,000 days.


@pytest.mark.parametrize("ticker", TICKERS)
def test_returns_are_volatile_fat_tailed_and_clustered_like_daily_ones(ticker: str) -> None:
    columns = bars(ticker).columns
    r, vol = close_returns(columns), annual_vol(ticker)
    moves = np.abs(r)
    assert r.std() * math.sqrt(YEAR) == pytest.approx(vol, rel=0.25)
    assert r.mean() * YEAR == pytest.approx(figures(ticker).drift_percent / 100, abs=4 * vol / math.sqrt(len(r) / YEAR))
    assert all(kurtosis(part) > 5 for part in (r, *overnight_and_intraday(columns)))
    assert 0.1 < correlation(moves[1:], moves[:-1]) < 0.45  # real stocks: .18 to .34
    assert correlation(moves[20:], moves[:-20]) > 0.07
    assert abs(correlation(np.sign(r[1:]), np.sign(r[:-1]))) < 0.03


def test_volatility_clusters_in_the_mean_of_the_stocks_as_in_real_ones() -> None:
    moves = [np.abs(close_returns(bars(ticker).columns)) for ticker in STOCKS]
    assert 0.16 < np.mean([correlation(m[1:], m[:-1]) for m in moves]) < 0.34


def test_volatility_is_the_configured_one_where_it_does_not_cluster() -> None:
    own = dataclasses.replace(figures("AAPL"), market_beta=0.0, garch=STILL)
    r = close_returns(simulate(own, "AAPL", 20_000, 0, 0.0)[0])
    assert r.std() * math.sqrt(YEAR) == pytest.approx(own.idio_vol_percent / 100, rel=0.04)


@pytest.mark.parametrize("ticker", STOCKS)
def test_beta_to_the_market_is_the_configured_one(ticker: str) -> None:
    r, market = (close_returns(bars(name).columns) for name in (ticker, "SP500"))
    assert np.cov(r, market)[0, 1] / market.var() == pytest.approx(figures(ticker).market_beta, abs=0.07)


@pytest.mark.parametrize(("one", "other"), [("AAPL", "MSFT"), ("JPM", "XOM"), ("JNJ", "TSLA")])
def test_tickers_correlate_through_the_market(one: str, other: str) -> None:
    r, s, market = (close_returns(bars(name).columns) for name in (one, other, "SP500"))
    betas = figures(one).market_beta * figures(other).market_beta
    assert correlation(r, s) == pytest.approx(betas * market.var() / (r.std() * s.std()), abs=0.04)


@pytest.mark.parametrize("ticker", TICKERS)
def test_overnight_has_its_share_of_the_variance(ticker: str) -> None:
    overnight, intraday = overnight_and_intraday(bars(ticker).columns)
    share = overnight.var() / (overnight.var() + intraday.var())
    assert share == pytest.approx(figures(ticker).overnight_share, abs=0.04)


def test_overnight_and_intraday_share_one_mixing_draw_a_day() -> None:
    """With W = (ν − 2) / χ² shared, both are Student's t, and their squares correlate by Var W / (3 E W² − 1)."""
    tail = 10.0
    own = dataclasses.replace(figures("AAPL"), market_beta=0.0, idio_tail=tail, garch=STILL)
    overnight, intraday = overnight_and_intraday(simulate(own, "AAPL", 40_000, 0, 0.0)[0])
    squared_mixing = (tail - 2) / (tail - 4)
    shared = (squared_mixing - 1) / (3 * squared_mixing - 1)
    assert correlation(np.square(overnight), np.square(intraday)) == pytest.approx(shared, abs=0.05)
    assert correlation(overnight, intraday) == pytest.approx(0, abs=0.03)
    for part in (overnight, overnight + intraday):
        assert kurtosis(part) == pytest.approx(3 * squared_mixing, abs=0.3)


@pytest.mark.parametrize("ticker", TICKERS)
def test_range_is_that_of_a_continuous_intraday_path(ticker: str) -> None:
    """Rogers & Satchell (1991): E[ln(H/O) ln(H/C) + ln(L/O) ln(L/C)] is the intraday variance, for any drift."""
    opened, high, low, close = (np.log(bars(ticker).columns[name]) for name in ("open", "high", "low", "close"))
    estimated = ((high - opened) * (high - close) + (low - opened) * (low - close)).mean()
    assert estimated == pytest.approx(np.square(close - opened).mean(), rel=0.07)


def test_volume_follows_its_recursion() -> None:
    """lv = φ lv₋₁ + b_z (|z| − .75) + b_s (ln σ − mean) + se ε, regressed on a path of constant σ."""
    own = dataclasses.replace(figures("AAPL"), market_beta=0.0, garch=STILL, drift_percent=0.0)
    columns, _ = simulate(own, "AAPL", 20_000, 0, 0.0)
    log_volume = np.log(columns["volume"] / own.shares_per_day)[1:]
    z = np.abs(close_returns(columns)) / (own.idio_vol_percent / 100 / math.sqrt(YEAR))
    inputs = np.column_stack([log_volume[:-1], z[1:] - 0.75])
    (phi, b_z), residual, *_ = np.linalg.lstsq(inputs, log_volume[1:], rcond=None)
    assert phi == pytest.approx(own.volume.phi, abs=0.02)
    assert b_z == pytest.approx(own.volume.b_z, abs=0.02)
    assert math.sqrt(residual[0] / len(inputs)) == pytest.approx(own.volume.se, rel=0.03)


def test_volume_is_higher_where_volatility_is() -> None:
    columns = bars("AMZN").columns
    month = len(columns["volume"]) // 21
    volume = np.log(columns["volume"][: 21 * month]).reshape(month, 21).mean(axis=1)
    moves = np.abs(np.diff(np.log(columns["close"]), prepend=0.0))[: 21 * month].reshape(month, 21).mean(axis=1)
    assert correlation(volume, np.log(moves)) > 0.5
    assert np.median(columns["volume"]) == pytest.approx(figures("AMZN").shares_per_day, rel=0.15)


def expected_from_the_days_before(columns: dict[str, Floats], own: SimulatorConfig, strength: float) -> Floats:
    """μ of each day from the second to the one after the last, computed only from the days before it."""
    r, log_volume = close_returns(columns), np.log(columns["volume"])
    garch, drift = own.garch, own.drift_percent / 100 / YEAR
    target = (own.idio_vol_percent / 100) ** 2 / YEAR
    variance = target
    expected = [drift]
    for day in range(1, len(r) + 1):  # the return of `day` is r[day - 1]
        shock = r[day - 1] - expected[-1]
        up, down = garch.alpha, garch.alpha + garch.gamma
        omega = target * (1 - garch.alpha - garch.gamma / 2 - garch.beta)
        variance = omega + (down if shock < 0 else up) * shock**2 + garch.beta * variance
        if day < 20:
            expected.append(drift)
            continue
        rv20 = math.sqrt(np.square(r[day - 20 : day]).mean())
        g1 = np.clip(-r[day - 5 : day].sum() / (math.sqrt(5) * rv20), -3, 3)
        surprise = log_volume[day] - log_volume[day - 19 : day + 1].mean()
        g2 = -np.clip(r[day - 1] / rv20, -3, 3) * math.tanh(surprise / 0.35)
        expected.append(drift + math.sqrt(variance) * strength * (g1 + g2))
    return np.array(expected)


def test_expected_return_follows_the_formula_from_the_days_before() -> None:
    own = dataclasses.replace(figures("AAPL"), market_beta=0.0)  # then the day's shock, and so its σ, can be computed
    columns, expected = simulate(own, "AAPL", 2_000, 0, 0.2)
    rebuilt = expected_from_the_days_before(columns, own, 0.2)[:-1]
    settled = slice(600, None)  # the variance before the first day is not known, and forgotten by then
    assert np.allclose(rebuilt[settled], expected[1:][settled], rtol=1e-3, atol=1e-7)


def test_no_column_contains_the_expected_return() -> None:
    found = bars("AAPL", "strong", 60_000)
    assert found.expected is not None
    today, tomorrow = found.expected[1:-1], found.expected[2:]
    for column in found.columns.values():
        for known in (column[1:-1], np.diff(np.log(column))[:-1]):
            assert abs(correlation(known, today)) < 0.5
            assert abs(correlation(known, tomorrow)) < 0.8  # the last return is a part of the signal


def test_without_a_signal_the_expected_return_is_the_drift() -> None:
    found = bars("AAPL")
    assert found.expected is not None
    assert np.ptp(found.expected) == 0
    assert found.expected[0] == pytest.approx(0.12 / YEAR)


def injected_r2(r: Floats, expected: Floats) -> float:
    """Share of the signal in Σr², which is checked against the oracle's R²."""
    total = np.square(r).sum()
    injected, reached = np.square(expected).sum() / total, 1 - np.square(r - expected).sum() / total
    error = math.sqrt(len(r)) * (2 * expected * (r - expected)).std() / total
    assert abs(reached - injected) < 3.5 * error
    return float(injected)


@pytest.mark.parametrize(("strength", "r2", "hit_rate"), [(0.09, 0.01, 0.53), (0.2, 0.043, 0.56)])
def test_oracle_s_r2_on_ten_years_of_seven_stocks_is_as_quoted(strength: float, r2: float, hit_rate: float) -> None:
    injected, hits = [], []
    for seed in range(10):
        histories = [simulate(figures(ticker), ticker, 2_520, seed, strength) for ticker in STOCKS]
        r = np.concatenate([close_returns(columns) for columns, _ in histories])
        expected = np.concatenate([expected[1:] for _, expected in histories])
        injected.append(injected_r2(r, expected))
        hits.append((np.sign(r) == np.sign(expected)).mean())
    assert np.mean(injected) == pytest.approx(r2, rel=0.15)
    assert np.mean(hits) == pytest.approx(hit_rate, abs=0.01)


@pytest.mark.parametrize(
    ("signal", "r2"), [(None, 0.0007), ("realistic", 0.008), ("strong", 0.034), ("interaction", 0.04)]
)
def test_oracle_s_r2_on_a_long_history_of_one_stock(signal: str | None, r2: float) -> None:
    """Lower than that of the seven: half of AAPL's variance is the market's, on which no signal is injected."""
    found = bars("AAPL", signal, 60_000)
    assert found.expected is not None
    assert injected_r2(close_returns(found.columns), found.expected[1:]) == pytest.approx(r2, rel=0.3)


@pytest.mark.parametrize("ticker", ["AAPL", "SP500"])
def test_more_days_continue_the_same_history(ticker: str) -> None:
    """No number of a day depends on a later one."""
    few, many = (bars(ticker, "strong", days) for days in (500, 1_300))
    columns = {name: column[:500] for name, column in many.columns.items()}
    assert many.expected is not None
    assert same(few, dataclasses.replace(many, columns=columns, expected=many.expected[:500]))


def test_a_linear_model_finds_nothing_of_the_interaction() -> None:
    """Ridge on raw windows explains nothing, while on the strong signal it finds half of it."""
    shares = {}
    for signal in ("interaction", "strong"):
        data = prepare(compose("data.days=20000", "data.window=20", f"data.signal={signal}", "data.seed=1"))
        batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
        rows = data.split.test
        r, ridge = data.panel.target[rows], baselines.ridge_forecasts(data, batches)["test"]
        assert data.panel.expected is not None
        explained = [1 - np.square(r - f).sum() / np.square(r).sum() for f in (ridge, data.panel.expected[rows])]
        shares[signal] = explained[0] / explained[1]
    assert abs(shares["interaction"]) < 0.05
    assert shares["strong"] > 0.3
