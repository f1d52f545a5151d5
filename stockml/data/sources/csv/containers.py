"""Opens the file of a table, packed or not: as text, or as the rows of a spreadsheet, of JSON records or of Parquet.

What a file is shows in its first bytes, not in its name.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import pandas as pd

from stockml.data.bars import NoTableError
from stockml.data.sources.csv import json_tables, spreadsheets
from stockml.data.sources.csv.column_names import is_known
from stockml.errors import UserError
from stockml.runs import plain_files

Rows = list[list[str]]
_RATIO = 30  # text of bars is packed to a tenth at best
_PARQUET_RATIO = 200  # a column of one value takes next to nothing
_HEAD_BYTES = 10_000
_ENCODINGS = ("ascii", "cp1252", "cp1250", "cp1251", "gb18030", "big5", "cp932", "cp949")
_FEWEST_KNOWN = 3  # names of columns: a date, a price, and another
_WIDE = ("utf-16-le", "utf-16-be")
_COPIES = 16  # of a table, while its cells are texts in memory
_SOME_BYTES = 2**28


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
            if any(archive.getinfo(name).flag_bits & 1 for name in names):
                raise UserError(f"{path}: is protected by a password; unpack it, and name the file: data.path=FILE")
            if len(names) != 1:
                remedy = "unpack it, and name the folder: data.dir=FOLDER" if names else "save the bars again"
                raise UserError(f"{path}: holds {len(names) or 'no'} files; {remedy}")
            return cast("BinaryIO", archive.open(names[0]))
    return None


def encoding(content: bytes) -> str:
    """The encoding of a text: UTF-8 or UTF-16, else the one in which the names of its columns are known.

    Where these are ASCII and the rest is not, as names of companies, numbers are the same in any: Western Europe's.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    with contextlib.suppress(UnicodeDecodeError):
        if "\0" not in content.decode("utf-8-sig"):
            return "utf-8-sig"
    names = _WIDE if b"\0" in content else _ENCODINGS
    heads = {name: re.split(r'[,;|\t\n\r"]', content[:_HEAD_BYTES].decode(name, "replace")) for name in names}
    known = {name: sum(is_known(cell) for cell in cells if cell.strip()) for name, cells in heads.items()}
    best = max(known, key=lambda name: known[name])
    if known[best] > known.get("ascii", 0):
        return best
    if known.get("ascii", 0) < _FEWEST_KNOWN:
        return "utf-8-sig"
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"  # which has a sign for every byte, so that two names never become one
    return "cp1252"


def text(path: Path, content: bytes, name: str = "") -> str:
    """The text of a file's bytes, in this encoding if one is named, with lines that end in \\n. Raises UserError."""
    try:
        text = content.decode(name or encoding(content))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is no text in UTF-8 ({error.reason} at byte {error.start}), nor in another encoding, as cp1252 "
            "or gb18030, in which its columns have known names; save it as UTF-8 CSV"
        ) from error
    if "\0" in text:
        raise UserError(f"{path}: is not a text file (a zero byte at {text.index(chr(0))}); save it as UTF-8 CSV")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def rows(path: Path, content: bytes) -> Rows | None:
    """The cells of a spreadsheet's sheet of bars or of JSON, as text; None of any other table.

    Rows have the same length; those of JSON objects begin with the names. Raises UserError.
    """
    if content.startswith((b"PK\x03\x04", spreadsheets.XLS)):
        sheet = spreadsheets.sheet(path, content)
        found = [[json_tables.shown(cell) for cell in row] for row in sheet.itertuples(index=False, name=None)]
    elif re.match(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*[{\[\]]|\{\s*\")", content):
        found = json_tables.rows(path, text(path, content, json.detect_encoding(content)))
    elif re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|table|meta|div|\?xml)\b", content, re.IGNORECASE):
        raise NoTableError(path, "is a web page or XML", "open it in a spreadsheet program and save it as CSV")
    else:
        return None
    width = max(map(len, found), default=0)
    plain_files.require_cells(path, len(found) * width)
    return [[*row, *[""] * (width - len(row))] for row in found]


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
