"""Errors that are printed in a line each, without a traceback, and end the program with a status of their own."""

from __future__ import annotations

import errno
import signal
import sys

from stockml.config.printable import printable


def describe_error(error: BaseException) -> str:
    """What an exception says, and of which kind it is, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class UserError(Exception):
    """Faults that the user can fix; each of `lines` says what is wrong, where, and what to do."""

    status = 2

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(map(printable, lines))
        super().__init__(*self.lines)
        self._told = False

    def __str__(self) -> str:
        return "; ".join(self.lines)

    def print_once(self) -> None:
        """Print the lines on stderr, once however often it is asked."""
        if not self._told:
            print(*self.lines, sep="\n", file=sys.stderr)
        self._told = True


def describe_os_error(error: OSError) -> str | None:
    """A line about a file or disk that could not be used, and what to do; None where the error is not about one."""
    where = error.filename
    if where is None and error.errno not in _REMEDIES:
        return None
    remedy = _REMEDIES.get(error.errno or 0, "is it still there, and its disk in order?")
    return f"{where or 'a file'}: {error.strerror}; {remedy}"


_WRITABLE = "copy what it is about to a folder that you may write to, or change its rights"
_SPACE = "free some space there, then try again"
_REMEDIES = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "allow larger files (ulimit -f), then try again",
    errno.EMFILE: "allow more open files (ulimit -n 1024), then try again",
}


class RunError(UserError):
    """A run that failed after it had started."""

    status = 1


class Pruned(RunError):
    """A trial of a search that was stopped, since it is not promising."""


class LostRank(RunError):
    """A rank that another one waits for in vain: that other one's fault, unless it is the network's."""


class Interrupted(KeyboardInterrupt):
    """A run that Ctrl-C or SIGTERM ended; no `Exception`, so that it ends a whole sweep."""

    def __init__(self, signum: int, *lines: str) -> None:
        super().__init__(signum, *lines)
        self.signum = signum
        self.status = 128 + signum
        self.lines = lines or (f"ended by {signal.Signals(signum).name}",)
