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
from numpy.typing import NDArray

from stockml.data import calendar, frequency, jumps
from stockml.data.bars import COLUMNS, Bars, Floats
from stockml.data.doctor_further import (
    Case,
    Mask,
    constant,
    days,
    days_without,
    missing_periods,
    no_values,
    outliers,
    runs,
    sigma,
    wrong_weekdays,
)
from stockml.errors import UserError

Days = NDArray[np.datetime64]

LONGEST_GAP_DAYS = 5  # a weekend and two holidays
_ROUNDING = 1e-6  # relative: prices stored in float32 and then adjusted
_LEAST_SPIKE = 0.10
_REVERTED = 0.7
_STALE_DAYS = 3
_MOST_OPENS_REPEATED = 0.05
_LEAST_SWAPPED = 60
_SWAPPED_RATIO = 1.4
_SWAPPED_SIGMAS = 4.0


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
    subject = _Subject(bars, sessions, exchange)
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
class _Subject:
    """The bars, and values derived from them that several checks use."""

    bars: Bars
    sessions: Days | None
    exchange: str

    @property
    def dates(self) -> Days:
        return self.bars.dates

    @functools.cached_property
    def prices(self) -> dict[str, Floats]:
        """The price columns, close first; NaN where not positive, which has a check of its own."""
        columns = self.bars.columns
        names = [name for name in ("close", "open", "high", "low") if name in columns]
        return {name: np.where(columns[name] > 0, columns[name], np.nan) for name in names}

    @property
    def volume(self) -> Floats | None:
        return self.bars.columns.get("volume")

    @functools.cached_property
    def changes(self) -> dict[str, Floats]:
        """(R − 1,) log returns from bar to bar of each price; NaN where undefined."""
        return {name: np.diff(np.log(price)) for name, price in self.prices.items()}

    @functools.cached_property
    def spikes(self) -> dict[int, str]:
        """The bars at which a price jumped and reverted at once, and the name of that price."""
        found: dict[int, str] = {}
        for name, change in self.changes.items():
            there, back = change[:-1], change[1:]
            reverted = (there * back < 0) & (np.abs(there + back) <= (1 - _REVERTED) * np.abs(there))
            large = reverted & (np.abs(np.expm1(there)) > _LEAST_SPIKE)
            for bar in np.flatnonzero(large & (np.abs(there) > jumps.SIGMAS * sigma(change))):
                if jumps.is_large(change, int(bar)):
                    found.setdefault(int(bar) + 1, name)
        return dict(sorted(found.items()))

    @functools.cached_property
    def stale(self) -> Mask:
        """(R,) bars that repeat the day before, three or more in a row; and bars with a single price and no volume."""
        same = np.ones(len(self.dates) - 1, dtype=bool)
        for price in self.prices.values():
            same &= _equal(price[1:], price[:-1])
        found = np.zeros(len(self.dates), dtype=bool)
        for start, stop in runs(same):
            found[start + 1 : stop + 1] = stop - start >= _STALE_DAYS
        if self.volume is not None and len(self.prices) == 4:
            flat = self.volume == 0
            for price in self.prices.values():
                flat &= _equal(price, self.prices["close"])
            found |= flat
        return found


def _equal(one: Floats, other: Floats) -> Mask:
    equal: Mask = np.abs(one - other) <= _ROUNDING * np.abs(other)
    return equal


def _duplicates(subject: _Subject) -> Iterator[Case]:
    for row in np.flatnonzero(subject.dates[1:] == subject.dates[:-1]) + 1:
        yield int(row), subject.dates[row], "comes twice"


def _no_numbers(subject: _Subject, *, amid: bool) -> Iterator[Case]:
    for name, values in subject.bars.columns.items():
        for start, stop in runs(np.isnan(values)) if name in COLUMNS else ():
            if amid == (start > 0 and stop < len(values)):
                yield start, subject.dates[start], days(stop - start, f"{name} is NaN")


def _not_positive(subject: _Subject) -> Iterator[Case]:
    for name in subject.prices:
        price = subject.bars.columns[name]
        for row in np.flatnonzero(price <= 0):
            yield int(row), subject.dates[row], f"{name} {price[row]:.6g}"


def _crossed(subject: _Subject, lower: str, upper: str) -> Iterator[Case]:
    """Rows where the price that must be lower is higher, by more than rounding."""
    if lower not in subject.prices or upper not in subject.prices:
        return
    low, high = subject.prices[lower], subject.prices[upper]
    for row in np.flatnonzero((low > high) & ~_equal(low, high)):
        yield int(row), subject.dates[row], f"{lower} {low[row]:.6g} > {upper} {high[row]:.6g}"


def _outside(subject: _Subject, *, above: bool) -> Iterator[Case]:
    """Opens and closes outside the high or low of a bar whose high and low are in order."""
    crossed = {row for row, _, _ in _crossed(subject, "low", "high")}
    for name in ("open", "close"):
        for row, day, value in _crossed(subject, *((name, "high") if above else ("low", name))):
            if row not in crossed:
                yield row, day, value


def _missing_sessions(subject: _Subject) -> Iterator[Case]:
    if frequency.of(subject.dates).period not in ("day", "intraday"):
        yield from missing_periods(subject.dates)
        return
    if subject.sessions is None:
        steps = np.diff(subject.dates.astype("datetime64[D]")).astype(np.int64)
        for row in np.flatnonzero(steps > LONGEST_GAP_DAYS) + 1:
            yield int(row), subject.dates[row], f"no bar for {steps[row - 1]:,} days, since {subject.dates[row - 1]}"
        return
    missing = np.isin(subject.sessions, subject.dates.astype("datetime64[D]"), invert=True)
    for start, stop in runs(missing):
        first, last = subject.sessions[start], subject.sessions[stop - 1]
        until = f"{stop - start:,} sessions, to {last}" if stop - start > 1 else "1 session"
        yield int(np.searchsorted(subject.dates, first)), first, until


def _closed_days(subject: _Subject) -> Iterator[Case]:
    if subject.sessions is not None and frequency.of(subject.dates).period in ("day", "intraday"):
        for row in np.flatnonzero(np.isin(subject.dates.astype("datetime64[D]"), subject.sessions, invert=True)):
            yield int(row), subject.dates[row], f"{subject.dates[row].item():%A}"


def _stale(subject: _Subject) -> Iterator[Case]:
    for start, stop in runs(subject.stale):
        yield start, subject.dates[start], days(stop - start, f"close {subject.prices['close'][start]:.6g}")


def _spikes(subject: _Subject) -> Iterator[Case]:
    for row, name in subject.spikes.items():
        before, there, back = subject.prices[name][row - 1 : row + 2]
        moves = f"{there / before - 1:+.1%}, then {back / there - 1:+.1%}"
        yield row, subject.dates[row], f"{name} {before:.6g}, {there:.6g}, {back:.6g} ({moves})"


def _jumps(subject: _Subject, *, splits: bool) -> Iterator[Case]:
    close = subject.prices["close"]
    return jumps.jumps(subject.bars, close, subject.prices.get("open", close), subject.spikes, splits=splits)


def _swapped(subject: _Subject) -> Iterator[Case]:
    """Opens nearer to the next close than closes to the next open, on more days than by chance (sign test): a night
    moves prices less than two days."""
    if "open" not in subject.prices or len(subject.dates) < 2:
        return
    opened, close = subject.prices["open"], subject.prices["close"]
    moves = np.abs(np.log([opened[1:] / close[:-1], close[1:] / opened[:-1]]))
    moves = moves[:, np.isfinite(moves).all(axis=0)]
    if moves.shape[1] < _LEAST_SWAPPED:
        return
    night, both = np.median(moves, axis=1)
    if night > _SWAPPED_RATIO * both and np.sign(moves[0] - moves[1]).sum() > _SWAPPED_SIGMAS * moves.shape[1] ** 0.5:
        yield 0, subject.dates[0], f"from close to open {night:.2%}, from open to the next day's close {both:.2%}"


def _no_volume(subject: _Subject) -> Iterator[Case]:
    if subject.volume is not None:
        for start, stop in runs((subject.volume == 0) & ~subject.stale):
            yield start, subject.dates[start], days(stop - start, "volume 0")


def _opens_repeat(subject: _Subject) -> Iterator[Case]:
    if "open" not in subject.prices or len(subject.dates) < 2:
        return
    same = _equal(subject.prices["open"][1:], subject.prices["close"][:-1]) & ~subject.stale[1:]
    if same.mean() > _MOST_OPENS_REPEATED:
        row = int(same.argmax()) + 1
        yield row, subject.dates[row], f"open repeats the last close on {same.sum():,} days ({same.mean():.1%})"


@dataclass(frozen=True)
class _Check:
    severity: Literal["error", "warning"]
    name: str
    cases: Callable[[_Subject], Iterator[Case]]
    remedy: str


_NO_VALUE = "days without a value"
_FIX = "fix or delete the line"
_COMPARE = "compare with another source; fix the line if it is wrong"

_CHECKS: Sequence[_Check] = (
    _Check("error", "duplicate date", _duplicates, "keep one line per day"),
    _Check("error", "NaN amid bars", functools.partial(_no_numbers, amid=True), _FIX),
    _Check("error", "price not positive", _not_positive, _FIX),
    _Check("error", "high below low", functools.partial(_crossed, lower="low", upper="high"), _FIX),
    _Check(
        "warning",
        "NaN at an end",
        functools.partial(_no_numbers, amid=False),
        "leave these days out: data.start, data.end",
    ),
    _Check("warning", "above the high", functools.partial(_outside, above=True), _COMPARE),
    _Check("warning", "below the low", functools.partial(_outside, above=False), _COMPARE),
    _Check(
        "warning",
        "missing sessions",
        _missing_sessions,
        "add them if it traded; set data.calendar if it is another exchange",
    ),
    _Check(
        "warning",
        "exchange closed",
        _closed_days,
        "delete the bars if nothing traded; set data.calendar if it is another exchange",
    ),
    _Check(
        "warning",
        "days of the week do not fit the calendar (data.timezone, data.calendar)",
        lambda subject: wrong_weekdays(subject.bars, subject.exchange),
        "name the exchange's time zone, as data.timezone=Asia/Tokyo; or its data.calendar, 24/7 for one always open",
    ),
    _Check("warning", "stale bars", _stale, "delete the lines if nothing traded: their returns of 0 are not real"),
    _Check("warning", "spike", _spikes, _COMPARE),
    _Check(
        "warning",
        "split not adjusted",
        functools.partial(_jumps, splits=True),
        "if it was a split, use adjusted prices or a file with Adj Close, or take the bars from that day: data.start",
    ),
    _Check(
        "warning",
        "lasting jump",
        functools.partial(_jumps, splits=False),
        "if it is no real move, multiply the prices before by this factor, or take the bars from that day: data.start",
    ),
    _Check("warning", "open and close swapped", _swapped, "swap them: 'data.columns={open: Close, close: Open}'"),
    _Check("warning", "zero volume", _no_volume, "if the source has no volume, leave it out of stock.features"),
    _Check(
        "warning", "open repeats close", _opens_repeat, "the open is not a real one; leave it out of stock.features"
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
