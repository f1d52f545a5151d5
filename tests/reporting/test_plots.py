"""Plots: what is drawn is what the arrays hold, on axes that do not mislead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Target
from stockml.reporting import drawing, forecast_plots, sweep_plots, training_plots
from stockml.reporting.drawing import Plot

PERCENT = forecast_plots.Unit("return", "%")


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with drawing.style():
        yield


def predictions(n: int = 300, *, dated: bool = True, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    returns = 0.01 * rng.standard_normal(n)
    return Predictions(
        truth=Target(returns, "return"),
        rows=np.arange(n) + 500,
        dates=np.busday_offset("2020-01-01", np.arange(n), roll="forward") if dated else None,
        model=0.1 * returns + 0.001 * rng.standard_normal(n),
        baselines={"zero": np.zeros(n), "ridge": 0.002 * rng.standard_normal(n), "always_up": np.ones(n)},
    )


def line(plot: Plot, label: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(2, N) the points of the line so labelled."""
    (found,) = (line for line in plot.figure.axes[0].lines if line.get_label() == label)
    return np.array(found.get_data(), dtype=object)


def shows_zero(plot: Plot) -> bool:
    """Whether a line is drawn at y = 0, within the plot."""
    (axes,) = plot.figure.axes
    low, high = axes.get_ylim()
    return low <= 0 <= high and any(np.array_equal(np.asarray(line.get_ydata()), [0, 0]) for line in axes.lines)


def test_the_squared_error_saved_adds_up_to_the_difference_of_the_errors() -> None:
    of = predictions()
    plot = forecast_plots.cumulative(of, "ridge", PERCENT)
    for rival in ("ridge", "zero"):
        saved = line(plot, f"against {rival}")[1]
        errors = [np.square(100 * (of.truth.y_true - y)) for y in (of.baselines[rival], of.model)]
        assert np.allclose(saved.astype(float), (errors[0] - errors[1]).cumsum())
        assert saved[-1] > 0  # this model is the better one: rising is better
    assert shows_zero(plot)
    assert "in favour" not in plot.description and "for the model" in plot.description


def test_levels_are_drawn_by_their_change() -> None:
    of = predictions()
    last = np.full(300, 50.0)
    level = Predictions(
        truth=Target(50 * (1 + of.truth.y_true), "level", last),
        rows=of.rows,
        dates=of.dates,
        model=50 * (1 + of.model),
        baselines={"persistence": last},
    )
    drawn = line(forecast_plots.cumulative(level, "persistence", PERCENT), "against persistence")[1]
    assert np.allclose(
        drawn.astype(float), line(forecast_plots.cumulative(of, "zero", PERCENT), "against zero")[1].astype(float)
    )


def test_predicted_and_realised_have_one_scale() -> None:
    (axes,) = forecast_plots.predicted(predictions(), PERCENT).figure.axes
    assert axes.get_xlim() == axes.get_ylim() and axes.get_aspect() == 1
    assert axes.get_xlim()[0] == -axes.get_xlim()[1]


def test_the_bars_of_residuals_start_at_zero_and_hold_every_sample() -> None:
    (axes,) = forecast_plots.residuals(predictions(), PERCENT).figure.axes
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert axes.get_ylim()[0] == 0 and sum(heights) == 300


def test_the_rolling_ic_is_the_correlation_of_each_window() -> None:
    of = predictions()
    plot = forecast_plots.rolling_ic(of)
    assert plot is not None
    expected = [
        np.corrcoef(of.model[end - 100 : end], of.truth.y_true[end - 100 : end])[0, 1] for end in range(100, 301)
    ]
    times, values = line(plot, "model")
    assert np.allclose(values.astype(float), expected, atol=1e-12)
    assert of.dates is not None and times[0] == of.dates[99]  # each stands where its last sample does
    assert shows_zero(plot)


def test_what_chance_does_to_the_rolling_ic_is_drawn_only_where_it_is_known() -> None:
    of = predictions()
    level = Predictions(Target(of.truth.y_true + 1, "level", np.ones(300)), of.rows, of.dates, of.model + 1, {})
    for plot, known in (
        (forecast_plots.rolling_ic(of), True),
        (forecast_plots.rolling_ic(of, 5), False),
        (forecast_plots.rolling_ic(level), False),
    ):
        assert plot is not None
        assert ("Without skill" in plot.caption) == known == bool(plot.figure.axes[0].patches)


def test_a_legend_that_has_no_room_beside_the_axis_s_name_is_in_the_plot() -> None:
    for names, beside in ((["a", "b"], True), (["against persistence_with_drift", "against persistence"], False)):
        _, axes = drawing.axes()
        for name in names:
            axes.plot([0, 1], label=name)
        drawing.label(axes, "x", "squared error saved, target units²", legend=True)
        legend = axes.get_legend()
        assert legend is not None and (legend.get_bbox_to_anchor().width == 0) == beside


def test_values_without_an_order_are_not_joined() -> None:
    trials = [sweep_plots.Trial(value, s, 1.0 + n) for s in "AB" for n, value in enumerate(("bars", "momentum"))]
    plot = sweep_plots.hyperparameter("features", trials)
    assert all(one.get_linestyle() == "None" for one in plot.figure.axes[0].lines)
    assert "lines join" not in plot.caption and len(plot.figure.axes[0].get_legend_handles_labels()[1]) == 2


def test_a_correlation_with_a_constant_is_undefined() -> None:
    of = predictions()
    values = forecast_plots.rolling_correlation(np.repeat([0.0, 1.0], 150), of.truth.y_true, 100)
    assert np.isnan(values[[0, -1]]).all() and np.isfinite(values[60:140]).all()
    constant = Predictions(of.truth, of.rows, of.dates, np.full(300, 0.001), of.baselines)
    assert forecast_plots.rolling_ic(constant) is None and forecast_plots.calibration(constant, PERCENT) is None
    assert "correlation undefined" in forecast_plots.predicted(constant, PERCENT).description


def test_groups_by_forecast_hold_every_sample_once() -> None:
    of = predictions(n=1000)
    plot = forecast_plots.calibration(of, PERCENT)
    assert plot is not None
    x, y = np.array(plot.figure.axes[0].containers[0][0].get_data())
    assert len(x) == 10 and (np.diff(x) > 0).all()
    assert np.isclose(y.mean(), 100 * of.truth.y_true.mean()) and np.isclose(x.mean(), 100 * of.model.mean())


def test_of_classes_the_calibration_is_a_reliability_diagram() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 0.7, 1000)
    ones = (rng.random(1000) < p).astype(float)
    of = Predictions(truth=Target(ones, "class"), rows=np.arange(1000), dates=None, model=p, baselines={})
    plot = forecast_plots.calibration(of, forecast_plots.Unit("", ""))
    assert plot is not None and plot.title == "Reliability: share of ones by tenths of the forecast"
    axes = plot.figure.axes[0]
    assert np.allclose(axes.lines[0].get_ydata(), ones.mean())  # the base rate
    x, y = np.array(axes.containers[0][0].get_data())
    tenths = np.array_split(np.argsort(p), 10)
    assert np.allclose(x, [p[group].mean() for group in tenths])
    assert np.allclose(y, [ones[group].mean() for group in tenths])


def test_the_best_epoch_is_marked_where_it_is() -> None:
    history = training_plots.History(np.array([3.0, 2.0, 1.0]), np.array([3.0, 2.5, 2.7]), best_epoch=2)
    plot = training_plots.losses(history, "MSE")
    assert line(plot, "best, epoch 2").tolist() == [[2], [2.5]]
    assert "best at epoch 2 with 2.5" in plot.description and "from 3 to 2.7" in plot.description


def test_stocks_are_in_the_order_of_their_means_with_zero_in_view() -> None:
    rows = [sweep_plots.Ranked("A", [0.01, 0.03], (0.0, 0.04)), sweep_plots.Ranked("B", [0.05], None)]
    plot = sweep_plots.ranking(rows, several_settings=False)
    (axes,) = plot.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["B", "A"]
    assert axes.get_xlim()[0] <= 0 <= axes.get_xlim()[1] and axes.get_ylim()[0] > axes.get_ylim()[1]
    assert "A +2.00% over 2 seeds from +1.00% to +3.00%, 95 % CI +0.00% to +4.00%" in plot.description


def test_of_many_stocks_the_first_and_the_last_are_drawn() -> None:
    rows = [sweep_plots.Ranked(f"S{number}", [number / 1e4], None) for number in range(100)]
    plot = sweep_plots.ranking(rows, several_settings=False)
    names = [label.get_text() for label in plot.figure.axes[0].get_yticklabels()]
    assert names == [f"S{number}" for number in (*range(99, 69, -1), *range(29, -1, -1))]
    assert "The first and the last 30 of 100 stocks are drawn." in plot.caption


def test_the_loss_of_a_stock_is_relative_to_its_own_median() -> None:
    trials = [
        sweep_plots.Trial(lr, stock, scale * loss)
        for stock, scale in (("A", 1.0), ("B", 100.0))
        for lr, loss in ((1e-4, 1.0), (1e-3, 2.0), (1e-2, 3.0))
    ]
    plot = sweep_plots.hyperparameter("trainer.lr", trials)
    for stock in ("A", "B"):
        assert line(plot, stock).tolist() == [[1e-4, 1e-3, 1e-2], [0.5, 1.0, 1.5]]
    assert plot.figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize("values", [[0.1, 0.1], ["adam", "sgd"], ["$a$", "null"]])
def test_a_hyperparameter_of_any_kind_is_drawn(values: list[float | str]) -> None:
    trials = [sweep_plots.Trial(value, "A", 1.0 + number) for number, value in enumerate(values)]
    text = drawing.svg(sweep_plots.hyperparameter("x.y", trials))
    assert all(f">{value}</text>" in text for value in values)  # as it is: no formula, no glyphs


def test_a_log_axis_is_numbered_in_plain_text() -> None:
    trials = [sweep_plots.Trial(10.0 ** -(number / 5), "A", 1.0 + number) for number in range(20)]
    with drawing.style():
        text = drawing.svg(sweep_plots.hyperparameter("trainer.lr", trials))
    assert ">0.01</text>" in text and "mathdefault" not in text


def test_numbers_that_a_search_has_drawn_are_no_labels_of_an_axis() -> None:
    trials = [sweep_plots.Trial(value, "A", 1.0) for value in (0.123456789, 0.123987654, 0.2)]
    text = drawing.svg(sweep_plots.hyperparameter("model.dropout", trials))
    assert "0.1234" not in text and ">0.1" in text


@given(n=st.integers(1, 100_000))
def test_a_thinned_line_has_few_points_and_keeps_its_ends(n: int) -> None:
    kept, note = drawing.thinned(n)
    assert kept[0] == 0 and kept[-1] == n - 1 and len(kept) <= drawing.MOST_POINTS
    assert (len(kept) == n) == (note == "")


@pytest.mark.parametrize("dated", [True, False])
def test_axes_name_what_they_show_and_its_unit(dated: bool) -> None:
    of = predictions(dated=dated)
    drawn = [
        forecast_plots.predicted(of, PERCENT),
        forecast_plots.calibration(of, PERCENT),
        forecast_plots.cumulative(of, "zero", PERCENT),
        forecast_plots.residuals(of, PERCENT),
        forecast_plots.rolling_ic(of),
    ]
    across = "last day of the window" if dated else "sample number"
    expected = [
        ("forecast return, %", "realised return, %"),
        ("mean forecast return, %", "realised return, %"),
        (across, "squared error saved, %²"),
        ("realised − forecast return, %", "samples"),
        (across, "IC over 100 samples"),
    ]
    for plot, (x, y) in zip(drawn, expected, strict=True):
        assert plot is not None
        (axes,) = plot.figure.axes
        assert (axes.get_xlabel(), axes.get_title(loc="left")) == (x, y)
