"""Child processes that can be ended, and never outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.reduction import DupFd
from typing import Any


class Lifeline:
    """A pipe that nobody writes to: when the process that made it has ended, killed or not, its readers see it close.

    A forked child calls `hold`; a child that runs another program inherits `reader` and calls `follow` on it.
    """

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self._writer: int | None = writer

    def __getstate__(self) -> Any:
        return DupFd(self.reader)

    def __setstate__(self, reader: Any) -> None:
        self.reader, self._writer = reader.detach(), None

    def hold(self) -> None:
        """Called in a child of multiprocessing, forked or spawned: end when the parent does."""
        if self._writer is not None:
            os.close(self._writer)
        follow(self.reader)

    def close(self) -> None:
        """Called in the parent, after the last child has ended."""
        os.close(self.reader)
        if self._writer is not None:
            os.close(self._writer)


def follow(reader: int) -> None:
    """Start a process group for this process, and kill the whole group as soon as the pipe `reader` closes."""
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setpgid(0, 0)

    def wait() -> None:
        os.read(reader, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def die_with_parent() -> None:
    """On Linux, let the kernel kill this process, not its group, once its parent has ended, even if it is stopped."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def follow_parent(seconds: float = 0.5) -> None:
    """Kill this process once its parent has ended, checked every `seconds`: for where it inherits no pipe."""
    die_with_parent()
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def end(groups: Iterable[int], running: Callable[[], bool], seconds: float = 4.0) -> None:
    """Send SIGTERM to process groups, and kill what is left of them once `seconds` have passed."""
    leaders = list(groups)
    _signal(leaders, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while running() and time.monotonic() < deadline:
        time.sleep(0.02)
    kill(leaders)


def kill(groups: Iterable[int]) -> None:
    """Kill whatever is left of process groups."""
    _signal(groups, signal.SIGKILL)


def _signal(leaders: Iterable[int], signum: int) -> None:
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signum)
