"""What the doctor finds in columns other than prices and volume: warnings only, since any number may be right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.data.bars import COLUMNS, Bars, Floats

Mask = NDArray[np.bool_]
Case = tuple[int, np.datetime64, str]
"""Row of the bar, day, description of the value."""

_CONSTANT_DAYS = 120
_OUTLIER_SIGMAS = 20.0


def _further(bars: Bars) -> Iterator[tuple[str, Floats]]:
    return ((name, values) for name, values in bars.columns.items() if name not in COLUMNS)


def no_values(bars: Bars) -> Iterator[Case]:
    """Days on which a column has no value; the first of several in a row."""
    for name, values in _further(bars):
        for start, stop in runs(np.isnan(values)):
            yield start, bars.dates[start], days(stop - start, name)


def days_without(bars: Bars) -> dict[str, int]:
    """The number of days on which a column has no value, by column, of those that have such days."""
    found = {name: int(np.isnan(values).sum()) for name, values in _further(bars)}
    return {name: count for name, count in found.items() if count}


def constant(bars: Bars) -> Iterator[Case]:
    """Columns that stay the same for long; the first day of each such time."""
    for name, values in _further(bars):
        for start, stop in runs(values[1:] == values[:-1]):
            if stop - start >= _CONSTANT_DAYS:
                yield start, bars.dates[start], days(stop - start + 1, f"{name} {values[start]:.6g}")


def outliers(bars: Bars) -> Iterator[Case]:
    """Columns with values far from their median; the farthest."""
    for name, values in _further(bars):
        finite = values[np.isfinite(values)]
        middle, usual = (float(np.median(finite)), sigma(finite)) if len(finite) else (0.0, 0.0)
        distance = np.nan_to_num(np.abs(values - middle))
        if usual > 0 and (count := int((distance > _OUTLIER_SIGMAS * usual).sum())):
            row = int(distance.argmax())
            others = f", and {count - 1:,} more" if count > 1 else ""
            yield row, bars.dates[row], f"{name} {values[row]:.6g}, the median is {middle:.6g}{others}"


def sigma(values: Floats) -> float:
    """A robust standard deviation: 1.4826 × the median distance from the median (Hampel 1974)."""
    finite = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(finite - np.median(finite)))) if len(finite) else 0.0


def runs(mask: Mask) -> list[tuple[int, int]]:
    """First and last + 1 of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def days(count: int, first: str = "") -> str:
    """`first`, and for how many days it holds if there are several."""
    return first if count == 1 and first else f"{first}{' ' if first else ''}for {count:,} days"


def wrong_weekdays(bars: Bars, exchange: str) -> Iterator[Case]:
    """What days of the week contradict the exchange."""
    return ((row, bars.dates[row], value) for row, value in frequency.warnings(bars.dates, exchange))


def missing_periods(dates: NDArray[np.datetime64]) -> Iterator[Case]:
    """Weeks or months without a bar."""
    found = frequency.of(dates)
    missing = frequency.periods_missing(dates, found)
    for row in np.flatnonzero(missing) + 1:
        count, since = missing[row - 1], dates[row - 1]
        yield int(row), dates[row], f"no bar for {count:,} {found.noun}{'s' if count > 1 else ''}, since {since}"
