"""Forecasts of several stocks compared with one another, day by day."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from stockml.evaluation import cross_section, significance
from stockml.evaluation.metrics import METRICS, Scores, score
from stockml.evaluation.truth import Floats, Target

RNG = np.random.default_rng(3)
DATES = np.repeat(np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]"), RNG.integers(1, 9, 60))


def pooled_scores(realised: Floats, forecast: Floats, dates: NDArray[np.datetime64]) -> Scores:
    scores = score(Target(realised, "return"), forecast, dates)
    return {name: value for name, value in scores.items() if METRICS[name].pooled}


@pytest.mark.parametrize("decimals", [12, 1])  # at one decimal many are equal
def test_scores_agree_with_scipys_day_by_day(decimals: int) -> None:
    realised, forecast = RNG.standard_normal((2, len(DATES))).round(decimals)
    pearson, spearman = [], []
    for day in np.unique(DATES):
        r, f = realised[day == DATES], forecast[day == DATES]
        if len(r) >= 3 and np.ptp(r) > 0 and np.ptp(f) > 0:
            pearson.append(scipy.stats.pearsonr(r, f)[0])
            spearman.append(scipy.stats.spearmanr(r, f)[0])
    found = pooled_scores(realised, forecast, DATES)
    assert found["daily_ic"] == pytest.approx(np.mean(pearson), abs=1e-12)
    assert found["icir"] == pytest.approx(np.mean(pearson) / np.std(pearson, ddof=1), abs=1e-12)
    assert found["daily_rank_ic"] == pytest.approx(np.mean(spearman), abs=1e-12)
    assert found["rank_icir"] == pytest.approx(np.mean(spearman) / np.std(spearman, ddof=1), abs=1e-12)


def test_constant_forecasts_and_days_of_two_stocks_have_no_score() -> None:
    realised = RNG.standard_normal(len(DATES))
    assert set(pooled_scores(realised, np.zeros(len(DATES)), DATES).values()) == {None}
    pairs = np.repeat(np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]"), 2)
    realised, forecast = RNG.standard_normal((2, 20))
    assert set(pooled_scores(realised, forecast, pairs).values()) == {None}


def test_values_by_day_have_the_mean_of_the_samples() -> None:
    values = RNG.standard_normal((2, len(DATES)))
    np.testing.assert_allclose(cross_section.by_day(DATES)(values).mean(1), values.mean(1), rtol=1e-12)


def test_stocks_that_move_as_one_are_no_more_evidence_than_one_stock() -> None:
    days, stocks = 400, 25
    by_day = cross_section.by_day(np.repeat(np.arange(days).astype("datetime64[D]"), stocks))
    one, forecast = RNG.standard_normal((2, days)) * [[1.0], [0.1]]
    realised, forecasts = np.repeat(one, stocks), np.repeat(forecast, stocks)
    pooled = significance.compare(realised, forecasts, {"zero": 0 * realised}, 1, by_day)["zero"]
    alone = significance.compare(one, forecast, {"zero": 0 * one}, 1)["zero"]
    assert pooled.diebold_mariano.p_value == pytest.approx(alone.diebold_mariano.p_value)
    assert pooled.interval == pytest.approx(alone.interval)
    directions = significance.directions(realised > 0, forecasts > 0, 1, by_day)
    assert directions.p_value == pytest.approx(significance.directions(one > 0, forecast > 0, 1).p_value)


@pytest.mark.parametrize(("horizon", "drift"), [(1, 0.0), (5, 0.0), (5, 0.05)])
def test_the_test_of_daily_ics_allows_for_targets_that_overlap_and_forecasts_that_stay(
    horizon: int, drift: float
) -> None:
    rejected, naive, days, stocks = 0, 0, 400, 12
    dates = np.repeat(np.arange(days).astype("datetime64[D]"), stocks)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        daily = rng.standard_normal((days + horizon - 1, stocks)) + drift
        realised = np.lib.stride_tricks.sliding_window_view(daily, horizon, axis=0).sum(-1)
        forecast = np.broadcast_to(rng.standard_normal(stocks), (days, stocks))
        ic = cross_section.CrossSection(realised.ravel(), forecast.ravel(), dates).ic
        found = cross_section.daily_mean(ic, horizon)
        assert found is not None and found.interval is not None
        assert found.mean == pytest.approx(ic.mean())
        assert (found.interval[0] > 0) == found.test.rejects(0.025)
        rejected += found.test.rejects(0.05)
        naive += ic.mean() / ic.std() * np.sqrt(days) > 1.65
    assert 2 <= rejected <= 20  # of 200, at 5 %: 10 expected
    assert naive >= 30 or horizon == 1


def test_without_daily_ics_there_is_no_mean_and_of_few_no_test() -> None:
    assert cross_section.daily_mean(np.empty(0), 1) is None
    few = cross_section.daily_mean(np.array([0.1, 0.2]), 1)
    assert few is not None and few.mean == pytest.approx(0.15)
    assert few.interval is None and few.test == significance.UNDEFINED


def test_luck_that_all_stocks_share_is_not_counted_for_each_stock() -> None:
    days, stocks = 250, 40
    dates = np.repeat(np.arange(days).astype("datetime64[D]"), stocks)
    by_day, rejected = cross_section.by_day(dates), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        realised = np.repeat(rng.standard_normal(days), stocks) + 0.3 * rng.standard_normal(days * stocks)
        forecast = 0.1 * np.repeat(rng.standard_normal(days), stocks)
        found = significance.compare(realised, forecast, {"zero": np.zeros_like(realised)}, 1, by_day)
        rejected += found["zero"].clark_west.rejects(0.05)
    assert 2 <= rejected <= 20  # of 200, at 5 %: 10 expected
