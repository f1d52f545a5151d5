"""Plots of a run's intervals by year. All are made within `drawing.style()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stockml.reporting import drawing
from stockml.reporting.drawing import LOOKS, Plot
from stockml.reporting.forecast_plots import Unit


def plots(found: Mapping[str, Any], unit: Unit) -> Iterator[Plot]:
    """Coverage and width by year, given what metrics.json says of intervals; none where days are not known.

    `unit` is that of the target.
    """
    if not any(of["by_year"] for of in found.values()):
        return
    yield _by_year(
        found,
        "coverage",
        ("Coverage of the intervals by year", "targets inside, %", 100.0),
        "Share of test targets in the intervals; grey: the levels. A line that stays near its level in quiet and in "
        "wild years can be relied on. A year of 250 days strays by up to 5 points (80 %) or 3 (95 %) by chance.",
    )
    yield _by_year(
        found,
        "width",
        ("Width of the intervals by year", unit.label("mean width"), unit.factor),
        "Mean width of the intervals: wide in volatile years, narrow in quiet ones.",
    )


def _by_year(found: Mapping[str, Any], figure_name: str, labels: tuple[str, str, float], caption: str) -> Plot:
    title, up, factor = labels
    figure, axes = drawing.axes()
    texts = []
    for (level, of), look in zip(found.items(), [*LOOKS] * len(found), strict=False):
        values = {int(year): factor * own[figure_name] for year, own in of["by_year"].items()}
        axes.plot(list(values), list(values.values()), marker="o", label=f"{level} %", **look)
        if figure_name == "coverage":
            axes.axhline(float(level), color=drawing.MUTED, linewidth=0.7)
        texts.append(f"{level} %: {', '.join(f'{year} {value:.3g}' for year, value in values.items())}")
    drawing.whole_numbers(axes)
    drawing.label(axes, "year", up, legend=True)
    return Plot(f"interval_{figure_name}", title, caption, f"{title}, {up}: {'; '.join(texts)}.", figure)
