"""Which samples' values a sample gets, how days are grouped, and the interval of an importance."""

from __future__ import annotations

import numpy as np
import pytest

from stockml.evaluation import importance


@pytest.mark.parametrize(("count", "horizon"), [(2, 1), (7, 5), (40, 1), (403, 1), (403, 20)])
def test_each_day_s_values_go_to_another_day_once_and_in_blocks(count: int, horizon: int) -> None:
    days, rng = np.arange(1000, 1000 + count), np.random.default_rng(0)
    for _ in range(20):
        others = importance.other_samples(days, np.zeros_like(days), horizon, rng)
        assert sorted(others) == list(range(count))
        assert (others != np.arange(count)).all()
        assert np.mean(np.diff(others) == 1) >= 1 - 2 * (count // max(horizon, round(count ** (1 / 3))) + 2) / count


def test_all_stocks_of_a_day_get_values_of_one_day_and_each_stock_those_of_one_stock() -> None:
    days, stocks = np.repeat(np.arange(50), 6), np.tile(np.arange(6), 50)
    others = importance.other_samples(days, stocks, 1, np.random.default_rng(0))
    assert sorted(others) == list(range(300))
    for numbers in (days, stocks):
        pairs = set(zip(numbers.tolist(), numbers[others].tolist(), strict=True))
        assert len(pairs) == len(set(numbers))
    assert (stocks[others] != stocks).any()


def test_where_a_day_lacks_the_stock_another_of_that_day_is_taken() -> None:
    days, stocks = np.repeat(np.arange(50), 6), np.tile(np.arange(6), 50)
    kept = np.random.default_rng(1).random(300) < 0.7
    days, stocks = days[kept], stocks[kept]
    others = importance.other_samples(days, stocks, 1, np.random.default_rng(0))
    pairs = set(zip(days.tolist(), days[others].tolist(), strict=True))
    assert len(pairs) == len(set(days.tolist()))


@pytest.mark.parametrize("window", [1, 2, 5, 6, 20, 21, 60, 500])
def test_groups_of_days_make_up_the_window_and_are_few(window: int) -> None:
    groups = importance.day_groups(window)
    assert sorted(day for first, last in groups for day in range(first, last + 1)) == list(range(1 - window, 1))
    assert groups[0] == (0, 0)
    assert len(groups) <= 12


def test_an_interval_counts_days_and_not_samples() -> None:
    """The samples of a day, and those of a day that two folds share, are one observation."""
    daily = np.random.default_rng(0).standard_normal(100)
    once = importance.of(daily, np.arange(100), 1)
    twice = importance.of(np.concatenate([daily, daily]), np.tile(np.arange(100), 2), 1)
    assert twice.value == pytest.approx(once.value)
    assert once.interval is not None
    assert twice.interval == pytest.approx(once.interval)


def test_what_a_model_does_not_use_has_no_importance_and_few_days_have_no_interval() -> None:
    assert importance.of(np.zeros(100), np.arange(100), 1) == importance.Importance(0.0, (0.0, 0.0))
    assert importance.of(np.arange(20.0), np.arange(20), 1).interval is None
