"""Settings of windowed arrays. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stockml.data.settings import DataConfig


@dataclass(frozen=True, kw_only=True)
class NpzConfig(DataConfig):
    """Windowed arrays from the file `path`, or from `<dir>/<ticker>.npz`."""

    path: str | None
    dir: str | None

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        if bool(self.path) == bool(self.dir):
            yield "path: data=npz needs either data.path=FILE.npz or data.dir=FOLDER, one of the two"
