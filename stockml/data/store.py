"""Arrays on disk, keyed by what they are made of: built once, by one process, and checked whenever they are opened."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from stockml.errors import UserError

_FACTS = "facts.json"


@dataclass(frozen=True)
class Stored:
    """Arrays in files, and what is known of them."""

    folder: Path
    heads: Mapping[str, Mapping[str, Any]]
    """Of each array `dtype` and `shape`."""
    facts: Mapping[str, Any]
    content: str
    """A hash of all of it."""

    def size(self, name: str) -> int:
        """Bytes of an array."""
        head = self.heads[name]
        return int(math.prod(head["shape"]) * np.dtype(head["dtype"]).itemsize)

    def array(self, name: str, *, mapped: bool = False) -> NDArray[Any]:
        """An array in memory; or `mapped`, read from its file as needed, where what is written to it does not go."""
        path, dtype, shape = self.folder / name, np.dtype(self.heads[name]["dtype"]), tuple(self.heads[name]["shape"])
        if mapped and self.size(name):
            return np.memmap(path, dtype, "c", shape=shape)
        return np.fromfile(path, dtype).reshape(shape)


class Writer:
    """Takes arrays piece by piece, so that none needs to fit into memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}
        self._heads: dict[str, dict[str, Any]] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows to an array, all of one type and shape."""
        if name not in self._files:
            self._files[name] = (self._folder / name).open("wb")
            self._digests[name] = hashlib.sha256()
            self._heads[name] = {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]}
        raw = np.ascontiguousarray(rows).view(np.uint8).data
        self._files[name].write(raw)
        self._digests[name].update(raw)
        self._heads[name]["shape"][0] += len(rows)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Bring all of it to the disk."""
        for name, file in self._files.items():
            self._heads[name]["sha256"] = self._digests[name].hexdigest()
            _flushed(file)
        with (self._folder / _FACTS).open("wb") as file:
            file.write(json.dumps({"arrays": self._heads, "facts": facts}, ensure_ascii=False).encode())
            _flushed(file)

    def abandon(self) -> None:
        """Close the files, whatever is in them."""
        for file in self._files.values():
            file.close()


def get_or_build(folder: Path, made_of: Any, build: Callable[[Writer], Mapping[str, Any]]) -> Stored:
    """What the folder holds of what is `made_of` such things, JSON, by such code as this.

    Where it is missing or damaged it is made by `build`, which returns the facts: one process builds, the others wait.
    Raises UserError where the folder cannot be used, and what `build` raises.
    """
    key = hashlib.sha256(json.dumps([_hash_of_code(), made_of]).encode()).hexdigest()[:32]
    path = folder / key
    found = _read(path)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{key}.lock"):
            return _read(path) or _built(path, build)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"data.panel_cache={folder}: cannot be used ({reason}); name another folder") from error


def hash_of(path: Path) -> str:
    """A hash of a file's bytes."""
    return _hash(path, path.stat().st_mtime_ns, path.stat().st_size)


@functools.lru_cache(maxsize=1)  # for a file that is asked for stock after stock
def _hash(path: Path, _changed_ns: int, _size: int) -> str:
    return _file_hash(path)


def _hash_of_code() -> str:
    """A hash of the code that makes panels: what another code makes may be another panel."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _built(path: Path, build: Callable[[Writer], Mapping[str, Any]]) -> Stored:
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by builders that were killed
        shutil.rmtree(left)
    shutil.rmtree(path, ignore_errors=True)  # damaged
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    writer = Writer(temporary)
    try:
        writer.close(build(writer))
        temporary.rename(path)
    except BaseException:
        writer.abandon()
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    found = _read(path)
    if found is None:
        raise OSError(0, "what was written there is not what is read back")
    return found


def _read(path: Path) -> Stored | None:
    """None where it is not there, or not what was written."""
    try:
        text = (path / _FACTS).read_bytes()
        whole = json.loads(text)
        sound = all(_file_hash(path / name) == head["sha256"] for name, head in whole["arrays"].items())
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Stored(path, whole["arrays"], whole["facts"], hashlib.sha256(text).hexdigest()) if sound else None


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flushed(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
