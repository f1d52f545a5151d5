"""Frequencies told from dates, the dates of the next bars, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.data.doctor_further import missing_periods
from stockml.data.sources.csv import stamps
from stockml.errors import UserError

SESSIONS = pd.bdate_range("2024-01-02", periods=60)


def _days(index: pd.DatetimeIndex) -> NDArray[np.datetime64]:
    return index.to_numpy().astype("datetime64[D]")


def _times(days: pd.DatetimeIndex, first: str, last: str, step: str) -> NDArray[np.datetime64]:
    each = [pd.date_range(f"{day.date()} {first}", f"{day.date()} {last}", freq=step) for day in days]
    return np.concatenate([one.to_numpy() for one in each]).astype("datetime64[s]")


EVERY = {
    "daily": (_days(SESSIONS), 252),
    "daily, every day": (_days(pd.date_range("2024-01-01", periods=90)), 365),
    "weekly": (_days(pd.date_range("2020-01-03", periods=90, freq="W-FRI")), 365.25 / 7),
    "monthly": (_days(pd.date_range("2015-01-01", periods=90, freq="MS")), 12),
    "quarterly": (_days(pd.date_range("2005-03-31", periods=60, freq="QE")), 4),
    "1-hour": (_times(SESSIONS, "09:30", "15:30", "1h"), 7 * 252),
    "5-minute": (_times(SESSIONS[:8], "09:30", "15:55", "5min"), 78 * 252),
    "4-hour": (_times(pd.date_range("2024-01-01", periods=30), "00:00", "20:00", "4h"), 6 * 365),
}


@pytest.mark.parametrize("name", EVERY)
def test_the_frequency_and_the_bars_of_a_year_are_told_from_the_dates(name: str) -> None:
    dates, per_year = EVERY[name]
    found = frequency.of(dates)
    assert found.name == name.partition(",")[0] and found.per_year == pytest.approx(per_year)
    assert frequency.fault(dates) == ""


@pytest.mark.parametrize("name", EVERY)
def test_the_next_bars_are_dated_as_the_bars_before_them_were(name: str) -> None:
    dates, _ = EVERY[name]
    for held in (1, 5):
        found = frequency.next_dates(dates[:-held], held, "auto", synthetic=name == "daily")
        assert found is not None and found.tolist() == dates[-held:].tolist()


def test_weeks_and_months_dated_by_their_last_session_go_on_so() -> None:
    pytest.importorskip("exchange_calendars")
    days = _days(pd.bdate_range("2023-01-03", "2024-03-28"))
    days = days[~np.isin(days, np.array(["2023-04-07", "2024-03-29"], "datetime64[D]"))]  # Good Fridays
    for index in ((days.astype(int) + 3) // 7, days.astype("datetime64[M]").astype(int)):
        lasts = days[np.append(np.flatnonzero(np.diff(index)), len(days) - 1)]
        found = frequency.next_dates(lasts[:-1], 1, "XNYS")
        assert found is not None and str(found[0]) == "2024-03-28"


def test_stamps_that_move_with_the_clocks_of_an_exchange_go_on_at_its_last_hours() -> None:
    at = pd.DatetimeIndex(_times(pd.bdate_range("2024-01-02", "2024-03-28"), "09:30", "15:30", "1h"))
    utc = at.tz_localize("America/New_York").tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]")
    found = frequency.next_dates(utc[:-7], 7, "XNYS")
    assert found is None or found.tolist() == utc[-7:].tolist()


def test_hours_from_sunday_evening_to_friday_go_on_after_the_weekend() -> None:
    hours = pd.date_range("2024-01-07 17:00", periods=24 * 60, freq="1h")
    late, early = hours.hour >= 17, hours.hour < 17
    weekday = hours.day_of_week
    hours = hours[(weekday < 4) | ((weekday == 4) & early) | ((weekday == 6) & late)]
    dates = hours.to_numpy().astype("datetime64[s]")
    week = np.datetime64("2024-04-01T00:00:00") + np.arange(170) * np.timedelta64(1, "h")
    assert frequency.of(week).every_day and not frequency.of(dates).every_day
    for held in (1, 30, 125):
        found = frequency.next_dates(dates[:-held], held, "auto")
        assert found is not None and found.tolist() == dates[-held:].tolist()


def test_a_frequency_is_that_of_the_bars_where_only_some_of_them_are_samples() -> None:
    dates = EVERY["daily"][0]
    few = np.arange(0, len(dates), 21)
    assert frequency.of(dates[few]).period != "day"
    assert frequency.of(dates[few], few) == frequency.of(dates)


def test_a_longer_bar_is_known_when_it_ends() -> None:
    days = EVERY["daily"][0]
    mondays, fridays, sundays = (
        _days(pd.date_range("2023-10-01", periods=20, freq=f"W-{d}")) for d in ("MON", "FRI", "SUN")
    )
    months = _days(pd.date_range("2023-01-01", periods=20, freq="MS"))
    ends = _days(pd.date_range("2023-01-01", periods=20, freq="ME"))
    hours, minutes = EVERY["1-hour"][0], EVERY["5-minute"][0]
    week, rest = np.timedelta64(7, "D"), np.timedelta64(55, "m")
    for dates, beside, known in (
        (mondays, days, mondays + week),
        (sundays, days, sundays + week),
        (fridays, days, fridays),
        (months[:-1], days, months[1:]),
        (ends, days, ends),
        (months[:-1], mondays, months[1:]),
        (hours, minutes, hours + rest),
        (minutes, hours, minutes),
        (mondays, mondays, mondays),
        (days, fridays, days),
    ):
        assert frequency.known_from(dates, beside=beside).tolist() == known.tolist()


def test_weeks_and_months_without_a_bar_are_counted_by_the_doctor() -> None:
    for name, missing in (("weekly", 2), ("monthly", 1)):
        dates = np.delete(EVERY[name][0], slice(30, 30 + missing))
        ((row, _, text),) = missing_periods(dates)
        assert row == 30 and f"no bar for {missing} {frequency.of(dates).noun}{'s' * (missing - 1)}, since" in text


def test_mixed_irregular_and_too_short_steps_are_refused_with_the_reason() -> None:
    weeks = pd.date_range("2018-01-05", "2021-01-01", freq="W-FRI")
    mixed = np.append(_days(weeks), _days(pd.bdate_range("2021-01-04", periods=120)))
    assert "weekly up to" in frequency.fault(mixed) and "data.start=" in frequency.fault(mixed)
    start = frequency.fault(mixed).rpartition("data.start=")[2]
    assert frequency.fault(mixed[mixed >= np.datetime64(start)]) == ""
    assert "irregular" in frequency.fault(_days(pd.date_range("2020-01-01", periods=50, freq="13D")))
    seconds = _times(SESSIONS[:3], "09:30", "09:40", "10s")
    assert "a minute" in frequency.fault(seconds)
    with pytest.raises(UserError, match=r"A\.csv: the bars are 10 s apart"):
        frequency.check(seconds, "A.csv")


def test_a_session_begins_where_the_day_changes_after_a_pause_and_not_around_the_clock() -> None:
    hours, _ = EVERY["1-hour"]
    assert np.flatnonzero(frequency.session_starts(hours, frequency.of(hours))).tolist() == list(
        range(7, len(hours), 7)
    )
    always, _ = EVERY["4-hour"]
    assert not frequency.session_starts(always, frequency.of(always)).any()


def test_days_that_utc_stamps_shift_are_named_and_the_time_zone_moves_them_back() -> None:
    tokyo = pd.DatetimeIndex(SESSIONS).tz_localize("Asia/Tokyo")
    texts = pd.Series([str(stamp) for stamp in tokyo.tz_convert("UTC")])
    shifted, _ = stamps.read(texts, None, None)
    assert "Sundays and none on Fridays" in frequency.warnings(shifted, "auto")[0][1]
    columns: list[Any] = [texts, pd.Series(tokyo.tz_convert("UTC"))]
    for column in columns:
        moved, _ = stamps.read(column, None, "Asia/Tokyo")
        assert moved.tolist() == _days(SESSIONS).tolist() and not frequency.warnings(moved, "auto")
    with pytest.raises(UserError, match="hold no times"):
        stamps.read(pd.Series([str(day.date()) for day in SESSIONS]), None, "Asia/Tokyo")


def test_times_are_kept_where_a_day_has_several_bars_however_they_are_written() -> None:
    times = EVERY["1-hour"][0][:70]
    index = pd.DatetimeIndex(times)
    columns: list[Any] = [
        pd.Series(index.strftime("%Y-%m-%d %H:%M")),
        pd.Series(index.strftime("%m/%d/%Y %I:%M %p")),
        pd.Series(index.tz_localize("America/New_York").map(str)),
        pd.Series(index),
    ]
    for column in columns:
        found, _ = stamps.read(column, None, None)
        assert found.tolist() == times.tolist()
    daily, _ = stamps.read(pd.Series([f"{day.date()} 16:00" for day in SESSIONS]), None, None)
    assert daily.dtype == np.dtype("datetime64[D]")
