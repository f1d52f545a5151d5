"""Daily bars from CSV or Parquet files: settings. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class CsvConfig(BarsConfig):
    """Bars from a table: the file `path`, or that of the ticker in `dir`."""

    path: str | None
    dir: str | None
    date_format: str | None
    """strptime's signs; None: as the file's own dates tell."""
    on_bad_rows: Literal["error", "drop"]
    """Whether rows without a date or a usable number are refused, or left out and counted."""

    can_take_all_tickers: ClassVar[bool] = True

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        yield from super().conflicts()
        if not self.dir and not self.path:
            yield "dir: needed with data=csv, the folder of the bars: data.dir=FOLDER (or one file: data.path=FILE)"
        elif self.dir and self.path:
            yield "path: data=csv needs either data.path=FILE or data.dir=FOLDER, one of the two"
        signs = set(re.findall("%.", self.date_format or ""))
        if self.date_format is not None and not (
            {"%d"} & signs and {"%m", "%b", "%B"} & signs and {"%Y", "%y"} & signs
        ):
            yield f"date_format: {self.date_format!r} must tell day, month and year, as %d/%m/%Y does"
