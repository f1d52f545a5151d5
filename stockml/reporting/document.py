"""A self-contained page of text, tables and plots, with the plots as PNG files beside it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from stockml.config.printable import printable
from stockml.config.values import worded
from stockml.reporting import drawing
from stockml.reporting.drawing import Plot
from stockml.runs.files import Folder

FILE = "report.html"


@dataclass(frozen=True)
class Table:
    """Text in rows and columns."""

    caption: str
    header: Sequence[str]
    """Empty where the columns need no names."""
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()
    """The rows in bold type."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links of the first cells, by their text."""
    is_folded: bool = False
    """Whether it is shown at a click on its caption only; in print it is left out."""

    @cached_property
    def numbers(self) -> list[int]:
        """The columns, after the first, that have numbers or dates only."""
        columns = enumerate(zip(*self.rows, strict=True))
        return [n for n, cells in columns if n and all(cell.startswith(_NUMBER_STARTS) for cell in cells)]


_NUMBER_STARTS = tuple("0123456789+-–")


@dataclass(frozen=True)
class Section:
    """A heading and its content."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    settings: Sequence[str] = ()
    """`key=value`, as it is typed."""

    def worded(self, noun: str) -> Section:
        """The section with texts of steps that have that name, in place of days."""
        say = functools.partial(worded, noun=noun)
        tables = [replace(own, caption=say(own.caption), header=[*map(say, own.header)]) for own in self.tables]
        plots = [
            replace(own, title=say(own.title), caption=say(own.caption), description=say(own.description))
            for own in self.plots
        ]
        for axes in [axes for own in plots for axes in own.figure.axes]:
            axes.set_xlabel(say(axes.get_xlabel()))
        return replace(self, title=say(self.title), text=[*map(say, self.text)], tables=tables, plots=plots)

    @property
    def is_wide(self) -> bool:
        """Whether it is printed in landscape format."""
        return any(len(table.header) > 12 for table in self.tables)


@dataclass(frozen=True)
class KeyFigure:
    """A number at the top of a page."""

    name: str
    value: str
    beside: str
    """A note below the number."""


@dataclass(frozen=True)
class Page:
    """The content of a page, from top to bottom. All of it is text and is escaped."""

    title: str
    subtitle: str
    synthetic: bool
    sections: Sequence[Section]
    verdict: Sequence[str] = ()
    figures: Sequence[KeyFigure] = ()
    faults: Sequence[str] = ()

    def plots(self) -> list[Plot]:
        """All its plots, marked where the data are simulated; call it once."""
        found = [plot for section in self.sections for plot in section.plots]
        for plot in found if self.synthetic else ():
            drawing.note(plot, "simulated data (synthetic: true)")
        return found


def write(folder: Folder, page: Page) -> Path:
    """Write plots/<name>.png of each plot, then report.html; the path of the page. Call it in `drawing.style()`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    for plot in page.plots():
        with folder.writing(f"plots/{plot.name}.png") as file:
            file.write(drawing.png(plot.figure))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("document.html").read_text(encoding="utf-8"))
    text = template.render(page=page, theme=drawing.THEME, svg=lambda plot: Markup(drawing.svg(plot)))
    folder.write_text(FILE, printable(text).strip() + "\n")
    return folder.path / FILE
