"""Calls that run side by side, each in a process of its own, so that no failure of one affects another."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from stockml.errors import describe_error
from stockml.processes import lifelines, parent, signals, streams

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
    gpus: int = 0
    """GPUs that it uses where there are some."""
    folder: Path | None = None
    """The folder that holds the log's folder, if the function may be given another one in its place: `folder=…`."""


@dataclass(frozen=True)
class Ended:
    """The outcome of a call."""

    value: Any
    """What the call returned; None where it did not return."""
    error: str | None
    """Why it did not return: the exception that it raised, or the signal that killed it."""


Event = tuple[int, "Ended | None"] | None
Answer = Callable[[int, Any], Any]
"""Answers what a running call asks its parent: the call's index and the question to the reply; it may not raise."""


class Pool(Protocol):
    """What starts calls and hears from them."""

    def start(self, index: int, call: Call, run: Callable[[], Any]) -> None:
        """Start a call; `run` is what it has prepared."""

    def messages(self, seconds: float) -> Iterator[tuple[int, parent.Question | Ended]]:
        """What calls have sent, by index; waits at most `seconds` for the first."""

    def reply(self, index: int, answer: Any) -> None:
        """Answer the question of a call."""

    def end(self) -> None:
        """End the calls that are running: by SIGTERM, and by SIGKILL 4 seconds later."""


def run_each(
    calls: Iterable[Call | None], *, cores: int, at_once: int, answer: Answer | None = None, pool: Pool | None = None
) -> Generator[Event, None, None]:
    """Run the calls in their order, at most `at_once` at a time and no more than `cores` allow; one always runs.

    A call is taken when the one before it has started. A None among them: there is none to start until another call has
    ended. Yields (index, None) for each that starts, (index, Ended) for each that ends, and None twice a second.
    Closing the iterator ends those that are running. `pool` starts them, processes of this machine by default.
    """
    waiting = _Waiting(calls)
    running: dict[int, Call] = {}
    pool = pool or _Processes()
    ticked = time.monotonic()
    try:
        while waiting.take() or running or not waiting.is_over:
            busy = sum(call.cores for call in running.values())
            while (call := waiting.take()) and (not running or (len(running) < at_once and busy + call.cores <= cores)):
                index = waiting.index
                yield index, None
                try:
                    run = waiting.prepared()
                except Exception as error:
                    yield index, Ended(None, describe_error(error))
                    continue
                pool.start(index, call, run)
                running[index] = call
                busy += call.cores
            waiting.prepare_ahead()
            for index, message in pool.messages(_TICK_SECONDS):
                if isinstance(message, parent.Question):
                    pool.reply(index, answer(index, message.content) if answer else None)
                    continue
                del running[index]
                yield index, message
            if time.monotonic() - ticked > 0.9 * _TICK_SECONDS:  # though calls ask all the time
                ticked = time.monotonic()
                yield None
    finally:
        pool.end()


class _Processes:
    """Starts each call in a process of this machine."""

    def __init__(self) -> None:
        self._children: dict[int, _Child] = {}
        self._lifeline = lifelines.Lifeline()
        self._asking: set[int] = set()

    def start(self, index: int, call: Call, run: Callable[[], Any]) -> None:
        self._children[index] = _Child(call, run, self._lifeline)

    def messages(self, seconds: float) -> Iterator[tuple[int, parent.Question | Ended]]:
        # Ready: it has sent something, or has ended. A process that a child started may keep the pipe open.
        ready = wait([child.connection for child in self._children.values()], seconds)
        for index, child in list(self._children.items()):
            if child.connection not in ready and child.process.is_alive():
                continue
            message = child.received()
            if isinstance(message, parent.Question):
                self._asking.add(index)
                yield index, message
                continue
            ended = child.ended(message)
            del self._children[index]
            yield index, ended

    def reply(self, index: int, answer: Any) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._children[index].connection.send(answer)
        self._asking.discard(index)

    def end(self) -> None:
        children = list(self._children.values())
        groups = [child.process.pid for child in children if child.process.pid is not None]
        lifelines.end(groups, self._are_running)
        for child in children:
            child.process.join()
        self._lifeline.close()

    def _are_running(self) -> bool:
        """Whether any is; one that waits for an answer would not end."""
        for _ in self.messages(0):
            pass
        for index in self._asking & self._children.keys():
            self.reply(index, None)
        return bool(self._children)


class _Waiting:
    """The call that is to start next, prepared in advance where there is time for it."""

    def __init__(self, calls: Iterable[Call | None]) -> None:
        self._calls = iter(calls)
        self._call: Call | None = None
        self._prepared: Callable[[], Any] | None = None
        self.index = -1
        """Of that call."""
        self.is_over = False
        """Whether no call is left to take."""

    def take(self) -> Call | None:
        """The call that is to start next, None where there is none yet, or none any more."""
        if self._call is None and not self.is_over:
            try:
                self._call = next(self._calls)
            except StopIteration:
                self.is_over = True
            self.index += self._call is not None
        return self._call

    def prepared(self) -> Callable[[], Any]:
        """What that call prepares; the next one takes its place. Raises what preparing raises."""
        call, run = self._call, self._prepared
        assert call is not None
        self._call = self._prepared = None
        return run or call.prepare()

    def prepare_ahead(self) -> None:
        """Prepare the call that is to start next."""
        if (call := self.take()) and self._prepared is None:
            with contextlib.suppress(Exception):  # raised again when its turn comes
                self._prepared = call.prepare()


class _Child:
    def __init__(self, call: Call, run: Any, lifeline: lifelines.Lifeline) -> None:
        self.call = call
        context: Any = multiprocessing.get_context(START_METHOD)
        self.connection: Connection
        self.connection, of_child = context.Pipe()
        if START_METHOD == "spawn":
            import cloudpickle

            run = cloudpickle.dumps(run)
        self.process: Any = context.Process(target=_run, args=(run, str(call.log), of_child, lifeline))
        sys.stdout.flush()
        self.process.start()
        with contextlib.suppress(OSError):  # the child does it too: whichever comes first
            os.setpgid(self.process.pid, self.process.pid)
        of_child.close()

    def received(self) -> parent.Question | Ended | None:
        """What it has sent; None where it ended before it had sent its result."""
        with contextlib.suppress(EOFError, OSError):
            if self.connection.poll():
                sent: parent.Question | Ended = self.connection.recv()
                return sent
        return None

    def ended(self, ended: Ended | None) -> Ended:
        self.process.join()
        lifelines.kill([self.process.pid])  # and what it has started
        self.connection.close()
        code = self.process.exitcode
        reason = f"killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
        return ended or Ended(None, reason + (", perhaps because memory ran out" if code == -signal.SIGKILL else ""))


def _run(run: Callable[[], Any] | bytes, log: str, sender: Connection, lifeline: lifelines.Lifeline) -> None:
    lifeline.hold()
    parent.connect(sender)
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
