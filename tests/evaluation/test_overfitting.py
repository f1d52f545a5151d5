"""The figures of the best of many trials are those of the papers' examples and of their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from stockml.evaluation import overfitting


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "expected"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)]
)
def test_the_deflated_sharpe_ratio_is_that_of_the_paper_s_example(
    trials: int, skew: float, kurtosis: float, expected: float
) -> None:
    """Bailey & López de Prado (2014): 1,250 days, a Sharpe ratio of 2.5 a year, a variance of 1/2 over the trials."""
    benchmark = overfitting.expected_maximum(trials, 0.5 / 250)
    found = overfitting.probabilistic_sharpe(2.5 / math.sqrt(250), benchmark, 1250, skew, kurtosis)
    assert found == pytest.approx(expected, abs=5e-5)


def test_the_deflated_sharpe_ratio_of_returns_has_their_moments() -> None:
    returns = 0.01 * np.random.default_rng(0).standard_t(5, (300, 7)) + 0.0005
    found = overfitting.deflated_sharpe(returns, 20)
    ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    benchmark = overfitting.expected_maximum(20, ratios.var(ddof=1))
    for own, series, ratio in zip(found, returns.T, ratios, strict=True):
        skew, kurtosis = stats.skew(series), stats.kurtosis(series, fisher=False)
        assert own == pytest.approx(overfitting.probabilistic_sharpe(ratio, benchmark, 300, skew, kurtosis), abs=1e-12)
    assert overfitting.deflated_sharpe(np.zeros((100, 2)), 2) == [None, None]


def test_the_best_of_many_without_skill_is_deflated() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(200):
        returns = rng.standard_normal((250, 30))
        deflated = overfitting.deflated_sharpe(returns, 30)
        found.append(deflated[int(overfitting.sharpe(returns).argmax())])
    assert np.mean(np.array(found) > 0.95) <= 0.02


def test_the_probability_of_overfitting_is_that_of_its_definition() -> None:
    returns = 0.01 * np.random.default_rng(2).standard_normal((101, 5)) + 0.001 * np.arange(5)
    blocks = np.split(returns[101 % 6 :], 6)
    below = []
    for chosen in itertools.combinations(range(6), 3):
        before, after = (
            overfitting.sharpe(np.concatenate([block for k, block in enumerate(blocks) if (k in chosen) is inside]))
            for inside in (True, False)
        )
        share = stats.rankdata(after)[before.argmax()] / 6
        below.append(math.log(share / (1 - share)) <= 0)
    assert overfitting.probability_of_overfitting(returns, 6) == pytest.approx(np.mean(below))


def test_overfitting_is_unlikely_where_one_job_is_better_and_likely_where_none_is() -> None:
    noise = np.random.default_rng(3).standard_normal((320, 12))
    better = noise + np.where(np.arange(12) == 4, 0.5, 0)
    assert overfitting.probability_of_overfitting(better) == 0
    found = overfitting.probability_of_overfitting(noise)
    assert found is not None and found > 0.2
    # What a job gains on half of the days it lacks on the others: the best one is the worst there.
    assert overfitting.probability_of_overfitting(noise - noise.mean(axis=0)) == 1
    assert overfitting.probability_of_overfitting(noise[:, :1]) is None
    assert overfitting.probability_of_overfitting(noise[:63]) is None
