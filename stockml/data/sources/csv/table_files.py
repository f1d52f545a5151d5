"""Finds the file of a ticker and reads its table as text."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.config.schema import nearest
from stockml.data.bars import place
from stockml.data.sources.csv import columns
from stockml.data.sources.csv.columns import NO_COLUMNS, Given, Header, same_ticker
from stockml.errors import UserError
from stockml.runs import plain_files

if TYPE_CHECKING:
    from stockml.data.sources.csv import CsvConfig

ENDINGS = (".csv", ".csv.gz", ".parquet", ".txt")
_RATIO = 30  # text of bars is packed to a tenth at best
_PARQUET_RATIO = 200  # a column of one value takes next to nothing
_COPIES = 16  # of a table, while its cells are texts in memory
_DELIMITERS = ",;\t|"
_HEAD = 40
"""Number of rows that may hold the names of the columns."""


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

    def where(self, row: int) -> str:
        """File and line, as shown to the user."""
        return place(str(self.path), int(self.lines[row]))


def find(data: CsvConfig, ticker: str) -> Path:
    """The file `data.path`; else the one in `data.dir` whose name is the ticker or has it as a word, or which has rows
    of the ticker. Raises UserError where there is none or where several fit."""
    if data.path is not None:
        if not Path(data.path).is_file():
            raise UserError(f"data.path={data.path}: there is no such file")
        return Path(data.path)
    folder = Path(str(data.dir))
    _require_folder(folder)
    for ending in ENDINGS:
        if (folder / f"{ticker}{ending}").is_file():
            return folder / f"{ticker}{ending}"
    tables = files(folder)
    found = [path for path in tables if _is_word(ticker, stem(path))] or [
        p for p in tables if _has_rows_of(p, ticker, data.columns)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise UserError(f"data.dir={folder}: {names} may each be {ticker}; choose one with data.path=FILE")
    there = [stem(path) for path in tables]
    held = f"{', '.join(there[:20])}{', …' if len(there) > 20 else ''}" or "no csv or parquet file"
    raise UserError(
        f"data.dir={folder}: holds no {ticker}.csv, .csv.gz, .parquet or .txt, and no other file of {ticker}; "
        f"it holds {held}{nearest(ticker, there)}"
    )


def files(folder: Path) -> list[Path]:
    """The tables in `data.dir`, sorted by name. Raises UserError where there is no such folder."""
    _require_folder(folder)
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.is_file())


def _require_folder(folder: Path) -> None:
    if folder.is_file():
        raise UserError(f"data.dir={folder}: is a file; type data.path={folder}")
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder")


def stem(path: Path) -> str:
    """A file's name without its ending."""
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _is_word(ticker: str, name: str) -> bool:
    """Whether a ticker is a word of a file's name, with or without the suffix of an exchange: INFY in a_INFY.NS.

    BRK and B are not words of BRK-B, which is another stock.
    """
    bare = ticker.lstrip("^")
    before = r"(?<![\w.])" if len(bare) > 1 else r"(?<![\w.-])"
    word = rf"{before}{re.escape(bare)}(?!\w|[-.]\w\b)"
    return re.search(word, name.replace("_", " "), re.IGNORECASE) is not None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _has_rows_of(path: Path, ticker: str, given: Given) -> bool:
    try:
        if not _is_parquet(path):
            header = columns.header(_head(_text(path).split("\n", _HEAD)[:_HEAD], given)[1], given)
            header = header.with_columns(given, lenient=True)
            if header.tickers is None and header.column("ticker", ticker) is None:
                return False  # without reading the rest
        return read(path, ticker, given).ticker != ""
    except (UserError, columns.AmbiguousTableError, csv.Error):
        return False


def read(path: Path, ticker: str, given: Given = NO_COLUMNS, *, sole: bool = False, lenient: bool = False) -> Table:
    """The ticker's rows, without blank ones at the end; with `sole`, of a single stock by any name.

    `given` are the columns that data.columns names; with `lenient`, the file may lack some. Raises UserError where the
    file is not a table, or only holds other tickers.
    """
    with user_errors(path):
        return of_ticker(whole(path, given, lenient=lenient), ticker, sole=sole)


def whole(path: Path, given: Given = NO_COLUMNS, *, lenient: bool = False) -> Table:
    """All rows of the file, without blank ones at the end. Raises UserError."""
    with user_errors(path):
        table = _parquet(path) if _is_parquet(path) else _text_table(path, given)
        return replace(table, header=table.header.with_columns(given, lenient=lenient)) if given else table


@contextlib.contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """Turn errors of an ambiguous or malformed table into a UserError."""
    try:
        yield
    except columns.AmbiguousTableError as error:
        raise UserError(f"{path}: {error}") from error
    except csv.Error as error:
        raise UserError(f"{path}: is not a table ({error}); save the bars again") from error


def by_ticker(table: Table) -> dict[str, Table]:
    """The rows that may be of each stock, by its name in the file; empty if the file names no stocks."""
    header = table.header
    if header.tickers is not None:
        return dict.fromkeys(_stocks_of_columns(header), table)
    with user_errors(table.path):
        column = header.column("ticker", "")
    if column is None or not header.is_surely_tickers(column):
        return {}
    texts = table.cells[column].astype(str).str.strip()
    anyone = (table.widths != len(header.names)) | (texts == "").to_numpy()  # reported for every stock
    groups = {str(name): rows for name, rows in texts.groupby(texts, sort=False).indices.items() if name}
    return {name: _rows(table, np.union1d(groups[name], anyone.nonzero()[0])) for name in sorted(groups)}


def _stocks_of_columns(header: Header) -> list[str]:
    """The stocks that the header names above the columns."""
    assert header.tickers is not None
    own = [spelt for spelt, name in zip(header.tickers, header.names, strict=True) if name]
    return list(dict.fromkeys(own[1:] if header.names[0] else own))


def _rows(table: Table, chosen: NDArray[np.int64]) -> Table:
    cells, lines, widths = table.cells.iloc[chosen], table.lines[chosen], table.widths[chosen]
    return replace(table, cells=cells, lines=lines, widths=widths)


def _text_table(path: Path, given: Given) -> Table:
    text = _text(path).rstrip("\n")
    lines = text.split("\n")
    delimiter, head = _head(lines[:_HEAD], given)
    header = columns.header(head, given)
    names = len(header.names)
    if not any(map(str.strip, header.names)):
        raise UserError(f"{path}: is empty; save the bars again")
    width = min(max(line.count(delimiter) for line in lines) + 1, max(map(len, head)) + 20)
    try:
        # Blank lines are kept, so that a row's number is that of its line.
        cells = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=None,
            names=list(range(max(width, names))),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); fix the line") from error
    if len(cells) != len(lines):
        broken = cells.apply(lambda column: column.str.contains("\n", regex=False)).any(axis=1)
        raise UserError(f"{path}, line {int(broken.argmax()) + 1}: has a quote that is not closed on the line; fix it")
    widths = np.where((cells[range(names, cells.shape[1])] != "").to_numpy().any(axis=1), names + 1, names)
    for row in np.flatnonzero((cells[names - 1].to_numpy() == "") & (widths == names)):  # pandas pads short lines
        widths[row] = min(names, len(_fields([lines[row]], delimiter)[0]))
    filled = np.flatnonzero((cells != "").to_numpy().any(axis=1))
    rows = slice(header.first, int(filled.max(initial=-1)) + 1)
    return Table(path, header, cells[rows], np.arange(1, len(cells) + 1)[rows], widths[rows])


def _text(path: Path) -> str:
    """The text of a file, gzipped or not, with lines that end in \\n."""
    content = plain_files.read(path, copies=_COPIES)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = plain_files.unpacked(path, gzip.GzipFile(fileobj=io.BytesIO(content)).read, _RATIO, _COPIES)
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not a text file ({error.reason} at byte {error.start}); save it as UTF-8 CSV"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); it may be truncated: save it again") from error
    if "\0" in text:
        raise UserError(f"{path}: is not a text file (a zero byte at {text.index(chr(0))}); save it as UTF-8 CSV")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _head(lines: list[str], given: Given) -> tuple[str, list[list[str]]]:
    """The delimiter that gives most columns with a known name, and the cells of the lines."""
    if re.fullmatch("sep=.", lines[0].strip()):  # as for Excel
        return lines[0].strip()[-1], [[], *_fields(lines[1:], lines[0].strip()[-1])]
    heads = {delimiter: _fields(lines, delimiter) for delimiter in _DELIMITERS}
    named = {d: max(columns.figures_named(row, given) for row in heads[d]) for d in heads}
    # Without names, a comma may be the decimal one.
    best = max(heads, key=lambda d: (named[d], max(map(len, heads[d])), bool(given) and not named[d] and d != ","))
    return best, heads[best]


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    """The cells of each line, parsed on its own."""
    reader = (next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []) for line in lines)
    return list(reader)


def _parquet(path: Path) -> Table:
    try:
        _check_parquet(path)
        cells = pd.read_parquet(path)
        if any(name is not None for name in cells.index.names) or cells.index.dtype.kind == "M":
            cells = cells.reset_index(names=[name or "" for name in cells.index.names])
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'stockml[parquet]'") from error
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if cells.columns.nlevels == 1:
        header = Header(tuple(map(str, cells.columns)), 0)
    else:
        levels = [[str(name) for name in cells.columns.get_level_values(n)] for n in range(2)]
        names, tickers = sorted(levels, key=columns.figures_named, reverse=True)
        header = Header((max(names[0], tickers[0]), *names[1:]), 0, tickers=("", *tickers[1:]))
    cells = cells.set_axis(range(cells.shape[1]), axis=1)
    cells = cells.iloc[: int(cells.notna().any(axis=1).to_numpy().nonzero()[0].max(initial=-1)) + 1]
    return Table(path, header, cells, np.arange(1, len(cells) + 1), np.full(len(cells), cells.shape[1]))


def _check_parquet(path: Path) -> None:
    """UserError where a file declares more rows than there is memory for, or than its size can hold."""
    from pyarrow import parquet

    with plain_files.opened(path) as file:
        facts = parquet.ParquetFile(file).metadata
    size = 8 * facts.num_rows * facts.num_columns
    plain_files.require_sound_packing(path, size, _PARQUET_RATIO)
    plain_files.require_memory(path, size * _COPIES / 8)


def of_ticker(table: Table, ticker: str, *, sole: bool = False) -> Table:
    """The ticker's rows; with `sole`, of a single stock by any name. Raises UserError."""
    header, column = table.header, table.header.column("ticker", ticker)
    if header.tickers is not None:
        held = _stocks_of_columns(header)
    elif column is not None:
        texts = table.cells[column].astype(str).str.strip()
        held = list(texts.unique())
    else:
        return table
    alike = [spelt for spelt in held if spelt.upper() == ticker.upper()] or [t for t in held if same_ticker(t, ticker)]
    if not alike and column is not None and not header.is_surely_tickers(column):
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
