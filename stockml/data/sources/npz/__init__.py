"""Settings of windowed arrays. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stockml.config.schema import bounded
from stockml.data.settings import DataConfig


@dataclass(frozen=True, kw_only=True)
class NpzConfig(DataConfig):
    """Windowed arrays from the file `path`, or from `<dir>/<ticker>.npz`."""

    path: str | None
    dir: str | None
    horizon: int | None = bounded(least=0, default=None)
    """Windows from the end of a window to the end of its target: days where they are a day apart. None: as the arrays
    show it. 0: not known, so nothing is purged."""

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        if bool(self.path) == bool(self.dir):
            yield "path: data=npz needs either data.path=FILE.npz or data.dir=FOLDER, one of the two; the other is null"
