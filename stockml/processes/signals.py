"""Ctrl-C and SIGTERM while a model trains."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from stockml.errors import Interrupted


@contextlib.contextmanager
def noted(emit: Callable[[str], None], doing: str) -> Iterator[list[int]]:
    """A context in which the first Ctrl-C or SIGTERM is only noted, so that the epoch can be finished.

    Yields the list of signals received; `doing` says what is done before the end. A second signal raises Interrupted.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield received
        return

    def note(signum: int, _frame: object) -> None:
        if received:
            raise Interrupted(signum)
        received.append(signum)
        # In a thread: the signal may have come while this one was printing, and a stream does not let itself in twice.
        text = f"interrupted: {doing}; interrupt again to stop at once"
        threading.Thread(target=emit, args=(text,)).start()

    earlier = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def end(signum: int, _frame: object) -> None:
    """A signal handler that raises Interrupted."""
    raise Interrupted(signum)
