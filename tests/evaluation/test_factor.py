"""The factor report of a pool has the figures of independent definitions; those of alphalens: campaigns."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stockml.evaluation import factor
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Target

DAYS, STOCKS = 80, 50


def pool(days: int = DAYS, stocks: int = STOCKS, horizon: int = 1, seed: int = 0) -> tuple[Predictions, pd.DataFrame]:
    """Forecasts that hold a part of the next returns, and the prices of the days and of `horizon` days after them."""
    rng = np.random.default_rng(seed)
    daily = 0.01 * rng.standard_normal((days + horizon - 1, stocks))
    prices = 100 * np.cumprod(np.vstack([np.ones(stocks), 1 + daily]), axis=0)
    target = prices[horizon:] / prices[:-horizon] - 1
    signal = np.cumsum(rng.standard_normal((days, stocks)), axis=0) * 1e-3 + 0.1 * target
    index = pd.date_range("2020-01-01", periods=days + horizon, freq="D", name="date")
    names = [f"S{number:02}" for number in range(stocks)]
    n, dates = days * stocks, index[:days].values.astype("datetime64[D]").repeat(stocks)
    zero = {"zero": np.zeros(n)}
    truth = Target(target.ravel(), "return")
    tickers = np.tile(names, days)
    next_return = daily[:days].ravel()
    samples = Predictions(truth, np.arange(n), dates, signal.ravel(), zero, tickers=tickers, next_return=next_return)
    return samples, pd.DataFrame(prices, index, names)


def exactly(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-8, abs=1e-12)


def report(samples: Predictions, horizon: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = factor.evaluate(samples, horizon)["factor"]
    return found


@pytest.mark.parametrize(("stocks", "horizon"), [(50, 1), (50, 5), (8, 1)])
def test_the_report_is_that_of_pandas(stocks: int, horizon: int) -> None:
    samples, prices = pool(stocks=stocks, horizon=horizon)
    forecasts = pd.DataFrame(samples.model.reshape(-1, stocks))
    returns = pd.DataFrame(samples.truth.y_true.reshape(-1, stocks))
    found = report(samples, horizon)
    assert found["ic"]["mean"] == exactly(forecasts.corrwith(returns, axis=1, method="spearman").mean())
    quantile = forecasts.apply(lambda day: pd.qcut(day, 5, labels=False), axis=1)
    excess = returns.sub(returns.mean(axis=1), axis=0)
    means = [excess[quantile == number].stack().mean() for number in range(5)]
    assert found["quantiles"]["returns"] == exactly(means)
    spread = returns[quantile == 4].mean(axis=1) - returns[quantile == 0].mean(axis=1)
    assert found["quantiles"]["spread"]["mean"] == exactly(spread.mean())
    ranks = forecasts.rank(axis=1)
    autocorrelation = ranks.corrwith(ranks.shift(1), axis=1)[1:].mean()
    assert found["rank_autocorrelation"] == exactly(autocorrelation)
    for name, of in (("top", 4), ("bottom", 0)):
        members = [set(day.index[day == of]) for _, day in quantile.iterrows()]
        new = [len(now - before) / len(now) for before, now in itertools.pairwise(members)]
        assert found["turnover"][name] == exactly(np.mean(new))
    for ahead in (1, 5, 20):
        later = prices.pct_change(ahead).shift(-ahead).iloc[:DAYS].reset_index(drop=True)
        later = later.iloc[: DAYS + 1 - ahead].set_axis(range(stocks), axis=1)
        mean = forecasts.iloc[: len(later)].corrwith(later, axis=1, method="spearman").mean()
        assert found["ic_decay"][str(ahead)]["mean"] == exactly(mean)


def test_a_perfect_factor_is_monotone_and_its_ic_is_one() -> None:
    samples, _ = pool(days=60, stocks=10)
    found = report(replace(samples, model=samples.truth.y_true))
    assert found["ic"]["mean"] == exactly(1.0) and found["quantiles"]["monotonicity"] == exactly(1.0)
    assert found["quantiles"]["returns"] == sorted(found["quantiles"]["returns"])
    assert sum(found["quantiles"]["returns"]) == exactly(0.0)
    worst = report(replace(samples, model=-samples.truth.y_true))
    assert worst["quantiles"]["monotonicity"] == exactly(-1.0)


def test_days_without_five_stocks_or_with_equal_forecasts_have_no_quantiles() -> None:
    assert report(pool(days=40, stocks=4)[0])["quantiles"] is None
    samples, _ = pool(days=40, stocks=10)
    constant = report(replace(samples, model=np.zeros(400)))
    assert constant["quantiles"] is None and constant["ic"] is None and constant["turnover"]["top"] is None


def test_missing_samples_are_no_zeros() -> None:
    samples, _ = pool(days=40, stocks=10)
    kept = np.random.default_rng(1).random(400) < 0.8
    found = report(samples.of(kept))
    assert samples.tickers is not None and samples.dates is not None
    frame = pd.DataFrame({"day": samples.dates, "f": samples.model, "r": samples.truth.y_true})[kept]
    daily = [own["f"].corr(own["r"], method="spearman") for _, own in frame.groupby("day")]
    assert found["ic"]["mean"] == exactly(np.mean(daily))


def test_one_stock_is_no_factor() -> None:
    samples, _ = pool(stocks=1)
    assert factor.evaluate(replace(samples, tickers=None), 1) == {}
