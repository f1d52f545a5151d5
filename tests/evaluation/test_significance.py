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
from scipy.fft import dct
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from stockml.evaluation.multiple_testing import benjamini_hochberg, holm
from stockml.evaluation.significance import (
    HINT_LEVEL,
    SHOWN_LEVEL,
    UNDEFINED,
    are_same,
    compare,
    degrees_of_freedom,
    diebold_mariano,
    directions,
    identity,
    long_run_variance,
    mean_of,
    newey_west,
    student_quantile,
    student_tail,
    too_few,
)
from tests.conftest import ROOT

Floats = NDArray[np.float64]


def overlapping(n: int, horizon: int, seed: int = 0, tail: int = 4) -> Floats:
    """Heavy-tailed returns over some days, a value a day."""
    daily = np.random.default_rng(seed).standard_t(tail, n + horizon - 1)
    return np.convolve(daily, np.ones(horizon), mode="valid")


def histories(rng: np.random.Generator, count: int, n: int, horizon: int) -> Floats:
    """(count, n) returns over the horizon, a value a day."""
    daily = rng.standard_normal((count, n + horizon - 1))
    sums: Floats = np.lib.stride_tricks.sliding_window_view(daily, horizon, axis=-1).sum(-1)
    return sums


def persistent(rng: np.random.Generator, count: int, n: int, phi: float) -> Floats:
    """(count, n) forecasts that change slowly, of standard deviation 1."""
    x = np.empty((count, n))
    x[:, 0] = rng.standard_normal(count)
    for t in range(1, n):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * rng.standard_normal(count)
    return x


@pytest.mark.parametrize("n", [50, 51, 500])
def test_the_long_run_variance_is_the_mean_square_of_cosine_transforms(n: int) -> None:
    x, degrees = np.random.default_rng(0).standard_normal((3, n)), 7
    expected = np.square(dct(x - x.mean(-1, keepdims=True), type=2, norm="ortho")[:, 1 : degrees + 1]).mean(-1)
    np.testing.assert_allclose(long_run_variance(x, degrees), expected, rtol=1e-10)


def test_of_independent_values_the_long_run_variance_is_the_variance() -> None:
    assert long_run_variance(np.random.default_rng(0).standard_normal((4000, 200)), 20).mean() == pytest.approx(
        1, abs=0.02
    )


def test_degrees_of_freedom_are_those_of_the_paper_and_fewer_where_targets_overlap() -> None:
    assert [degrees_of_freedom(n, 1) for n in (1, 100, 500, 2500)] == [0, 8, 25, 75]
    assert [degrees_of_freedom(500, h) for h in (2, 5, 20)] == [25, 25, 12]
    assert [too_few(n, 1) for n in (30, 31)] == [True, False]
    assert [too_few(n, 20) for n in (159, 160)] == [True, False]


@pytest.mark.parametrize("lags", [0, 1, 5, 20])
def test_newey_west_s_standard_error_is_that_of_statsmodels(lags: int) -> None:
    x = overlapping(300, 5)
    fit = OLS(x, np.ones(300)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert newey_west(x, lags) == pytest.approx(float(fit.bse[0]), rel=1e-10)


@pytest.mark.parametrize("horizon", [1, 5, 20])
@pytest.mark.parametrize("phi", [0.0, 0.98])
@pytest.mark.parametrize("drift", [0.0, 0.06])
def test_sizes_and_coverage_are_nominal_with_persistent_forecasts_and_overlapping_targets(
    horizon: int, phi: float, drift: float
) -> None:
    """On the series whose mean Clark–West and Pesaran–Timmermann test; a Sharpe ratio of 1 is a drift of 0.06."""
    rng, count, n = np.random.default_rng(horizon), 1500, 500
    realised = histories(rng, count, n, horizon) + drift * horizon
    forecast = persistent(rng, count, n, phi)
    degrees, up, forecast_up = degrees_of_freedom(n, horizon), realised > 0, forecast > 0
    around_drift = (realised - drift * horizon) * forecast
    same_sign = (up - up.mean(1, keepdims=True)) * (forecast_up - forecast_up.mean(1, keepdims=True))
    for x in (around_drift, same_sign):
        t = x.mean(1) / np.sqrt(long_run_variance(x, degrees) / n)
        assert 0.025 <= np.mean(t > student_quantile(0.95, degrees)) <= 0.075
        assert 0.92 <= np.mean(np.abs(t) < student_quantile(0.975, degrees)) <= 0.98


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_test_is_the_t_test_of_the_mean_of_its_series(horizon: int) -> None:
    n, realised, noise = 200, overlapping(200, horizon), overlapping(200, horizon, seed=1)
    rival, model = 0.1 * noise[::-1], 0.05 * realised + 0.1 * noise
    found = compare(realised, model, {"rival": rival}, horizon)["rival"]
    assert found.diebold_mariano == diebold_mariano((realised - rival) ** 2, (realised - model) ** 2, horizon)
    series = {
        "diebold_mariano": (realised - rival) ** 2 - (realised - model) ** 2,
        "clark_west": 2 * (realised - rival) * (model - rival),
    }
    for name, x in series.items():
        degrees = degrees_of_freedom(n, horizon)
        cosines = dct(x - x.mean(), type=2, norm="ortho")[1 : degrees + 1]
        t = x.mean() / np.sqrt(np.square(cosines).mean() / n)
        outcome = getattr(found, name)
        assert outcome.statistic == pytest.approx(t, rel=1e-9)
        assert outcome.p_value == pytest.approx(stats.t.sf(t, degrees), abs=1e-12)
    assert found.mse_difference == pytest.approx(series["diebold_mariano"].mean())


def test_the_test_of_directions_is_near_the_one_of_the_paper() -> None:
    rng, n, differences = np.random.default_rng(0), 4000, []
    for _ in range(20):
        up = rng.random(n) < 0.55
        forecast = np.where(rng.random(n) < 0.03, up, rng.random(n) < 0.6)
        p, q, hits = np.mean(up), np.mean(forecast), np.mean(up == forecast)
        expected = p * q + (1 - p) * (1 - q)
        variance = expected * (1 - expected) / n
        variance -= ((2 * p - 1) ** 2 * q * (1 - q) + (2 * q - 1) ** 2 * p * (1 - p)) / n
        variance -= 4 * p * q * (1 - p) * (1 - q) / n**2
        found = directions(up, forecast, 1).statistic
        assert found is not None
        differences.append(found / ((hits - expected) / np.sqrt(variance)))
    assert np.mean(differences) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("horizon", [1, 5])
def test_an_interval_lies_above_zero_exactly_if_the_rival_is_shown_to_be_beaten(horizon: int) -> None:
    words = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        forecast = rng.standard_normal(300)
        realised = 0.12 * forecast + histories(rng, 1, 300, horizon)[0] / np.sqrt(horizon)
        one = compare(realised, 0.12 * forecast, {"zero": np.zeros(300)}, horizon)["zero"]
        assert one.interval is not None and one.r2_interval is not None
        shown = one.diebold_mariano.rejects(SHOWN_LEVEL)
        assert (one.interval[0] > 0) == (one.r2_interval[0] > 0) == shown
        words.add(shown)
    assert words == {True, False}


@pytest.mark.parametrize("shrunk", [1.0, 0.1])
@pytest.mark.parametrize("horizon", [1, 5])
def test_a_gain_of_the_detectable_size_is_found_with_80_per_cent_power(shrunk: float, horizon: int) -> None:
    n, count, found, detectable, gained = 1000, 400, 0, 0.0, 0.0
    r2 = 2.85**2 * 4 * (1 if horizon == 1 else 2.2) / n / (2 - shrunk) ** 2
    for seed in range(count):
        rng = np.random.default_rng(seed)
        signal = np.sqrt(r2) * persistent(rng, 1, n, 0.0 if horizon == 1 else 0.5)[0]
        realised = signal + np.sqrt((1 - r2) / horizon) * histories(rng, 1, n, horizon)[0]
        one = compare(realised, shrunk * signal, {"zero": np.zeros(n)}, horizon)["zero"]
        assert one.detectable is not None
        found += one.diebold_mariano.rejects(SHOWN_LEVEL)
        detectable, gained = detectable + one.detectable / count, gained + one.mse_difference / count
    expected = 1 - stats.norm.cdf(stats.norm.ppf(0.975) - gained / detectable * 2.80)
    assert found / count == pytest.approx(expected, abs=0.06)
    assert gained / detectable == pytest.approx(1, abs=0.2)


def test_of_a_calibrated_forecast_the_detectable_r2_is_about_31_over_n() -> None:
    n, rng = 4000, np.random.default_rng(3)
    signal = np.sqrt(31 / n) * rng.standard_normal(n)
    one = compare(signal + rng.standard_normal(n), signal, {"zero": np.zeros(n)}, 1)["zero"]
    assert one.detectable is not None and one.detectable_hint is not None
    assert one.detectable / one.rival_mse == pytest.approx(31 / n, rel=0.2)  # 2.80² · 4/n
    assert one.detectable_hint < one.detectable / 1.5
    assert HINT_LEVEL > SHOWN_LEVEL


@given(st.floats(-40, 40).map(lambda t: round(t, 3)), st.integers(1, 20_000))  # nearer 0 scipy is off by up to 1e-9
def test_the_tail_of_student_s_distribution_is_scipy_s(t: float, df: int) -> None:
    assert student_tail(t, df) == pytest.approx(stats.t.sf(t, df), abs=1e-11)


@pytest.mark.parametrize("df", [4, 5, 12, 25, 200])
def test_quantiles_of_student_s_distribution_are_scipy_s(df: int) -> None:
    for p in (0.2, 0.8, 0.95, 0.975, 0.9999):
        assert student_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-6)


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


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("rounding", [0.0, 1e-17, 1e-9])
def test_a_rival_that_forecasts_the_same_but_for_rounding_is_not_tested(horizon: int, rounding: float) -> None:
    realised = overlapping(500, 1)
    mean = np.full(500, 0.1)
    model = mean + rounding * np.sign(realised)  # each rounding in the direction that is right
    assert are_same(realised, model, mean) and not are_same(realised, model, mean + 0.01)
    found = compare(realised, model, {"mean": mean}, horizon)["mean"]
    assert found.diebold_mariano == found.clark_west == UNDEFINED
    assert (found.interval, found.r2_interval, found.detectable) == (None, None, None)
    assert found.mse_difference == pytest.approx(0, abs=1e-7)
    assert directions(realised > 0, model > 0, horizon) == UNDEFINED


@pytest.mark.parametrize("n", [1, 2, 3, 30, 70])
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
    assert mean_of(np.ones(500), 1, 1.0) is None


def test_evaluation_imports_neither_scipy_nor_torch_nor_arch() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import stockml.evaluation.evaluate, numpy as np\n"
        "import stockml.reporting.summary\n"
        "from stockml.evaluation.significance import compare\n"
        "compare(np.arange(99.0), np.ones(99), {'zero': np.zeros(99)}, 1)\n"
        "assert not {'scipy', 'torch', 'statsmodels', 'arch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(ROOT)], check=True)
