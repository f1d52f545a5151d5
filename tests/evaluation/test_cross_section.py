"""Forecasts of several stocks compared with one another, day by day."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from stockml.evaluation import cross_section, significance
from stockml.evaluation.metrics import METRICS, Floats, Scores, Target, score

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


def test_stocks_that_move_as_one_are_worth_no_more_samples_than_days() -> None:
    days, stocks = 400, 25
    dates = np.repeat(np.arange(days).astype("datetime64[D]"), stocks)
    by_day = cross_section.by_day(dates)
    as_one = np.repeat(RNG.standard_normal(days), stocks)
    apart = RNG.standard_normal(days * stocks)
    assert significance.effective_sample_size(as_one, by_day) == days
    assert significance.effective_sample_size(apart, by_day) == pytest.approx(days * stocks, rel=0.2)


def test_luck_that_all_stocks_share_is_not_counted_for_each_stock() -> None:
    days, stocks = 250, 40
    dates = np.repeat(np.arange(days).astype("datetime64[D]"), stocks)
    by_day, rejected, naive = cross_section.by_day(dates), 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        realised = np.repeat(rng.standard_normal(days), stocks) + 0.3 * rng.standard_normal(days * stocks)
        forecast = 0.1 * np.repeat(rng.standard_normal(days), stocks)
        for grouped in (by_day, None):
            found = significance.compare(realised, forecast, {"zero": np.zeros_like(realised)}, 1, grouped)
            p = found["zero"].clark_west.p_value
            assert p is not None
            rejected += grouped is not None and p < 0.05
            naive += grouped is None and p < 0.05
    assert rejected <= 20  # of 200, at 5 %: 10 expected
    assert naive >= 50
