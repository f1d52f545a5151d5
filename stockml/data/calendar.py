"""Trading days of an exchange."""

from __future__ import annotations

import datetime
import functools
import warnings
from typing import TYPE_CHECKING

import numpy as np

from stockml.config.schema import nearest
from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_HOLIDAYS = 30  # days, more than enough
AUTO = "auto"
"""`data.calendar`: 24/7 where the bars are on all days of the week, else New York's."""
INSTALL = "exchange calendars come with: pip install 'stockml[calendar]'"


def resolve(exchange: str, *, every_day: bool) -> str:
    """The calendar that `data.calendar` means for bars that are on all days of the week, or are not."""
    return exchange if exchange != AUTO else "24/7" if every_day else "XNYS"


def opens_on(exchange: str) -> list[bool]:
    """Whether the exchange opens on each day of the week, from Monday; Monday to Friday without the calendar library.

    Raises UserError where there is no such exchange.
    """
    first = datetime.date(2024, 1, 1)
    days = _sessions(first, first + datetime.timedelta(days=363), exchange)
    if days is None:
        return [exchange == "24/7" or weekday < 5 for weekday in range(7)]
    counts = np.bincount((days.astype(np.int64) + 3) % 7, minlength=7)
    return [bool(count > len(days) / 20) for count in counts]


def days_after(day: np.datetime64, count: int, exchange: str) -> NDArray[np.datetime64] | None:
    """The next `count` trading days after `day` of the exchange (ISO 10383 code); None without the calendar library.

    Raises UserError where there is no such exchange.
    """
    first = day.astype(datetime.date) + datetime.timedelta(days=1)
    days = _sessions(first, first + datetime.timedelta(days=2 * count + _LONGEST_HOLIDAYS), exchange)
    return None if days is None else days[:count]


def days_between(first: np.datetime64, last: np.datetime64, exchange: str) -> NDArray[np.datetime64] | None:
    """The exchange's trading days from `first` to `last`, both included.

    None without the calendar library, or where its calendar does not cover these days. Raises UserError where there is
    no such exchange.
    """
    end = last.astype(datetime.date)
    try:
        days = _sessions(first.astype(datetime.date), end + datetime.timedelta(days=_LONGEST_HOLIDAYS), exchange)
    except ValueError:  # outside the days that the calendar covers
        return None
    return None if days is None else days[days <= last]


def _sessions(first: datetime.date, last: datetime.date, exchange: str) -> NDArray[np.datetime64] | None:
    try:
        import exchange_calendars  # noqa: F401 - whether it is installed
    except ImportError:
        return None
    return _known_sessions(first, last, exchange)


@functools.lru_cache(maxsize=64)  # the stocks of a pool ask for the same days
def _known_sessions(first: datetime.date, last: datetime.date, exchange: str) -> NDArray[np.datetime64]:
    import exchange_calendars

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses deprecated parts of pandas
            calendar = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
    except exchange_calendars.errors.InvalidCalendarName as error:
        known = exchange_calendars.get_calendar_names()
        raise UserError(f"data.calendar={exchange}: there is no such calendar{nearest(exchange, known)}") from error
    days: NDArray[np.datetime64] = calendar.sessions.to_numpy().astype("datetime64[D]")
    return days


def weekdays_between(first: np.datetime64, last: np.datetime64) -> NDArray[np.datetime64]:
    """The days from `first` to `last`, both included, from Monday to Friday."""
    days: NDArray[np.datetime64] = np.arange(first, last + np.timedelta64(1, "D"))
    return days[np.is_busday(days)]


def weekdays_after(day: np.datetime64, count: int) -> NDArray[np.datetime64]:
    """The next `count` days after `day` from Monday to Friday, the simulator's trading days."""
    days: NDArray[np.datetime64] = np.busday_offset(day, np.arange(1, count + 1), roll="backward")
    return days
