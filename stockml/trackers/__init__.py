"""What follows a run as it goes, besides its own folder: scalars.csv, TensorBoard's event files, MLflow.

No tracker ends a run or holds it up: one that fails is told of in a line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stockml.errors import UserError, describe_error
from stockml.runs.folder import WorkerRun
from stockml.trackers import records
from stockml.trackers.settings import TrackerConfig

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.runs.folder import RunFolder
    from stockml.trackers.records import Begun, Ended, Point
    from stockml.training.interface import EpochStats

_SETTINGS = "tracker.json"  # in the run folder: how it is followed
_INTERRUPTED_SECONDS = 2.0  # of waiting that are left to a run that was told to end


class Tracker(Protocol):
    """Somewhere that a run is followed. Whatever its methods raise ends the following, and not the run."""

    def begin(self, run: Begun) -> None:
        """The run begins, or goes on."""

    def add(self, point: Point) -> None:
        """A step is done."""

    def end(self, run: Ended) -> None:
        """The run has ended; in another process, perhaps, than it began in."""

    def close(self, seconds: float) -> str | None:
        """Nothing more comes: be done within so many seconds. Where it can be looked at, in a line."""

    def trouble(self) -> str | None:
        """What hinders it at present without having ended it."""


class Trackers:
    """All that follow one run."""

    def __init__(self, folder: RunFolder, settings: TrackerConfig | None, emit: Callable[[str], None]) -> None:
        self._folder, self._say = folder, emit
        self._settings = None if settings is None else located(settings)
        self._trackers: dict[str, Tracker] = {}
        if self._settings is not None:
            self._trackers = {name: _tracker(name, folder, self._settings) for name in self._settings.names()}

    def remember(self) -> None:
        """Write down how the run is followed, for who goes on with it."""
        if self._settings is not None and self._trackers:
            self._folder.write_json(_SETTINGS, vars(self._settings))

    def begin(self, past: Mapping[str, Sequence[EpochStats]], lr: float) -> None:
        """The run's config.json is written; `past` has the epochs that are done already, by the part of the run.

        A part is named by its folder in the run's: "" where there is but one, `folds/2`, `members/0`.
        """
        if not self._trackers:
            return
        if not isinstance(self._folder, WorkerRun):  # of which the launcher has written it down
            self.remember()
        known = {records.prefix(part): [records.of_epoch(e, lr, part) for e in epochs] for part, epochs in past.items()}
        run = records.begun(self._folder, known)
        self._each(lambda tracker: tracker.begin(run))

    def epoch(self, epoch: EpochStats, lr: float, part: str) -> None:
        """An epoch of a part of the run is done."""
        if self._trackers:
            point = records.of_epoch(epoch, lr, part)
            self._each(lambda tracker: tracker.add(point))

    def end(self) -> None:
        """The run's result.json is written, and its page is drawn."""
        if self._trackers:
            run = records.ended(self._folder)
            self._each(lambda tracker: tracker.end(run))

    def close(self, seconds: float | None = None) -> list[str]:
        """Let each finish within so many seconds, its own setting by default; where they can be looked at."""
        limit = self._settings.wait_seconds if self._settings and seconds is None else seconds or 0.0
        places: list[str] = []

        def close(tracker: Tracker) -> None:
            if place := tracker.close(limit):
                places.append(f"tracker     {place}")

        self._each(close)
        return places

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
                trouble = tracker.trouble()
            except Exception as error:
                trouble = f"{describe_error(error)[:300]}; the run is no longer followed there"
                del self._trackers[name]
            if trouble:
                self._say(f"warning     tracker {name}: {trouble}")


@contextlib.contextmanager
def following(
    settings: TrackerConfig | None, folder: RunFolder, emit: Callable[[str], None], *, is_main: bool = True
) -> Iterator[Trackers]:
    """Around a run that writes to the folder, and its page: what follows it. Of ranks, the main one tells it.

    A worker's run is ended by its launcher.
    """
    launched = isinstance(folder, WorkerRun)
    if launched and is_main:
        settings = _remembered(folder)
    trackers = Trackers(folder, settings if is_main else None, emit)
    seconds = None
    try:
        yield trackers
    except KeyboardInterrupt:
        seconds = _INTERRUPTED_SECONDS
        raise
    finally:
        with contextlib.suppress(UserError):  # a folder that was not left behind
            if not launched:
                trackers.end()
        for line in trackers.close(seconds):
            if not launched:
                emit(line)


def located(settings: TrackerConfig) -> TrackerConfig:
    """The settings, with the path of a database file made absolute: it means the same from any folder."""
    file = re.fullmatch("sqlite:///(.+)", settings.uri)
    uri = f"sqlite:///{Path(file[1]).expanduser().absolute()}" if file else settings.uri
    return dataclasses.replace(settings, uri=uri)


def require_installed(configs: Iterable[Config]) -> None:
    """UserError where what a run is to be followed by is not installed."""
    asked = {config.tracker for config in configs if config.tracker and config.task in ("train", "reproduce")}
    for settings in asked:
        for name in settings.names():
            needed = {"csv": [], "tensorboard": ["tensorboard"], "mlflow": ["mlflow", *_of_database(settings.uri)]}
            missing = [package for package in needed[name] if not _is_installed(package)]
            if missing:
                raise UserError(f"tracker={name}: needs {', '.join(missing)}: pip install 'stockml[{name}]'")


def _of_database(uri: str) -> list[str]:
    """What MLflow needs to write to a database itself, which mlflow-skinny does not bring."""
    return ["sqlalchemy", "alembic"] if uri.startswith(("sqlite", "postgresql", "mysql", "mssql")) else []


def _is_installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None  # a folder of that name is no package


def _remembered(folder: RunFolder) -> TrackerConfig | None:
    """How a run is followed, as its folder has it."""
    return TrackerConfig(**folder.read_json(_SETTINGS)) if (folder.path / _SETTINGS).is_file() else None


def overrides_of(folder: RunFolder) -> dict[str, object]:
    """The settings by which a run is followed, to go on so; none where it is not followed."""
    settings = _remembered(folder)
    return {} if settings is None else {f"tracker.{key}": value for key, value in vars(settings).items()}


def _tracker(name: str, folder: RunFolder, settings: TrackerConfig) -> Tracker:
    if name == "csv":
        from stockml.trackers.scalars_file import ScalarsFile

        return ScalarsFile(folder)
    if name == "tensorboard":
        from stockml.trackers.event_files import EventFiles

        return EventFiles(folder)
    from stockml.trackers.mlflow_runs import MLflowRun

    return MLflowRun(folder, settings)
