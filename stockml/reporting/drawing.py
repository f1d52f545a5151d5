"""Plots: one figure each, drawn as a PNG file and as inline SVG whose colours follow the page that it stands in."""

from __future__ import annotations

import contextlib
import functools
import html
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THEME = {
    "paper": ("#ffffff", "#14171c"),
    "panel": ("#f4f6f8", "#1d2229"),
    "ink": ("#1b222c", "#e4e8ed"),
    "muted": ("#5a6470", "#9da7b3"),
    "grid": ("#dde1e6", "#333a43"),
    "model": ("#1858a8", "#74b2f5"),
    "rival": ("#b3500a", "#f0a35e"),
    "extra": ("#2f7d4f", "#7fcf9f"),
}
"""Colours by name, light and dark. Figures use the light ones, which must differ from one another."""
PAPER, _, INK, MUTED, GRID, MODEL, RIVAL, _EXTRA = (light for light, _ in THEME.values())
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": MODEL},
    {"color": RIVAL, "linestyle": "--"},
    {"color": _EXTRA, "linestyle": "-."},
    {"color": MUTED, "linestyle": ":"},
)
"""The styles of lines of one kind, which differ in more than colour."""

TIME_AXIS = {True: "last day of the window", False: "sample number"}
"""The name of the time axis, by whether dates are known."""

MOST_POINTS = 2000
"""The most points of a line or a scatter plot."""

_WIDTH = 4.8  # inches: text is still readable at the width of a phone
_STYLE: dict[Any, Any] = {  # a setting's name is one of a hundred literals to matplotlib
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 2.6,
    "lines.solid_joinstyle": "round",
    "path.simplify": True,
    "svg.fonttype": "none",  # the browser sets the text, in the page's font
    "svg.hashsalt": "stockml",
    "text.parse_math": False,  # a name with two dollar signs is no formula
}


@dataclass(frozen=True)
class Plot:
    """A figure and its texts."""

    name: str
    """The name of its file without `.png`, and the prefix of the ids of its elements in a page."""
    title: str
    caption: str
    """How to read it."""
    description: str
    """What it shows, with the numbers, for readers who cannot see it."""
    figure: Figure


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The matplotlib style of all figures, around making and writing them. UserError where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise UserError("matplotlib is not installed, and plots need it: pip install 'stockml[report]'") from error
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name; a browser has it
        yield


def axes(height: float = 3.0, left: float = 0.62) -> tuple[Figure, Axes]:
    """A figure `height` inches high, its axes `left` inches from the left edge."""
    figure = _figure_class()(figsize=(_WIDTH, height), facecolor="none")
    figure.subplots_adjust(left=left / _WIDTH, right=0.97, bottom=0.5 / height, top=1 - 0.3 / height)
    return figure, figure.add_subplot()


@functools.cache
def _figure_class() -> type[Figure]:
    """matplotlib's Figure, which a notebook shows whether pyplot is used there or not."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            with style():
                return png(self)

    return NotebookFigure


def named_rows(names: Sequence[str], row_height: float) -> tuple[Figure, Axes]:
    """A figure with a row for each name, the first at the top, `row_height` inches apart."""
    names = [short(name) for name in names]
    figure, drawn = axes(0.85 + row_height * len(names), left=0.3 + 0.068 * max(map(len, names)))
    drawn.set_yticks(range(len(names)), names)
    drawn.set_ylim(len(names) - 0.4, -0.6)
    drawn.grid(visible=False, axis="y")
    return figure, drawn


def label(axes: Axes, across: str, up: str, *, legend: bool = False) -> None:
    """Name both axes: the vertical one in a line above the plot, with the legend beside it, or in the plot if long."""
    axes.set_xlabel(across)
    axes.set_title(up, loc="left", color=MUTED, pad=6)
    names = axes.get_legend_handles_labels()[1] if legend else []
    if len(up) + sum(len(name) + 5 for name in names) > _MOST_BESIDE:
        axes.legend(loc="best", handlelength=1.4)
    elif names:
        inches = axes.bbox.height / axes.figure.dpi
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.02, 1 - 0.033 / inches),
            borderaxespad=0.1,
            ncols=len(names),
            handlelength=1.4,
            columnspacing=1.0,
            handletextpad=0.5,
        )


_MOST_BESIDE = 66
"""Characters that a line above the plot has room for, the signs of a legend counted as five."""


def dates(axes: Axes) -> None:
    """Put dates on the horizontal axis."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def whole_numbers(axes: Axes) -> None:
    """Put whole numbers only on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def power(values: NDArray[np.float64]) -> tuple[str, float]:
    """What to append to the name of an axis, and the factor, to make very small or large values readable."""
    most = float(np.abs(values).max(initial=0))
    if not math.isfinite(most) or most == 0 or 1e-2 <= most < 1e5:
        return "", 1.0
    exponent = math.floor(math.log10(most))
    return f", 10{str(exponent).translate(_SUPERSCRIPTS)}", 10.0**-exponent


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def thinned(n: int) -> tuple[NDArray[np.int64], str]:
    """The indices of n points that are drawn, at most MOST_POINTS, every k-th and the last; and a note on it."""
    step = math.ceil(n / (MOST_POINTS - 1))
    note = f" One in {step} of {n:,} points is drawn." if step > 1 else ""
    return np.unique(np.append(np.arange(0, n, step), n - 1)), note


def short(value: object, most: int = 20) -> str:
    """The value as text of at most `most` characters, to fit beside or below an axis."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def note(plot: Plot, text: str) -> None:
    """Write a small note into the lower left corner."""
    plot.figure.text(0.012, 0.014, text, ha="left", va="bottom", fontsize=6.5, color=MUTED)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, in the light colours."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, facecolor=PAPER, metadata={"Software": None})
    return file.getvalue()


def svg(plot: Plot) -> str:
    """The plot as an SVG element, for a page that has the colours of THEME as CSS variables: `--ink` and so on."""
    file = io.StringIO()
    plot.figure.savefig(file, format="svg", facecolor="none", metadata=dict.fromkeys(_METADATA))
    text = file.getvalue()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index(">", box.end()) + 1 :], flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{plot.name}-", body)  # a page's ids are unique
    colours = {light: f"var(--{name})" for name, (light, _) in THEME.items()}
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: colours.get(found[0], found[0]), body)
    namespace = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespace} {box[0]} role="img" aria-label="{html.escape(plot.description)}">{body}'


_METADATA = ("Creator", "Date", "Format", "Type")
