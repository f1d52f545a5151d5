"""Temporary names that say which process writes there, so that what a killed one has left can be removed."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NODE = re.sub(r"[^A-Za-z0-9-]", "_", platform.node())[:32] or "_"
_NAME = re.compile(rf"\..*\.{_NODE}\.(\d+)\.tmp")


def temporary(path: Path) -> Path:
    """Where to write what is to be renamed to `path`; what dead processes have left of it is removed."""
    remove_leftovers(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
    return path.with_name(f".{path.name}.{_NODE}.{os.getpid()}.tmp")


def remove_leftovers(found: Iterable[Path]) -> None:
    """Of temporary files and folders, remove those of dead processes of this machine, where that is possible."""
    for path in found:
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) != os.getpid() and not is_alive(int(match[1])):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, where that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def is_alive(pid: Any) -> bool:
    """Whether a process of this number, as it is found in a file, exists on this machine and is not this one."""
    if not isinstance(pid, int) or pid < 1 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # with a /proc: a zombie, whose parent has not waited for it, is dead
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
