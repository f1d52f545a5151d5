"""Intervals use nothing after their day, are those of the definitions, and hold as many targets as their level says."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from stockml.data.panel import Panel, Stocks
from stockml.evaluation import intervals
from stockml.evaluation.predictions import Predictions, tickers_of
from stockml.evaluation.truth import Floats, Target, target
from stockml.evaluation.volatility import DECAY

LEVELS = (0.8, 0.95)


def panel(stocks: int = 1, days: int = 400, horizon: int = 1, seed: int = 0) -> Panel:
    """Returns whose volatility wanders, summed over the horizon; of several stocks, the second begins later."""
    rng = np.random.default_rng(seed)
    targets, dates = [], []
    for stock in range(stocks):
        daily = 0.01 * np.exp(np.cumsum(0.1 * rng.standard_normal(days))) * rng.standard_t(4, days)
        ahead = np.convolve(daily, np.ones(horizon), "valid")[1:]
        targets.append(np.append(ahead, np.full(horizon, np.nan))[40 * (stock == 1) :])
        dates.append(np.arange("2010-01-01", days, dtype="datetime64[D]")[40 * (stock == 1) :])
    values = np.concatenate(targets)
    rows = np.flatnonzero(np.isfinite(values))
    days_of = np.concatenate(dates)
    starts = np.append(0, np.cumsum([len(own) for own in targets]))
    pool = None if stocks == 1 else Stocks(tuple("ABC"[:stocks]), starts)
    order = np.lexsort((rows, days_of[rows]))
    return Panel(
        "A", "", (), np.zeros((len(values), 1), np.float32), 1, values, "return", rows[order], (),
        dates=days_of, horizon=horizon, stocks=pool,
    )  # fmt: skip


def samples(of: Panel, first: str, last: str, *, forecast: float = 0.001) -> Predictions:
    """The samples from one day to another, with forecasts that follow the row."""
    assert of.dates is not None
    days = of.dates[of.samples]
    rows = of.samples[(days >= np.datetime64(first)) & (days < np.datetime64(last))]
    model = forecast * np.sin(rows)
    return Predictions(target(of, rows), rows, of.dates[rows], model, {}, tickers=tickers_of(of, rows))


def run_on(of: Panel) -> Predictions:
    """The test of a run, with its intervals."""
    splits = {"validation": samples(of, "2010-03-20", "2010-06-01"), "test": samples(of, "2010-06-10", "2012-01-01")}
    return intervals.of_run(splits, of, LEVELS)["test"]


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("stocks", [1, 3])
def test_intervals_are_those_of_the_definitions(stocks: int, horizon: int) -> None:
    """Everything anew for each sample: volatility, errors that are known by then, level, quantile."""
    of = panel(stocks, horizon=horizon)
    calibration, test = samples(of, "2010-03-20", "2010-06-01"), run_on(of)

    @functools.cache
    def sigma(row: int) -> float:
        start = next(span.start for span in of.spans() if span.start <= row < span.stop)
        past = np.square(of.target[start : row - horizon + 1])
        weights = DECAY ** np.arange(len(past))[::-1]
        return math.sqrt(float(weights @ past / weights.sum()))

    def error(y: float, f: float, row: int) -> float:
        return abs(y - f) / sigma(row)

    start = [
        error(*of_one) for of_one in zip(calibration.truth.y_true, calibration.model, calibration.rows, strict=True)
    ]
    all_errors = [error(*of_one) for of_one in zip(test.truth.y_true, test.model, test.rows, strict=True)]
    for level in LEVELS:
        for span in of.spans():
            own = [n for n, row in enumerate(test.rows) if span.start <= row < span.stop]
            quantiles: list[float] = []
            for n in own:
                known = [k for k in range(len(quantiles)) if test.rows[own[k]] + horizon <= test.rows[n]]
                errors = [all_errors[own[k]] for k in known]
                missed = sum(e > quantiles[k] for k, e in zip(known, errors, strict=True))
                alpha = 1 - level + intervals.STEP * (len(known) * (1 - level) - missed)
                ordered = sorted([*start, *errors])
                rank = math.ceil((len(ordered) + 1) * (1 - alpha) - 1e-9)
                quantiles.append(ordered[min(max(1, rank), len(ordered)) - 1])
            half = [q * sigma(int(test.rows[n])) for q, n in zip(quantiles, own, strict=True)]
            lower, upper = test.intervals[level][:, own]
            assert upper == pytest.approx(test.model[own] + half) and lower == pytest.approx(test.model[own] - half)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("horizon", [1, 5])
def test_nothing_after_a_day_changes_its_interval(horizon: int, joint: bool) -> None:
    of = replace(panel(3, horizon=horizon), joint_target=joint)
    assert of.dates is not None
    before, day = run_on(of), np.datetime64("2010-09-01")
    rng = np.random.default_rng(1)
    ends_later = np.concatenate(
        [
            np.append(own[horizon:], np.full(horizon, np.datetime64("2100-01-01")))
            for own in map(of.dates.__getitem__, of.spans())
        ]
    )
    scrambled = np.where(ends_later > day, of.target * rng.uniform(-9, 9, len(of.target)), of.target)
    after, same = run_on(replace(of, target=scrambled)), before.dates <= day  # type: ignore[operator]
    assert same.sum() > 200
    for level in LEVELS:
        assert np.array_equal(before.intervals[level][:, same], after.intervals[level][:, same])
        assert not np.array_equal(before.intervals[level], after.intervals[level])


def test_coverage_holds_where_volatility_jumps_for_good() -> None:
    of = panel(days=4000)
    jumps = np.repeat(np.random.default_rng(5).permutation(np.geomspace(0.1, 10, 40)), 100)
    of = replace(of, target=jumps * np.random.default_rng(2).standard_t(3, 4000))
    splits = {"validation": samples(of, "2010-03-20", "2010-06-01"), "test": samples(of, "2010-06-10", "2030-01-01")}
    test = intervals.of_run(splits, of, LEVELS)["test"]
    found = intervals.evaluate(test, splits["validation"])
    for level in LEVELS:
        own = found[intervals.name(level)]
        assert abs(own["coverage"] - level) < 0.01
        assert own["score"] < own["constant"]["score"]
        assert sum(year["n"] for year in own["by_year"].values()) == own["n"] == len(test.rows)


@pytest.mark.parametrize("n", [25, 60, 99])
def test_intervals_of_constant_width_are_those_of_mapie(n: int) -> None:
    """MAPIE's split conformal prediction, an independent implementation of the same definition."""
    regression = pytest.importorskip("mapie.regression", reason="mapie is not installed: pip install mapie")
    from sklearn.base import BaseEstimator, RegressorMixin

    class Given(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """A model whose forecasts are its inputs."""

        def fit(self, x: Floats, _y: Floats) -> Given:
            self.is_fitted_, self.n_features_in_ = True, x.shape[1]
            return self

        def predict(self, x: Floats) -> Floats:
            return x[:, 0]

    rng = np.random.default_rng(n)
    given, y, forecasts = rng.normal(size=n), rng.standard_t(4, n), rng.normal(size=20)
    model = Given().fit(given[:, None], y)
    theirs = regression.SplitConformalRegressor(model, confidence_level=[*LEVELS], prefit=True)
    theirs.conformalize(given[:, None], y)
    bounds = theirs.predict_interval(forecasts[:, None])[1]
    calibration = Predictions(Target(y, "return"), np.arange(n), None, given, {})
    test = Predictions(Target(np.zeros(20), "return"), np.arange(20), None, forecasts, {})
    for number, level in enumerate(LEVELS):
        assert intervals.constant_width(test, calibration, level) == pytest.approx(bounds[:, :, number].T, abs=1e-12)


def test_the_figures_are_those_of_their_definitions() -> None:
    y, bounds = np.array([0.0, 2.0, -3.0, 1.0]), np.array([[-1.0, -1.0, -1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    test = Predictions(Target(y, "return"), np.arange(4), None, np.zeros(4), {}, intervals={0.8: bounds})
    found = intervals.evaluate(test, test)["80"]
    # Winkler (1972): the width, and 2/(1 − level) = 10 times how far the target lies outside.
    assert found["score"] == pytest.approx((2 + (2 + 10) + (2 + 20) + 0) / 4)
    assert (found["coverage"], found["width"], found["n"], found["by_year"]) == (0.5, 1.5, 4, {})


def test_ends_are_in_the_target_s_units_and_no_volatility_is_below_zero() -> None:
    of = panel()
    prices = 100 * np.exp(np.cumsum(np.nan_to_num(of.target)))
    ahead = np.append(prices[1:], np.nan)
    price = replace(of, kind="level", target=ahead, last=prices)
    splits = {
        "validation": samples(price, "2010-03-20", "2010-06-01"),
        "test": samples(price, "2010-06-10", "2011-01-01"),
    }
    splits = {name: replace(split, model=prices[split.rows]) for name, split in splits.items()}
    found = intervals.of_run(splits, price, LEVELS)["test"]
    lower, upper = found.intervals[0.8] / prices[found.rows]
    assert 0 < (upper - 1).max() < 1 and upper - 1 == pytest.approx(1 - lower)
    volatility = replace(
        of,
        kind="level",
        target=np.abs(ahead - prices),
        last=np.abs(prices - 100),
        relative=False,
        target_name="volatility",
    )
    splits = {name: samples(volatility, "2010-03-20", "2010-09-01") for name in ("validation", "test")}
    assert min(bounds.min() for bounds in intervals.of_run(splits, volatility, LEVELS)["test"].intervals.values()) == 0


def test_there_are_none_of_classes_quantiles_and_targets_that_end_nobody_knows_when() -> None:
    of = panel()
    assert intervals.why_none(of, None) == ""
    assert "class" in intervals.why_none(replace(of, kind="class"), None)
    assert "quantile" in intervals.why_none(of, 0.1)
    assert "data.horizon" in intervals.why_none(replace(of, horizon=0), None)
