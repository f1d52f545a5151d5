"""The plots of a sweep. All are made within `drawing.style()`."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stockml.reporting import drawing
from stockml.reporting.drawing import INK, LOOKS, MODEL, PAPER, RIVAL, Plot

Key = TypeVar("Key")
Value = TypeVar("Value")

_MOST_NAMED = 8  # values of a hyperparameter that an axis names one by one
_MOST_JOINED = 12  # values that a line joins: a search has one for each job
_MOST_STOCKS = 60  # rows of a ranking


@dataclass(frozen=True)
class Ranked:
    """A stock's R²_zero on test."""

    stock: str
    seeds: Sequence[float]
    """R²_zero of each seed."""
    interval: tuple[float, float] | None
    """The mean of the seeds' 95 % confidence intervals, end by end."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.seeds))


@dataclass(frozen=True)
class Trial:
    """A job's validation error with a value of a hyperparameter."""

    value: float | str
    stock: str
    validation_mse: float


def ranking(stocks: Sequence[Ranked], *, several_settings: bool) -> Plot:
    """Stocks by R²_zero on test, seeds as dots."""
    every, half = sorted(stocks, key=lambda row: row.mean, reverse=True), _MOST_STOCKS // 2
    rows = every if len(every) <= _MOST_STOCKS else [*every[:half], *every[-half:]]
    figure, axes = drawing.named_rows([row.stock for row in rows], 0.24)
    axes.axvline(0, color=INK, linewidth=0.8)
    for number, row in enumerate(rows):
        if row.interval is not None:
            ends = [100 * end for end in row.interval]
            axes.plot(ends, [number] * 2, color=MODEL, linewidth=2.5, alpha=0.4, solid_capstyle="butt")
        if len(row.seeds) > 1:
            axes.plot([100 * r2 for r2 in row.seeds], [number] * len(row.seeds), "o", color=RIVAL, markersize=3)
        axes.plot(100 * row.mean, number, "D", color=MODEL, markersize=4.5, markeredgecolor=PAPER, markeredgewidth=0.6)
    several, known = any(len(row.seeds) > 1 for row in rows), any(row.interval for row in rows)
    axes.plot([], [], "D", color=MODEL, markersize=4.5, label="mean of seeds" if several else "a stock")
    if several:
        axes.plot([], [], "o", color=RIVAL, markersize=3, label="a seed")
    if known:
        axes.plot([], [], color=MODEL, linewidth=2.5, alpha=0.4, label="95 % CI")
    drawing.label(axes, "R²_zero on test, %", "", legend=True)
    drawn = f" The first and the last {half} of {len(every):,} stocks are drawn." if len(rows) < len(every) else ""
    chosen = " Each with the setting that is best for it on validation." if several_settings else ""
    interval = " The CI is that of the test days, its ends averaged over seeds." if known else ""
    text = []
    for row in rows:
        seeds = f" over {len(row.seeds)} seeds from {min(row.seeds):+.2%} to {max(row.seeds):+.2%}"
        ends_text = f", 95 % CI {row.interval[0]:+.2%} to {row.interval[1]:+.2%}" if row.interval else ""
        text.append(f"{row.stock} {row.mean:+.2%}{seeds if len(row.seeds) > 1 else ''}{ends_text}")
    return Plot(
        "ranking",
        "Stocks by R²_zero",
        "Share of the squared returns that is explained on test; 0 is the forecast of no change."
        f"{drawn}{chosen}{interval} To choose a stock by this plot is to choose by test scores.",
        f"R²_zero on test by stock, best first: {'; '.join(text)}.",
        figure,
    )


def _are_apart(at: NDArray[np.float64], names: Sequence[str]) -> bool:
    """Whether names fit side by side below an axis, at these rising places: a letter takes 2 % of what they span."""
    needed = [(len(one) + len(other)) / 2 + 1 for one, other in itertools.pairwise(names)]
    return bool(np.all(np.diff(at) >= 0.02 * (at[-1] - at[0]) * np.array(needed)))


def hyperparameter(key: str, trials: Sequence[Trial]) -> Plot:
    """Validation MSE by a hyperparameter's value; a line joins the means of each stock where values have an order."""
    numeric = not any(isinstance(trial.value, str) for trial in trials)
    values = sorted({trial.value for trial in trials}, key=lambda value: (0.0, value) if numeric else (0.0, str(value)))
    place = {value: float(value) if numeric else float(number) for number, value in enumerate(values)}
    by_stock = _grouped((trial.stock, trial.validation_mse) for trial in trials)
    usual = {stock: float(np.median(losses)) for stock, losses in by_stock.items()}
    several = len(by_stock) > 1
    losses = [trial.validation_mse / (usual[trial.stock] if several else 1.0) for trial in trials]
    power, factor = drawing.power(np.array(losses))
    joined = numeric and len(values) <= _MOST_JOINED
    figure, axes = drawing.axes()
    points = _grouped((t.stock, (place[t.value], loss * factor)) for t, loss in zip(trials, losses, strict=True))
    for number, (stock, own) in enumerate(points.items()):
        look = LOOKS[number % len(LOOKS)]
        axes.plot([x for x, _ in own], [y for _, y in own], "o", color=look["color"], alpha=0.55)
        if not joined and several:
            axes.plot([], [], "o", color=look["color"], label=stock)
        if joined:
            xs = sorted({x for x, _ in own})
            means = [np.mean([y for x, y in own if x == at]) for at in xs]
            axes.plot(xs, means, label=stock if several else "mean", **look)
    log = numeric and place[values[0]] > 0 and place[values[-1]] >= 20 * place[values[0]]
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # matplotlib's own is a formula
    most = max(5, 64 // len(values))
    names = [f"{value:.4g}" if isinstance(value, float) else drawing.short(value, most) for value in values]
    at = [place[value] for value in values]
    if not numeric or (len(values) <= _MOST_NAMED and _are_apart(np.log(at) if log else np.array(at), names)):
        axes.set_xticks(at, names)
        axes.minorticks_off()
    axes.set_xmargin(0.12)
    across = "MSE relative to the stock’s median" if several else "MSE"
    drawing.label(axes, key, f"validation {across}{power}", legend=several and len(by_stock) <= len(LOOKS))
    by_value = _grouped((trial.value, loss) for trial, loss in zip(trials, losses, strict=True))
    text = "; ".join(
        f"{f'{value:.4g}' if isinstance(value, float) else value}: {np.mean(by_value[value]):.4g}" for value in values
    )
    line = "; lines join the means" if joined else ""
    return Plot(
        f"by_{re.sub(r'[^A-Za-z0-9]', '_', key)}",
        f"{key} against validation loss",
        f"A dot a job{line}{', stock by stock' if several else ''}. What else was swept varies within a column.",
        f"Mean validation {across} by {key}: {text}.",
        figure,
    )


def _grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The second of each pair, by the first."""
    found: dict[Key, list[Value]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found
