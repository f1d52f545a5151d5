"""tracker=csv: every figure of a run in one long table, written as the run goes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder
    from stockml.trackers.records import Begun, Ended, Point

_HEADER = ["time", "step", "name", "value"]


class ScalarsFile:
    """scalars.csv, a row a figure."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._path = folder.path / "scalars.csv"

    def begin(self, run: Begun) -> None:
        """Write what is known already; of an earlier part of the run the rows stay as they are."""
        kept = [row for row in self._rows() if run.stands(row[2], int(row[1]))]
        there = {(row[2], row[1]) for row in kept}
        missing = (row for row in _cells(run.known) if (row[2], row[1]) not in there)
        self._folder.write_csv(self._path.name, _HEADER, [*kept, *missing], synthetic=run.synthetic)

    def add(self, point: Point) -> None:
        """Append the figures of a step."""
        self._append([point])

    def end(self, run: Ended) -> None:
        """Append the final figures."""
        if self._path.exists():
            self._append(run.points)

    def close(self, seconds: float) -> str | None:  # noqa: ARG002  (as every tracker has it)
        """Where the table is."""
        return f"csv: {self._path}"

    def trouble(self) -> str | None:
        """None: what is wrong is raised."""

    def _append(self, points: Iterable[Point]) -> None:
        with self._path.open("r+b") as file:
            mark = ["true"] if file.readline().rstrip().endswith(b",synthetic") else []
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([*row, *mark] for row in _cells(points))
            file.seek(0, io.SEEK_END)
            file.write(text.getvalue().encode())

    def _rows(self) -> Iterator[list[str]]:
        """The rows that are there, without a last one that was cut off."""
        if self._path.exists():
            whole, _, _ = self._path.read_text().rpartition("\n")
            yield from (row[: len(_HEADER)] for row in csv.reader(whole.splitlines()[1:]))


def _cells(points: Iterable[Point]) -> Iterator[list[str]]:
    for point in points:
        time = datetime.fromtimestamp(point.time).astimezone().isoformat(timespec="milliseconds")
        yield from ([time, str(point.step), name, repr(value)] for name, value in point.values.items())
