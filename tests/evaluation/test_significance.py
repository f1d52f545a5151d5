"""Tests and intervals agree with independent implementations and with simulation, and are never NaN."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from stockml.evaluation import significance
from stockml.evaluation.multiple_testing import benjamini_hochberg, holm
from stockml.evaluation.significance import (
    UNDEFINED,
    autocovariances,
    block_days,
    clark_west,
    compare,
    diebold_mariano,
    identity,
    minimum_detectable_r2,
    newey_west,
    normal_tail,
    pesaran_timmermann,
    resampled_means,
    student_tail,
)
from tests.conftest import ROOT

Floats = NDArray[np.float64]


def overlapping(n: int, horizon: int, seed: int = 0, tail: int = 4) -> Floats:
    """Heavy-tailed returns over some days, a value a day."""
    daily = np.random.default_rng(seed).standard_t(tail, n + horizon - 1)
    return np.convolve(daily, np.ones(horizon), mode="valid")


def hac(x: Floats, lags: int, kernel: str) -> float:
    """The standard error of the mean of x, by a regression on a constant."""
    fit = OLS(x, np.ones(len(x))).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "kernel": kernel})
    return float(fit.bse[0])


@pytest.mark.parametrize("lags", [0, 1, 5, 20])
def test_newey_west_s_variance_is_that_of_a_regression_on_a_constant(lags: int) -> None:
    x = overlapping(300, 5)
    assert newey_west(autocovariances(x, lags)) == pytest.approx(300 * hac(x, lags, "bartlett") ** 2, rel=1e-10)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_diebold_mariano_and_clark_west_are_corrected_t_tests_of_regressions_on_a_constant(horizon: int) -> None:
    n, realised, noise = 200, overlapping(200, horizon), overlapping(200, horizon, seed=1)
    rival, model = 0.1 * noise[::-1], 0.05 * realised + 0.1 * noise
    difference = (realised - rival) ** 2 - (realised - model) ** 2
    without_noise = 2 * (realised - rival) * (model - rival)
    found = diebold_mariano((realised - rival) ** 2, (realised - model) ** 2, horizon)
    for x, outcome in ((difference, found), (without_noise, clark_west(realised, rival, model, horizon))):
        factor = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
        t = x.mean() / hac(x, horizon - 1, "uniform") * factor
        assert outcome.statistic == pytest.approx(t, rel=1e-10)
        assert outcome.p_value == pytest.approx(stats.t.sf(t, n - 1), abs=1e-12)
        if horizon == 1:
            assert outcome.p_value == pytest.approx(stats.ttest_1samp(x, 0, alternative="greater").pvalue, abs=1e-12)


def test_a_negative_sum_of_autocovariances_is_replaced_by_newey_west() -> None:
    x = np.array([1.0, -1.0] * 20) + 0.1 + np.linspace(0, 0.1, 40)
    covariances = autocovariances(x, 1)
    assert covariances[0] + 2 * covariances[1] < 0
    t = x.mean() / hac(x, 1, "bartlett") * np.sqrt((40 + 1 - 4 + 2 / 40) / 40)
    assert diebold_mariano(x + 9, np.full(40, 9.0), 2).statistic == pytest.approx(t, rel=1e-9)


def test_pesaran_timmermann_s_statistic_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    up = rng.random(80) < 0.55
    forecast = np.where(rng.random(80) < 0.3, up, rng.random(80) < 0.6)
    n = len(up)
    p, q, hits = np.mean(up), np.mean(forecast), np.mean(up == forecast)
    expected = p * q + (1 - p) * (1 - q)
    variance_hits = expected * (1 - expected) / n
    variance_expected = ((2 * p - 1) ** 2 * q * (1 - q) + (2 * q - 1) ** 2 * p * (1 - p)) / n + 4 * p * q * (1 - p) * (
        1 - q
    ) / n**2
    z = (hits - expected) / np.sqrt(variance_hits - variance_expected)
    found = pesaran_timmermann(up, forecast, 1)
    assert found.statistic == pytest.approx(z, rel=1e-10)
    assert found.p_value == pytest.approx(stats.norm.sf(z), abs=1e-12)


@pytest.mark.parametrize("horizon", [1, 5])
def test_luck_is_seldom_called_skill_even_if_targets_overlap(horizon: int) -> None:
    found = {"diebold_mariano": 0, "clark_west": 0, "pesaran_timmermann": 0}
    for seed in range(300):
        realised, forecast = overlapping(250, horizon, seed), 0.1 * overlapping(250, horizon, seed + 1000)
        outcomes = {
            "diebold_mariano": diebold_mariano(realised**2, (realised - forecast) ** 2, horizon),
            "clark_west": clark_west(realised, np.zeros(250), forecast, horizon),
            "pesaran_timmermann": pesaran_timmermann(realised > 0, forecast > 0, horizon),
        }
        for name, outcome in outcomes.items():
            found[name] += outcome.p_value is not None and outcome.p_value < 0.05
    assert found["diebold_mariano"] / 300 <= 0.05
    assert 0.02 <= found["clark_west"] / 300 <= 0.1
    assert 0.02 <= found["pesaran_timmermann"] / 300 <= 0.1


@pytest.mark.parametrize("test", ["diebold_mariano", "clark_west"])
def test_the_smallest_detectable_r2_is_found_with_80_per_cent_power(test: str) -> None:
    n, found = 1000, 0
    r2 = minimum_detectable_r2(n, 1)[test]
    for seed in range(300):
        signal, noise = np.random.default_rng(seed).standard_normal((2, n))
        forecast = np.sqrt(r2) * signal
        realised = forecast + np.sqrt(1 - r2) * noise
        p_value = {
            "diebold_mariano": diebold_mariano(realised**2, (realised - forecast) ** 2, 1).p_value,
            "clark_west": clark_west(realised, np.zeros(n), forecast, 1).p_value,
        }[test]
        assert p_value is not None
        found += p_value < 0.05
    assert found / 300 == pytest.approx(0.8, abs=0.08)


@given(st.floats(-40, 40).map(lambda t: round(t, 3)), st.integers(1, 20_000))  # nearer 0 scipy is off by up to 1e-9
def test_the_tails_of_distributions_are_scipy_s(t: float, df: int) -> None:
    assert student_tail(t, df) == pytest.approx(stats.t.sf(t, df), abs=1e-11)
    assert normal_tail(t) == pytest.approx(stats.norm.sf(t), abs=1e-14)


@pytest.mark.parametrize("p", [[0.03], [0.04, 0.01, 0.03, 0.005], [0.2, 0.2, 0.01], [0.9, 0.5, 0.7]])
def test_holm_s_correction_is_that_of_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]), abs=1e-12)


@given(st.lists(st.floats(0, 1).map(lambda p: round(p, 4)), min_size=1, max_size=12))
def test_benjamini_hochberg_s_correction_is_that_of_scipy(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)), abs=1e-12)
    assert all(q <= by_holm + 1e-12 for q, by_holm in zip(benjamini_hochberg(p), holm(p), strict=True))


def test_the_corrections_of_no_p_values_are_empty() -> None:
    assert holm([]) == benjamini_hochberg([]) == []


numbers = st.floats(-5, 5).map(lambda x: round(x, 3))


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30))
def test_r2_equals_the_sum_of_its_terms(pairs: list[tuple[float, float]]) -> None:
    realised, forecast = (np.array(column) for column in zip(*pairs, strict=True))
    varied = np.ptp(realised) > 0 and np.ptp(forecast) > 0
    found = identity(realised, forecast, float(np.corrcoef(realised, forecast)[0, 1]) if varied else None)
    if np.ptp(realised) == 0:
        assert found.r2 is None and found.spread_ratio is None
        return
    assert found.r2 is not None and found.spread_ratio is not None and found.bias_ratio is not None
    correlation = found.correlation or 0.0
    assert found.r2 == pytest.approx(
        1 - np.sum((realised - forecast) ** 2) / np.sum((realised - realised.mean()) ** 2), rel=1e-9, abs=1e-9
    )
    made = correlation**2 - (found.spread_ratio - correlation) ** 2 - found.bias_ratio**2
    assert found.r2 == pytest.approx(made, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("n", "horizon"), [(60, 1), (492, 1), (492, 5)])
def test_intervals_cover_the_true_r2_nearly_as_often_as_their_confidence(n: int, horizon: int) -> None:
    r2, held = 0.02, 0
    for seed in range(300):
        signal = np.sqrt(r2) * overlapping(n, horizon, seed, tail=9)
        realised = signal + np.sqrt(1 - r2) * overlapping(n, horizon, seed + 1000, tail=9)
        interval = compare(realised, signal, {"zero": np.zeros(n)}, horizon)["zero"].r2_interval
        assert interval is not None
        held += interval[0] <= r2 <= interval[1]
    assert 0.88 <= held / 300 <= 0.99


def test_resampled_means_spread_as_the_mean_of_an_autocorrelated_series_does() -> None:
    horizon, means, spread = 5, [], []
    for seed in range(100):
        x = overlapping(1000, horizon, seed, tail=30)
        means.append(x.mean())
        resampled = resampled_means(x[None], block_days(len(x), horizon))
        assert resampled is not None
        spread.append(resampled.std())
    assert np.mean(spread) == pytest.approx(np.std(means), rel=0.25)


def test_resampling_does_not_depend_on_how_much_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    series = np.random.default_rng(0).standard_normal((3, 500))
    once, again = resampled_means(series, 8), resampled_means(series, 8)
    monkeypatch.setattr(significance, "_CHUNK", 700)
    in_parts = resampled_means(series, 8)
    assert once is not None and again is not None and in_parts is not None
    assert np.array_equal(once, again) and np.array_equal(once, in_parts)
    assert once.mean(1) == pytest.approx(series.mean(1), abs=0.01)


def test_blocks_grow_with_the_days_and_cover_the_overlap() -> None:
    assert [block_days(n, 1) for n in (1, 8, 9, 512, 1000, 12_000)] == [1, 2, 3, 8, 10, 23]
    assert block_days(500, 5) == 10
    assert resampled_means(np.zeros((1, 79)), 10) is None


@pytest.mark.parametrize("horizon", [1, 3])
def test_tests_of_equal_forecasts_are_undefined(horizon: int) -> None:
    realised = overlapping(50, 1)
    forecast = np.full(50, 0.1)
    same = forecast + 1e-17 * realised  # but for rounding
    losses = [(realised - f) ** 2 for f in (forecast, same)]
    assert diebold_mariano(losses[0], losses[1], horizon) == UNDEFINED
    assert clark_west(realised, forecast, same, horizon) == UNDEFINED
    assert pesaran_timmermann(realised > 0, forecast > 0, horizon) == UNDEFINED
    found = compare(realised, forecast, {"same": forecast}, horizon)["same"]
    assert (found.mse_difference, found.r2, found.interval, found.r2_interval) == (0, 0, (0, 0), (0, 0))


@pytest.mark.parametrize("n", [1, 2, 3, 30])
@pytest.mark.parametrize("horizon", [1, 2, 30])
def test_too_few_days_and_days_without_a_move_give_no_nan(n: int, horizon: int) -> None:
    for realised in (overlapping(n, 1), np.zeros(n)):
        for model in (np.zeros(n), np.full(n, 0.1), overlapping(n, 1, seed=1)):
            found = compare(realised, model, {"zero": np.zeros(n)}, horizon)["zero"]
            for outcome in (found.diebold_mariano, found.clark_west):
                values = np.array([outcome.statistic, outcome.p_value], dtype=np.float64)
                assert outcome == UNDEFINED or np.isfinite(values).all()
            for interval in (found.interval, found.r2_interval):
                assert interval is None or np.isfinite(interval).all()
            assert (found.r2 is None) == (not realised.any())


def test_evaluation_imports_neither_scipy_nor_torch() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import stockml.evaluation.evaluate, numpy as np\n"
        "from stockml.evaluation.significance import compare\n"
        "compare(np.arange(99.0), np.ones(99), {'zero': np.zeros(99)}, 1)\n"
        "assert not {'scipy', 'torch', 'statsmodels'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(ROOT)], check=True)
