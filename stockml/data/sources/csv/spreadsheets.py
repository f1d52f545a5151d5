"""Reads the sheet of bars of a spreadsheet, unless its cells would not fit into memory: xlsx, ods, xls."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

import pandas as pd

from stockml.data.sources.csv import columns
from stockml.errors import UserError
from stockml.runs import plain_files

MEMBERS = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
"""What the ZIP archive of a spreadsheet holds: xlsx, xlsb (which is refused), ods."""
RATIO = 100  # the XML of an ods is packed to a thirtieth
XLS = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HEAD = 40
"""Number of rows that may hold the names of the columns."""
_CELL_BYTES = 64
"""Memory that even an empty cell takes."""


def sheet(path: Path, content: bytes) -> pd.DataFrame:
    """The cells, of any type, of the sheet of bars; of the first one where none names columns. Raises UserError."""
    try:
        if not content.startswith(XLS):  # whose sheets have at most 65,536 rows of 256 cells
            content = _checked(path, content)
        with _quiet():
            sheets = pd.read_excel(
                io.BytesIO(content), None, header=None, dtype=object, na_filter=False, engine="calamine"
            )
    except UserError:
        raise
    except BaseException as error:
        if isinstance(error, ImportError) or (isinstance(error, ValueError) and "engine" in str(error)):
            # pandas before 2.2 does not know the engine
            raise UserError(f"{path}: reading spreadsheets needs pip install 'stockml[excel]'") from error
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":  # a panic of the reader
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({why}); open it, and save it as CSV") from error
    of_bars = [name for name, cells in sheets.items() if _names_columns(cells)]
    if len(of_bars) > 1:
        raise UserError(f"{path}: holds {len(of_bars)} sheets of bars, {', '.join(of_bars)}; save each as a CSV file")
    return sheets[of_bars[0]] if of_bars else next(iter(sheets.values()), pd.DataFrame())


def _names_columns(cells: pd.DataFrame) -> bool:
    head = cells.iloc[:HEAD].itertuples(index=False, name=None)
    return any(columns.figures_named([str(cell) for cell in row if cell != ""]) > 1 for row in head)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed on stderr meanwhile, not even below Python, where a panic prints a stack."""
    sys.stderr.flush()
    with Path(os.devnull).open("wb") as null:
        kept = os.dup(2)
        try:
            os.dup2(null.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _checked(path: Path, content: bytes) -> bytes:
    """The spreadsheet with what was checked alone, not packed.

    UserError where a sheet, from its first cell to its last, needs more memory than is free: a file of few bytes can
    have its last cell anywhere, and one long text in all cells. ValueError where that cannot be known.
    """
    cells = copies = longest = 0
    checked = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(checked, "w") as stored:
        if "xl/workbook.bin" in archive.namelist():
            raise ValueError("it is an xlsb spreadsheet")
        for name in dict.fromkeys(archive.namelist()):
            stored.writestr(name, xml := archive.read(name))
            sheet = _Extent(xml)
            cells, copies = cells + sheet.rows * sheet.width, copies + sheet.copies
            longest = max(longest, sheet.longest)
    plain_files.require_memory(path, cells * _CELL_BYTES + copies * longest, "save it as CSV")
    return checked.getvalue()


class _Extent:
    """How far the cells of a sheet's XML reach, and how long its texts are. ValueError where it is no sound XML."""

    def __init__(self, xml: bytes) -> None:
        self.rows = self.width = 0
        self.copies = 0
        """The cells that are copies of one, or of a text that all sheets share."""
        self.longest = 0
        """The bytes of the longest text."""
        self._row = self._column = self._begun = 0
        self._rows = 1
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        try:
            self._parser.Parse(xml, True)
        except expat.ExpatError as error:  # a picture, or the like
            if re.search(rb"sheetData|table:table", xml):
                raise ValueError(f"a sheet is no sound XML: {error}") from error
        self._text(len(xml))

    def _start(self, tag: str, given: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name in ("si", "table-cell", "covered-table-cell"):
            self._text(self._parser.CurrentByteIndex)
        if name in ("row", "c"):
            self._start_of_xlsx(name, given.get("r", ""), shared=given.get("t") == "s")
        elif name == "table-row":
            self._rows = _number(given.get("table:number-rows-repeated"))
            self._row, self._column = self._row + self._rows, 0
        elif name in ("table-cell", "covered-table-cell"):
            columns = _number(given.get("table:number-columns-repeated"))
            self._column += columns
            if any(attribute.startswith("office:") for attribute in given):
                self.rows, self.width = self._row, max(self.width, self._column)
                self.copies += self._rows * columns - 1

    def _start_of_xlsx(self, name: str, place: str, *, shared: bool) -> None:
        """A row or a cell, at a place, 1 or A1, or after the one before."""
        letters = place.rstrip("0123456789")
        row = place[len(letters) :]
        if name == "row":
            self._row, self._column = int(row or self._row + 1), 0
        else:
            self._column = sum((ord(c) - 64) * 26**n for n, c in enumerate(letters.upper()[::-1])) or self._column + 1
            self.rows, self.width = max(self.rows, int(row or self._row)), max(self.width, self._column)
            self.copies += shared

    def _text(self, end: int) -> None:
        """Where a text ends and the next begins."""
        self.longest, self._begun = max(self.longest, end - self._begun), end


def _number(text: str | None) -> int:
    """How often something is there. ValueError where that is no number."""
    return int(text or 1)
