"""The ledger of looks: a line each time that test scores are computed for new forecasts, chained by hashes.

A line ends with a hash of itself, and has the one of the line before. So an edit, a removed or a moved line is found by
reading the file. What is cut off at its end is found only by the runs that lines were written for: each keeps the
number and the hash of its own in metrics.json.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder

NAME = "looks.jsonl"


class Look(NamedTuple):
    """A look at the scores of a run's test."""

    when: str
    run: str
    """The run's folder."""
    experiment: str
    """A hash of the settings that make the experiment what it is."""
    fingerprint: str
    """Of the data."""
    series: str
    """A hash of what the targets are of, where the ticker does not tell: the simulator's settings, or undated targets;
    else empty."""
    tickers: tuple[str, ...]
    first: str | None
    last: str | None
    """The first and the last test day; None where days are not known."""
    diebold_mariano: float | None
    clark_west: float | None
    """The p-value of beating every rival of the verdict, by each test; None where it is undefined."""
    skill: str
    forecasts: str
    """A hash of the forecasts."""

    def is_same(self, other: Look) -> bool:
        """Whether both are of one experiment on the same data: the one repeats the other."""
        keys = ("experiment", "fingerprint", "series", "tickers", "first", "last")
        return all(getattr(self, key) == getattr(other, key) for key in keys)

    def overlaps(self, other: Look) -> bool:
        """Whether both are of a common stock, or the same data, on common days."""
        if self.series != other.series or (self.first is None) != (other.first is None):
            return False
        if self.first is None or self.last is None or other.first is None or other.last is None:
            return True
        of_the_same = self.fingerprint == other.fingerprint or not set(self.tickers).isdisjoint(other.tickers)
        return of_the_same and self.first <= other.last and other.first <= self.last


class Line(NamedTuple):
    """A line of the ledger."""

    number: int
    """From 1."""
    sha256: str
    look: Look


@dataclass(frozen=True)
class Ledger:
    """What a ledger's file holds."""

    lines: Sequence[Line]
    """Those that are as they were written."""
    faults: Sequence[str]
    """Where the chain is broken, a line each."""
    is_cut: bool = False
    """Whether a killed process has left its last line incomplete."""

    def family(self, look: Look) -> list[Line]:
        """The looks at the same days, this one among them if it is in the ledger."""
        return [line for line in self.lines if line.look.overlaps(look)]


def default_path(run: Path) -> Path:
    """The ledger of a run in the folder `run`: beside outputs/ or multirun/, or else beside the run or its sweep."""
    holder = run.parent.parent if SweepFolder.is_one(run.parent) else run.parent
    return (holder.parent if holder.name in ("outputs", "multirun") else holder) / NAME


def problem(path: Path) -> str | None:
    """Why no line can be added to a ledger there, as a phrase with what to do; None where it can."""
    if path.is_dir():
        return f"is a folder; name a file, looks.path={path / NAME}"
    if _is_link(path):
        return f"is a link, or its lock is; name the file itself, looks.path={path.resolve()}"
    if not path.parent.is_dir():
        return "its folder does not exist; make it, or name another file"
    if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
        return "cannot be written; name another file, looks.path=FILE, or do not count this look: looks=off"
    return None


def read(path: Path) -> Ledger:
    """Read a ledger and check its chain. UserError where it cannot be read."""
    try:
        return _parsed(plain_files.read(path))
    except OSError as error:
        raise UserError(f"{path}: no ledger can be read here ({error.strerror}); name one: looks.path=FILE") from error


def append(path: Path, look: Look) -> tuple[Ledger, Line]:
    """Add a look to the ledger, unless it repeats one that is there; what is in it then, and the line of the look.

    Of several processes, one at a time does so. A line that a killed process left incomplete is replaced: its run has
    shown no scores. Raises OSError, also where a link would have it written elsewhere.
    """
    if _is_link(path):
        raise OSError(errno.ELOOP, "it is a link, or its lock is")
    lock = _lock(path)
    lock.touch()  # FileLock waits forever for a file that cannot be made
    with FileLock(lock).acquire(poll_interval=0.002):
        content = plain_files.read(path) if path.exists() else b""
        found = _parsed(content)
        if known := next((line for line in found.lines if line.look.is_same(look)), None):
            return found, known
        at = content.rfind(b"\n") + 1
        kept = b"" if found.is_cut or at == len(content) else content[at:] + b"\n"
        before = (content[:at] + kept).splitlines()
        text = _written(look, (_own_hash(before[-1]) if before else None) or "")
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(at)
            file.write(kept + text + b"\n")
            file.truncate()
            os.fsync(file.fileno())
        line = Line(len(before) + 1, _own_hash(text) or "", look)
        return Ledger([*found.lines, line], found.faults), line


def _is_link(path: Path) -> bool:
    return path.is_symlink() or _lock(path).is_symlink()


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def missing(path: Path, ledger: Ledger) -> Iterator[str]:
    """The runs whose line is not in the ledger any more, a line each.

    Looked at are the runs that it names, those beside them, and those in outputs/ and multirun/ beside the ledger.
    """
    known = {(line.number, line.sha256) for line in ledger.lines}
    holders = {Path(line.look.run).parent for line in ledger.lines}
    holders |= {path.parent / "outputs", *(path.parent / "multirun").glob("*/")}
    for file in sorted(file for holder in holders for file in holder.glob("*/metrics.json")):
        try:
            of = RunFolder(file.parent).read_json(file.name).get("looks") or {}
        except UserError:
            continue
        if of.get("ledger") == str(path) and (of.get("line"), of.get("sha256")) not in known:
            yield f"{file.parent}: its look, line {of.get('line')}, is not there: lines were removed, or written anew"


_END = re.compile(rb', "sha256": "([0-9a-f]{64})"\}')
_END_BYTES = len(', "sha256": ""}') + 64


def _written(look: Look, previous: str) -> bytes:
    text = json.dumps({**look._asdict(), "previous": previous}, ensure_ascii=False, allow_nan=False).encode()
    return text[:-1] + f', "sha256": "{hashlib.sha256(text).hexdigest()}"}}'.encode()


def _own_hash(text: bytes) -> str | None:
    """The hash that a line ends with."""
    return end[1].decode() if (end := _END.fullmatch(text[-_END_BYTES:])) else None


def _is_as_written(text: bytes) -> bool:
    return hashlib.sha256(text[:-_END_BYTES] + b"}").hexdigest() == _own_hash(text)


def _parsed(content: bytes) -> Ledger:
    *complete, last = content.split(b"\n")
    is_cut = bool(last) and not _is_as_written(last)
    lines: list[Line] = []
    faults: list[str] = []
    before: str | None = ""
    for number, text in enumerate([*complete, last] if last and not is_cut else complete, 1):
        own = _own_hash(text)
        try:
            if not _is_as_written(text):
                raise ValueError
            values = json.loads(text)
            values["tickers"] = tuple(values["tickers"])
            line = Line(number, values["sha256"], Look(*map(values.__getitem__, Look._fields)))
            follows = before in (values["previous"], None)
        except (ValueError, KeyError, TypeError, RecursionError):
            faults.append(f"line {number}: was edited, or is no look")
        else:
            lines.append(line)
            if not follows:
                faults.append(f"line {number}: does not follow the line before: lines were removed, added or moved")
        before = own
    return Ledger(lines, faults, is_cut)
