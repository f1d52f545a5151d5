"""What a run prints and keeps in train.log: lines, and the progress of its epochs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO, cast

from stockml.config.printable import printable
from stockml.processes import streams

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from stockml.training.interface import EpochStats

SYNTHETIC = (
    "SIMULATED DATA (synthetic: true), no market prices. For real data:",
    "  python run.py data=csv data.dir=FOLDER stock=AAPL     daily bars, FOLDER/AAPL.csv",
    "  python run.py data=npz data.path=FILE.npz             arrays with windows made elsewhere",
)
"""The lines that a run on simulated data begins with."""


def made_up(placebo: int | None) -> tuple[str, ...]:
    """The lines that a run on simulated data begins with, or one on a placebo copy of that number."""
    if placebo is None:
        return SYNTHETIC
    return ("PLACEBO COPY (synthetic: true): the signs of its returns are drawn by chance; it is not the market.",)


class RunLog:
    """Prints lines, if `verbose`, and keeps them with the time in a log file once there is one.

    A stream that cannot be written to ends the printing, not the log and not the run.
    """

    def __init__(self, *, verbose: bool = True) -> None:
        self._verbose = verbose
        self._log: TextIO | None = None
        self._waiting: list[str] = []
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def emit(self, *lines: str) -> None:
        """Print lines, if verbose, and keep them."""
        for line in map(printable, lines):
            if not self._verbose:
                break
            if self._progress is not None:
                self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
            else:
                self._verbose = streams.print_line(line)
        self.record(*lines)

    def record(self, *lines: str) -> None:
        """Keep lines without printing them."""
        self._waiting += [
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}" for text in lines for line in printable(text).splitlines()
        ]
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk fails a run where it matters, at its next checkpoint
                self._log.writelines(f"{line}\n" for line in self._waiting)
                self._log.flush()
            self._waiting.clear()

    @contextlib.contextmanager
    def writing_to(self, open_log: Callable[[], TextIO]) -> Iterator[None]:
        """Write what has been and will be emitted to the log; close it at the end."""
        with contextlib.suppress(OSError):  # as in `record`
            self._log = open_log()
        log = self._log
        try:
            self.record()
            yield
        finally:
            self._log = None
            with contextlib.suppress(OSError):
                if log is not None:
                    log.close()

    @contextlib.contextmanager
    def epochs(self, total: int, done: int) -> Iterator[None]:
        """While a model trains: a progress bar on a terminal, else `epoch` prints a line an epoch."""
        if not (self._verbose and sys.stdout.isatty()):
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(24), TextColumn("{task.description}"))
        console = Console(file=cast("TextIO", streams.Controlling(sys.stdout)))
        with Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=console) as self._progress:
            self._task = self._progress.add_task("", total=total, completed=done)
            try:
                yield
            finally:
                self._progress.stop()
                self._progress = None

    def epoch(self, epoch: EpochStats, total: int) -> None:
        """Report a finished epoch."""
        losses = (
            f"train {epoch.train_loss:#.5g}  validation {epoch.validation_loss:#.5g}  best epoch {epoch.best_epoch}"
        )
        line = f"epoch {epoch.epoch}/{total}  {losses}  {epoch.seconds:.2f} s"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=epoch.epoch, description=losses)
            self.record(line)
        else:
            self.emit(line)
