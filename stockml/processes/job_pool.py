"""Calls run side by side, each in a process of its own: what one leaves behind or dies of touches no other."""

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

# A forked child has at once what its parent has imported. Where forking is unsafe (macOS), a new interpreter starts.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
_TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Call:
    """Something to be run, what it prints kept in `log`, that keeps `cores` busy."""

    prepare: Callable[[], Callable[[], Any]]
    """Called in this process, while other calls run; what it returns is called in a process of its own."""
    log: Path
    cores: int = 1


@dataclass(frozen=True)
class Ended:
    """What became of a call."""

    value: Any
    """What it returned; None where it did not return."""
    error: str | None
    """Why it did not return: the exception it raised, or the signal that it died of."""


Event = tuple[int, "Ended | None"] | None


def run_each(calls: Sequence[Call], *, cores: int, at_once: int) -> Generator[Event, None, None]:
    """Run the calls in their order, as many at once as `at_once` allows and as `cores` hold; one always runs.

    Yields (index, None) for each that starts, (index, Ended) for each that ends, and None twice a second. Closing the
    iterator ends those that run: SIGTERM, and SIGKILL 4 seconds later.
    """
    waiting = deque(enumerate(calls))
    prepared: Callable[[], Any] | None = None  # the first one that waits
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
                with contextlib.suppress(Exception):  # told of when its turn comes
                    prepared = waiting[0][1].prepare()
            # Ready: what it returned waits to be taken, or it ends. A child's child may keep the pipe open after it.
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
        with contextlib.suppress(OSError):  # done by the child too: whichever comes first
            os.setpgid(self.process.pid, self.process.pid)
        sender.close()

    def ended(self) -> Ended:
        try:
            ended: Ended | None = self.result.recv() if self.result.poll() else None
        except (EOFError, OSError):  # it ended before, or while, it told
            ended = None
        self.process.join()
        lifelines.kill([self.process.pid])  # what it had started itself
        self.result.close()
        code = self.process.exitcode
        how = f"killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
        return ended or Ended(None, how + (", perhaps for want of memory" if code == -signal.SIGKILL else ""))


def _run(run: Callable[[], Any] | bytes, log: str, sender: Connection, lifeline: lifelines.Lifeline) -> None:
    lifeline.hold()
    signal.signal(signal.SIGTERM, signals.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers the terminal, and ends its children
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
