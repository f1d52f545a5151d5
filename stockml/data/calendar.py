"""Trading days to come, from an exchange's calendar."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING

import numpy as np

from stockml.config import nearest
from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "the exchange's calendar comes with: pip install 'stockml[calendar]'"


def days_after(day: np.datetime64, count: int, exchange: str) -> NDArray[np.datetime64] | None:
    """The next `count` days after `day` that the exchange (ISO 10383, XNYS say) trades on; None without the library.

    UserError where there is no such exchange.
    """
    try:
        import exchange_calendars
    except ImportError:
        return None
    first = day.astype(datetime.date) + datetime.timedelta(days=1)
    last = first + datetime.timedelta(days=2 * count + 30)  # weekends, and the longest holidays
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it leans on what pandas is about to change
            calendar = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
    except exchange_calendars.errors.InvalidCalendarName as error:
        known = exchange_calendars.get_calendar_names()
        raise UserError(f"data.calendar={exchange}: there is no such calendar{nearest(exchange, known)}") from error
    days: NDArray[np.datetime64] = calendar.sessions.to_numpy().astype("datetime64[D]")[:count]
    return days


def weekdays_after(day: np.datetime64, count: int) -> NDArray[np.datetime64]:
    """The next `count` days after `day` from Monday to Friday, which is when the simulator trades."""
    days: NDArray[np.datetime64] = np.busday_offset(day, np.arange(1, count + 1), roll="backward")
    return days
