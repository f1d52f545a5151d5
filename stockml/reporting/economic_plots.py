"""Plots of what trading a run's forecasts comes to. All are made within `drawing.style()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import economic
from stockml.evaluation.portfolio import Portfolio, accounts
from stockml.evaluation.predictions import deciding
from stockml.reporting import drawing
from stockml.reporting.drawing import LOOKS, MUTED, TIME_AXIS, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stockml.evaluation.predictions import PredictionsBySplit

Floats = NDArray[np.float64]

_LEAST_WEALTH = 1e-3
"""Of a capital of 1, what is still drawn on a log scale."""
_LINE = 0.19
"""The height of a name, in inches."""


def plots(splits: PredictionsBySplit, metrics: Mapping[str, Any]) -> Iterator[Plot]:
    """Capital and drawdown over the test, of the model, its long side, holding and the best baseline; none where
    nothing was valued."""
    found = metrics.get("economic") or {"none": ""}
    if "none" in found:
        return
    each, _ = accounts(splits["test"], Portfolio.from_json(found), deciding(splits)["validation"])
    best = metrics["best_baseline"]
    names = {"model": "model", "holding": "holding", "long_only": "long side", best: best}
    shown = {text: each[name] for name, text in names.items() if name in each}
    dates, cost = each["model"].dates, f"after costs of {found['cost_bps']:g} bp"
    capital = {name: economic.wealth(account.net) for name, account in shown.items()}
    ends = "; ".join(f"{name} ends at {values[-1]:.3g}" for name, values in capital.items())
    figure, axes = drawing.axes()
    axes.set_yscale("log")
    _over_time(axes, {name: np.maximum(values, _LEAST_WEALTH) for name, values in capital.items()}, dates)
    drawing.label(axes, TIME_AXIS[dates is not None], f"capital, 1 at first, {cost}, log scale")
    yield Plot(
        "equity",
        "Equity curve",
        f"What a capital of 1 becomes on test {cost}; equal distances are equal gains in percent.",
        f"Capital {cost}: {ends}.",
        figure,
    )
    falls = {name: 100 * economic.drawdown(account.net) for name, account in shown.items()}
    figure, axes = drawing.axes(2.4)
    _over_time(axes, falls, dates)
    drawing.label(axes, TIME_AXIS[dates is not None], f"below the highest capital so far, %, {cost}")
    yield Plot(
        "drawdown",
        "Drawdown",
        "How far the capital lies below its maximum up to the day.",
        f"Largest drawdowns: {'; '.join(f'{name} {values.min():.1f} %' for name, values in falls.items())}.",
        figure,
    )


def _over_time(axes: Axes, series: Mapping[str, Floats], dates: NDArray[np.datetime64] | None) -> None:
    """A line for each series, named at its end; names are moved apart where lines end together."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    n = len(next(iter(series.values())))
    times = np.arange(n) if dates is None else dates
    kept, _ = drawing.thinned(n)
    for values, look in zip(series.values(), LOOKS, strict=False):
        axes.plot(times[kept], values[kept], **look)
    if dates is not None:
        drawing.dates(axes)
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if high < 10 * low:
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(times[0], times[-1])
    axes.figure.subplots_adjust(right=0.82)
    to_share = axes.transData + axes.transAxes.inverted()
    at = [float(to_share.transform((0, values[-1]))[1]) for values in series.values()]
    line, place = _LINE / axes.get_window_extent().height * axes.figure.get_dpi(), -1.0
    looks = list(zip(series, at, LOOKS, strict=False))
    for name, height, look in sorted(looks, key=lambda one: one[1]):
        place = max(place + line, height)
        axes.annotate(
            drawing.short(name, 14),
            (1, height),
            (1.02, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=look["color"],
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.4} if place > height else None,
        )
