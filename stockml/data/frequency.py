"""How far apart bars are: daily, weekly, monthly or within a day; and the dates of the next ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stockml.data import calendar
from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Dates = NDArray[np.datetime64]

FEWEST = 10
"""Bars to tell anything from."""
_DAY = 86_400
_SPARSE_DAYS = 4.5  # most between bars that are still daily, of a stock that seldom trades
_Period = Literal["intraday", "day", "week", "month", "quarter", "year"]
_CLASSES: tuple[tuple[_Period, int, int, int], ...] = (
    ("week", 1, 5, 9),
    ("month", 1, 26, 33),
    ("quarter", 3, 85, 95),
    ("year", 12, 350, 380),
)
"""Name, months (weekly: weeks), and the fewest and most days between two bars."""
_REGULAR = 0.75  # least share of the steps that are of one length
_BLOCK = 20  # steps in a row, by which a change of the frequency is found
_WEEKEND = 0.2  # least share of bars on Saturdays and Sundays, of 2/7, where there is trading every day
_RARE = 0.02
_WEEK = np.timedelta64(7, "D")
_RECENT = 2 * _WEEK
_LONGER = 1.5  # times as long, of bars that last longer than others
_NAMES = {"day": "daily", "week": "weekly", "month": "monthly", "quarter": "quarterly", "year": "yearly"}


@dataclass(frozen=True)
class Frequency:
    """The step between bars."""

    period: _Period
    step: int
    """Seconds of intraday bars, months of monthly, quarterly and yearly ones; 1 of others."""
    every_day: bool
    """Whether there are bars on all seven days of the week; of intraday and daily bars alone."""
    per_year: float
    """Bars a year."""

    @property
    def noun(self) -> str:
        """What one step is called: a bar where it is within a day."""
        return "bar" if self.period == "intraday" else self.period

    @property
    def name(self) -> str:
        """As shown to the user."""
        if self.period != "intraday":
            return _NAMES[self.period]
        minutes = self.step / 60
        return f"{minutes / 60:g}-hour" if minutes % 60 == 0 else f"{minutes:g}-minute"


DAILY = Frequency("day", 1, every_day=False, per_year=252.0)


def has_times(dates: Dates) -> bool:
    """Whether some of the dates (R,) are no midnight."""
    return dates.dtype != np.dtype("datetime64[D]") and bool((dates != dates.astype("datetime64[D]")).any())


def moment_after(date: np.datetime64) -> np.datetime64:
    """The first date after this one that a bar can have: the next day, of one with a time the next minute."""
    return np.datetime64(date.astype("datetime64[m]" if date.dtype == "M8[s]" else "datetime64[D]") + 1)


def of(dates: Dates, rows: NDArray[np.int64] | None = None) -> Frequency:
    """The frequency of bars on these dates, in order; daily where there are fewer than two. See `fault`.

    With `rows`, the dates are those of some bars, which have these numbers among all.
    """
    if len(dates) < 2:
        return DAILY
    days = dates.astype("datetime64[D]")
    every_day = _share(days, 5, 6) >= _WEEKEND and min(_share(days, 5), _share(days, 6)) > _RARE
    of_year = 365.0 if every_day else 252.0
    if has_times(dates) and (within := _steps_within_days(dates)).size * 4 >= len(dates):
        lengths, counts = np.unique(within, return_counts=True)
        step, a_day = int(lengths[counts.argmax()]), float(np.median(np.unique(days, return_counts=True)[1]))
        unbroken = (np.diff(dates.astype("datetime64[s]")).astype(np.int64) == step).mean() > 1 - _RARE
        if unbroken and _share(days, 5):  # few days, of which one is a Saturday
            every_day, of_year = True, 365.0
        return Frequency("intraday", step, every_day, a_day * of_year)
    steps = np.diff(days).astype(np.int64)
    if rows is not None and (apart := np.diff(rows)).min() > 0:
        steps = np.repeat(steps / apart, apart)
    median = float(np.median(steps))
    if median <= _SPARSE_DAYS:
        return Frequency("day", 1, every_day, of_year)
    for period, step, least, most in _CLASSES:
        if least <= median <= most:
            return Frequency(period, step, every_day=False, per_year=365.25 / 7 if period == "week" else 12 / step)
    return Frequency("day", 1, every_day=False, per_year=365.25 / median)


def fault(dates: Dates) -> str:
    """Why bars on these dates cannot be used, as of irregular or mixed frequency; empty where they can."""
    if len(dates) < FEWEST:
        return ""
    found = of(dates)
    if found.period == "intraday":
        steps = _steps_within_days(dates)
        regular = (steps % found.step == 0).mean()
        if found.step < 60:
            return (
                f"the bars are {found.step} s apart, and the shortest that can be used are of a minute; resample them"
            )
        if (steps == found.step).mean() < _REGULAR / 2 or regular < _REGULAR:
            return "the times between bars within a day are irregular; resample them to bars of one length"
        return ""
    days = dates.astype("datetime64[D]")
    steps = np.diff(days).astype(np.int64)
    if (change := _change(steps)) is not None:
        row, before, after = change
        return (
            f"the bars are {before} up to {days[row]} and {after} from there on; take one part, "
            f"data.end={days[row]} or data.start={days[row]}"
        )
    median = float(np.median(steps))
    if median > _SPARSE_DAYS:
        within = next(((least, most) for _, _, least, most in _CLASSES if least <= median <= most), None)
        if within is None or ((steps >= within[0]) & (steps <= within[1])).mean() < _REGULAR:
            return (
                f"the bars are irregular, half of them {median:g} days or more apart: neither daily, weekly, monthly, "
                "quarterly nor yearly; resample them"
            )
    return ""


def warnings(dates: Dates, exchange: str) -> list[tuple[int, str]]:
    """Where days of the week contradict the exchange: the first such row, and what is wrong."""
    frequency = of(dates)
    if frequency.period not in ("day", "intraday") or len(dates) < FEWEST:
        return []
    days = dates.astype("datetime64[D]")
    shares = [_share(days, weekday) for weekday in range(7)]
    if max(shares[5:]) <= _RARE:
        return []
    name = calendar.resolve(exchange, every_day=frequency.every_day)
    opens = calendar.opens_on(name)
    for weekend, other, at in ((6, 4, "Sundays and none on Fridays"), (5, 0, "Saturdays and none on Mondays")):
        if shares[weekend] > 0.1 and shares[other] <= _RARE / 4 and not opens[weekend]:
            row = int((_weekdays(days) == weekend).argmax())
            return [(row, f"bars on {at}: a time zone other than the exchange's")]
    if frequency.every_day and not all(opens):
        return [(int((_weekdays(days) >= 5).argmax()), f"bars on all 7 days of the week, {name} closes on some")]
    return []


def periods_missing(dates: Dates, frequency: Frequency) -> NDArray[np.int64]:
    """(R − 1,) how many weeks, months, … without a bar lie between two bars."""
    if frequency.period == "week":
        numbers = (dates.astype("datetime64[D]").astype(np.int64) + 3) // 7
    else:
        numbers = dates.astype("datetime64[M]").astype(np.int64) // frequency.step
    found: NDArray[np.int64] = np.maximum(np.diff(numbers) - 1, 0)
    return found


def session_starts(dates: Dates, frequency: Frequency) -> NDArray[np.bool_]:
    """(R,) where an intraday bar begins a session: on another day, and more than a step after the one before."""
    days = dates.astype("datetime64[D]")
    found = np.zeros(len(dates), dtype=bool)
    if frequency.period == "intraday" and not frequency.every_day:
        gap = np.diff(dates.astype("datetime64[s]")).astype(np.int64)
        found[1:] = (days[1:] != days[:-1]) & (gap > frequency.step)
    return found


def known_from(dates: Dates, *, beside: Dates) -> Dates:
    """From when on bars on these dates are known to bars on others, dated as those.

    Regular bars that last longer than those are known when they end. Weeks and months dated by a day in their first
    half end when the next one begins, and so may weeks dated by Sundays; longer intraday bars are dated by their first
    minute.
    """
    frequency, own = of(dates), of(beside)
    longer = frequency.per_year < own.per_year / _LONGER
    if not longer or frequency.period == "day" or len(dates) < FEWEST or fault(dates):
        return dates
    if frequency.period == "intraday":
        return np.asarray(dates + np.timedelta64(frequency.step - own.step, "s"))
    label = _Label.of(dates, frequency)
    if frequency.period == "week":
        return np.asarray(dates + _WEEK) if not label.late or label.offset == 6 else dates
    if label.late:
        return dates
    firsts = [label.first_days(day, 2)[0] for day in dates.astype("datetime64[D]")]
    return np.array(firsts, dtype=dates.dtype)


def next_dates(dates: Dates, count: int, exchange: str, *, synthetic: bool = False) -> Dates | None:
    """The dates of the `count` bars after the last one, in the unit of `dates`; None without the calendar library.

    Weekly and monthly bars are dated as they are in `dates`: by the same day of the week, the first or last of the
    month, or the first or last session. Intraday bars come at the times that most of the last days have: stamps of
    another zone than the exchange's move by an hour twice a year.
    """
    frequency, last = of(dates), dates[-1].astype("datetime64[D]")
    name = calendar.resolve(exchange, every_day=frequency.every_day)

    def sessions(first: np.datetime64, end: np.datetime64) -> Dates | None:
        return calendar.weekdays_between(first, end) if synthetic else calendar.days_between(first, end, name)

    if frequency.period == "day":
        return calendar.weekdays_after(last, count) if synthetic else calendar.days_after(last, count, name)
    if frequency.period == "intraday":
        step = np.timedelta64(frequency.step, "s")
        if frequency.every_day:
            return np.asarray(dates[-1] + step * np.arange(1, count + 1), dtype=dates.dtype)
        if _share(dates, 5, 6) > _RARE:  # from Sunday evening to Friday, as currencies: those of a week earlier
            of_week = dates[dates > dates[-1] - _WEEK]
            weeks = np.arange(1, 2 + count // len(of_week))[:, None] * _WEEK
            return np.asarray((of_week + weeks).ravel()[:count], dtype=dates.dtype)
        times = _times_of_day(dates[dates >= last - _RECENT])
        later = calendar.days_after(last, count, name)
        if later is None:
            return None
        grid = (np.append(last, later)[:, None] + times[None, :]).ravel()
        return np.asarray(grid[grid > dates[-1]][:count], dtype=dates.dtype)
    label = _Label.of(dates, frequency)
    firsts = label.first_days(last, count + 1)
    found = []
    for first, end in zip(firsts[:-1], firsts[1:] - np.timedelta64(1, "D"), strict=True):
        own = label.nominal(first)
        if label.by_session:
            open_days = sessions(first, end)
            if open_days is None:
                return None
            side = open_days[open_days <= own] if label.late else open_days[open_days >= own]
            own = own if not len(side) else side[-1] if label.late else side[0]
        found.append(own)
    return np.array(found, dtype=dates.dtype)


@dataclass(frozen=True)
class _Label:
    """By which of its days a week or a month is dated."""

    frequency: Frequency
    offset: int
    """Of a week its day from Monday; of months the day from the first one, from 0."""
    late: bool
    """Whether it is dated by a day in its second half: the last one, or the last session."""
    by_session: bool
    """Whether bars are moved from that day where there is no session."""
    phase: int
    """Of quarters and years: the month in which they begin, or end if `late`, from 0."""

    @classmethod
    def of(cls, dates: Dates, frequency: Frequency) -> _Label:
        days = dates.astype("datetime64[D]")[:-1]  # the last may be one that has not ended
        if frequency.period == "week":
            weekdays = _weekdays(days)
            usual = int(np.bincount(weekdays).argmax())
            moved = bool((weekdays != usual).any())
            return cls(frequency, usual, late=usual >= 3, by_session=moved, phase=0)
        months = days.astype("datetime64[M]")
        phase = int(np.bincount(months.astype(np.int64) % frequency.step).argmax())
        from_first = (days - months.astype("datetime64[D]")).astype(int)
        to_last = (_last_days(months) - days).astype(int)
        late = float(np.median(from_first)) > 15
        usual = int(np.bincount(to_last if late else from_first).argmax())
        moved = bool(((to_last if late else from_first) != usual).any())
        return cls(frequency, 0 if moved else usual, late=late, by_session=moved, phase=phase)

    def first_days(self, last: np.datetime64, count: int) -> Dates:
        """The first days of the `count` weeks or months after that of `last`."""
        ahead = np.arange(1, count + 1)
        if self.frequency.period == "week":
            monday = last - np.timedelta64((int(last.astype(np.int64)) + 3) % 7, "D")
            return np.asarray(monday + _WEEK * ahead, dtype="datetime64[D]")
        month, step = int(last.astype("datetime64[M]").astype(np.int64)), self.frequency.step
        month -= (month - self.phase) % step
        return np.asarray((month + step * ahead).astype("datetime64[M]"), dtype="datetime64[D]")

    def nominal(self, first: np.datetime64) -> np.datetime64:
        """The day that the period is dated by where every day is a session."""
        if self.frequency.period == "week":
            return np.datetime64(first + np.timedelta64(self.offset, "D"))
        if self.late:
            return np.datetime64(_last_days(first.astype("datetime64[M]")) - np.timedelta64(self.offset, "D"))
        return np.datetime64(first + np.timedelta64(self.offset, "D"))


def _last_days(months: Any) -> Any:
    """The last day of each month."""
    return (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")


def _weekdays(days: Dates) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    return found


def _share(days: Dates, *weekdays: int) -> float:
    return float(np.isin(_weekdays(days), weekdays).mean())


def _steps_within_days(dates: Dates) -> NDArray[np.int64]:
    """Seconds between bars of the same day."""
    days = dates.astype("datetime64[D]")
    steps = np.diff(dates.astype("datetime64[s]")).astype(np.int64)
    return np.asarray(steps[days[1:] == days[:-1]])


def _times_of_day(dates: Dates) -> NDArray[np.timedelta64]:
    """The times at which at least half of the days have a bar."""
    days = dates.astype("datetime64[D]")
    times, counts = np.unique(dates.astype("datetime64[s]") - days, return_counts=True)
    return np.asarray(times[counts * 2 >= min(len(np.unique(days)), counts.max())])


def _change(steps: NDArray[np.int64]) -> tuple[int, str, str] | None:
    """The bar at which the frequency changes for good, and what it is before and after; None where it does not."""
    blocks = steps[: len(steps) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    inside = {"daily": (blocks <= _SPARSE_DAYS).mean(axis=1)}
    inside |= {_NAMES[name]: ((blocks >= least) & (blocks <= most)).mean(axis=1) for name, _, least, most in _CLASSES}
    shares, known = np.stack([*inside.values()]), [*inside]
    names = [
        known[at] if share >= 0.9 else "" for at, share in zip(shares.argmax(axis=0), shares.max(axis=0), strict=True)
    ]
    for at in range(2, len(names) - 1):
        before, after = names[at - 1], names[at] or names[at + 1]
        if before and after and before != after and names[at - 2] == before and names[at + 1] == after:
            return at * _BLOCK, before, after
    return None


def check(dates: Dates, where: str) -> None:
    """Raise UserError where bars on these dates cannot be used."""
    if why := fault(dates):
        raise UserError(f"{where}: {why}")
