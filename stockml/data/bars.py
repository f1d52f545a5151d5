"""Dated daily bars of one ticker, however they were come by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stockml.errors import UserError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """Daily bars, oldest first; prices adjusted for splits and dividends."""

    ticker: str
    dates: NDArray[np.datetime64]
    """(R,) of days, strictly increasing."""
    columns: dict[str, Floats]
    """(R,) each: `close` always, the other features as far as they are needed."""
    origin: str
    """Where they come from, as it is told to the user: a path, or the simulator's settings."""
    parsing_notes: str = ""
    """How a table was read, as it is told to the user."""
    dropped: tuple[str, ...] = ()
    """What a table's reader left out and why, each as it is told to the user."""
    synthetic: bool = False
    lines: NDArray[np.int64] | None = None
    """(R,) where each bar stands in the file that `origin` names, from 1; None where that is not known."""
    expected: Floats | None = None
    """(R,) simulated data only: the expected log return of each day given all days before it."""

    def where(self, row: int) -> str:
        """Where a bar comes from, as it is told: the file, and the line (of Parquet the row) where that is known."""
        if self.lines is None:
            return self.origin
        return place(self.origin, int(self.lines[row]))

    def first(self, count: int) -> Bars:
        """The first bars alone."""
        return self._of(slice(count))

    def between(self, start: object, end: object) -> Bars:
        """The bars from the day `start` to the day `end`, both included; None leaves that side open."""
        keep = np.ones(len(self.dates), dtype=bool)
        if start is not None:
            keep &= self.dates >= np.datetime64(str(start), "D")
        if end is not None:
            keep &= self.dates <= np.datetime64(str(end), "D")
        if keep.all():
            return self
        if not keep.any():
            raise UserError(
                f"{self.origin}: no bars between data.start={start} and data.end={end}; "
                f"it holds {self.dates[0]} to {self.dates[-1]}"
            )
        return self._of(keep)

    def _of(self, keep: slice | NDArray[np.bool_]) -> Bars:
        return replace(
            self,
            dates=self.dates[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
            lines=None if self.lines is None else self.lines[keep],
            expected=None if self.expected is None else self.expected[keep],
        )


def place(path: str, line: int) -> str:
    """A place in a table's file, as it is told: of Parquet, which has no lines, the row."""
    return f"{path}, {'row' if path.lower().endswith(('.parquet', '.pq')) else 'line'} {line}"


def adjusted(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """The columns with prices × `adj close` / `close`, where there is such a column, which is then left out."""
    kept = {name: values for name, values in columns.items() if name != "adj close"}
    if "adj close" not in columns:
        return kept
    factor = columns["adj close"] / columns["close"]
    return {name: values if name == "volume" else values * factor for name, values in kept.items()}
