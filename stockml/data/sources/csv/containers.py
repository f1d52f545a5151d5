"""Opens the file of a table, packed or not: as text, or as the rows of a spreadsheet, of JSON records or of Parquet.

What a file is shows in its first bytes, not in its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from stockml.data.sources.csv import spreadsheets
from stockml.errors import UserError
from stockml.runs import plain_files

Rows = list[list[str]]
_RATIO = 30  # text of bars is packed to a tenth at best
_PARQUET_RATIO = 200  # a column of one value takes next to nothing
_COPIES = 16  # of a table, while its cells are texts in memory
_SOME_BYTES = 2**28
_CELL_BYTES = 32  # that even an empty one takes


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is packed; those of a spreadsheet as they are. Raises UserError."""
    packed = plain_files.read(path, copies=_COPIES)
    try:
        stream = _unpacked(path, packed)
        return packed if stream is None else plain_files.unpacked(path, stream.read, _RATIO, _COPIES)
    except (zlib.error, EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise _unpackable(path, error) from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # zstandard's own, known only where it is installed
            raise
        raise _unpackable(path, error) from error


def _unpackable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be unpacked ({error}); it may be truncated: save it again")


def _unpacked(path: Path, packed: bytes) -> BinaryIO | None:
    """The stream of a packed file's bytes, unpacked; None where it is not packed, or a spreadsheet."""
    file = io.BytesIO(packed)
    if packed.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.open(file))
    if packed.startswith(b"BZh"):
        return cast("BinaryIO", bz2.open(file))
    if packed.startswith(b"\xfd7zXZ\0"):
        return cast("BinaryIO", lzma.open(file))
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            import zstandard
        except ImportError as error:
            raise UserError(f"{path}: reading zst needs zstandard: pip install 'stockml[zstd]'") from error
        return cast("BinaryIO", zstandard.open(file, "rb"))
    if packed.startswith(b"PK\x03\x04"):
        archive = zipfile.ZipFile(file)
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        is_sheet = not spreadsheets.MEMBERS.isdisjoint(names)
        plain_files.archive_size(path, spreadsheets.RATIO if is_sheet else _RATIO)
        if not is_sheet:
            if len(names) != 1:
                raise UserError(f"{path}: holds {len(names)} files; unpack it, and name the folder: data.dir=FOLDER")
            return cast("BinaryIO", archive.open(names[0]))
    return None


def text(path: Path, content: bytes) -> str:
    """The text of the bytes of a file, with lines that end in \\n. Raises UserError."""
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not a text file ({error.reason} at byte {error.start}); save it as UTF-8 CSV"
        ) from error
    if "\0" in text:
        raise UserError(f"{path}: is not a text file (a zero byte at {text.index(chr(0))}); save it as UTF-8 CSV")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def rows(path: Path, content: bytes) -> Rows | None:
    """The cells of a spreadsheet's first sheet or of JSON records, as text; None of any other table.

    Rows have the same length; those of JSON objects begin with the names. Raises UserError.
    """
    if content.startswith((b"PK\x03\x04", spreadsheets.XLS)):
        sheet = spreadsheets.first_sheet(path, content)
        found = [[_shown(cell) for cell in row] for row in sheet.itertuples(index=False, name=None)]
    elif re.match(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*[{\[]|\{\s*\")", content):
        found = _records(path, text(path, content))
    else:
        return None
    width = max(map(len, found), default=0)
    require_cells(path, len(found) * width)
    return [[*row, *[""] * (width - len(row))] for row in found]


def require_cells(path: Path, number: int) -> None:
    """UserError where a table of so many cells, most of them empty, would not fit into memory."""
    plain_files.require_memory(path, number * _CELL_BYTES, "fix the longest row")


def _records(path: Path, text: str) -> Rows:
    """The rows of a list of objects or of lists, alone or as the one list in an object; or of one object a line."""
    try:
        try:
            found = _parsed(text)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            found = [_parsed(line) for line in text.splitlines() if line.strip()]
        if isinstance(found, dict):
            lists = [value for value in found.values() if isinstance(value, list) and value]
            found = lists[0] if len(lists) == 1 else [found]
        if all(isinstance(record, dict) for record in found):
            names = list(dict.fromkeys(name for record in found for name in record))
            require_cells(path, len(found) * len(names))
            found = [names, *([record.get(name) for name in names] for record in found)]
        if not all(isinstance(record, list) for record in found):
            raise ValueError("it has no list of records alone")
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path}: holds no JSON records, [{{"date": …, "close": …}}, …] ({error})') from error
    return [[_shown(cell) for cell in record] for record in found]


def _parsed(text: str) -> Any:
    """A JSON text whose numbers stay as they are written. Raises ValueError."""
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{pairs[0][0]} or another name is there twice")
    return found


def _shown(cell: Any) -> str:
    """A cell as text: exact to the last digit."""
    text = "" if cell is None else str(cell)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()  # JSON can have half a character


def parquet(path: Path) -> pd.DataFrame:
    """The table of a Parquet file, its index among the columns if it has a name or holds days. Raises UserError."""
    try:
        _check_parquet(path)
        cells = pd.read_parquet(path)
        if any(name is not None for name in cells.index.names) or cells.index.dtype.kind == "M":
            cells = cells.reset_index(names=[name or "" for name in cells.index.names])
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'stockml[parquet]'") from error
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    return cells


def parquet_names(path: Path) -> tuple[str, ...]:
    """The names of a Parquet file's columns, without its rows. Raises UserError."""
    try:
        from pyarrow import parquet

        with plain_files.opened(path) as file:
            return tuple(map(str, parquet.ParquetFile(file).schema_arrow.names))
    except (ImportError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def _check_parquet(path: Path) -> None:
    """UserError where a file declares more rows than there is memory for, or than its size can hold."""
    from pyarrow import parquet

    with plain_files.opened(path) as opened, parquet.ParquetFile(opened) as file:
        facts = file.metadata
        groups = [facts.row_group(n) for n in range(facts.num_row_groups)]
        chunks = [group.column(n) for group in groups for n in range(facts.num_columns)]
        size = 8 * sum(chunk.num_values for chunk in chunks)
        plain_files.require_sound_packing(path, size, _PARQUET_RATIO)
        plain_files.require_memory(path, max(size * _COPIES / 8, sum(group.total_byte_size for group in groups)))
        texts = [chunk for chunk in chunks if chunk.physical_type.endswith("BYTE_ARRAY")]
        largest = max((chunk.total_uncompressed_size for chunk in texts), default=1)  # no text of theirs is longer
        some = max(100, _SOME_BYTES // max(1, largest))
        names, size = sorted({chunk.path_in_schema for chunk in texts}), 0
        for batch in file.iter_batches(some, columns=names) if names else ():  # one long text may be in every row
            size += batch.nbytes
            plain_files.require_sound_packing(path, size, _PARQUET_RATIO)
            plain_files.require_memory(path, size * _COPIES / 8)
