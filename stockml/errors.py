"""Errors that are printed in a line each, without a traceback, and end the program with a status of their own."""

from __future__ import annotations

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
