"""Calls that run side by side, each in a process of its own, so that no failure of one affects another."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from stockml.errors import describe_error
from stockml.processes import lifelines, signals, streams

# A forked child has what its parent has imported. Where forking is unsafe (macOS), a new interpreter is started.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
_TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Call:
    """A call to run, which keeps `cores` busy; what it prints goes to `log`."""

    prepare: Callable[[], Callable[[], Any]]
    """Called in this process, while other calls run; the function that it returns is called in a process of its own."""
    log: Path
    cores: int = 1


@dataclass(frozen=True)
class Ended:
    """The outcome of a call."""

    value: Any
    """What the call returned; None where it did not return."""
    error: str | None
    """Why it did not return: the exception that it raised, or the signal that killed it."""


Event = tuple[int, "Ended | None"] | None


def run_each(calls: Sequence[Call], *, cores: int, at_once: int) -> Generator[Event, None, None]:
    """Run the calls in their order, at most `at_once` at a time and no more than `cores` allow; one always runs.

    Yields (index, None) for each that starts, (index, Ended) for each that ends, and None twice a second. Closing the
    iterator ends those that are running: by SIGTERM, and by SIGKILL 4 seconds later.
    """
    waiting = deque(enumerate(calls))
    prepared: Callable[[], Any] | None = None  # the first of the waiting calls
    running: dict[int, _Child] = {}
    lifeline = lifelines.Lifeline()
    try:
        while waiting or running:
            busy = sum(child.call.cores for child in running.values())
            while waiting and (not running or (len(running) < at_once and busy + waiting[0][1].cores <= cores)):
                index, call = waiting.popleft()
                busy += call.cores
                yield index, None
                try:
                    run = prepared or call.prepare()
                except Exception as error:
                    yield index, Ended(None, describe_error(error))
                    busy -= call.cores
                    continue
                running[index] = _Child(call, run, lifeline)
                prepared = None
            if waiting and prepared is None:
                with contextlib.suppress(Exception):  # raised again when its turn comes
                    prepared = waiting[0][1].prepare()
            # Ready: its result can be received, or it has ended. A process that a child started may keep the pipe open.
            ready = wait([child.result for child in running.values()], _TICK_SECONDS)
            ended = [index for index, child in running.items() if child.result in ready or not child.process.is_alive()]
            for index in ended:
                outcome = running[index].ended()
                del running[index]
                yield index, outcome
            if not ended:
                yield None
    finally:
        children = list(running.values())
        groups = [child.process.pid for child in children if child.process.pid is not None]
        lifelines.end(groups, lambda: any(child.process.is_alive() for child in children))
        for child in children:
            child.process.join()
        lifeline.close()


class _Child:
    def __init__(self, call: Call, run: Any, lifeline: lifelines.Lifeline) -> None:
        self.call = call
        context: Any = multiprocessing.get_context(START_METHOD)
        self.result: Connection
        self.result, sender = context.Pipe(duplex=False)
        if START_METHOD == "spawn":
            import cloudpickle

            run = cloudpickle.dumps(run)
        self.process: Any = context.Process(target=_run, args=(run, str(call.log), sender, lifeline))
        sys.stdout.flush()
        self.process.start()
        with contextlib.suppress(OSError):  # the child does it too: whichever comes first
            os.setpgid(self.process.pid, self.process.pid)
        sender.close()

    def ended(self) -> Ended:
        try:
            ended: Ended | None = self.result.recv() if self.result.poll() else None
        except (EOFError, OSError):  # it ended before it had sent its result
            ended = None
        self.process.join()
        lifelines.kill([self.process.pid])  # and what it has started
        self.result.close()
        code = self.process.exitcode
        reason = f"killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
        return ended or Ended(None, reason + (", perhaps because memory ran out" if code == -signal.SIGKILL else ""))


def _run(run: Callable[[], Any] | bytes, log: str, sender: Connection, lifeline: lifelines.Lifeline) -> None:
    lifeline.hold()
    signal.signal(signal.SIGTERM, signals.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends its children
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    streams.make_robust("utf-8")
    try:
        call = pickle.loads(run) if isinstance(run, bytes) else run
        sender.send(Ended(call(), None))
    except KeyboardInterrupt:
        sender.send(Ended(None, "interrupted"))
    except BaseException as error:
        traceback.print_exc()
        sender.send(Ended(None, describe_error(error)))
