"""What the pictures of a run show. All are made within `drawing.style()`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import cross_section
from stockml.reporting import drawing
from stockml.reporting.drawing import GRID, INK, LOOKS, MODEL, MUTED, RIVAL, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stockml.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

_LONGEST_IC_WINDOW = 126  # half a year of trading days
_SHORTEST_IC_WINDOW = 20


@dataclass(frozen=True)
class Unit:
    """What is forecast, as pictures tell it."""

    noun: str
    """`return`, or `change` of a level; of a class nothing."""
    name: str
    """`%` of relative changes, which are then drawn as such; of a class nothing."""

    @property
    def factor(self) -> float:
        """What figures are multiplied by."""
        return 100.0 if self.name == "%" else 1.0

    def label(self, what: str, power: str = "") -> str:
        """An axis's name."""
        return f"{what}, {self.name}{power}" if self.name else what

    def sign(self, power: str = "") -> str:
        """What follows a figure."""
        return f" %{power}" if self.name == "%" else ""


@dataclass(frozen=True)
class History:
    """The losses of E epochs, E > 0."""

    train: Floats
    """(E,)"""
    validation: Floats
    """(E,)"""
    best_epoch: int
    """From 1."""

    @property
    def best(self) -> float:
        """The validation loss of the best epoch."""
        return float(self.validation[self.best_epoch - 1])


@dataclass(frozen=True)
class Span:
    """A part's place in time."""

    part: str
    first: Any
    """Day or number of its first sample."""
    last: Any


def losses(history: History, loss: str) -> Picture:
    """Train and validation loss by epoch."""
    figure, axes = drawing.axes()
    power, factor = drawing.power(np.concatenate([history.train, history.validation]))
    epochs = np.arange(1, len(history.train) + 1)
    marker = "o" if len(epochs) <= 60 else ""
    axes.plot(epochs, history.train * factor, color=MUTED, linestyle="--", marker=marker, label="train")
    axes.plot(epochs, history.validation * factor, color=MODEL, marker=marker, label="validation")
    axes.axvline(history.best_epoch, color=RIVAL, linewidth=1, linestyle=":")
    best = f"best, epoch {history.best_epoch}"
    axes.plot(history.best_epoch, history.best * factor, "o", color=RIVAL, markersize=5, label=best)
    drawing.whole_numbers(axes)
    drawing.label(axes, "epoch", f"{loss}{power}", legend=True)
    return Picture(
        "losses",
        "Loss by epoch",
        "The train loss is taken during the epoch, dropout and all; the validation loss after it. The weights of the "
        "best epoch are the ones that are kept.",
        f"Over {len(epochs)} epochs the train loss ({loss}) goes from {_from_to(history.train)}, the validation loss "
        f"from {_from_to(history.validation)}, best at epoch {history.best_epoch} with {history.best:.4g}.",
        figure,
    )


def losses_of_parts(parts: Mapping[str, History], loss: str) -> Picture:
    """Validation loss by epoch, a line for each fold of a walk-forward run, and each member of an ensemble."""
    figure, axes = drawing.axes()
    for number, history in enumerate(parts.values(), start=1):
        relative = history.validation / history.validation[0]
        shade = 0.3 + 0.7 * number / len(parts)
        axes.plot(np.arange(1, len(relative) + 1), relative, color=MODEL, alpha=shade)
        axes.plot(history.best_epoch, relative[history.best_epoch - 1], "o", color=RIVAL, markersize=4)
    axes.plot([], [], color=MODEL, label="a model, later ones darker")
    axes.plot([], [], "o", color=RIVAL, markersize=4, label="best epoch")
    axes.axhline(1, color=INK, linewidth=0.8)
    drawing.whole_numbers(axes)
    drawing.label(axes, "epoch", f"{loss}, epoch 1 = 1", legend=True)
    told = "; ".join(
        f"{name} from {history.validation[0]:.4g} to {history.best:.4g} at epoch {history.best_epoch}"
        for name, history in parts.items()
    )
    return Picture(
        "losses",
        "Validation loss by epoch, model by model",
        "Each model’s validation loss over that of its first epoch, since folds differ in volatility.",
        f"Validation loss ({loss}) of {len(parts)} models at the first and at the best epoch: {told}.",
        figure,
    )


def predicted(scored: Predictions, unit: Unit) -> Picture:
    """Realised returns against those forecast, on equal scales."""
    forecast, realised = _returns(scored, scored.model, unit)
    kept, thinning = drawing.thinned(len(forecast))
    figure, axes = drawing.axes(3.4)
    most = 1.06 * float(max(np.abs(forecast).max(), np.abs(realised).max())) or 1.0
    axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.7, zorder=1)
    axes.plot([-most, most], [-most, most], color=RIVAL, linewidth=1, linestyle="--", label="forecast = realised")
    axes.plot(forecast[kept], realised[kept], "o", color=MODEL, alpha=0.4, markeredgewidth=0)
    axes.set(xlim=(-most, most), ylim=(-most, most), aspect="equal")
    drawing.label(axes, unit.label(f"forecast {unit.noun}"), unit.label(f"realised {unit.noun}"))
    axes.legend(loc="lower right", handlelength=1.4, borderaxespad=0.1)
    spread = f"{forecast.std() / realised.std():.2g}" if realised.std() > 0 else "undefined"
    ic = correlation(forecast, realised)
    ic_told = "undefined" if ic is None else f"{ic:+.3f}"
    sign = unit.sign()
    return Picture(
        "predicted",
        "Predicted against realised",
        f"On test, both axes on one scale: the dashed line is where perfect forecasts would lie. The forecasts’ "
        f"standard deviation is {spread} of the realised one; a narrow cloud is a cautious model.{thinning}",
        f"{len(forecast):,} test samples: forecasts from {forecast.min():.3g} to {forecast.max():.3g}{sign}, realised "
        f"from {realised.min():.3g} to {realised.max():.3g}{sign}; correlation {ic_told}, "
        f"ratio of standard deviations {spread}.",
        figure,
    )


def calibration(scored: Predictions, unit: Unit) -> Picture | None:
    """Mean realised return by quantile of the forecast; None where samples or distinct forecasts are too few."""
    forecast, realised = _returns(scored, scored.model, unit)
    groups, name = (10, "tenths") if len(forecast) >= 200 else (5, "fifths")
    if len(np.unique(forecast)) < 2 * groups:
        return None
    members = np.array_split(np.argsort(forecast, kind="stable"), groups)
    x = np.array([forecast[group].mean() for group in members])
    y = np.array([realised[group].mean() for group in members])
    half = np.array([1.96 * realised[group].std(ddof=1) / math.sqrt(len(group)) for group in members])
    figure, axes = drawing.axes(3.4)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axline((x[0], x[0]), (x[-1], x[-1]), color=RIVAL, linewidth=1, linestyle="--", label="forecast = realised")
    axes.errorbar(x, y, half, fmt="o", color=MODEL, markersize=4, elinewidth=1, capsize=2, label="mean, 95 % interval")
    up = unit.label(f"realised {unit.noun}") if unit.noun else "share of ones"
    drawing.label(axes, unit.label(f"mean forecast {unit.noun}".rstrip()), up, legend=True)
    told = "; ".join(f"{a:.3g}: {b:.3g} ± {c:.2g}" for a, b, c in zip(x, y, half, strict=True))
    return Picture(
        "calibration",
        f"Realised by {name} of the forecast",
        f"Test samples in {groups} groups, from the lowest forecasts to the highest. A rise from left to right is "
        "skill; on the dashed line they have the right size, too. The scales differ; samples are taken as independent.",
        f"Mean forecast and mean realised{unit.sign()} ± half the 95 % interval by {name} of the forecast: {told}.",
        figure,
    )


def cumulative(scored: Predictions, best: str, unit: Unit) -> Picture:
    """Squared error of the best baseline, and of the naive one, less the model's, added up over time."""
    figure, axes = drawing.axes()
    own = _squared_errors(scored, scored.model, unit)
    rivals = dict.fromkeys([best, *(name for name in ("zero", "persistence") if name in scored.baselines)])
    saved = {rival: (_squared_errors(scored, scored.baselines[rival], unit) - own).cumsum() for rival in rivals}
    power, factor = drawing.power(np.concatenate(list(saved.values())))
    kept, thinning = drawing.thinned(len(own))
    times = _times(scored)
    if scored.folds is not None:
        for start in np.flatnonzero(np.diff(scored.folds)) + 1:
            axes.axvline(times[start], color=MUTED, linewidth=0.7, linestyle=":")
    axes.axhline(0, color=INK, linewidth=0.8)
    for (rival, total), look in zip(saved.items(), LOOKS, strict=False):
        axes.plot(times[kept], total[kept] * factor, label=f"against {rival}", **look)
    axes.set_xmargin(0.02)
    _over_time(axes, scored)
    drawing.label(axes, _time(scored), f"{unit.label('squared error saved', '²')}{power}", legend=True)
    sign = unit.sign("²")
    told = "; ".join(
        f"against {rival} it ends at {total[-1]:+.3g}{sign}, for the {'model' if total[-1] > 0 else 'baseline'}, "
        f"lowest {total.min():+.3g}, highest {total.max():+.3g}"
        for rival, total in saved.items()
    )
    folds = " Dotted: where the next fold begins." if scored.folds is not None else ""
    return Picture(
        "cumulative",
        "Squared error saved, added up over time",
        "Squared error of the baseline less the model’s, on test. Where the line rises the model is better, where it "
        f"falls the baseline is. What a few days give, chance may have given.{folds}{thinning}",
        f"Cumulative squared-error difference over {len(own):,} test samples, rising for the model: {told}.",
        figure,
    )


def rolling_ic(scored: Predictions) -> Picture | None:
    """Correlation of forecasts and realised returns in a window that moves on; None where it is nowhere defined."""
    forecast, realised = _returns(scored, scored.model, Unit("", ""))
    if scored.tickers is not None and scored.dates is not None:
        return _daily_ic(*cross_section.correlations(realised, forecast, scored.dates))
    width = min(_LONGEST_IC_WINDOW, len(forecast) // 3)
    if width < _SHORTEST_IC_WINDOW:
        return None
    values = rolling_correlation(forecast, realised, width)
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    kept, thinning = drawing.thinned(len(values))
    chance = 1.96 / math.sqrt(width)
    figure, axes = drawing.axes()
    axes.axhspan(-chance, chance, color=GRID, alpha=0.6, linewidth=0, label="95 % of chance")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.plot(_times(scored)[width - 1 :][kept], values[kept], color=MODEL, label="model")
    most = 1.08 * max(chance, float(np.abs(defined).max()))
    axes.set_ylim(-most, most)
    axes.set_xmargin(0.02)
    _over_time(axes, scored)
    drawing.label(axes, _time(scored), f"IC over {width} samples", legend=True)
    outside = float((np.abs(defined) > chance).mean())
    return Picture(
        "rolling_ic",
        "Rolling IC",
        f"Correlation of forecast and realised over the last {width} test samples. Without skill it keeps within "
        f"±{chance:.2f} for 95 % of the time, if samples are independent.{thinning}",
        f"Rolling IC over {width} samples: first {defined[0]:+.3f}, last {defined[-1]:+.3f}, "
        f"mean {defined.mean():+.3f}, lowest {defined.min():+.3f}, highest {defined.max():+.3f}; "
        f"{outside:.0%} of it outside ±{chance:.2f}.",
        figure,
    )


def _daily_ic(days: NDArray[np.datetime64], daily: Floats) -> Picture | None:
    """The correlation between stocks, averaged over a window of days that moves on; None where there are too few."""
    width = min(_LONGEST_IC_WINDOW, len(daily) // 3)
    if width < _SHORTEST_IC_WINDOW:
        return None
    sums = np.append(0, daily.cumsum())
    values = (sums[width:] - sums[:-width]) / width
    kept, thinning = drawing.thinned(len(values))
    chance = 1.96 * float(daily.std()) / math.sqrt(width)
    figure, axes = drawing.axes()
    axes.axhspan(-chance, chance, color=GRID, alpha=0.6, linewidth=0, label="95 % of chance")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.plot(days[width - 1 :][kept], values[kept], color=MODEL, label="model")
    axes.set_xmargin(0.02)
    drawing.dates(axes)
    drawing.label(axes, _TIME[True], f"daily IC, mean of {width} days", legend=True)
    return Picture(
        "rolling_ic",
        "IC between stocks",
        f"Each day’s correlation, over the stocks, of forecast and realised, averaged over the last {width} days. "
        f"Without skill it keeps within ±{chance:.2f} for 95 % of the time.{thinning}",
        f"Daily IC averaged over {width} days: first {values[0]:+.3f}, last {values[-1]:+.3f}, mean of all days "
        f"{daily.mean():+.3f}, lowest {values.min():+.3f}, highest {values.max():+.3f}.",
        figure,
    )


def residuals(scored: Predictions, unit: Unit) -> Picture:
    """Histogram of realised less forecast, with a normal distribution to compare."""
    forecast, realised = _returns(scored, scored.model, unit)
    errors = realised - forecast
    mean, deviation, sign = float(errors.mean()), float(errors.std()), unit.sign()
    counts, edges = np.histogram(errors, bins=_bins(errors))
    figure, axes = drawing.axes()
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=MODEL, alpha=0.55, linewidth=0, label="residuals")
    axes.axvline(0, color=INK, linewidth=0.8)
    told = f"mean {mean:+.3g}{sign}, standard deviation {deviation:.3g}{sign}"
    if deviation > 0:
        x = np.linspace(edges[0], edges[-1], 201)
        density = np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        axes.plot(
            x, density * len(errors) * (edges[1] - edges[0]), color=RIVAL, label="normal of that mean and deviation"
        )
        z = (errors - mean) / deviation
        told += f", skewness {(z**3).mean():+.2f}, excess kurtosis {(z**4).mean() - 3:+.2f}"
    drawing.label(axes, unit.label(f"realised − forecast {unit.noun}"), "samples", legend=True)
    return Picture(
        "residuals",
        "Residuals",
        f"Realised less forecast on test: {told}.",
        f"Histogram of {len(errors):,} test residuals from {errors.min():.3g} to {errors.max():.3g}{sign}: {told}.",
        figure,
    )


def timeline(rows: Mapping[str, Sequence[Span]], *, dated: bool) -> Picture:
    """Where train, validation and test lie, a row for each name."""
    figure, axes = drawing.named_rows(list(rows), 0.3)
    several = any(len(spans) > 1 for spans in rows.values())
    for number, spans in enumerate(rows.values()):
        for span in spans:
            first, last = (float(np.datetime64(day).astype(int)) if dated else day for day in (span.first, span.last))
            label = span.part if number == 0 else "_"
            axes.barh(number, last + 1 - first, 0.62, left=first, color=_PARTS[span.part], linewidth=0, label=label)
    if dated:
        drawing.dates(axes)
    drawing.label(axes, _TIME[dated], "", legend=several)
    told = "; ".join(
        f"{name}: {', '.join(f'{span.part} {span.first} to {span.last}' for span in spans)}"
        for name, spans in rows.items()
    )
    return Picture(
        "timeline",
        "Time line",
        "Where each part’s samples lie. Choices are made on validation, never on test.",
        f"Time line, by the {_TIME[dated]}: {told}.",
        figure,
    )


_PARTS = {"train": MUTED, "validation": RIVAL, "test": MODEL}
_TIME = {True: "last day of the window", False: "sample number"}


def rolling_correlation(a: Floats, b: Floats, width: int) -> Floats:
    """(N − width + 1,) Pearson's correlation of each `width` neighbours; NaN where one of the two is constant."""
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


def _returns(scored: Predictions, forecast: Floats, unit: Unit) -> tuple[Floats, Floats]:
    """Forecast and realised returns, of levels the changes since the last known value, as they are drawn."""
    truth = scored.truth
    return truth.changes(forecast) * unit.factor, truth.changes(truth.y_true) * unit.factor


def _squared_errors(scored: Predictions, forecast: Floats, unit: Unit) -> Floats:
    forecast, realised = _returns(scored, forecast, unit)
    squared: Floats = np.square(realised - forecast)
    return squared


def _times(scored: Predictions) -> NDArray[Any]:
    """Where the samples lie on an axis of time."""
    return scored.rows if scored.dates is None else scored.dates


def _time(scored: Predictions) -> str:
    """The name of an axis of time."""
    return _TIME[scored.dates is not None]


def _over_time(axes: Axes, scored: Predictions) -> None:
    if scored.dates is not None:
        drawing.dates(axes)


def _from_to(values: Floats) -> str:
    return f"{values[0]:.4g} to {values[-1]:.4g}"


def _bins(values: Floats) -> int:
    """How many bins a histogram has: by Freedman & Diaconis (1981), between 10 and 60."""
    low, quarter, three_quarters, high = np.percentile(values, [0, 25, 75, 100])
    width = 2 * (three_quarters - quarter) / len(values) ** (1 / 3)
    return int(np.clip((high - low) / width, 10, 60)) if width > 0 else 10
