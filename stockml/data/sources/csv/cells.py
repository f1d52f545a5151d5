"""Parses dates and numbers, whose format is recognised from all cells of a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.data.sources.csv import date_words
from stockml.data.sources.csv.columns import AmbiguousTableError

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

# What may follow a day: a time and its time zone.
_TIME = re.compile(
    r"(?:(?<=\d{8})\s\d{6}|(?:T|,?\s+)\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?:\s*[AaPp]\.?[Mm]\.?)?(?:\s*(?:[A-Z]{1,4}|(?:GMT|UTC)?[+-]\d\d:?\d\d)"
    r"(?:\s\(.*\))?)?)$"
)
_WEEKDAY = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[\s,.]+", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_SPACED = re.compile(r"\s*([-/.])\s*")
_WEEK = re.compile(r"\d{4}-?W\d\d")
_MONTH = re.compile(r"([^\W\d_]{3})[^\W\d_]*\.?")
MONTHS_KNOWN = "English, German, Spanish, French, Portuguese, Italian, Polish, Dutch, Swedish, Turkish or Russian"
_FORMS: dict[str, tuple[str, ...]] = {
    r"[0-9]{8}": ("%Y%m%d",),
    r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}": ("%d-%b-%Y",),
    r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{2}": ("%d-%b-%y",),
    r"[A-Za-z]{3}-[0-9]{1,2}-[0-9]{4}": ("%b-%d-%Y",),
    r"[0-9]{4}-[A-Za-z]{3}-[0-9]{1,2}": ("%Y-%b-%d",),
    r"[0-9]{6}": ("%y%m%d", "%d%m%y", "%m%d%y"),
    r"[0-9]{4}-W[0-9]{2}-[1-7]": ("%G-W%V-%u",),
    r"[0-9]{4}-[0-9]{2}": ("%Y-%m",),
    r"[A-Za-z]{3}-[0-9]{4}": ("%b-%Y",),
    r"[A-Za-z]{3}-[0-9]{2}": ("%b-%y",),
}
"""The possible strptime formats of days that match each pattern."""
for _sign in "-/.":
    _FORMS[rf"[0-9]{{4}}[{_sign}][0-9]{{1,2}}[{_sign}][0-9]{{1,2}}"] = (f"%Y{_sign}%m{_sign}%d",)
    for _year, _digits in (("%Y", 4), ("%y", 2)):
        _FORMS[rf"[0-9]{{1,2}}[{_sign}][0-9]{{1,2}}[{_sign}][0-9]{{{_digits}}}"] = (
            f"%m{_sign}%d{_sign}{_year}",
            f"%d{_sign}%m{_sign}{_year}",
            *([f"%y{_sign}%m{_sign}%d"] if _digits == 2 else []),
        )


def days(column: pd.Series[str], date_format: str | None = None) -> tuple[Days, str]:
    """(R,) days, NaT where a cell is not a date in the most frequent format, and that format as in `M/D/Y`.

    If several formats fit equally, the one in which the days are in order is taken, then the one without weekends,
    then the one of weeks or months; raises AmbiguousTableError if more than one remains. A time stamp's day is the one
    that is written.
    """
    if column.dtype.kind == "M":
        return pd.DatetimeIndex(column).tz_localize(None).to_numpy().astype("datetime64[D]"), "as stamps"
    texts = column.astype(str).str.strip()
    if date_format is not None:
        bare = texts.str.replace(_TIME, "", regex=True).map(date_words.without_weekday)
        whole, day_alone = (_days(t, date_format) for t in (texts, bare))
        if "%b" in date_format.lower():
            english = _days(bare.map(date_words.with_english_month), date_format.replace("%B", "%b"))
            day_alone = np.where(np.isnat(day_alone), english, day_alone)
        return np.where(np.isnat(whole), day_alone, whole), form(date_format)
    texts = pd.Series([_tidy(text) for text in unquoted(texts)], dtype=str)
    fitting: dict[str, Days] = {}
    for pattern, formats in _FORMS.items():
        fits = texts.str.fullmatch(pattern).to_numpy(dtype=bool)
        if fits.any():
            fitting |= {f: _days(texts.where(fits, ""), f) for f in formats}
    if (counted := date_words.counted(texts)) is not None:
        return counted[0].astype("datetime64[D]"), counted[1]
    if not fitting:
        return np.full(len(texts), np.datetime64("NaT", "D")), ""
    unread = {f: int(np.isnat(found).sum()) for f, found in fitting.items()}
    likely = [f for f in fitting if unread[f] == min(unread.values())]
    if len(likely) > 1:
        ordered = [f for f in likely if _is_ordered(fitting[f])]
        weekdays = [f for f in ordered if np.is_busday(fitting[f][~np.isnat(fitting[f])]).all()]
        if any(_is_regular(fitting[f], 3) for f in ordered if f not in weekdays):
            weekdays = []  # months seldom begin on weekdays alone
        regular = [f for f in ordered if _is_regular(fitting[f], 12)]
        likely = next((fewer for fewer in (ordered, weekdays, regular) if len(fewer) == 1), likely)
    if len(likely) > 1:
        raise AmbiguousTableError(
            f"{texts.iloc[0]} may be {' or '.join(map(form, likely))}, and the order of the dates fits each; "
            f"set 'data.date_format=\"{likely[0]}\"'"
        )
    return fitting[likely[0]], form(likely[0])


def form(date_format: str) -> str:
    """A strptime format as shown to the user: `%m/%d/%Y` as M/D/Y."""
    if date_format == "%Y%m%d":
        return "YYYYMMDD"
    names = {
        "%G": "Y",
        "%V": "week",
        "%u": "day",
        "%Y": "Y",
        "%y": "YY",
        "%m": "M",
        "%d": "D",
        "%b": "Mon",
        "%B": "Month",
    }
    return re.sub("%.", lambda match: names.get(match[0], match[0]), date_format)


def _tidy(text: str) -> str:
    """The day of a time stamp; with dashes and three letters of the month if the month is a name."""
    text = _TIME.sub("", text)
    if text.replace("-", "").replace("/", "").isdigit():
        return text
    if not _LETTER.search(text):
        return _SPACED.sub(r"\1", text).removesuffix(".")
    if _WEEK.fullmatch(text):
        return f"{text[:4]}-W{text[-2:]}-1"
    text = date_words.with_dashes(date_words.without_weekday(_WEEKDAY.sub("", text)))
    text = date_words.with_english_month(text)
    return re.sub(r"[\s,/.-]+", "-", _MONTH.sub(r"\1", text)) if _MONTH.search(text) else text


def _days(texts: pd.Series[str], date_format: str) -> Days:
    parsed = pd.to_datetime(texts, format=date_format, errors="coerce", exact=True)
    return parsed.dt.tz_localize(None).to_numpy().astype("datetime64[D]")


def _is_ordered(found: Days) -> bool:
    steps = np.diff(found[~np.isnat(found)]).astype(np.int64)
    return bool((steps >= 0).all() or (steps <= 0).all())


def _is_regular(found: Days, fewest: int) -> bool:
    """Whether the days are a week, a month, … apart, so many times. Up to 12/1, 1/1, 2/1, … may be days or months."""
    steps = np.abs(np.diff(found[~np.isnat(found)]).astype(np.int64))
    return bool(len(steps) >= fewest and steps.min() > 4 and steps.max() <= 1.2 * steps.min())


_CURRENCY = r"(?P<{}>[A-Z]{{0,3}}[$€£¥₹₩₽₺₪]|[A-Z]{{3}}|R[sp]\.?|kr\.?|zł|Kč|Ft|元|円|원)?"
_SHARES = r"(?:\s?(?i:shares|shs|aktien|stück|stk\.?|stuks|azioni|acciones|ações|actions|pcs|手|股|株|주))?"
_SCALES = {"": "", "K": "e3", "M": "e6", "B": "e9", "T": "e12"} | {"MIO": "e6", "MLN": "e6", "MRD": "e9"}
_SCALES |= {"万": "e4", "亿": "e8"}
_SCALE = r"(?:(?P<scale>[KkMmBbTt万亿]|[Mm](?:io|ln|rd))\.?)?"
_GROUPS = {
    "thousands": r"[0-9]{{1,3}}(?P<group>{0})[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*",
    "lakhs": r"[0-9]{{1,2}}(?:,[0-9]{{2}})*(?P<group>,)[0-9]{{3}}",
}


def _pattern(decimal: str, groups: str) -> re.Pattern[str]:
    """A number with this decimal mark, and at most one kind of separator between its groups of digits."""
    whole = _GROUPS[groups].format(r"[\s'’,]" if decimal == "." else r"[\s'’.]")
    number = rf"[+\u2212-]?(?=[.,]?[0-9])(?:{whole}|[0-9]+)?(?:{re.escape(decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
    before, after = _CURRENCY.format("before"), _CURRENCY.format("after")
    return re.compile(rf"{before}\s*(?P<number>{number})\s?{_SCALE}\s*(?:{after}|(?P<percent>%))(?P<shares>{_SHARES})")


@dataclass(frozen=True)
class _Reading:
    """The cells read by one convention."""

    values: dict[str, Floats]
    notes: list[str]

    @property
    def lost(self) -> int:
        return sum(int(np.isnan(values).sum()) for values in self.values.values())


_MISSING = ("", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none", "-", "--", ".")
"""Cells of a further column that say that there is no value, in lower case."""
_SAMPLE = 200
_TRUTHS = {"true": "1", "false": "0"}


def unquoted(texts: pd.Series[str]) -> pd.Series[str]:
    """Texts without the apostrophe that each begins with: Excel's mark of a text, or a quote."""
    return texts.str.strip("'") if texts.str.startswith("'").all() else texts


def missing(column: pd.Series[str]) -> NDArray[np.bool_]:
    """(R,) whether a cell of a further column says that there is no value."""
    if column.dtype.kind in "fiub":
        return np.asarray(column.isna())
    texts = column.astype(str).str.strip()
    empty = {text for text in set(texts) if text.lower() in _MISSING}
    return np.asarray(texts.isin(empty) | column.isna(), dtype=bool)


def is_text(column: pd.Series[str]) -> bool:
    """Whether no cell of a column that has a value is a number, as in one of texts, categories or dates."""
    if column.dtype.kind in "fiub":
        return False
    if column.dtype.kind == "M":
        return True
    for cells in (column.iloc[:_SAMPLE], column):  # most often the first cells show it
        present = cells[~missing(cells)]
        try:
            read, _ = numbers({"": present}, [""])
        except AmbiguousTableError:
            return False
        if not np.isnan(read[""]).all():
            return False
    return len(present) > 0


def numbers(
    columns: Mapping[str, pd.Series[str]], further: Collection[str] = ()
) -> tuple[dict[str, Floats], list[str]]:
    """(R,) numbers of each column, exact to the last digit, NaN where a cell is not a number; and notes on the parsing.

    `further` are columns other than prices and volume, whose cells may be missing, True or False, or have a percent
    sign or a scale, as 1.2M. All columns are read by the convention under which most cells are numbers: decimal point
    or comma, groups of three digits or lakhs. Raises AmbiguousTableError where two conventions fit equally and give
    different numbers, or where currencies are mixed.
    """
    known = {n: c.to_numpy(dtype=np.float64, na_value=np.nan) for n, c in columns.items() if c.dtype.kind in "fiub"}
    texts = {n: unquoted(c.astype(str).str.strip()).tolist() for n, c in columns.items() if n not in known}
    texts |= {name: _present(texts[name]) for name in further if name in texts}
    if (plain := _plain(texts)) is not None:
        return known | plain, []
    best = _read(texts, further, ".", "thousands")
    commas = any("," in text for column in texts.values() for text in column)
    if best.lost or commas:
        rivals = [_read(texts, further, ".", "lakhs"), _read(texts, further, ",", "thousands")]
        best = min([best, *rivals], key=lambda reading: reading.lost)
        for rival in rivals if commas else []:
            if rival.lost == best.lost:
                _check_equal(texts, best, rival)
    return known | best.values, best.notes


def _present(column: list[str]) -> list[str]:
    """The cells of a further column: truths as numbers, missing ones as `nan`, which is plain."""
    change = {text: "nan" for text in set(column) if text.lower() in _MISSING}
    change |= {text: _TRUTHS[text.lower()] for text in set(column) if text.lower() in _TRUTHS}
    return [change.get(text, text) for text in column] if change else column


def _check_equal(texts: Mapping[str, list[str]], one: _Reading, other: _Reading) -> None:
    for name, column in texts.items():
        differ = ~((one.values[name] == other.values[name]) | np.isnan(one.values[name]))
        if differ.any():
            raise AmbiguousTableError(
                f"{name.title()} is {column[int(differ.argmax())]!r}, and no number in the file shows whether the "
                "comma is a decimal one; save the numbers without thousands separators"
            )


def _unit(match: re.Match[str]) -> str:
    """The currency or percent sign of a number."""
    return match["before"] or match["after"] or match["percent"] or ""


def _plain(texts: Mapping[str, list[str]]) -> dict[str, Floats] | None:
    """The numbers if every cell is in plain notation, else None."""
    present = ("".join(text for text in column if text != "nan") for column in texts.values())
    if not set("".join(present)) <= set("0123456789.eE+-"):
        return None
    try:
        return {name: np.array([float(text) for text in column]) for name, column in texts.items()}
    except ValueError:
        return None


def _read(texts: Mapping[str, list[str]], further: Collection[str], decimal: str, groups: str) -> _Reading:
    """The numbers of every column by one convention. Raises AmbiguousTableError for prices in two currencies.

    A cell whose currency or percent sign differs from that of most cells of its column is not a number: `$32.99` among
    `4032.99` is damaged.
    """
    pattern, read, scales, is_grouped = _pattern(decimal, groups), {}, set(), False
    currencies: set[str] = set()
    signs_off: set[str] = set()
    for name, column in texts.items():
        matches = [pattern.fullmatch(text) for text in column]
        if name not in further:
            matches = [match if match and not match["percent"] else None for match in matches]
        signs = Counter(_unit(match) for match in matches if match)
        usual = signs.most_common(1)[0][0] if signs else ""
        (signs_off if name in further else currencies).update({usual} - {""})
        scaled = name == "volume" or name in further
        values = np.full(len(column), np.nan)
        for row, match in enumerate(matches):
            if not match or _unit(match) != usual or ((match["scale"] or match["shares"]) and not scaled):
                continue
            number, scale = match["number"], (match["scale"] or "").upper()
            if match["group"]:
                number, is_grouped = number.replace(match["group"], ""), True
            scales |= {scale} - {""}
            values[row] = float(number.replace(decimal, ".").replace("\u2212", "-") + _SCALES[scale])
        read[name] = values
    if len(currencies) > 1:
        raise AmbiguousTableError(f"its columns mix {' and '.join(sorted(currencies))}; save one currency alone")
    notes = {
        "decimal commas": decimal == ",",
        f"{', '.join([*currencies, *sorted(signs_off - currencies)])} taken off": currencies | signs_off,
        "thousands separators removed": is_grouped,
        f"{', '.join(sorted(scales))} multiplied out": scales,
    }
    return _Reading(read, [note for note, is_so in notes.items() if is_so])
