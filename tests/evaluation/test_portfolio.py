"""Positions use nothing after their day, returns and costs add up, and figures are those of independent definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from stockml.evaluation import bootstrap, economic, portfolio
from stockml.evaluation.portfolio import Account, Market, Portfolio
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.settings import PortfolioConfig
from stockml.evaluation.truth import Target

Floats = NDArray[np.float64]
SETTINGS = PortfolioConfig(cost_bps=5, rule="auto", quantile=0.2, volatility_target=None, delay=0)


def traded(horizon: int = 1, target: str = "return", start: int = 0, **settings: Any) -> Portfolio:
    return Portfolio(replace(SETTINGS, **settings), target, horizon, start)


def samples(forecasts: Floats | None = None, *, stocks: int = 1, days: int = 300, seed: int = 0) -> Predictions:
    """Samples of one day ahead, in order of time and then of the stock, with simple returns."""
    rng = np.random.default_rng(seed)
    n = days * stocks
    returns = 0.01 * rng.standard_t(5, n) + 0.0005
    model = 0.001 * rng.standard_normal(n) if forecasts is None else forecasts
    dates = np.busday_offset(np.datetime64("2020-01-01", "D"), np.arange(days)).repeat(stocks)
    tickers = None if stocks == 1 else np.tile([f"S{number:02}" for number in range(stocks)], days)
    rivals = {"zero": 0 * returns, "last_return": np.roll(returns, stocks)}
    return Predictions(
        Target(returns, "return"), np.arange(n), dates, model, rivals, tickers=tickers, next_return=returns
    )


def account(of: Predictions, how: Portfolio, before: Predictions | None = None, *, long_only: bool = False) -> Account:
    return Market(of, how, before).traded("model", long_only=long_only)


EVERY_RULE = [
    *({"rule": rule} for rule in ("sign", "proportional", "threshold")),
    {"rule": "proportional", "volatility_target": 0.1},
    {"rule": "sign", "delay": 2},
]


@pytest.mark.parametrize("stocks", [1, 6])
@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("settings", [*EVERY_RULE, {"rule": "quantile"}], ids=str)
def test_positions_use_nothing_after_their_day(settings: dict[str, Any], horizon: int, stocks: int) -> None:
    if settings["rule"] == "quantile" and stocks == 1:
        return
    of, before = samples(stocks=stocks), samples(stocks=stocks, seed=1)
    day, how = 150, traded(horizon, **settings)
    assert of.next_return is not None
    future = np.arange(len(of.rows)) >= day * stocks
    scrambled = np.where(future, np.random.default_rng(2).permutation(of.next_return), of.next_return)
    later = np.where(np.arange(len(of.rows)) >= (day + 1) * stocks, -of.model, of.model)
    other = replace(of, next_return=scrambled, truth=Target(scrambled, "return"), model=later)
    one, two = account(of, how, before), account(other, how, before)
    for name in ("exposure", "turnover"):
        np.testing.assert_array_equal(getattr(one, name)[: day + 1], getattr(two, name)[: day + 1])
    np.testing.assert_array_equal(one.net[:day], two.net[:day])
    assert not np.array_equal(one.net[day:], two.net[day:])


def test_a_constant_position_costs_its_entry_alone() -> None:
    for forecast in (1.0, -1.0):
        found = account(samples(np.full(300, forecast)), traded(cost_bps=10))
        assert found.turnover.sum() == found.turnover[0] == 1
        assert (found.gross - found.net).sum() == pytest.approx(0.001, abs=1e-15)


def test_positions_in_intraday_bars_are_closed_with_their_session() -> None:
    bars = np.arange(300)
    dates = (
        np.datetime64("2024-01-01T09:30:00") + bars // 6 * np.timedelta64(1, "D") + bars % 6 * np.timedelta64(1, "h")
    )
    of = replace(samples(np.full(300, 1.0)), rows=bars + bars // 6, dates=dates)  # one bar of each day is no sample
    within, across = account(of, traded()), account(replace(of, rows=bars), traded())
    assert across.turnover.sum() == 1 and within.turnover.sum() == 1 + 2 * 49
    np.testing.assert_array_equal(within.gross, across.gross)
    assert set(np.flatnonzero(within.turnover) % 6) == {0, 5}
    assert "end within their session" in traded(5).why_none(of) and not traded(5).why_none(replace(of, rows=bars))


def test_a_perfect_forecast_earns_the_sum_of_absolute_returns() -> None:
    of = samples()
    found = account(replace(of, model=of.truth.y_true), traded())
    assert found.gross.sum() == pytest.approx(np.abs(of.truth.y_true).sum(), rel=1e-14)


@pytest.mark.parametrize("stocks", [1, 6])
@pytest.mark.parametrize("how", [traded(5), traded(5, start=1, delay=1), traded(3, rule="proportional")], ids=str)
def test_returns_of_tranches_sum_to_the_whole_and_none_is_counted_twice(how: Portfolio, stocks: int) -> None:
    """Each tranche alone: the forecasts of every h-th day, held for h days."""
    of, before = samples(stocks=stocks), samples(stocks=stocks, seed=1)
    h, wait = how.horizon, how.start + how.settings.delay
    assert of.next_return is not None
    at_once = replace(how, horizon=1, start=0, settings=replace(how.settings, delay=0))
    aimed_at, held = Market(of, at_once, before).positions("model"), np.zeros((300, stocks))
    returns, total = of.next_return.reshape(300, stocks), np.zeros(300)
    for tranche in range(h):
        own = np.zeros((300, stocks))
        for day in range(tranche, 300, h):
            own[day + wait : day + wait + h] = aimed_at[day]
        total += (own * returns).sum(axis=1) / h
        held += own / h
    found = account(of, how, before)
    np.testing.assert_allclose(found.gross, total, atol=1e-15)
    np.testing.assert_allclose(found.exposure, np.abs(held).sum(axis=1), atol=1e-14)


def test_long_short_of_permuted_forecasts_averages_zero() -> None:
    of, rng = samples(stocks=20, days=100), np.random.default_rng(0)
    market = replace(of, next_return=of.truth.y_true + 0.01)  # a rise of all stocks is none of the difference
    means = [account(replace(market, model=rng.permutation(of.model)), traded()).gross.mean() for _ in range(200)]
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(200)


def test_equal_forecasts_share_their_places_whatever_the_order_of_stocks() -> None:
    of = samples(np.tile([3.0, 2, 2, 2, 1, 1], 50), stocks=6, days=50)
    held = Market(of, traded(quantile=0.34)).traded("model")
    returns = of.truth.y_true.reshape(50, 6)
    expected = returns @ np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6, -1 / 2, -1 / 2])
    np.testing.assert_allclose(held.gross, expected, atol=1e-15)
    assert not account(samples(np.ones(300), stocks=6, days=50), traded()).exposure.any()


@pytest.mark.parametrize("settings", [{}, {"delay": 1}, {"volatility_target": 0.2}])
def test_net_is_gross_minus_cost_times_turnover(settings: dict[str, Any]) -> None:
    for stocks in (1, 6):
        found = account(samples(stocks=stocks), traded(3, cost_bps=7, **settings))
        np.testing.assert_allclose(found.net, found.gross - 0.0007 * found.turnover, atol=1e-12)
        assert found.turnover.sum() > 1


def test_a_pool_is_traded_as_a_loop_over_days_and_stocks_trades_it() -> None:
    """Of ten stocks, some are missing each day; what is held is followed stock by stock."""
    of = samples(stocks=10, days=60)
    kept = np.random.default_rng(3).random(600) < 0.8
    of, how = of.of(kept), traded(2, cost_bps=0)
    assert of.dates is not None and of.tickers is not None and of.next_return is not None
    targets: list[dict[str, float]] = []
    money: dict[str, float] = {}
    gross, turnover = [], []
    for day in np.unique(of.dates):
        rows = np.flatnonzero(of.dates == day)
        order = [of.tickers[row] for row in rows[np.argsort(of.model[rows])]]
        k = max(1, round(0.2 * len(rows)))
        targets.append({**dict.fromkeys(order[-k:], 1 / k), **dict.fromkeys(order[:k], -1 / k)})
        live = targets[-2:]
        wanted = {t: w for t in of.tickers[rows] if (w := sum(one.get(t, 0.0) for one in live) / 2) or money.get(t)}
        turnover.append(sum(abs(wanted.get(t, 0.0) - money.get(t, 0.0)) for t in {*wanted, *money}))
        changes = dict(zip(of.tickers[rows], of.next_return[rows], strict=True))
        gross.append(sum(w * changes[t] for t, w in wanted.items()))
        money = {t: w * (1 + changes[t]) / (1 + gross[-1]) for t, w in wanted.items()}
    found = account(of, how)
    np.testing.assert_allclose(found.gross, gross, atol=1e-15)
    np.testing.assert_allclose(found.turnover, turnover, atol=1e-14)
    assert account(of, how, long_only=True).exposure.max() == pytest.approx(1)


def test_log_returns_are_turned_into_simple_ones_and_classes_into_directions() -> None:
    of, before = samples(), samples(seed=1)
    by_log = account(replace(of, model=np.log1p(of.model)), traded(target="log_return", rule="threshold"))
    np.testing.assert_array_equal(by_log.gross, account(of, traded(rule="threshold")).gross)
    ups = replace(of, truth=Target((of.truth.y_true > 0).astype(float), "class"), model=0.5 + of.model)
    np.testing.assert_allclose(account(ups, traded(target="direction")).gross, account(of, traded()).gross, atol=1e-15)
    price = np.full(300, 20.0)
    levels = replace(of, truth=Target(price * (1 + of.truth.y_true), "level", price), model=price * (1 + of.model))
    np.testing.assert_allclose(account(levels, traded(target="close")).gross, account(of, traded()).gross, atol=1e-15)
    size = np.clip(of.model / np.sqrt(np.square(before.model).mean()), -1, 1)
    np.testing.assert_allclose(account(of, traded(rule="proportional"), before).exposure, np.abs(size))


def test_a_volatility_target_is_met_and_never_more_than_doubles() -> None:
    of, before = samples(days=2000), samples(seed=1)
    found = account(of, traded(volatility_target=0.1), before)
    assert found.gross.std() * np.sqrt(252) == pytest.approx(0.1, rel=0.1)
    assert account(of, traded(volatility_target=9.0), before).exposure.max() == portfolio.MOST_SCALED


@pytest.mark.parametrize(
    ("how", "of", "reason"),
    [
        (traded(target="volatility"), samples(), "no direction"),
        (traded(target="excess_return"), samples(), "not known to be the return"),
        (traded(), replace(samples(), next_return=None), "no daily returns"),
        (traded(5, target=""), replace(samples(), next_return=None), "5 windows long"),
        (traded(0, target=""), replace(samples(), next_return=None), "not known (data.horizon)"),
        (traded(), replace(samples(), truth=Target(np.ones(300), "return", quantile=0.1)), "quantile"),
        (traded(rule="threshold"), replace(samples(), truth=Target(np.ones(300), "class")), "is a class"),
    ],
)
def test_what_cannot_be_valued_has_a_reason(how: Portfolio, of: Predictions, reason: str) -> None:
    found, text = economic.evaluate(of, how)
    assert reason in found["economic"]["none"] and text == ""


def test_arrays_are_valued_by_their_own_targets_and_have_no_months() -> None:
    dated = samples()
    arrays = replace(dated, dates=None, next_return=None)
    one, two = (
        economic.evaluate(of, traded(target=name))[0]["economic"] for of, name in ((dated, "return"), (arrays, ""))
    )
    assert two["model"]["net"].pop("worst_month") is None
    assert one["model"]["net"].pop("worst_month") < 0
    assert one["model"]["net"] == two["model"]["net"]


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_independent_definitions(seed: int) -> None:
    of = samples(days=500, seed=seed)
    assert of.dates is not None
    found = account(of, traded())
    series = pd.Series(found.net, pd.DatetimeIndex(of.dates))
    months = of.dates.astype("datetime64[M]")
    capital = pd.concat([pd.Series([1.0]), (1 + series).cumprod()])
    expected = {
        "annual_return": capital.iloc[-1] ** (252 / 500) - 1,
        "volatility": series.std() * np.sqrt(252),
        "sharpe": series.mean() / series.std() * np.sqrt(252),
        "max_drawdown": (capital / capital.cummax() - 1).min(),
        "worst_month": min(float((1 + found.net[months == month]).prod() - 1) for month in np.unique(months)),
        "skew": stats.skew(series),
    }
    assert economic.figures(found.net, of.dates, 252) == pytest.approx(expected, rel=1e-10)
    figures = economic.evaluate(of, traded())[0]["economic"]["model"]
    at_even = found.gross - figures["break_even_bps"] / 10_000 * found.turnover if figures["break_even_bps"] else 0
    assert np.mean(at_even) == pytest.approx(0, abs=1e-15)


def test_a_lost_capital_stays_lost() -> None:
    of = replace(samples(np.full(300, -1.0)), next_return=np.append(1.5, np.full(299, 0.01)))
    found = economic.figures(account(of, traded()).net, of.dates, 252)
    assert (found["annual_return"], found["max_drawdown"]) == (-1, -1)


def test_nothing_is_undefined_where_nothing_is_traded() -> None:
    found, text = economic.evaluate(samples(np.zeros(300)), traded())
    model = found["economic"]["model"]
    assert (model["turnover"], model["net"]["sharpe"], model["break_even_bps"]) == (0, None, None)
    assert text.endswith("nothing would be bought or sold.")
    assert not found["economic"]["difference"]["beats_holding"]


def test_holding_is_not_beaten_by_holding() -> None:
    found, text = economic.evaluate(samples(np.ones(300)), traded())
    assert found["economic"]["difference"] == {"sharpe": 0.0, "interval": None, "beats_holding": False}
    assert "the positions are the same" in text


def test_the_bootstrap_draws_each_day_equally_often_in_blocks() -> None:
    """The variance of the mean is that of the paper: Politis & Romano (1994), lemma 1."""
    n, block = 80, 6
    x = np.convolve(np.random.default_rng(0).standard_normal(n + 4), np.ones(5), "valid")
    found = bootstrap.means(np.stack([x, np.ones(n)], axis=1), block, 20_000)
    assert found[:, 1] == pytest.approx(1)
    assert found[:, 0].mean() == pytest.approx(x.mean(), abs=4 * found[:, 0].std() / 141)
    centred, lags = x - x.mean(), np.arange(1, n)
    circular = np.array([centred @ np.roll(centred, -lag) / n for lag in range(n)])
    weights = (1 - lags / n) * (1 - 1 / block) ** lags
    variance = (circular[0] + 2 * weights @ circular[1:]) / n
    assert found[:, 0].var() == pytest.approx(variance, rel=0.05)
    np.testing.assert_array_equal(found[:100], bootstrap.means(np.stack([x, np.ones(n)], axis=1), block, 20_000)[:100])


def test_the_days_of_a_year_follow_from_the_dates() -> None:
    daily = samples()
    weekly = replace(daily, dates=np.datetime64("2020-01-03") + 7 * np.arange(300))
    always = replace(daily, dates=np.datetime64("2020-01-01") + np.arange(300))
    years = [Market(of, traded()).periods_per_year for of in (daily, replace(daily, dates=None), always, weekly)]
    assert years == [252, 252, 365, pytest.approx(365.25 / 7)]
