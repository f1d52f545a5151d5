"""tracker=mlflow: a run of MLflow's for each of ours, and one for a sweep, whose children its jobs' are."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.reporting import summary
from stockml.trackers.mlflow_store import Store, cause, quiet
from stockml.trackers.records import Point

if TYPE_CHECKING:
    from mlflow.entities import Run

    from stockml.runs.folder import RunFolder
    from stockml.runs.sweep_folder import SweepFolder
    from stockml.trackers.records import Begun, Ended
    from stockml.trackers.settings import TrackerConfig

_MOST_WAITING = 10_000  # steps that are kept while a server does not answer, the latest ones
_AT_ONCE = 100  # steps of one call
_PAUSES = (1.0, 60.0)  # seconds before what has failed is tried again: at first, and at most


class MLflowRun:
    """One run. Its methods leave the work to a thread, which tries again what has failed."""

    def __init__(self, folder: RunFolder, settings: TrackerConfig) -> None:
        self._folder, self._store = folder, Store(settings)
        self._begun: Begun | None = None
        self._ended: Ended | None = None
        self._waiting: deque[Point] = deque(maxlen=_MOST_WAITING)
        self._taken: list[Point] = []
        self._told_before: dict[str, dict[int, float]] = {}
        self._uploaded: set[Path] = set()
        self._run: Run | None = None
        self._wake, self._closing, self._done = threading.Event(), threading.Event(), threading.Event()
        self._troubles: list[str] = []
        self._told = False
        self._thread: threading.Thread | None = None

    def begin(self, run: Begun) -> None:
        """Have the run made, or gone on with."""
        self._begun = run
        self._waiting.extend(run.known)
        self._go_on()

    def add(self, point: Point) -> None:
        """Have the figures of a step sent."""
        self._waiting.append(point)
        self._wake.set()

    def end(self, run: Ended) -> None:
        """Have the final figures and the files sent, and the run ended."""
        if self._thread is not None or self._store.recorded(self._folder.path):  # else nothing was begun
            self._ended = run
            self._go_on()

    def close(self, seconds: float) -> str | None:
        """Wait for what is still to be sent, at most so long."""
        if self._thread is None:
            return None
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)
        if not self._done.is_set():
            self._troubles.append(f"not done {seconds:g} s after the run's end (tracker.wait_seconds)")
            return None
        return self._store.place(self._folder)

    def trouble(self) -> str | None:
        """What was wrong first, once."""
        if self._told or not self._troubles:
            return None
        self._told = True
        return f"{self._store.uri}: {self._troubles[0]}; the run goes on, and its folder has all that is missing there"

    def _go_on(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()
        self._wake.set()

    def _work(self) -> None:
        pause, most = _PAUSES
        with quiet():
            while not self._done.is_set():
                closing = self._closing.is_set()
                try:
                    self._send()
                except Exception as error:
                    self._troubles.append(cause(error))
                    if closing:
                        return
                    self._closing.wait(pause)
                    pause = min(2 * pause, most)
                    continue
                pause = _PAUSES[0]
                if closing:
                    self._done.set()
                else:
                    self._wake.wait()
                    self._wake.clear()

    def _send(self) -> None:
        """Send all that is to be sent; where something fails, the next time begins with it."""
        if self._run is None:
            self._run = self._store.run(self._folder, self._begun.tags if self._begun else {})
        if self._begun is not None:
            self._store.describe(self._run, self._begun)
            if self._run.data.metrics:
                names = [f"{prefix}{_JUDGED_BY}" for prefix in self._begun.past]
                self._told_before = {name: self._store.values(self._run, name) for name in names}
            self._begun = None
        while self._taken or self._waiting:
            while self._waiting and len(self._taken) < _AT_ONCE:
                self._taken.append(self._waiting.popleft())
            self._store.log(self._run, [point for point in self._taken if not self._was_told(point)])
            self._taken.clear()
        if self._ended is not None:
            self._store.log(self._run, self._ended.points)
            self._store.tag(self._run, {**self._ended.tags, "mlflow.note.content": self._ended.tags.get("verdict", "")})
            self._store.end(self._run.info.run_id, self._ended.status)
            for path in self._ended.files:
                if path not in self._uploaded:
                    self._store.upload(self._run, self._folder, path)
                    self._uploaded.add(path)
            self._ended = None

    def _was_told(self, point: Point) -> bool:
        """Whether an earlier part of the run has told of this step, to the same effect."""
        return any(
            self._told_before.get(name, {}).get(point.step) == value
            for name, value in point.values.items()
            if name.endswith(_JUDGED_BY)
        )


_JUDGED_BY = "validation_loss"


def begin_sweep(sweep: SweepFolder, settings: TrackerConfig) -> None:
    """Make the sweep's run, or go on with it: its jobs find it by the sweep's folder."""
    with quiet():
        Store(settings).run(sweep, {"jobs": str(len(sweep.jobs())), "folder": str(sweep.path)})


def end_sweep(sweep: SweepFolder, settings: TrackerConfig, status: str) -> None:
    """Write what the sweep came to, and end its run and those of jobs that were killed."""
    store, rows = Store(settings), summary.read(sweep)
    with quiet():
        run = store.run(sweep, {})
        done = [row for row in rows if row["status"] == "ok"]
        scored = [row for row in done if row["val_r2"] is not None]
        figures = {
            "jobs": len(rows),
            "jobs_ok": len(done),
            "jobs_failed": sum(row["status"] == "failed" for row in rows),
        }
        if scored:
            best = max(scored, key=lambda row: float(row["val_r2"]))
            names = ("val_mse", "val_r2", "test_mse", "test_r2", "test_r2_zero")
            figures |= {f"best/{name}": best[name] for name in names if best[name] is not None}
            store.tag(run, {"best": str(best["job"]), "mlflow.note.content": "\n\n".join(summary.aggregates(rows))})
        store.log(run, [Point(0, {name: float(value) for name, value in figures.items()})])
        store.end(run.info.run_id, status)
        for job in map(sweep.job, sweep.jobs()):
            if job.outcome() in ("killed", "interrupted") and (run_id := store.recorded(job.path)):
                store.end(run_id, "killed")
        for path in sorted([*sweep.path.glob("*.*"), *sweep.path.glob("plots/*")]):
            if path.is_file() and not path.name.startswith("."):
                store.upload(run, sweep, path)
