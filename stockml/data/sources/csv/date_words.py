"""Dates that are no day, month and year in digits: names of months in many languages, and counts of time."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.data.sources.csv.column_names import folded

_ENGLISH = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# First letters without accents: in English, German, Spanish, French, Portuguese, Italian, Polish, Dutch, Swedish,
# Turkish, Russian. No two of these languages give one beginning to two months.
_MONTHS = (
    "jan|ene|gen|janv|sty|oca|янв",
    "feb|fev|lut|sub|фев",
    "mar|mrz|mrt|maa|mae|мар",
    "apr|abr|avr|kwi|nis|апр",
    "may|mai|mei|mag|maj|маи|мая",
    "jun|juin|giu|cze|haz|июн",
    "jul|juil|lug|lip|tem|июл",
    "aug|ago|aou|sie|agu|авг",
    "sep|set|wrz|eyl|сен",
    "oct|okt|out|ott|paz|eki|окт",
    "nov|lis|kas|ноя",
    "dec|dez|dic|gru|ara|дек",
)
_BEGINNINGS = {start: name for name, starts in zip(_ENGLISH, _MONTHS, strict=True) for start in starts.split("|")}
_WORD = re.compile(r"[^\W\d_]{3,}\.?")
_SMALL_WORDS = re.compile(r"(?<=[\d.])(?:st|nd|rd|th|er|º|ª)\b|\b(?:de|del)\b\.?", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"(?:[^\W\d_]\D*?[\s,.]\s*)?(\d.*?)(?:[\s,]*\(?[^\W\d_]+\.?\)?)?")
_EAST_ASIAN = re.compile(r"\s*[年月년월]\s*")

_DAY = 86_400
_UNITS = {"days in Excel": (1, 15_000, 73_050), "seconds since 1970": (_DAY, 10**8, 10**10)} | {
    f"{name} since 1970": (_DAY * 10**power, 10 ** (8 + power), 10 ** (10 + power))
    for name, power in (("milliseconds", 3), ("microseconds", 6), ("nanoseconds", 9))
}
"""Units of a count of time: how many are a day, and the least and the greatest count that is a date, up to 2100."""
_COUNT = r"[0-9]{5}(?:\.[0-9]*)?|[0-9]{9,19}(?:\.0*)?"


def with_english_month(text: str) -> str:
    """A date whose month is a name, with that name's three English letters and without the words around it."""
    found = _WORD.search(text)
    while found is not None:
        word = folded(found[0])
        if month := _BEGINNINGS.get(word[:3]) or _BEGINNINGS.get(word[:4]):
            text = f"{text[: found.start()]}{month}{text[found.end() :]}"
            return _SMALL_WORDS.sub("", text)
        found = _WORD.search(text, found.end())
    return text


def without_weekday(text: str) -> str:
    """A date without the day of the week that stands before or after it; as it is where the rest would be no date."""
    found = _BETWEEN_WORDS.fullmatch(text)
    rest = found[1] if found else ""
    groups = len(re.findall(r"\d+", rest))
    return rest if groups == 3 or (groups == 2 and _WORD.search(rest)) else text


def with_dashes(text: str) -> str:
    """A date as China, Japan and Korea write it, 2020年1月2日, in digits and dashes."""
    return _EAST_ASIAN.sub("-", text).rstrip("日일").strip() if _EAST_ASIAN.search(text) else text


def counted(texts: pd.Series[str]) -> tuple[NDArray[np.datetime64], str] | None:
    """(R,) times, in seconds, of counts of days, seconds, milli-, micro- or nanoseconds, told by their size, NaT where
    a cell is none of them; and the unit. None where no more than half of the cells are counts."""
    fits = texts.str.fullmatch(_COUNT).to_numpy(dtype=bool)
    if not fits.any():
        return None
    whole = np.zeros(len(texts), dtype=np.int64)
    parts = texts[fits].str.partition(".")
    whole[fits] = parts[0].astype(np.uint64).clip(upper=np.iinfo(np.int64).max).astype(np.int64)
    usual = np.median(whole[fits])
    unit = next((name for name, (_, least, most) in _UNITS.items() if least <= usual < most), None)
    if unit is None:
        return None
    per_day, least, most = _UNITS[unit]
    is_date = fits & (whole >= least) & (whole < most)
    if is_date.sum() * 2 <= len(texts):
        return None
    seconds = whole // max(1, per_day // _DAY)
    if per_day == 1:  # Excel counts from 1899-12-30, and a part of a day is a time
        seconds = (whole - 25_569) * _DAY
        seconds[fits] += (("0." + parts[2]).astype(np.float64) * _DAY).round().astype(np.int64).to_numpy()
    return np.where(is_date, seconds.astype("datetime64[s]"), np.datetime64("NaT", "s")), unit
