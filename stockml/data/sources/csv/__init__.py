"""Settings of daily bars from CSV or Parquet files. Imports nothing heavy."""

from __future__ import annotations

import collections
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from stockml.config.schema import bounded
from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class CsvConfig(BarsConfig):
    """Bars from a table: the file `path`, or the ticker's file in `dir`."""

    path: str | None
    dir: str | None
    columns: Mapping[str, str | int] = bounded(least=1)
    """A role (date, open, …, adj_close, ticker) or another name → the column's name in the file, or its position from
    1."""
    header: bool
    """Whether a line of the file names its columns; if not, `columns` names them by position."""
    context_path: str | None
    """File or folder of the tickers of `context`; None: the same as the stock's."""
    date_format: str | None
    """In the notation of strptime; None: recognised from the file's dates."""
    timezone: str | None
    """The exchange's time zone, as Asia/Tokyo, to which the stamps are moved, those without a zone from UTC; None: a
    stamp's day and time are those that are written."""
    on_bad_rows: Literal["error", "drop"]
    """Rows without a date or a usable number are refused, or left out and counted."""
    adjust_volume: bool
    """Whether volume is adjusted for splits, as prices are: by Adj Volume, else by the splits of Adj Close / Close."""

    can_find_stocks: ClassVar[bool] = True

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        yield from super().conflicts()
        if not self.dir and not self.path:
            yield "dir: needed with data=csv, the folder of the bars: data.dir=FOLDER (or one file: data.path=FILE)"
        elif self.dir and self.path:
            yield "path: data=csv needs either data.path=FILE or data.dir=FOLDER, one of the two; the other is null"
        for name in self.columns:
            if not re.fullmatch(r"[^\W\d]\w*", name):
                yield f"columns: {name!r} is no name: it has letters, digits and _ only, and begins with a letter"
        places = collections.Counter(self.columns.values())
        if several := next((place for place, count in places.items() if count > 1), None):
            names = ", ".join(name for name, place in self.columns.items() if place == several)
            yield f"columns: {names} are all the column {several!r}; name it once"
        named = [name for name, place in self.columns.items() if isinstance(place, str)]
        if named and not self.header:
            yield f"columns.{named[0]}={self.columns[named[0]]}: must be a position, from 1, as data.header=false"
        if self.timezone is not None and not _is_zone(self.timezone):
            yield f"timezone: there is no {self.timezone!r}; name it as data.timezone=Asia/Tokyo or America/New_York"
        codes = set(re.findall("%.", self.date_format or ""))
        if self.date_format is not None and not (
            {"%d"} & codes and {"%m", "%b", "%B"} & codes and {"%Y", "%y"} & codes
        ):
            yield f"date_format: {self.date_format!r} must have a day, a month and a year, as %d/%m/%Y has"


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True
