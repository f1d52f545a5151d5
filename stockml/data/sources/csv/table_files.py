"""A table as it stands in its file: found by its ticker, its cells read as text."""

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
from stockml.data.sources.csv.columns import Header, same_ticker
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.sources.csv import CsvConfig

ENDINGS = (".csv", ".csv.gz", ".parquet", ".txt")
_DELIMITERS = ",;\t|"
_HEAD = 40
"""Rows among which the names of the columns are looked for."""


@dataclass(frozen=True)
class Table:
    """The rows of one stock."""

    path: Path
    header: Header
    cells: pd.DataFrame
    """A column each as in the header; text, but what a Parquet file holds as numbers or stamps."""
    lines: NDArray[np.int64]
    """(R,) where each row stands in the file, from 1."""
    widths: NDArray[np.int64]
    """(R,) how many cells each row has; as many as there are names, where it has all of them."""
    ticker: str = ""
    """The stock, as the table spells it; empty where the table says nothing of that."""
    tickers: int = 0
    """How many stocks the file names."""

    def where(self, row: int) -> str:
        """File and line, as they are told."""
        return place(str(self.path), int(self.lines[row]))


def find(data: CsvConfig, ticker: str) -> Path:
    """The file that `data.path` names; else that in `data.dir` named by the ticker, or with the ticker as a word of its
    name, or which has rows of that ticker. UserError where there is none, or where several fit."""
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
    found = [path for path in tables if _is_word(ticker, stem(path))] or [p for p in tables if _has_rows_of(p, ticker)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise UserError(f"data.dir={folder}: {names} may each be {ticker}; name one with data.path=FILE")
    there = [stem(path) for path in tables]
    held = f"{', '.join(there[:20])}{', …' if len(there) > 20 else ''}" or "no csv or parquet file at all"
    raise UserError(
        f"data.dir={folder}: holds no {ticker}.csv, .csv.gz, .parquet or .txt, nor another file of {ticker}; "
        f"it holds {held}{nearest(ticker, there)}"
    )


def files(folder: Path) -> list[Path]:
    """The tables in `data.dir`, by name. Raises UserError where there is no such folder."""
    _require_folder(folder)
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.is_file())


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder")


def stem(path: Path) -> str:
    """A file's name without its ending."""
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _is_word(ticker: str, name: str) -> bool:
    """Whether a ticker is a word of a file's name, with or without an exchange's two letters: INFY in a_INFY.NS.

    BRK is no word of BRK-B, which is another stock, nor is B.
    """
    bare = ticker.lstrip("^")
    before = r"(?<![\w.])" if len(bare) > 1 else r"(?<![\w.-])"
    word = rf"{before}{re.escape(bare)}(?!\w|[-.]\w\b)"
    return re.search(word, name.replace("_", " "), re.IGNORECASE) is not None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _has_rows_of(path: Path, ticker: str) -> bool:
    try:
        if not _is_parquet(path):
            header = columns.header(_head(_text(path).split("\n", _HEAD)[:_HEAD])[1])
            if header.tickers is None and header.column("ticker", ticker) is None:
                return False  # told by its first lines, without reading the rest
        return read(path, ticker).ticker != ""
    except (UserError, columns.Unclear, csv.Error):
        return False


def read(path: Path, ticker: str, *, sole: bool = False) -> Table:
    """The ticker's rows, less blank ones at the end; of a `sole` stock in the file its rows, however it is called.

    UserError where the file is no table, or holds other tickers alone.
    """
    with clear(path):
        return of_ticker(whole(path), ticker, sole=sole)


def whole(path: Path) -> Table:
    """All rows of the file, less blank ones at the end. Raises UserError."""
    with clear(path):
        return _parquet(path) if _is_parquet(path) else _text_table(path)


@contextlib.contextmanager
def clear(path: Path) -> Iterator[None]:
    """What is unclear in a file, or no table at all, becomes a UserError."""
    try:
        yield
    except columns.Unclear as error:
        raise UserError(f"{path}: {error}") from error
    except csv.Error as error:
        raise UserError(f"{path}: is no table ({error}); save the bars again") from error


def by_ticker(table: Table) -> dict[str, Table]:
    """The rows that may be of each stock, by the stock's name in the file; empty where the file names none."""
    header = table.header
    if header.tickers is not None:
        return dict.fromkeys(_over_columns(header), table)
    with clear(table.path):
        column = header.column("ticker", "")
    if column is None or not header.is_surely_tickers(column):
        return {}
    texts = table.cells[column].astype(str).str.strip()
    anyone = (table.widths != len(header.names)) | (texts == "").to_numpy()  # told of, whosever it is
    groups = {str(name): rows for name, rows in texts.groupby(texts, sort=False).indices.items() if name}
    return {name: _rows(table, np.union1d(groups[name], anyone.nonzero()[0])) for name in sorted(groups)}


def _over_columns(header: Header) -> list[str]:
    """The stocks that the header names over the columns."""
    assert header.tickers is not None
    own = [spelt for spelt, name in zip(header.tickers, header.names, strict=True) if name]
    return list(dict.fromkeys(own[1:] if header.names[0] else own))


def _rows(table: Table, chosen: NDArray[np.int64]) -> Table:
    cells, lines, widths = table.cells.iloc[chosen], table.lines[chosen], table.widths[chosen]
    return replace(table, cells=cells, lines=lines, widths=widths)


def _text_table(path: Path) -> Table:
    text = _text(path).rstrip("\n")
    lines = text.split("\n")
    delimiter, head = _head(lines[:_HEAD])
    header = columns.header(head)
    names = len(header.names)
    if not any(map(str.strip, header.names)):
        raise UserError(f"{path}: is empty; save the bars again")
    width = min(max(line.count(delimiter) for line in lines) + 1, max(map(len, head)) + 20)
    try:
        # Blank lines are kept, so that a row's number tells its line.
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
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); mend the line") from error
    if len(cells) != len(lines):
        broken = cells.apply(lambda column: column.str.contains("\n", regex=False)).any(axis=1)
        raise UserError(
            f"{path}, line {int(broken.argmax()) + 1}: has a quote that does not end with it; mend the line"
        )
    widths = np.where((cells[range(names, cells.shape[1])] != "").to_numpy().any(axis=1), names + 1, names)
    for row in np.flatnonzero((cells[names - 1].to_numpy() == "") & (widths == names)):  # pandas pads short lines
        widths[row] = min(names, len(_fields([lines[row]], delimiter)[0]))
    filled = np.flatnonzero((cells != "").to_numpy().any(axis=1))
    rows = slice(header.first, int(filled.max(initial=-1)) + 1)
    return Table(path, header, cells[rows], np.arange(1, len(cells) + 1)[rows], widths[rows])


def _text(path: Path) -> str:
    """What the file holds, gzipped or not, its lines ended by \\n alone."""
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text ({error.reason} at byte {error.start}); save it as UTF-8 CSV") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); it may be truncated: save it again") from error
    if "\0" in text:
        raise UserError(f"{path}: is no text (a zero byte at {text.index(chr(0))}); save it as UTF-8 CSV")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _head(lines: list[str]) -> tuple[str, list[list[str]]]:
    """The delimiter under which most columns have a name that is known, and the lines' cells under it."""
    if re.fullmatch("sep=.", lines[0].strip()):  # what Excel is told by
        return lines[0].strip()[-1], [[], *_fields(lines[1:], lines[0].strip()[-1])]
    heads = {delimiter: _fields(lines, delimiter) for delimiter in _DELIMITERS}
    best = max(heads, key=lambda d: (max(map(columns.figures_named, heads[d])), max(map(len, heads[d]))))
    return best, heads[best]


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    """The cells of each line by itself."""
    reader = (next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []) for line in lines)
    return list(reader)


def _parquet(path: Path) -> Table:
    try:
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


def of_ticker(table: Table, ticker: str, *, sole: bool = False) -> Table:
    """The ticker's rows; of a `sole` stock in the file its rows, however it is called. Raises UserError."""
    header, column = table.header, table.header.column("ticker", ticker)
    if header.tickers is not None:
        held = _over_columns(header)
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
        raise UserError(f"{table.path}: its tickers are {which}, not {ticker}; name one with stock.ticker=")
    if column is not None and header.tickers is None:
        # A row of another length may be anyone's, so that it is told rather than passed over.
        mine = (texts == alike[0]).to_numpy() | (table.widths != len(header.names))
        nobody = (texts == "").to_numpy() & ~mine
        if nobody.any():
            raise UserError(f"{table.where(int(nobody.argmax()))}: names no ticker; mend or delete the line")
        table = _rows(table, mine.nonzero()[0])
    return replace(table, ticker=alike[0], tickers=len(held))
