"""Files and folders that somebody else may have made: only plain files are read, and none that does not fit."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from stockml.errors import UserError
from stockml.processes import machine

MOST_JSON_BYTES = 10**8
_ALWAYS_UNPACKED = 2**26
"""Bytes that a packed file may hold however small it is."""
_COPIES = 2
"""How often what is read may be in memory at once."""
_CHUNK = 2**20
_CELL_BYTES = 32  # that even an empty one takes


def opened(path: Path) -> BinaryIO:
    """Open a plain file to read it; UserError where it is none. Raises OSError as `open` does.

    A pipe would be waited for, a device never ends, and /proc has this program's environment.
    """
    kind = path.stat().st_mode  # opening a device can already do something
    if stat.S_ISREG(kind) and Path(os.path.realpath(path)).parts[1:2] not in (("proc",), ("sys",)):
        return os.fdopen(os.open(path, os.O_RDONLY | _FLAGS), "rb")
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(21, os.strerror(21), str(path))
    raise UserError(f"{path}: is no plain file, but a pipe, a device or the like; remove it, or name another")


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read(path: Path, most: int | None = None, copies: int = _COPIES) -> bytes:
    """A plain file's bytes; UserError where it is larger than `most`, or does not fit into memory so many times."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise UserError(f"{path}: has {size:,} bytes, is larger than what stockml writes there ({most:,} at most)")
        if size > _CHUNK:
            require_memory(path, size * copies)
        return file.read(size + 1)


def require_memory(what: Path | str, size: float, remedy: str = "take a part of it") -> None:
    """UserError where a file or a setting needs more memory than this machine has free."""
    free = machine.free_memory()
    if size > free:
        raise UserError(
            f"{what}: would need {size / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; {remedy}, or a "
            "larger machine"
        )


def require_cells(path: Path, number: int) -> None:
    """UserError where a table of so many cells, most of them empty, would not fit into memory."""
    require_memory(path, number * _CELL_BYTES, "fix the longest row")


def require_sound_packing(path: Path, unpacked: int, ratio: int, packed: int | None = None) -> None:
    """UserError where a packed file unpacks to more than `ratio` times its size, which no table of numbers does."""
    size = path.stat().st_size if packed is None else packed
    if unpacked > max(_ALWAYS_UNPACKED, ratio * size):
        raise UserError(
            f"{path}: has {size:,} bytes, and unpacks to more than {ratio} times as many, as no table of numbers does; "
            "unpack it yourself, and look what it is"
        )


def unpacked(path: Path, read: Callable[[int], bytes], ratio: int, copies: int = _COPIES) -> bytes:
    """What `read` unpacks of a file, as `gzip.GzipFile.read` does; UserError as soon as it grows too large."""
    size, content, free = path.stat().st_size, bytearray(), machine.free_memory()
    while chunk := read(_CHUNK):
        content += chunk
        require_sound_packing(path, len(content), ratio, size)
        if len(content) * copies > free:
            require_memory(path, len(content) * copies)
    return bytes(content)


def archive_size(path: Path, ratio: int) -> int:
    """The bytes that a zip archive (.npz, .xlsx, .pt) declares, beyond which zipfile reads nothing.

    UserError where these are too many for its size. Raises zipfile.BadZipFile where it is no archive.
    """
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    require_sound_packing(path, size, ratio)
    return size


def require_own_files(folder: Path) -> None:
    """UserError where a folder, or one in it, has a link that leads out of it, or what is no plain file.

    So nothing is read from, and nothing written to, what lies elsewhere.
    """
    root = folder.resolve()
    for entry in _entries(root):
        if entry.is_symlink():
            if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                raise UserError(f"{entry.path}: is a link out of the folder; remove it, or put what it leads to there")
        elif not entry.is_file() and not entry.is_dir():
            raise UserError(f"{entry.path}: is no plain file, but a pipe, a device or the like; remove it")


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)


def inside(folder: Path, name: str) -> Path:
    """The path of a name that a file gives, in a folder; UserError where it leads out of it."""
    path = Path(os.path.normpath(folder / name))
    if path == folder or not path.is_relative_to(Path(os.path.normpath(folder))) or "\0" in name:
        raise UserError(
            f"{folder}: its files name {name!r}, which is not in this folder; it was not written by stockml"
        )
    return path
