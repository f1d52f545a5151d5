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

import pandas as pd

from stockml.data.sources.csv import columns
from stockml.errors import UserError
from stockml.runs import plain_files

MEMBERS = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
"""What the ZIP archive of a spreadsheet holds: xlsx, xlsb, ods."""
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
            _require_room(path, content)
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


def _require_room(path: Path, content: bytes) -> None:
    """UserError where a sheet, from its first cell to its last, needs more memory than is free.

    A file of few bytes can have its last cell anywhere, and one long text in all cells.
    """
    cells = copies = longest = 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name.endswith(".xml"):
                xml = archive.read(name)
                of_sheet = _ods_cells(xml) if name == "content.xml" else _xlsx_cells(xml)
                cells, copies = cells + of_sheet[0], copies + of_sheet[1]
                longest = max(0, longest, *map(len, re.split(rb"<(?:\w+:)?(?:si|table-cell)\b", xml)[1:]))
    plain_files.require_memory(path, cells * _CELL_BYTES + copies * longest, "save it as CSV")


def _xlsx_cells(xml: bytes) -> tuple[int, int]:
    """How many cells a sheet has, each at a place, A1, or after the one before; and in how many is a shared text."""
    each = re.split(rb"<(?:\w+:)?row\b", xml)
    rows = max(0, len(each), *map(int, set(re.findall(rb"\br=[\"'][A-Za-z]*(\d{1,9})[\"']", xml))))
    counted = max(len(re.findall(rb"<(?:\w+:)?c\b", row)) for row in each)
    width = max(0, counted, *map(_column, set(re.findall(rb"\br=[\"']([A-Za-z]{1,9})\d+[\"']", xml))))
    return rows * width, len(re.findall(rb"\bt=[\"']s[\"']", xml))


def _column(letters: bytes) -> int:
    """The number of a column: A is 1, Z 26, AA 27."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def _ods_cells(xml: bytes) -> tuple[int, int]:
    """How many cells a sheet has up to its last with a value, where rows and cells may be repeated; and how many so."""
    rows = last = width = 0
    for tag, row in re.findall(rb"<table:table-row\b([^>]*)>(.*?)</table:table-row>", xml, re.DOTALL):
        rows += 1 + _repeated(tag)
        if (end := row.rfind(b"office:")) >= 0:
            filled = row[: row.find(b">", end)]
            last, width = rows, max(width, filled.count(b"-cell ") + _repeated(filled))
    return last * width, max(0, last * width - xml.count(b"<table:table-cell"))


def _repeated(xml: bytes) -> int:
    """How many more rows or cells there are than tags."""
    return sum(int(number) - 1 for number in re.findall(rb"-repeated=[\"'](\d{1,9})[\"']", xml))
