"""Log a run to its trackers. A tracker that fails or hangs costs a warning line, never the run."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from stockml.errors import UserError, describe_error
from stockml.runs.folder import RunFolder, WorkerRun
from stockml.trackers import TRACKERS, records
from stockml.trackers.settings import TrackerConfig

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.runs.sweep_folder import SweepFolder
    from stockml.trackers.records import Outcome, Point, Start
    from stockml.training.interface import EpochStats

_FILE = "tracker.json"  # in the run folder: which trackers a resumed run goes on with
_ENVIRONMENT = "STOCKML_TRACKER"  # the settings of a launched worker, which has no command line
INTERRUPTED_SECONDS = 2.0
"""The longest that an interrupted run waits for its trackers."""


class Tracker(Protocol):
    """A place where a run is logged.

    Made with the run folder and the TrackerConfig. Its methods are called in a thread of their own, one after another,
    and may block; after one that raises, none is called.
    """

    place: str
    """Where a user can look at the run."""

    def start(self, run: Start) -> None:
        """Open the run, or continue it."""

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Store the hyperparameters, by dotted key."""

    def log(self, points: Sequence[Point]) -> None:
        """Log the figures of some steps."""

    def finish(self, outcome: Outcome) -> None:
        """Close the run; called by another process than `start` where workers train."""


class Trackers:
    """The trackers of one run."""

    def __init__(self, folder: RunFolder, settings: TrackerConfig | None, emit: Callable[[str], None]) -> None:
        self._folder, self._emit = folder, emit
        self._settings = None if settings is None else settings.with_absolute_path()
        names = [] if self._settings is None else self._settings.names()
        self._threads = {name: _TrackerThread(name, folder, self._settings) for name in names}
        self._is_started = False

    def remember(self) -> None:
        """Write down which trackers are on, for a resumed run, and give them to the workers that this process starts.

        The URI is not written: a run folder must not choose the server of those who get it.
        """
        if self._threads:
            settings = vars(self._settings)
            os.environ[_ENVIRONMENT] = json.dumps(settings)
            self._folder.write_json(_FILE, {key: value for key, value in settings.items() if key != "uri"})

    def start(self, past: Mapping[str, Sequence[EpochStats]], lr: float) -> None:
        """Start tracking a run whose config.json is written.

        `past` has the epochs that are trained already, by the part of the run: "" where there is one model, else the
        part's folder, `folds/2` or `members/0`. `lr` is the learning rate of epochs that have none of their own.
        """
        if self._threads:
            if not isinstance(self._folder, WorkerRun):
                self.remember()
            known = [records.of_epoch(epoch, lr, part) for part, epochs in past.items() for epoch in epochs]
            (*others, only) = map(len, past.values())
            self._start(known, 0 if others else only + 1)

    def log_epoch(self, epoch: EpochStats, lr: float, part: str) -> None:
        """Log an epoch of a part of the run."""
        self._log([records.of_epoch(epoch, lr, part)])

    def finish(self) -> None:
        """Log the final figures of a run whose result.json is written and whose page is drawn, and close it."""
        if not self._threads:
            return
        outcome = records.outcome(self._folder)
        if not self._is_started:  # the workers of this run have logged its epochs
            self._start([], None)
        self._log(outcome.points)
        self._call(lambda tracker: tracker.finish(outcome))

    def finish_sweep(self, status: str) -> None:
        """Finish the run of a sweep, of a tracker that has one."""
        self._call(lambda tracker: tracker.finish_sweep(status))  # type: ignore[attr-defined]

    def close(self, seconds: float | None = None) -> list[str]:
        """Wait until all is logged, at most so many seconds, by default tracker.wait_seconds; a line for each place."""
        limit = self._settings.wait_seconds if self._settings and seconds is None else seconds or 0.0
        deadline = time.monotonic() + limit
        for thread in self._threads.values():
            if not thread.close(max(0.0, deadline - time.monotonic())):
                thread.error = f"not done {limit:g} s after the run has ended (tracker.wait_seconds)"
        self._warn()
        return [f"tracker     {name}: {thread.place}" for name, thread in self._threads.items() if thread.error is None]

    def _start(self, known: Sequence[Point], next_step: int | None) -> None:
        self._is_started = True
        run = records.start(self._folder, known, next_step)
        self._call(lambda tracker: tracker.start(run))
        self._call(lambda tracker: tracker.store_init_configuration(run.hyperparameters))

    def _log(self, points: Sequence[Point]) -> None:
        for thread in self._threads.values():
            thread.log(points)
        self._warn()

    def _call(self, method: Callable[[Tracker], None]) -> None:
        for thread in self._threads.values():
            thread.call(method)
        self._warn()

    def _warn(self) -> None:
        for name, thread in self._threads.items():
            if thread.error is not None and not thread.is_reported:
                thread.is_reported = True
                where = f" ({thread.place})" if thread.place else ""
                self._emit(
                    f"warning     tracker {name}: {thread.error}{where}; the folder has all that is missing there"
                )


class _TrackerThread:
    """Calls one tracker's methods, in their order, until one raises."""

    def __init__(self, name: str, folder: RunFolder, settings: TrackerConfig | None) -> None:
        self.place: str | None = None
        self.error: str | None = None
        self.is_reported = False
        self._calls: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self._points: deque[Point] = deque()
        self._thread = threading.Thread(target=self._work, args=(name, folder, settings), name=name, daemon=True)
        self._thread.start()

    def call(self, method: Callable[[Tracker], None]) -> None:
        self._calls.put(method)

    def log(self, points: Sequence[Point]) -> None:
        self._points.extend(points)
        self._calls.put(self._log)

    def close(self, seconds: float) -> bool:
        """Wait for the calls that are left, at most so many seconds; whether all are done."""
        self._calls.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self, name: str, folder: RunFolder, settings: TrackerConfig | None) -> None:
        try:
            module, _, cls = TRACKERS[name].target.partition(":")
            tracker: Tracker = getattr(importlib.import_module(module), cls)(folder, settings)
            self.place = tracker.place
            for method in iter(self._calls.get, None):
                method(tracker)
        except Exception as error:
            self.error = root_cause(error)

    def _log(self, tracker: Tracker) -> None:
        points = [self._points.popleft() for _ in range(len(self._points))]  # a slow tracker gets many steps at once
        if points:
            tracker.log(points)


@contextlib.contextmanager
def tracked(
    settings: TrackerConfig | None, folder: RunFolder, emit: Callable[[str], None], *, is_main: bool = True
) -> Iterator[Trackers]:
    """The trackers of a run, around its training and the drawing of its page; of several ranks the main one has them.

    A launched worker logs its epochs, and its launcher finishes the run.
    """
    is_launched = isinstance(folder, WorkerRun)
    outer = os.environ.get(_ENVIRONMENT)
    if is_launched:
        settings = TrackerConfig(**json.loads(outer)) if outer else None
    trackers = Trackers(folder, settings if is_main else None, emit)
    seconds = None
    try:
        yield trackers
    except KeyboardInterrupt:
        seconds = INTERRUPTED_SECONDS
        raise
    finally:
        os.environ.pop(_ENVIRONMENT, None)
        if outer is not None:
            os.environ[_ENVIRONMENT] = outer
        if not is_launched:
            with contextlib.suppress(UserError):  # the folder was not left behind
                trackers.finish()
        for line in trackers.close(seconds):
            if not is_launched:
                emit(line)


@contextlib.contextmanager
def tracked_sweep(settings: TrackerConfig | None, folder: SweepFolder, emit: Callable[[str], None]) -> Iterator[None]:
    """Finish the MLflow run of a sweep, which its first job has created, when its jobs are done and its page is drawn.

    No thread is started before, as jobs that are forked would have half of it.
    """
    status, seconds = "failed", None
    try:
        yield
        status = "ok"
    except KeyboardInterrupt:
        status, seconds = "interrupted", INTERRUPTED_SECONDS
        raise
    finally:
        if settings is not None and "mlflow" in settings.names():
            only = TrackerConfig(**{**vars(settings), **dict.fromkeys(TRACKERS, False), "mlflow": True})
            trackers = Trackers(RunFolder(folder.path), only, emit)
            trackers.finish_sweep(status)
            for line in trackers.close(seconds):
                emit(line)


def require_installed(configs: Iterable[Config]) -> None:
    """UserError where a tracker that a run is to use is not installed."""
    asked = {config.tracker for config in configs if config.tracker and config.task in ("train", "reproduce")}
    for settings in asked:
        for name in settings.names():
            entry = TRACKERS[name]
            is_database = settings.uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))
            needed = [*entry.packages, *(entry.database_packages if is_database else ())]
            missing = [package for package in needed if not _is_installed(package)]
            if missing:
                install = f"'stockml[{entry.extra}]'" if entry.extra else " ".join(missing)
                raise UserError(f"tracker={name}: needs {', '.join(missing)}: pip install {install}")


def _is_installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None  # a folder of that name is no package


def root_cause(error: BaseException) -> str:
    """What is at the bottom of an error, in a line: of a request that failed, the refused connection."""
    deeper: BaseException | None = error
    while deeper is not None:
        if isinstance(deeper, OSError) and deeper.strerror:
            return f"{type(deeper).__name__}: {deeper.strerror}"
        deeper = deeper.__cause__ or deeper.__context__
    return describe_error(error)[:300]
