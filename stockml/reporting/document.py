"""A self-contained page of text, tables and pictures, with the pictures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stockml.reporting import drawing
from stockml.reporting.drawing import Picture
from stockml.runs.folder import Folder

FILE = "report.html"


@dataclass(frozen=True)
class Table:
    """Text in rows and columns."""

    caption: str
    header: Sequence[str]
    """Empty where the columns need no names."""
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()
    """The rows that matter most."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Where a row's first cell leads to."""

    @property
    def numbers(self) -> list[int]:
        """The columns, after the first, that hold figures or days and nothing else."""
        columns = enumerate(zip(*self.rows, strict=True))
        return [n for n, cells in columns if n and all(cell.startswith(_FIGURES) for cell in cells)]


_FIGURES = tuple("0123456789+-–")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    settings: Sequence[str] = ()
    """`key=value`, as it is typed."""

    @property
    def is_wide(self) -> bool:
        """Whether it is printed on pages that lie on their side."""
        return any(len(table.header) > 12 for table in self.tables)


@dataclass(frozen=True)
class Figure:
    """A number that matters."""

    name: str
    value: str
    beside: str
    """What it is to be read with."""


@dataclass(frozen=True)
class Page:
    """What a page says, from top to bottom. All of it is text, however much it looks like HTML."""

    title: str
    subtitle: str
    synthetic: bool
    sections: Sequence[Section]
    verdict: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    faults: Sequence[str] = ()

    def pictures(self) -> list[Picture]:
        """All its pictures, which say so from then on where the data are simulated; to be called once."""
        found = [picture for section in self.sections for picture in section.pictures]
        for picture in found if self.synthetic else ():
            drawing.note(picture, "simulated data (synthetic: true)")
        return found


def write(folder: Folder, page: Page) -> Path:
    """Write plots/<name>.png of each picture, then report.html, within `drawing.style()`; where the page is."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    for picture in page.pictures():
        with folder.writing(f"plots/{picture.name}.png") as file:
            file.write(drawing.png(picture.figure))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("document.html").read_text(encoding="utf-8"))
    text = template.render(page=page, theme=drawing.THEME, svg=lambda picture: Markup(drawing.svg(picture)))
    folder.write_text(FILE, text.strip() + "\n")
    return folder.path / FILE
