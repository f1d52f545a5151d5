"""Pictures: one figure each, drawn as a PNG file and as inline SVG whose colours follow the page that it stands in."""

from __future__ import annotations

import contextlib
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
"""Colours by name, on light paper and on dark. A figure takes the light ones; they must differ from one another."""
PAPER, _, INK, MUTED, GRID, MODEL, RIVAL, _EXTRA = (light for light, _ in THEME.values())
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": MODEL},
    {"color": RIVAL, "linestyle": "--"},
    {"color": _EXTRA, "linestyle": "-."},
    {"color": MUTED, "linestyle": ":"},
)
"""Of lines that stand for equals, told apart without their colours, too."""

MOST_POINTS = 2000
"""Of a line or a cloud."""

_WIDTH = 4.8  # inches: at a phone's width the text has its own size still
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
class Picture:
    """A figure and what is said of it."""

    name: str
    """Of its file, without `.png`; and of what is in it, where it stands in a page."""
    title: str
    caption: str
    """How to read it."""
    description: str
    """What it shows, with its figures, for who cannot see it."""
    figure: Figure


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Within it figures are made and written. UserError where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise UserError("matplotlib is not installed, and pictures need it: pip install 'stockml[report]'") from error
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name; a browser has it
        yield


def axes(height: float = 3.0, left: float = 0.62) -> tuple[Figure, Axes]:
    """A figure that many inches high, its axes that many from its left edge."""
    from stockml.reporting.shown import ShownFigure

    figure = ShownFigure(figsize=(_WIDTH, height), facecolor="none")
    figure.subplots_adjust(left=left / _WIDTH, right=0.97, bottom=0.5 / height, top=1 - 0.3 / height)
    return figure, figure.add_subplot()


def named_rows(names: Sequence[str], row_height: float) -> tuple[Figure, Axes]:
    """A figure with a row for each name, the first one uppermost, so many inches apart."""
    names = [short(name) for name in names]
    figure, drawn = axes(0.85 + row_height * len(names), left=0.3 + 0.068 * max(map(len, names)))
    drawn.set_yticks(range(len(names)), names)
    drawn.set_ylim(len(names) - 0.4, -0.6)
    drawn.grid(visible=False, axis="y")
    return figure, drawn


def label(axes: Axes, across: str, up: str, *, legend: bool = False) -> None:
    """Name both axes, the upright one in a line above it, to be read without turning the head, the legend beside."""
    axes.set_xlabel(across)
    axes.set_title(up, loc="left", color=MUTED, pad=6)
    entries = len(axes.get_legend_handles_labels()[1]) if legend else 0
    if entries:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.02, 0.985),
            borderaxespad=0.1,
            ncols=entries,
            handlelength=1.4,
            columnspacing=1.0,
            handletextpad=0.5,
        )


def dates(axes: Axes) -> None:
    """Mark days on the axis across."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def whole_numbers(axes: Axes) -> None:
    """Mark whole numbers only on the axis across."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def power(values: NDArray[np.float64]) -> tuple[str, float]:
    """What to append to an axis's name, and the factor, that make very small or large figures readable."""
    most = float(np.abs(values).max(initial=0))
    if not math.isfinite(most) or most == 0 or 1e-2 <= most < 1e5:
        return "", 1.0
    exponent = math.floor(math.log10(most))
    return f", 10{str(exponent).translate(_SUPERSCRIPTS)}", 10.0**-exponent


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def thinned(n: int) -> tuple[NDArray[np.int64], str]:
    """Which of n points are drawn, MOST_POINTS at most: every k-th and the last; and what is to be said of it."""
    step = math.ceil(n / (MOST_POINTS - 1))
    said = f" Of {n:,} points one in {step} is drawn." if step > 1 else ""
    return np.unique(np.append(np.arange(0, n, step), n - 1)), said


def short(value: object, most: int = 20) -> str:
    """A name of so many characters at most, that fits beside or below an axis."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def note(picture: Picture, text: str) -> None:
    """Write a small note into a corner."""
    picture.figure.text(0.012, 0.014, text, ha="left", va="bottom", fontsize=6.5, color=MUTED)


def png(figure: Figure) -> bytes:
    """The figure on light paper, as a file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, facecolor=PAPER, metadata={"Software": None})
    return file.getvalue()


def svg(picture: Picture) -> str:
    """The picture as an element of a page that has the colours of THEME as CSS variables, `--ink` and so on."""
    file = io.StringIO()
    picture.figure.savefig(file, format="svg", facecolor="none", metadata=dict.fromkeys(_METADATA))
    text = file.getvalue()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index(">", box.end()) + 1 :], flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", body)  # a page's ids are unique
    colours = {light: f"var(--{name})" for name, (light, _) in THEME.items()}
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: colours.get(found[0], found[0]), body)
    namespace = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespace} {box[0]} role="img" aria-label="{html.escape(picture.description)}">{body}'


_METADATA = ("Creator", "Date", "Format", "Type")
