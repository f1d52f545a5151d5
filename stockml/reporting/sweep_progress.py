"""How a sweep goes on, on a terminal: a line for each job that ends, and below it how many are done."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stockml.evaluation.metrics import metric
from stockml.processes import streams

_NAME_WIDTH = 16
"""Of a search's jobs, which are not known beforehand."""


class SweepProgress:
    """Prints a line for each job that ends; on a terminal, a last line with the state of the sweep."""

    def __init__(self, total: int | None, done: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
        """`total` counts the jobs, None where that is not known; `done` has the rows of those that were done before.

        `names` are those of the jobs, as far as they are known: their lines are aligned.
        """
        self._width = min(max(map(len, names), default=_NAME_WIDTH), shutil.get_terminal_size().columns // 2)
        self._total, self._failed, self._running = total, 0, 0
        self._pruned = sum(row["status"] == "pruned" for row in done)
        self._done = len(done) - self._pruned
        self._started: float | None = None
        self._ended = 0
        self._best: tuple[float, str] | None = None
        for row in done:
            self._compare(row)
        self._live = sys.stdout.isatty()

    def started(self) -> None:
        """A job has started."""
        self._running += 1
        self._started = self._started or time.monotonic()
        self.tick()

    def ended(self, row: Mapping[str, Any]) -> None:
        """A job has ended; `row` is its row of the summary."""
        self._running -= 1
        self._ended += 1
        if row["status"] == "ok":
            self._done += 1
            self._compare(row)
            epochs = "1 epoch" if row["epochs"] == 1 else f"{row['epochs']} epochs"
            name = "r2" if row.get("val_pinball") is None else "pinball"
            result = f"{epochs}, validation {name} {metric(name).format(row[f'val_{name}'])}"
        elif row["status"] == "pruned":
            self._pruned += 1
            result = f"after {row['epochs']} epoch{'' if row['epochs'] == 1 else 's'}"
        else:
            self._failed += 1
            result = str(row.get("error") or "")
        seconds = f", {row['seconds']:.1f} s" if row.get("seconds") is not None else ""
        self._clear()
        print(f"{row['job']:<{self._width}} {row['status']:<7} {result}{seconds}  |  {self._state()}", flush=True)
        self.tick()

    def _compare(self, row: Mapping[str, Any]) -> None:
        score = row.get("val_r2")  # comparable from stock to stock, as errors are not
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = (score, str(row["job"]))

    def tick(self) -> None:
        """Time has passed."""
        if self._live:
            self._clear()
            print(self._state()[: shutil.get_terminal_size().columns - 1], end="", flush=True)

    def ending(self) -> None:
        """The running jobs are asked to end, which takes them a moment."""
        self._clear()
        print(f"ending {self._running} job{'' if self._running == 1 else 's'} …", flush=True)

    def close(self) -> None:
        """No more jobs."""
        self._clear()

    def _clear(self) -> None:
        if self._live:
            streams.Controlling(sys.stdout).write("\r\x1b[K")

    def _state(self) -> str:
        counts = ((self._done, "done"), (self._pruned, "pruned"), (self._failed, "failed"), (self._running, "running"))
        parts = [f"{count} {what}" for count, what in counts if count]
        if self._total is not None:
            left = self._total - self._done - self._pruned - self._failed - self._running
            parts += [f"{left} left"] if left else []
            if self._started is not None and self._ended and left + self._running:
                seconds = (time.monotonic() - self._started) / self._ended * (left + self._running)
                parts.append(f"about {seconds:.0f} s left")
        if self._best is not None:
            parts.append(f"best {self._best[1]}, validation r2 {self._best[0]:+.4f}")
        return ", ".join(parts)
