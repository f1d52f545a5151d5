"""Finds the file of a ticker and reads its table as text."""

from __future__ import annotations

import contextlib
import csv
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.config.printable import printable_name
from stockml.config.schema import nearest
from stockml.data.bars import place
from stockml.data.sources import reading
from stockml.data.sources.csv import columns, containers, text_tables
from stockml.data.sources.csv.columns import Given, Header, same_ticker
from stockml.data.sources.csv.file_names import ENDINGS, stem
from stockml.data.sources.csv.spreadsheets import HEAD
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.sources.csv import CsvConfig

_ELSEWHERE = "name it where it is: data.path=FILE"


@dataclass(frozen=True)
class Table:
    """The rows of one stock."""

    path: Path
    header: Header
    cells: pd.DataFrame
    """One column per name of the header; text, except for numbers and time stamps of a Parquet file."""
    lines: NDArray[np.int64]
    """(R,) line of each row in the file, from 1."""
    widths: NDArray[np.int64]
    """(R,) number of cells of each row; equal to the number of names in a complete row."""
    ticker: str = ""
    """The stock as spelled in the table; empty if the table does not name it."""
    tickers: int = 0
    """Number of stocks that the file names."""
    notes: tuple[str, ...] = ()
    """What is said of how the file was read."""

    def where(self, row: int) -> str:
        """File and line, as shown to the user."""
        return place(str(self.path), int(self.lines[row]))


def find(data: CsvConfig, ticker: str) -> Path:
    """The file `data.path`; else the one in `data.dir` whose name is the ticker or has it as a word, or which has rows
    of the ticker. Raises UserError where there is none or where several fit."""
    if data.path is not None:
        if not Path(data.path).is_file():
            is_pattern = set("*?") & set(data.path)
            advice = f"for each file of a pattern: -m 'data.path=glob({data.path})'" if is_pattern else _ELSEWHERE
            raise UserError(f"data.path={data.path}: there is no such file; {advice}")
        return Path(data.path)
    folder = Path(str(data.dir))
    _require_folder(folder)
    for ending in ENDINGS:
        if (folder / f"{ticker}{ending}").is_file():
            return folder / f"{ticker}{ending}"
    tables = files(folder)
    found = [path for path in tables if _is_word(ticker, stem(path))] or [
        p for p in tables if _has_rows_of(p, ticker, data)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise UserError(f"data.dir={folder}: {names} may each be {ticker}; choose one with data.path=FILE")
    there = [stem(path) for path in tables]
    held = f"{', '.join(there[:20])}{', …' if len(there) > 20 else ''}" or "no table of bars"
    raise UserError(
        f"data.dir={folder}: holds no {ticker}.csv, .txt, .parquet, .xlsx, …, and no other file of {ticker}; "
        f"it holds {held}{nearest(ticker, there)}"
    )


def files(folder: Path) -> list[Path]:
    """The tables in `data.dir`, sorted by name. Raises UserError where there is no such folder."""
    _require_folder(folder)
    tables = (path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.is_file())
    return sorted(path for path in tables if not path.name.startswith((".", "~$")))


def _require_folder(folder: Path) -> None:
    if folder.is_file():
        raise UserError(f"data.dir={folder}: is a file; type data.path={folder}")
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder; name it where it is: data.dir=FOLDER")


def _is_word(ticker: str, name: str) -> bool:
    """Whether a ticker is a word of a file's name, with or without the suffix of an exchange: INFY in a_INFY.NS.

    BRK and B are not words of BRK-B, which is another stock.
    """
    bare = ticker.lstrip("^")
    before = r"(?<![\w.])" if len(bare) > 1 else r"(?<![\w.-])"
    word = rf"{before}{re.escape(bare)}(?!\w|[-.]\w\b)"
    return re.search(word, name.replace("_", " "), re.IGNORECASE) is not None


def is_parquet(path: Path) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def _has_rows_of(path: Path, ticker: str, data: CsvConfig) -> bool:
    try:
        header = header_of(path, data)
        if header.tickers is None and header.column("ticker", ticker) is None:
            return False  # without reading the rest
        return read(path, ticker, data).ticker != ""
    except (UserError, columns.AmbiguousTableError, csv.Error):
        return False


def header_of(path: Path, data: CsvConfig) -> Header:
    """The header alone, with the columns of data.columns that the file has. Raises as `read`."""
    return whole(path, data, lenient=True).header if is_parquet(path) else beginning(path, data)[0]


def beginning(path: Path, data: CsvConfig) -> tuple[Header, list[list[str]]]:
    """The header of a text or a spreadsheet, and its first rows. Raises as `read`."""
    content = containers.content(path)
    rows = containers.rows(path, content)
    with user_errors(path):
        if rows is None:
            lines = text_tables.split_lines(containers.text(path, content), data.columns)
            _, rows = text_tables.parse_head(lines[:HEAD], data.columns)
        header = columns.header(rows[:HEAD], data.columns, has_names=data.header)
        return header.with_columns(data.columns, lenient=True), rows[:HEAD]


def read(path: Path, ticker: str, data: CsvConfig, *, sole: bool = False, lenient: bool = False) -> Table:
    """The ticker's rows, without blank ones at the end; with `sole`, of a single stock by any name.

    With `lenient`, the file may lack columns that data.columns names. Raises UserError where the file is not a table,
    or only holds other tickers.
    """
    with user_errors(path):
        return of_ticker(whole(path, data, lenient=lenient), ticker, sole=sole)


def whole(path: Path, data: CsvConfig, *, lenient: bool = False) -> Table:
    """All rows of the file, without blank ones at the end. Raises UserError."""
    with user_errors(path):
        table = _parquet(path) if is_parquet(path) else _table(path, data.columns, has_names=data.header)
        if not data.columns:
            return table
        return replace(table, header=table.header.with_columns(data.columns, lenient=lenient))


@contextlib.contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """Turn errors of an ambiguous or malformed table into a UserError."""
    try:
        yield
    except columns.AmbiguousTableError as error:
        raise UserError(f"{path}: {error}") from error
    except csv.Error as error:
        raise UserError(f"{path}: is not a table ({error}); save the bars again") from error


def of_each_stock(path: Path, data: CsvConfig) -> dict[str, Table]:
    """The rows that may be of each stock of the file, as `by_ticker`; read once per panel. Raises UserError."""
    return reading.once(key_of(path, data), lambda: by_ticker(whole(path, data)))


def key_of(path: Path, data: CsvConfig) -> tuple[Any, ...]:
    """What the stocks of a file depend on."""
    return path, tuple(data.columns.items()), data.header


def by_ticker(table: Table) -> dict[str, Table]:
    """The rows that may be of each stock, by its name in the file; empty if the file names no stocks."""
    header = table.header
    if header.tickers is not None:
        return dict.fromkeys(_stocks_of_columns(header), table)
    with user_errors(table.path):
        column = header.column("ticker", "")
    if column is None or not _holds_tickers(table, column):
        return {}
    texts = _texts(table.cells[column])
    anyone = (table.widths != len(header.names)) | (texts == "").to_numpy()  # reported for every stock
    codes, names = pd.factorize(texts, sort=True)
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    own = {printable_name(str(name)): slice(edges[n], edges[n + 1]) for n, name in enumerate(names) if name}
    if anyone.any():
        return {name: _rows(table, np.union1d(order[rows], anyone.nonzero()[0])) for name, rows in own.items()}
    by_name = _rows(table, order)
    return {name: _rows(by_name, rows) for name, rows in own.items()}


def _holds_tickers(table: Table, column: int) -> bool:
    """Whether the column names the stock of each row, by its name, or since days come again under other names."""
    date = table.header.column("date", "")
    if table.header.is_surely_tickers(column) or date is None:
        return table.header.is_surely_tickers(column)
    days, names = table.cells[date].astype(str), _texts(table.cells[column])
    return bool(days.duplicated().any()) and names.nunique() > 1


def _texts(column: pd.Series[Any]) -> pd.Series[str]:
    """Tickers as text, whole numbers without a point; empty where there is none."""
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(str).str.strip().mask(column.isna().to_numpy(dtype=bool), "")


def _stocks_of_columns(header: Header) -> list[str]:
    """The stocks that the header names above the columns."""
    assert header.tickers is not None
    own = [printable_name(spelt) for spelt, name in zip(header.tickers, header.names, strict=True) if name]
    return list(dict.fromkeys(own[1:] if header.names[0] else own))


def _rows(table: Table, chosen: NDArray[np.int64] | slice) -> Table:
    cells, lines, widths = table.cells.iloc[chosen], table.lines[chosen], table.widths[chosen]
    return replace(table, cells=cells, lines=lines, widths=widths)


def _table(path: Path, given: Given, *, has_names: bool) -> Table:
    content = containers.content(path)
    rows = containers.rows(path, content)
    if rows is None:
        lines = text_tables.split_lines(containers.text(path, content).rstrip("\n"), given)
        delimiter, head = text_tables.parse_head(lines[:HEAD], given)
    else:
        head = rows[:HEAD]
    header = columns.header(head, given, has_names=has_names)
    names, notes = len(header.names), list[str]()
    if rows is None and not (encoding := containers.encoding(content)).startswith("utf-8"):
        notes.append(f"text in {encoding}")
    if not any(map(str.strip, header.names)):
        raise UserError(f"{path}: is empty; save the bars again")
    if rows is None:
        cells = text_tables.parse_cells(path, lines, delimiter, max(names, *(len(row) + 20 for row in head)))
    else:
        cells = pd.DataFrame(rows, dtype=str)
    is_filled = (cells != "").to_numpy()
    widths = np.where(is_filled[:, names:].any(axis=1), names + 1, names)
    if rows is None:
        for row in np.flatnonzero(~is_filled[:, names - 1] & (widths == names)):  # pandas pads short lines
            widths[row] = min(names, len(text_tables.parse_lines([lines[row]], delimiter)[0]))
    filled = np.flatnonzero(is_filled.any(axis=1))
    while len(filled) and filled[-1] > header.first:
        last = cells.iloc[filled[-1]][is_filled[filled[-1]]].tolist()
        if not text_tables.is_footnote(last, names):
            break
        notes.insert(0, f"left out below the bars: {textwrap.shorten(' '.join(last), 60, placeholder=' …')!r}")
        filled = filled[:-1]
    chosen = slice(header.first, int(filled.max(initial=-1)) + 1)
    return Table(path, header, cells[chosen], np.arange(1, len(cells) + 1)[chosen], widths[chosen], notes=tuple(notes))


def _parquet(path: Path) -> Table:
    cells = containers.parquet(path)
    if cells.columns.nlevels == 1:
        header = Header(tuple(map(str, cells.columns)), 0)
    else:
        levels = [[str(name) for name in cells.columns.get_level_values(n)] for n in range(2)]
        names, tickers = sorted(levels, key=columns.figures_named, reverse=True)
        header = Header((max(names[0], tickers[0]), *names[1:]), 0, tickers=("", *tickers[1:]))
    cells = cells.set_axis(range(cells.shape[1]), axis=1)
    cells = cells.iloc[: int(cells.notna().any(axis=1).to_numpy().nonzero()[0].max(initial=-1)) + 1]
    return Table(path, header, cells, np.arange(1, len(cells) + 1), np.full(len(cells), cells.shape[1]))


def of_ticker(table: Table, ticker: str, *, sole: bool = False) -> Table:
    """The ticker's rows; with `sole`, of a single stock by any name. Raises UserError."""
    header, column = table.header, table.header.column("ticker", ticker)
    if header.tickers is not None:
        held = _stocks_of_columns(header)
    elif column is not None:
        texts = _texts(table.cells[column])
        held = list(texts.unique())
    else:
        return table
    names = {spelt: printable_name(spelt) for spelt in held}
    alike = [spelt for spelt, name in names.items() if name == ticker]
    alike = alike or [spelt for spelt, name in names.items() if name.upper() == ticker.upper()]
    alike = alike or [spelt for spelt in held if same_ticker(spelt, ticker)]
    if not alike and column is not None and not _holds_tickers(table, column):
        return table
    if not alike and sole and len(held) == 1:
        alike = held
    if len(alike) != 1:
        which = f"{', '.join(held[:20])}{', …' if len(held) > 20 else ''}" or "none"
        raise UserError(f"{table.path}: its tickers are {which}, not {ticker}; choose one with stock.ticker=")
    if column is not None and header.tickers is None:
        # A row of another length may belong to any stock: it is reported and not skipped.
        mine = (texts == alike[0]).to_numpy() | (table.widths != len(header.names))
        nobody = (texts == "").to_numpy() & ~mine
        if nobody.any():
            raise UserError(f"{table.where(int(nobody.argmax()))}: has no ticker; fix or delete the line")
        table = _rows(table, mine.nonzero()[0])
    return replace(table, ticker=alike[0], tickers=len(held))
