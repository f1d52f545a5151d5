"""Plots of a run's forecasts of the test split. All are made within `drawing.style()`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import cross_section
from stockml.evaluation.significance import pinball_losses
from stockml.reporting import drawing
from stockml.reporting.drawing import GRID, INK, LOOKS, MODEL, MUTED, RIVAL, TIME_AXIS, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stockml.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

_LONGEST_IC_WINDOW = 126  # half a year of trading days
_SHORTEST_IC_WINDOW = 20


@dataclass(frozen=True)
class Unit:
    """What is forecast, as plots name it."""

    noun: str
    """`return`, or `change` of a level; empty for a class."""
    name: str
    """`%` where relative changes are drawn in percent; empty for a class."""

    @property
    def factor(self) -> float:
        """What values are multiplied by."""
        return 100.0 if self.name == "%" else 1.0

    def label(self, what: str, power: str = "") -> str:
        """The name of an axis."""
        return f"{what}, {self.name}{power}" if self.name else what

    def sign(self, power: str = "") -> str:
        """What is written after a value."""
        return f" %{power}" if self.name == "%" else ""


def predicted(predictions: Predictions, unit: Unit) -> Plot:
    """Realised returns against forecast returns, on equal scales."""
    forecast, realised = _returns(predictions, predictions.model, unit)
    kept, note = drawing.thinned(len(forecast))
    figure, axes = drawing.axes(3.4)
    most = 1.06 * float(max(np.abs(forecast).max(), np.abs(realised).max())) or 1.0
    axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.7, zorder=1)
    axes.plot([-most, most], [-most, most], color=RIVAL, linewidth=1, linestyle="--", label="perfect")
    axes.plot(forecast[kept], realised[kept], "o", color=MODEL, alpha=0.4, markeredgewidth=0)
    axes.set(xlim=(-most, most), ylim=(-most, most), aspect="equal")
    drawing.label(axes, unit.label(f"forecast {unit.noun}"), unit.label(f"realised {unit.noun}"))
    axes.legend(loc="lower right", handlelength=1.4, borderaxespad=0.1)
    spread = f"{forecast.std() / realised.std():.2g}" if realised.std() > 0 else "undefined"
    ic = correlation(forecast, realised)
    ic_text = "undefined" if ic is None else f"{ic:+.3f}"
    sign = unit.sign()
    return Plot(
        "predicted",
        "Predicted against realised",
        f"On test, both axes on one scale: perfect forecasts would be on the dashed line. The standard deviation of "
        f"the forecasts is {spread} of that of realised {unit.noun}s; a narrow cloud is a cautious model.{note}",
        f"{len(forecast):,} test samples: forecasts from {forecast.min():.3g} to {forecast.max():.3g}{sign}, realised "
        f"from {realised.min():.3g} to {realised.max():.3g}{sign}; correlation {ic_text}, "
        f"ratio of standard deviations {spread}.",
        figure,
    )


def calibration(predictions: Predictions, unit: Unit) -> Plot | None:
    """Mean realised return by quantile of the forecast, or of classes the share of ones: a reliability diagram.

    None where samples or distinct forecasts are too few.
    """
    forecast, realised = _returns(predictions, predictions.model, unit)
    groups, name = (10, "tenths") if len(forecast) >= 200 else (5, "fifths")
    if len(np.unique(forecast)) < 2 * groups:
        return None
    members = np.array_split(np.argsort(forecast, kind="stable"), groups)
    x = np.array([forecast[group].mean() for group in members])
    y = np.array([realised[group].mean() for group in members])
    half = np.array([1.96 * realised[group].std(ddof=1) / math.sqrt(len(group)) for group in members])
    figure, axes = drawing.axes(3.4)
    axes.axhline(0 if unit.noun else realised.mean(), color=INK, linewidth=0.8)  # of classes, the base rate
    axes.axline((x[0], x[0]), (x[-1], x[-1]), color=RIVAL, linewidth=1, linestyle="--", label="perfect")
    axes.errorbar(x, y, half, fmt="o", color=MODEL, markersize=4, elinewidth=1, capsize=2, label="mean, 95 % CI")
    up = unit.label(f"realised {unit.noun}") if unit.noun else "share of ones"
    drawing.label(axes, unit.label(f"mean forecast {unit.noun}".rstrip()), up, legend=True)
    text = "; ".join(f"{a:.3g}: {b:.3g} ± {c:.2g}" for a, b, c in zip(x, y, half, strict=True))
    base_rate = "" if unit.noun else "The black line is the share of ones in all of them. "
    return Plot(
        "calibration",
        f"{'Realised' if unit.noun else 'Reliability: share of ones'} by {name} of the forecast",
        f"Test samples in {groups} groups, from the lowest forecasts to the highest. A rise from left to right is "
        f"skill; on the dashed line the size is right too. {base_rate}The scales differ; the CI takes samples as "
        "independent.",
        f"Mean forecast and mean realised{unit.sign()} ± half the 95 % CI by {name} of the forecast: {text}.",
        figure,
    )


def cumulative(predictions: Predictions, best: str, unit: Unit) -> Plot:
    """Loss of the best baseline, and of the naive one, minus the model's, cumulated over time.

    The loss is the squared error; of forecasts of a quantile, the pinball loss.
    """
    figure, axes = drawing.axes()
    own, of_quantile = _losses(predictions, predictions.model, unit), predictions.truth.quantile is not None
    loss, exponent = ("pinball loss", "") if of_quantile else ("squared error", "²")
    naive = ("train_quantile",) if of_quantile else ("zero", "persistence")
    rivals = dict.fromkeys([best, *(name for name in naive if name in predictions.baselines)])
    saved = {rival: (_losses(predictions, predictions.baselines[rival], unit) - own).cumsum() for rival in rivals}
    power, factor = drawing.power(np.concatenate(list(saved.values())))
    kept, note = drawing.thinned(len(own))
    times = _times(predictions)
    if predictions.folds is not None:
        for start in np.flatnonzero(np.diff(predictions.folds)) + 1:
            axes.axvline(times[start], color=MUTED, linewidth=0.7, linestyle=":")
    axes.axhline(0, color=INK, linewidth=0.8)
    for (rival, total), look in zip(saved.items(), LOOKS, strict=False):
        axes.plot(times[kept], total[kept] * factor, label=f"against {rival}", **look)
    axes.set_xmargin(0.02)
    _over_time(axes, predictions)
    drawing.label(axes, _time(predictions), f"{unit.label(f'{loss} saved', exponent)}{power}", legend=True)
    sign = unit.sign(exponent)
    text = "; ".join(
        f"against {rival} it ends at {total[-1]:+.3g}{sign}, for the {'model' if total[-1] > 0 else 'baseline'}, "
        f"lowest {total.min():+.3g}, highest {total.max():+.3g}"
        for rival, total in saved.items()
    )
    folds = " Dotted: where a fold begins." if predictions.folds is not None else ""
    return Plot(
        "cumulative",
        f"Cumulative {loss} saved",
        f"{loss.capitalize()} of the baseline minus the model’s, on test. Where the line rises the model is better, "
        f"where it falls the baseline is. A gain on a few days only may be chance.{folds}{note}",
        f"Cumulative difference of the {loss} over {len(own):,} test samples, rising for the model: {text}.",
        figure,
    )


def rolling_ic(predictions: Predictions, horizon: int = 1) -> Plot | None:
    """Correlation of forecast and realised returns in a moving window; None where it is undefined everywhere.

    What chance does is drawn where it is known: of targets that do not overlap, `horizon` 1, and are no levels.
    """
    independent = horizon == 1 and predictions.truth.kind != "level"
    forecast, realised = _returns(predictions, predictions.model, Unit("", ""))
    if predictions.tickers is not None and predictions.dates is not None:
        return _daily_ic(*cross_section.correlations(realised, forecast, predictions.dates), independent=independent)
    width = min(_LONGEST_IC_WINDOW, len(forecast) // 3)
    if width < _SHORTEST_IC_WINDOW:
        return None
    values = rolling_correlation(forecast, realised, width)
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    kept, note = drawing.thinned(len(values))
    chance = 1.96 / math.sqrt(width) if independent else 0.0
    figure, axes = drawing.axes()
    _by_chance(axes, chance)
    axes.plot(_times(predictions)[width - 1 :][kept], values[kept], color=MODEL, label="model")
    most = 1.08 * max(chance, float(np.abs(defined).max()))
    axes.set_ylim(-most, most)
    axes.set_xmargin(0.02)
    _over_time(axes, predictions)
    drawing.label(axes, _time(predictions), f"IC over {width} samples", legend=True)
    without_skill = f" Without skill it is within ±{chance:.2f} for 95 % of the time, if samples are independent."
    outside = f"; {float((np.abs(defined) > chance).mean()):.0%} of it outside ±{chance:.2f}" if independent else ""
    return Plot(
        "rolling_ic",
        "Rolling IC",
        f"Correlation of forecast and realised over the last {width} test samples."
        f"{without_skill if independent else ''}{note}",
        f"Rolling IC over {width} samples: first {defined[0]:+.3f}, last {defined[-1]:+.3f}, "
        f"mean {defined.mean():+.3f}, lowest {defined.min():+.3f}, highest {defined.max():+.3f}{outside}.",
        figure,
    )


def _by_chance(axes: Axes, chance: float) -> None:
    """Zero, and the band of what chance does; without a band where that is not known."""
    if chance:
        axes.axhspan(-chance, chance, color=GRID, alpha=0.6, linewidth=0, label="95 % by chance")
    axes.axhline(0, color=INK, linewidth=0.8)


def _daily_ic(days: NDArray[np.datetime64], daily: Floats, *, independent: bool) -> Plot | None:
    """The correlation over stocks, averaged over a moving window of days; None where there are too few days."""
    width = min(_LONGEST_IC_WINDOW, len(daily) // 3)
    if width < _SHORTEST_IC_WINDOW:
        return None
    sums = np.append(0, daily.cumsum())
    values = (sums[width:] - sums[:-width]) / width
    kept, note = drawing.thinned(len(values))
    chance = 1.96 * float(daily.std()) / math.sqrt(width) if independent else 0.0
    figure, axes = drawing.axes()
    _by_chance(axes, chance)
    axes.plot(days[width - 1 :][kept], values[kept], color=MODEL, label="model")
    axes.set_xmargin(0.02)
    drawing.dates(axes)
    drawing.label(axes, TIME_AXIS[True], f"daily IC, mean of {width} days", legend=True)
    return Plot(
        "rolling_ic",
        "IC between stocks",
        f"Each day’s correlation of forecast and realised over the stocks, averaged over the last {width} days."
        f"{f' Without skill it is within ±{chance:.2f} for 95 % of the time.' if independent else ''}{note}",
        f"Daily IC averaged over {width} days: first {values[0]:+.3f}, last {values[-1]:+.3f}, mean of all days "
        f"{daily.mean():+.3f}, lowest {values.min():+.3f}, highest {values.max():+.3f}.",
        figure,
    )


def residuals(predictions: Predictions, unit: Unit) -> Plot:
    """Histogram of realised minus forecast, with a normal distribution to compare."""
    forecast, realised = _returns(predictions, predictions.model, unit)
    errors = realised - forecast
    mean, deviation, sign = float(errors.mean()), float(errors.std()), unit.sign()
    counts, edges = np.histogram(errors, bins=_bins(errors))
    figure, axes = drawing.axes()
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=MODEL, alpha=0.55, linewidth=0, label="residuals")
    axes.axvline(0, color=INK, linewidth=0.8)
    text = f"mean {mean:+.3g}{sign}, standard deviation {deviation:.3g}{sign}"
    if deviation > 0:
        x = np.linspace(edges[0], edges[-1], 201)
        density = np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        axes.plot(x, density * len(errors) * (edges[1] - edges[0]), color=RIVAL, label="normal distribution")
        z = (errors - mean) / deviation
        text += f", skewness {(z**3).mean():+.2f}, excess kurtosis {(z**4).mean() - 3:+.2f}"
    drawing.label(axes, unit.label(f"realised − forecast {unit.noun}"), "samples", legend=True)
    return Plot(
        "residuals",
        "Residuals",
        f"Realised minus forecast on test: {text}. The line is the normal distribution of that mean and deviation.",
        f"Histogram of {len(errors):,} test residuals from {errors.min():.3g} to {errors.max():.3g}{sign}: {text}.",
        figure,
    )


def rolling_correlation(a: Floats, b: Floats, width: int) -> Floats:
    """(N − width + 1,) Pearson's correlation in each window of `width` samples; NaN where either is constant."""
    a, b = ((values - values.mean()) / (values.std() or 1.0) for values in (a, b))

    def means(values: Floats) -> Floats:
        total: Floats = np.concatenate([[0.0], values.cumsum()])
        mean: Floats = (total[width:] - total[:-width]) / width
        return mean

    mean_a, mean_b = means(a), means(b)
    variance_a, variance_b = means(a * a) - mean_a**2, means(b * b) - mean_b**2
    defined = (variance_a > 1e-9) & (variance_b > 1e-9)
    product = np.sqrt(np.where(defined, variance_a * variance_b, 1.0))
    found: Floats = np.where(defined, np.clip((means(a * b) - mean_a * mean_b) / product, -1, 1), np.nan)
    return found


def correlation(a: Floats, b: Floats) -> float | None:
    """Pearson's; None where one of the two is constant."""
    value = float(rolling_correlation(a, b, len(a))[0])
    return value if math.isfinite(value) else None


def _returns(predictions: Predictions, forecast: Floats, unit: Unit) -> tuple[Floats, Floats]:
    """Forecast and realised returns, or changes of levels since the last known value, in the units of a plot."""
    truth = predictions.truth
    return truth.changes(forecast) * unit.factor, truth.changes(truth.y_true) * unit.factor


def _losses(predictions: Predictions, forecast: Floats, unit: Unit) -> Floats:
    forecast, realised = _returns(predictions, forecast, unit)
    if predictions.truth.quantile is not None:
        return pinball_losses(realised, forecast, predictions.truth.quantile)
    squared: Floats = np.square(realised - forecast)
    return squared


def _times(predictions: Predictions) -> NDArray[Any]:
    """The positions of the samples on the time axis."""
    return predictions.rows if predictions.dates is None else predictions.dates


def _time(predictions: Predictions) -> str:
    """The name of the time axis."""
    return TIME_AXIS[predictions.dates is not None]


def _over_time(axes: Axes, predictions: Predictions) -> None:
    if predictions.dates is not None:
        drawing.dates(axes)


def _bins(values: Floats) -> int:
    """How many bins a histogram has, 10 to 60 (Freedman & Diaconis 1981)."""
    low, quarter, three_quarters, high = np.percentile(values, [0, 25, 75, 100])
    width = 2 * (three_quarters - quarter) / len(values) ** (1 / 3)
    return int(np.clip((high - low) / width, 10, 60)) if width > 0 else 10
