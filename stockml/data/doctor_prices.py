"""The checks of daily bars' prices, volume and days: each gives the bar, the day and the value of what it finds."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.data import jumps as one_day
from stockml.data.bars import COLUMNS, PRICES, Bars, Floats
from stockml.data.doctor_further import Case, Mask, days, missing_periods, runs, sigma

Days = NDArray[np.datetime64]

LONGEST_GAP_DAYS = 5  # a weekend and two holidays
_ROUNDING = 1e-6  # relative: prices stored in float32 and then adjusted
_LEAST_SPIKE = 0.10
_REVERTED = 0.7
_STALE_DAYS = 3
_MOST_OPENS_REPEATED = 0.05
_FEWEST_OUT_OF_ORDER = 20
_LEAST_OUT_OF_ORDER = 0.5  # of the bars from the first to the last of them
_MOST_LEFT = 0.05
_LEAST_SWAPPED = 60
_SWAPPED_RATIO = 1.4
_SWAPPED_SIGMAS = 4.0


@dataclass(frozen=True)
class Subject:
    """The bars, and values derived from them that several checks use."""

    bars: Bars
    sessions: Days | None
    exchange: str

    @property
    def dates(self) -> Days:
        """(R,)"""
        return self.bars.dates

    @functools.cached_property
    def prices(self) -> dict[str, Floats]:
        """The price columns, close first; NaN where not positive, which has a check of its own."""
        columns = self.bars.columns
        names = [name for name in ("close", "open", "high", "low") if name in columns]
        return {name: np.where(columns[name] > 0, columns[name], np.nan) for name in names}

    @property
    def has_negative_prices(self) -> bool:
        """Whether prices of 0 or less are no fault, since some are below 0 and the config can use them."""
        return self.bars.takes_any_price and self.bars.below_zero

    @property
    def volume(self) -> Floats | None:
        """(R,) None without one."""
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
            for bar in np.flatnonzero(large & (np.abs(there) > one_day.SIGMAS * sigma(change))):
                if one_day.is_large(change, int(bar)):
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


def duplicates(subject: Subject) -> Iterator[Case]:
    """Days that come twice."""
    for row in np.flatnonzero(subject.dates[1:] == subject.dates[:-1]) + 1:
        yield int(row), subject.dates[row], "comes twice"


def no_numbers(subject: Subject, *, amid: bool) -> Iterator[Case]:
    """Columns without a number, amid the bars or at an end."""
    for name, values in subject.bars.columns.items():
        for start, stop in runs(np.isnan(values)) if name in COLUMNS else ():
            if amid == (start > 0 and stop < len(values)):
                yield start, subject.dates[start], days(stop - start, f"{name} is NaN")


def not_positive(subject: Subject) -> Iterator[Case]:
    """Prices of 0 or less that are a fault."""
    each = {name: subject.bars.columns[name] for name in subject.prices}
    no_quote = np.logical_and.reduce([price == 0 for price in each.values()]) & (len(each) > 1)
    for name, price in each.items():
        for row in np.flatnonzero(no_quote if subject.has_negative_prices else price <= 0):
            yield int(row), subject.dates[row], f"{name} {price[row]:.6g}"


def below_zero(subject: Subject) -> Iterator[Case]:
    """Days in a row with a price of 0 or less, where the config can use such prices."""
    if subject.has_negative_prices:
        each = [subject.bars.columns[name] for name in subject.prices]
        for start, stop in runs(np.logical_or.reduce([price <= 0 for price in each])):
            yield start, subject.dates[start], days(stop - start, f"close {each[0][start]:.6g}")


def crossed(subject: Subject, lower: str, upper: str) -> Iterator[Case]:
    """Rows where the price that must be lower is higher, by more than rounding."""
    if lower not in subject.prices or upper not in subject.prices:
        return
    low, high = subject.prices[lower], subject.prices[upper]
    if subject.has_negative_prices:
        low, high = subject.bars.columns[lower], subject.bars.columns[upper]
    for row in np.flatnonzero((low > high) & ~_equal(low, high)):
        yield int(row), subject.dates[row], f"{lower} {low[row]:.6g} > {upper} {high[row]:.6g}"


def outside(subject: Subject, *, above: bool) -> Iterator[Case]:
    """Opens and closes outside the high or low of a bar whose high and low are in order."""
    mixed_up = {row for row, _, _ in crossed(subject, "low", "high")}
    for name in ("open", "close"):
        for row, day, value in crossed(subject, *((name, "high") if above else ("low", name))):
            if row not in mixed_up:
                yield row, day, value


def missing_sessions(subject: Subject) -> Iterator[Case]:
    """Sessions, weeks or months without a bar."""
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


def closed_days(subject: Subject) -> Iterator[Case]:
    """Bars on days on which the exchange is closed."""
    if subject.sessions is not None and frequency.of(subject.dates).period in ("day", "intraday"):
        for row in np.flatnonzero(np.isin(subject.dates.astype("datetime64[D]"), subject.sessions, invert=True)):
            yield int(row), subject.dates[row], f"{subject.dates[row].item():%A}"


def stale(subject: Subject) -> Iterator[Case]:
    """Bars that repeat the day before."""
    for start, stop in runs(subject.stale):
        yield start, subject.dates[start], days(stop - start, f"close {subject.prices['close'][start]:.6g}")


def spikes(subject: Subject) -> Iterator[Case]:
    """Prices that jumped and reverted at once."""
    for row, name in subject.spikes.items():
        before, there, back = subject.prices[name][row - 1 : row + 2]
        moves = f"{there / before - 1:+.1%}, then {back / there - 1:+.1%}"
        yield row, subject.dates[row], f"{name} {before:.6g}, {there:.6g}, {back:.6g} ({moves})"


def jumps(subject: Subject, *, splits: bool) -> Iterator[Case]:
    """Changes that lasted and are not credible: those that look like a split, or all others."""
    close = subject.prices["close"]
    return one_day.jumps(subject.bars, close, subject.prices.get("open", close), subject.spikes, splits=splits)


def columns_swapped(subject: Subject) -> Iterator[Case]:
    """Two columns that were swapped, on bars most of which are out of order, and nearly none with the two swapped back.

    Open and close have a check of their own, since they have no order.
    """
    if len(subject.prices) < len(PRICES):
        return
    wrong = _out_of_order(subject.prices)
    rows = np.flatnonzero(wrong)
    if len(rows) < _FEWEST_OUT_OF_ORDER or len(rows) < _LEAST_OUT_OF_ORDER * (rows[-1] + 1 - rows[0]):
        return
    prices = {name: price[rows] for name, price in subject.prices.items()}
    left = {
        pair: float(_out_of_order(prices | {pair[0]: prices[pair[1]], pair[1]: prices[pair[0]]}).mean())
        for pair in itertools.combinations(PRICES, 2)
    }
    one, other = min(left, key=lambda pair: left[pair])
    if left[one, other] <= _MOST_LEFT:
        text = f"{one} and {other}: {len(rows):,} bars are out of order, {left[one, other]:.0%} of them if swapped back"
        yield int(rows[0]), subject.dates[rows[0]], text


def _out_of_order(prices: Mapping[str, Floats]) -> Mask:
    """(R,) bars whose high is below another price, or whose low is above one, by more than rounding."""
    high, low, ends = prices["high"], prices["low"], (prices["open"], prices["close"])
    highest, lowest = np.maximum(*ends), np.minimum(*ends)
    found = np.zeros(len(high), dtype=bool)
    for below, above in ((highest, high), (low, lowest), (low, high)):
        found |= (below > above) & ~_equal(below, above)
    return found


def swapped(subject: Subject) -> Iterator[Case]:
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


def no_volume(subject: Subject) -> Iterator[Case]:
    """Days without volume that are not stale."""
    if subject.volume is not None:
        for start, stop in runs((subject.volume == 0) & ~subject.stale):
            yield start, subject.dates[start], days(stop - start, "volume 0")


def opens_repeat(subject: Subject) -> Iterator[Case]:
    """Opens that repeat the last close."""
    if "open" not in subject.prices or len(subject.dates) < 2:
        return
    same = _equal(subject.prices["open"][1:], subject.prices["close"][:-1]) & ~subject.stale[1:]
    if same.mean() > _MOST_OPENS_REPEATED:
        row = int(same.argmax()) + 1
        yield row, subject.dates[row], f"open repeats the last close on {same.sum():,} days ({same.mean():.1%})"
