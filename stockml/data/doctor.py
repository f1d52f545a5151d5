"""Finds faults in daily bars; each finding has the check, the day, the value, and what to do.

Errors are values that no market can have quoted; warnings are values that are possible but rare.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stockml.data import calendar, frequency
from stockml.data import doctor_prices as prices
from stockml.data.bars import Bars
from stockml.data.doctor_further import Case, constant, days_without, no_values, outliers, wrong_weekdays
from stockml.data.doctor_prices import Days, Subject
from stockml.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One fault, or consecutive days with the same fault."""

    severity: Literal["error", "warning"]
    check: str
    row: int
    """The bar, or the first one; for missing bars the one after them."""
    date: np.datetime64
    value: str
    remedy: str


def examine(bars: Bars, sessions: Days | None = None, exchange: str = calendar.AUTO) -> list[Finding]:
    """All findings: errors first, then by check and day.

    `sessions` are the exchange's trading days from the first bar to the last; without them, gaps of more than 5
    calendar days are reported instead. The columns that the bars have are examined.
    """
    subject = Subject(bars, sessions, exchange)
    with np.errstate(all="ignore"):  # a value without a logarithm is a finding, and has no return
        return [
            Finding(check.severity, check.name, row, day, value, check.remedy)
            for check in _CHECKS
            for row, day, value in check.cases(subject)
        ]


def counts(bars: Bars, exchange: str = calendar.AUTO) -> Counter[str]:
    """The number of findings of each check with warnings, and of days without a value by column.

    Raises UserError where there are errors.

    It takes 2 ms for 20 years of bars, and needs a calendar only where there are bars on weekends.
    """
    if not len(bars.dates):
        return Counter()
    frequency.check(bars.dates, bars.origin)
    found = examine(bars, exchange=exchange)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first = errors[0]
        others = f" ({len(errors):,} errors in all)" if len(errors) > 1 else ""
        others += "".join(f"; {of.check}: {of.value}" for of in found if of.check == "columns swapped")
        raise UserError(
            f"{bars.where(first.row)}: {first.date}: {first.check}: {first.value}{others}; {first.remedy}; "
            "task=doctor with the same data and stock shows all"
        )
    counted = Counter(finding.check for finding in found if finding.check != _NO_VALUE)
    return counted + Counter({f"{_NO_VALUE} in {name}": count for name, count in days_without(bars).items()})


def labels(counts: Counter[str]) -> tuple[str, ...]:
    """Each check as shown to the user, with its number of findings if there are several.

    These texts, and so the names of the checks, are part of the fingerprint of pooled runs.
    """
    return tuple(f"{check} ({count:,})" if count > 1 else check for check, count in counts.items())


@dataclass(frozen=True)
class _Check:
    severity: Literal["error", "warning"]
    name: str
    cases: Callable[[Subject], Iterator[Case]]
    remedy: str


_NO_VALUE = "days without a value"
_FIX = "fix or delete the line"
_COMPARE = "compare with another source; fix the line if it is wrong"

_CHECKS: Sequence[_Check] = (
    _Check("error", "duplicate date", prices.duplicates, "keep one line per day"),
    _Check("error", "NaN amid bars", functools.partial(prices.no_numbers, amid=True), _FIX),
    _Check(
        "error",
        "price not positive",
        prices.not_positive,
        f"{_FIX}; if prices were below 0, as of oil in April 2020, set data.target=difference",
    ),
    _Check("error", "high below low", functools.partial(prices.crossed, lower="low", upper="high"), _FIX),
    _Check(
        "warning",
        "NaN at an end",
        functools.partial(prices.no_numbers, amid=False),
        "leave these days out: data.start, data.end",
    ),
    _Check(
        "warning",
        "price of 0 or less",
        prices.below_zero,
        "right of some futures and spreads; of a stock it is a fault of the line",
    ),
    _Check("warning", "above the high", functools.partial(prices.outside, above=True), _COMPARE),
    _Check("warning", "below the low", functools.partial(prices.outside, above=False), _COMPARE),
    _Check(
        "warning",
        "missing sessions",
        prices.missing_sessions,
        "add them if it traded; set data.calendar if it is another exchange",
    ),
    _Check(
        "warning",
        "exchange closed",
        prices.closed_days,
        "delete the bars if nothing traded; set data.calendar if it is another exchange",
    ),
    _Check(
        "warning",
        "days of the week do not fit the calendar (data.timezone, data.calendar)",
        lambda subject: wrong_weekdays(subject.bars, subject.exchange),
        "name the exchange's time zone, as data.timezone=Asia/Tokyo; or its data.calendar, 24/7 for one always open",
    ),
    _Check(
        "warning", "stale bars", prices.stale, "delete the lines if nothing traded: their returns of 0 are not real"
    ),
    _Check("warning", "spike", prices.spikes, _COMPARE),
    _Check(
        "warning",
        "split not adjusted",
        functools.partial(prices.jumps, splits=True),
        "if it was a split, use adjusted prices or a file with Adj Close, or take the bars from that day: data.start",
    ),
    _Check(
        "warning",
        "lasting jump",
        functools.partial(prices.jumps, splits=False),
        "if it is no real move, multiply the prices before by this factor, or take the bars from that day: data.start",
    ),
    _Check(
        "warning",
        "columns swapped",
        prices.columns_swapped,
        "swap them back, as with 'data.columns={high: Close, close: High}' where all bars are so",
    ),
    _Check("warning", "open and close swapped", prices.swapped, "swap them: 'data.columns={open: Close, close: Open}'"),
    _Check("warning", "zero volume", prices.no_volume, "if the source has no volume, leave it out of stock.features"),
    _Check(
        "warning",
        "open repeats close",
        prices.opens_repeat,
        "the open is not a real one; leave it out of stock.features",
    ),
    _Check(
        "warning",
        _NO_VALUE,
        lambda subject: no_values(subject.bars),
        "features.missing says what happens to these days",
    ),
    _Check(
        "warning",
        "constant column",
        lambda subject: constant(subject.bars),
        "leave it out if nothing was recorded in this time",
    ),
    _Check("warning", "outlier", lambda subject: outliers(subject.bars), _COMPARE),
)
