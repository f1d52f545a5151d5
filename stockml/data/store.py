"""Arrays on disk, keyed by what they are built from: built once, by one process, and verified when they are opened."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from stockml.errors import UserError
from stockml.runs.temporary import remove, remove_leftovers, temporary

_FACTS = "facts.json"
_VERIFIED = "verified.json"
UNHASHED = "unhashed"
"""Facts under this name are no part of the content's hash, and so of no fingerprint."""
NEXT_RETURN = "next_return"
"""Nor is the array of this name, which is no input of a model and no target."""
_SETTLED_NS = 2_000_000_000
"""Age from which a file's time stamps identify its content: some file systems count in steps of two seconds."""
_LARGE_BYTES = 2**24  # smaller files are hashed faster than a record of their hash is kept


@dataclass(frozen=True)
class Stored:
    """Arrays in files, and the facts recorded with them."""

    folder: Path
    heads: Mapping[str, Mapping[str, Any]]
    """`dtype` and `shape` of each array."""
    facts: Mapping[str, Any]
    content: str
    """A hash of all arrays but `NEXT_RETURN`, and of the facts but those under `UNHASHED`."""

    def size(self, name: str) -> int:
        """Bytes of an array."""
        head = self.heads[name]
        return int(math.prod(head["shape"]) * np.dtype(head["dtype"]).itemsize)

    def array(self, name: str, *, mapped: bool = False) -> NDArray[Any]:
        """An array in memory, or `mapped`: read from its file on access; writing to it does not change the file."""
        path, dtype, shape = self.folder / name, np.dtype(self.heads[name]["dtype"]), tuple(self.heads[name]["shape"])
        if mapped and self.size(name):
            return np.memmap(path, dtype, "c", shape=shape)
        return np.fromfile(path, dtype).reshape(shape)


class Writer:
    """Writes arrays piece by piece, so that none needs to fit into memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}
        self._heads: dict[str, dict[str, Any]] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows to an array; all of its rows have the same type and shape."""
        if name not in self._files:
            self._files[name] = (self._folder / name).open("wb")
            self._digests[name] = hashlib.sha256()
            self._heads[name] = {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]}
        raw = np.ascontiguousarray(rows).view(np.uint8).data
        self._files[name].write(raw)
        self._digests[name].update(raw)
        self._heads[name]["shape"][0] += len(rows)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write the facts and flush everything to the disk."""
        for name, file in self._files.items():
            self._heads[name]["sha256"] = self._digests[name].hexdigest()
            _flush_and_close(file)
        with (self._folder / _FACTS).open("wb") as file:
            file.write(_text({"arrays": self._heads, "facts": facts}))
            _flush_and_close(file)

    def restart(self) -> None:
        """Begin again, without any array."""
        self.abandon()
        self._files, self._digests, self._heads = {}, {}, {}

    def abandon(self) -> None:
        """Close the files as they are."""
        for file in self._files.values():
            file.close()


def get_or_build(folder: Path, made_of: Any, build: Callable[[Writer], Mapping[str, Any]]) -> Stored:
    """The arrays in `folder` that were built from `made_of` (JSON) by this version of the code.

    Missing or damaged arrays are built by `build`, which returns their facts: one process builds, the others wait.
    Raises UserError where the folder cannot be used, and whatever `build` raises.
    """
    key = hashlib.sha256(json.dumps([_hash_of_code(), made_of]).encode()).hexdigest()[:32]
    path = folder / key
    found = _read(path)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{key}.lock"):
            return _read(path) or _build(path, build)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"data.panel_cache={folder}: cannot be used ({reason}); name another folder") from error


def hash_of(path: Path, cache: Path | None = None) -> str:
    """SHA-256 of a file's bytes; a large file's hash is recorded in the folder `cache`, and the file read again only
    after it has changed."""
    stamp = _stamp(path)
    if cache is None or stamp[0] < _LARGE_BYTES:
        return _hash_once(path, stamp)
    record = cache / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.hash.json"
    try:
        known = json.loads(record.read_bytes())
        if tuple(known["stamp"]) == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    found = _hash(path)
    if _is_settled([stamp]):
        _record(record, {"path": str(path), "stamp": stamp, "sha256": found})
    return found


Stamp = tuple[int, int, int]


def _stamp(path: Path) -> Stamp:
    """Size, and times of the last change of content and of status: equal stamps of a settled file, equal content."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_settled(stamps: Iterable[Stamp]) -> bool:
    """Whether all files are old enough for a later change to give them another stamp."""
    return all(time.time_ns() - max(changed) > _SETTLED_NS for _, *changed in stamps)


def _record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record atomically; without a folder that can be written, there is none."""
    own = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(content))
        own.replace(path)
    except OSError:
        remove(own)


@functools.lru_cache(maxsize=1)  # one file is asked for once per stock in it
def _hash_once(path: Path, _stamp: Stamp) -> str:
    return _hash(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of_code() -> str:
    """A hash of the code that builds panels: other code may build other panels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build(path: Path, build: Callable[[Writer], Mapping[str, Any]]) -> Stored:
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by builders that were killed
        shutil.rmtree(left)
    shutil.rmtree(path, ignore_errors=True)  # damaged
    remove_leftovers(path.parent.glob(".*.tmp"))
    own = temporary(path)
    own.mkdir()
    writer = Writer(own)
    try:
        writer.close(build(writer))
        own.rename(path)
    except BaseException:
        writer.abandon()
        remove(own)
        raise
    found = _read(path)
    if found is None:
        raise OSError(0, "what was written there is not what is read back")
    return found


def _read(path: Path) -> Stored | None:
    """The arrays in a folder; None where they are missing or damaged.

    The files are hashed unless they have the stamps that they had when they were last verified.
    """
    try:
        text = (path / _FACTS).read_bytes()
        whole = json.loads(text)
        heads, facts = whole["arrays"], whole["facts"]
        content = content_hash(heads, {name: fact for name, fact in facts.items() if name != UNHASHED})
        stamps = {name: _stamp(path / name) for name in heads}
        seen = {"content": content, "stamps": {name: list(stamp) for name, stamp in stamps.items()}}
        if not _was_verified(path, seen):
            if any(_hash(path / name) != head["sha256"] for name, head in heads.items()):
                return None
            if _is_settled(stamps.values()):
                _record(path / _VERIFIED, seen)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Stored(path, heads, facts, content)


def content_hash(heads: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """A hash of all arrays but `NEXT_RETURN`, and of these facts."""
    hashed_heads = {name: head for name, head in heads.items() if name != NEXT_RETURN}
    return hashlib.sha256(_text({"arrays": hashed_heads, "facts": facts})).hexdigest()


def _text(facts: Mapping[str, Any]) -> bytes:
    """Facts as text, which is hashed into the fingerprint of pooled runs: keep its form, and the order of keys."""
    return json.dumps(facts, ensure_ascii=False).encode()


def _was_verified(path: Path, seen: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads((path / _VERIFIED).read_bytes()) == seen)
    except (OSError, ValueError):
        return False


def _flush_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
