"""Dates with times: those of intraday bars are kept, and all can be moved to the exchange's time zone."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.data.sources.csv import cells, date_words
from stockml.errors import UserError

_CLOCK = re.compile(
    r"(?:T|,?\s+)(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
    r"(?:\s*(?P<zone>[A-Z]{1,4}(?![+-])|(?:GMT|UTC)?[+-]\d\d:?\d\d)(?:\s\(.*\))?)?$"
)
_TIME_ALONE = re.compile(r"^([01]?\d|2[0-3]):?([0-5]\d)(?::?([0-5]\d)(?:\.\d+)?)?$")
_RUN_TOGETHER = re.compile(r"^(\d{8})\s(\d\d)(\d\d)(\d\d)$")
_UTC = ("Z", "UTC", "GMT")
_LEAST_REPEATED = 0.2  # share of the bars that are of the same day as the one before, of intraday bars


def read(column: pd.Series[str], date_format: str | None, timezone: str | None) -> tuple[cells.Days, str]:
    """(R,) days and their format, as `cells.days`; of intraday bars times in seconds, as they are written.

    With `timezone`, each is the exchange's own: a stamp without a zone is one of UTC. Raises UserError where the dates
    hold no times that could be moved, and as `cells.days` does.
    """
    days, form = cells.days(column, date_format)
    days = np.where(are_of_bars(days), days, np.datetime64("NaT", "D"))
    known = days[~np.isnat(days)]
    repeated = (known[1:] == known[:-1]).mean() if len(known) > 1 else 0.0
    if timezone is None and repeated < _LEAST_REPEATED:
        return days, form
    wall, offset = _seconds(column, days, date_format)
    if timezone is not None:
        if not ((wall != days) & ~np.isnat(wall)).any() and np.isnan(offset).all():
            raise UserError(
                f"data.timezone={timezone}: the dates hold no times, so no day can be moved; leave it out, and save "
                "the dates as they are at the exchange"
            )
        utc = pd.DatetimeIndex(wall - np.nan_to_num(offset).astype("timedelta64[s]"), tz="UTC")
        wall = utc.tz_convert(timezone).tz_localize(None).to_numpy().astype("datetime64[s]")
        form = f"{form}, as in {timezone}"
    days = wall.astype("datetime64[D]")
    known = wall[~np.isnat(wall)]
    of_day = known.astype("datetime64[D]")
    same_day = (of_day[1:] == of_day[:-1]) & (known[1:] != known[:-1])
    return (wall, form) if len(known) > 1 and same_day.mean() >= _LEAST_REPEATED else (days, form)


def are_of_bars(days: cells.Days) -> NDArray[np.bool_]:
    """(R,) whether bars can be of these days: not of years of another calendar, as of Thailand's or Iran's."""
    return (days >= np.datetime64("1600-01-01")) & (days < np.datetime64("2100-01-01"))


def are_times(cells: pd.Series[str]) -> bool:
    """Whether all cells are times of the day, with colons."""
    texts = cells.astype(str)
    return bool(texts.str.contains(":").all() and texts.str.strip().str.fullmatch(_TIME_ALONE).all())


def with_times(dates: pd.Series[str], clock: pd.Series[str]) -> pd.Series[str]:
    """The dates with the times, 09:30:00 or 093000, that a column of its own holds; as they are where it holds none."""
    parts = clock.astype(str).str.strip().str.extract(_TIME_ALONE)
    if parts[0].isna().any():
        return dates
    days = dates.astype(str).str.strip().str.removesuffix(" 00:00:00")
    return days + " " + parts[0] + ":" + parts[1] + ":" + parts[2].fillna("00")


def _seconds(column: pd.Series[str], days: cells.Days, date_format: str | None) -> tuple[cells.Days, cells.Floats]:
    """(R,) dates with times, as written; and how many seconds each is ahead of UTC, NaN where that is not written."""
    nowhere = np.full(len(days), np.nan)
    if column.dtype.kind == "M":
        stamps = pd.DatetimeIndex(column)
        wall = stamps.tz_localize(None).to_numpy().astype("datetime64[s]")
        if stamps.tz is None:
            return wall, nowhere
        return wall, (wall - stamps.tz_convert(None).to_numpy().astype("datetime64[s]")).astype(np.float64)
    texts = column.astype(str).str.strip()
    if date_format is None and (counted := date_words.counted(texts)) is not None:
        return counted[0], nowhere
    if date_format is not None and "%H" in date_format:
        parsed = pd.to_datetime(texts, format=date_format, errors="coerce").dt.tz_localize(None)
        return parsed.to_numpy().astype("datetime64[s]"), nowhere
    parts = texts.str.replace(_RUN_TOGETHER, r"\1 \2:\3:\4", regex=True).str.extract(_CLOCK)
    clock = parts[["hour", "minute", "second"]].fillna("0").astype(int)
    half = parts["half"].str.lower()
    hour = clock["hour"].where(half.isna(), clock["hour"] % 12) + 12 * (half == "p")
    seconds = (hour * 3600 + clock["minute"] * 60 + clock["second"]).to_numpy()
    zones = {zone: _ahead(zone) for zone in parts["zone"].dropna().unique()}
    offset = parts["zone"].map(zones).to_numpy(dtype=np.float64)
    return days.astype("datetime64[s]") + seconds.astype("timedelta64[s]"), offset


def _ahead(zone: str) -> float:
    """Seconds ahead of UTC; NaN where the name of a zone is not known."""
    if zone in _UTC:
        return 0.0
    digits = re.sub(r"[^\d+-]", "", zone)
    return (-1 if "-" in digits else 1) * (int(digits[1:3]) * 3600 + int(digits[3:5]) * 60) if digits else np.nan
