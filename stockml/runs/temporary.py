"""Temporary names that say which process writes there, so that what a killed one has left can be removed."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_NODE = re.sub(r"[^A-Za-z0-9-]", "_", platform.node())[:32] or "_"
_NAME = re.compile(rf"\..*\.{_NODE}\.(\d+)(?:-(\d+))?\.tmp")


def temporary(path: Path) -> Path:
    """Where to write what is to be renamed to `path`; what dead processes have left of it is removed."""
    remove_leftovers(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
    return path.with_name(f".{path.name}{_suffix()}")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this process alone, which is removed at the end; those that dead processes have left go first."""
    remove_leftovers(Path(tempfile.gettempdir()).glob(".stockml-*.tmp"))
    path = Path(tempfile.mkdtemp(prefix=".stockml-", suffix=_suffix()))
    try:
        yield path
    finally:
        remove(path)


def _suffix() -> str:
    started = process_start(os.getpid())
    return f".{_NODE}.{os.getpid()}{'' if started is None else f'-{started}'}.tmp"


def remove_leftovers(found: Iterable[Path]) -> None:
    """Of temporary files and folders, remove those of dead processes of this machine, where that is possible."""
    own = _suffix()
    for path in found:
        match = None if path.name.endswith(own) else _NAME.fullmatch(path.name)
        if match and not is_alive(int(match[1]), match[2] and int(match[2])):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, where that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def is_alive(pid: Any, started: Any = None) -> bool:
    """Whether the process of this number, as it is found in a file, exists on this machine and is not this one.

    `started` is what `process_start` returned for it: another process that has got its number since is not the one.
    """
    if not isinstance(pid, int) or pid < 1 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    found = _status(pid)
    if not found:
        return True
    return found[0] != "Z" and started in (None, int(found[19]))  # Z: a zombie, whose parent has not waited for it


def process_start(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine was: no clock that is set changes it."""
    return int(found[19]) if (found := _status(pid)) else None


def _status(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on; none where there is no /proc."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
