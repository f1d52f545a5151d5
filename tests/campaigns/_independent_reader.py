"""Reads exports whose form is known, by the csv module and Decimal alone."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import unicodedata
from decimal import Decimal
from typing import Any

import numpy as np

from tests.data.sources.exports import COUNTS, ROLES, STEPS, Form
from tests.data.sources.spellings import MONTHS, NAMES

TICKER = "AAPL"
_HEADLESS = {"klines": (0, 1, 2, 3, 4, 5), "mt4": (0, 2, 3, 4, 5, 6)}
"""The columns of a form without names: the date and `ROLES`."""
_TABLES = ("xlsx", "ods", "xls", "json", "jsonl")
_SPELT = {
    **dict.fromkeys(("date", "timestamp", "time", "t"), "date"),
    **dict.fromkeys(("open", "o"), "open"),
    **dict.fromkeys(("high", "h"), "high"),
    **dict.fromkeys(("low", "l"), "low"),
    **dict.fromkeys(("close", "closelast", "price", "last", "c"), "close"),
    **dict.fromkeys(("volume", "vol", "v", "wol", "volumi"), "volume"),
    "adjclose": "adj close",
    "symbol": "ticker",
    "ticker": "ticker",
}


def _letters(text: str) -> str:
    """The letters and digits of a name, without accents."""
    apart = unicodedata.normalize("NFKD", re.sub(r"[\W_]|\(.*\)", "", text).lower())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


_FOREIGN = {
    _letters(name): role
    for names in NAMES[8:15]
    for name, role in zip(names, ("date", *ROLES), strict=False)
    if _letters(name) not in _SPELT
}
_MONTH = {
    _letters(name)[:length]: n % 12 + 1
    for length in (3, 4)
    for each in MONTHS.values()
    for n, name in enumerate(each.split())
}


def table_of(content: bytes, form: Form) -> list[list[str]]:
    """The cells of a damaged text, as its container keeps them. Raises ValueError."""
    text = content.decode(form.encoding.removesuffix("-sig") if form.encoding == "utf-16" else "utf-8-sig", "replace")
    if "\0" in text:
        raise ValueError("zero byte")
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    reader = csv.reader(io.StringIO(text), delimiter=form.delimiter, skipinitialspace=form.container not in _TABLES)
    rows = list(reader)
    if reader.line_num != len(rows) and form.container not in _TABLES:
        raise ValueError("a quoted cell of several lines")
    return _padded(rows) if form.container in _TABLES else rows


def table_of_json(content: bytes) -> list[list[str]]:
    """The cells of JSON records. Raises ValueError."""

    def parsed(text: str) -> Any:
        return json.loads(text, parse_int=str, parse_float=str)

    text = content.decode("utf-8-sig")
    try:
        found = parsed(text)
    except json.JSONDecodeError:
        found = [parsed(line) for line in text.splitlines() if line.strip()]
    if isinstance(found, dict):
        (found,) = (value for value in found.values() if isinstance(value, list) and value)
    names = list(dict.fromkeys(name for record in found for name in dict(record)))
    return [names, *([str(record.get(name, "")) for name in names] for record in found)]


def _padded(rows: list[list[str]]) -> list[list[str]]:
    """Rows of one length, up to the last cell that is not empty."""
    width = max((n + 1 for row in rows for n, cell in enumerate(row) if cell), default=0)
    return [[*row, *[""] * width][:width] for row in rows]


def read_independently(rows: list[list[str]], form: Form) -> tuple[list[datetime.date], dict[str, Any]]:
    """Dates and adjusted columns, oldest first. Raises ValueError if a table has anything but bars in order."""
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    while rows and not any(cell.strip() for cell in rows[0]):
        rows.pop(0)
    if form.layout in _HEADLESS:
        places = dict(zip(_HEADLESS[form.layout], ("date", *ROLES), strict=False))
        rows = [[places.get(n, "") for n in range(len(rows[0]))], *rows]
    first, head = 1, rows[0]
    roles = [_role(name) for name in head]
    if form.layout == "header":
        if (
            len(rows[1]) != len(head)
            or re.sub(r"\W", "", rows[1][0]).lower() != "ticker"
            or _role(rows[2][0]) != "date"
        ):
            raise ValueError("no header of three rows")
        mine = [name.strip().upper() == TICKER for name in rows[1]]
        roles = ["date", *(role if own else "" for role, own in zip(roles[1:], mine[1:], strict=True))]
        first = 3
    if "close" in roles and "price" in (names := [re.sub(r"\W", "", n).lower() for n in head]) and "close" in names:
        roles = ["" if name == "price" and n else role for n, (name, role) in enumerate(zip(names, roles, strict=True))]
    wanted = ["date", *ROLES[:5], *(["adj close"] if "adj close" in roles else [])]
    if any(roles.count(role) != 1 for role in wanted):
        raise ValueError("columns")
    body = rows[first:]
    if any(len(row) != len(head) for row in body):
        raise ValueError("a row of another length")
    if "ticker" in roles and form.layout == "long":
        body = [row for row in body if row[roles.index("ticker")].strip().upper() == TICKER]
    clock = [row[1] for row in body] if form.layout == "mt4" else [""] * len(body)
    dates = [_date(f"{row[roles.index('date')]} {time}", form) for row, time in zip(body, clock, strict=True)]
    if dates != sorted(dates):
        dates, body = dates[::-1], body[::-1]
    if not dates or dates != sorted(set(dates)):
        raise ValueError("dates in no order")
    raw = {role: [_number(row[roles.index(role)], form, role) for row in body] for role in wanted[1:]}
    if any(value <= 0 and role != "volume" for role, values in raw.items() for value in values):
        raise ValueError("not above 0")
    found = {role: np.array([float(value) for value in values]) for role, values in raw.items()}
    if "adj close" in found:
        factor = found.pop("adj close") / found["close"]
        found = {role: values if role == "volume" else values * factor for role, values in found.items()}
    return dates, found


def _role(name: str) -> str:
    bare = _letters(name)
    return _SPELT.get(bare, "") or _FOREIGN.get(bare, "")


def _date(cell: str, form: Form) -> datetime.date:
    """The day of a bar, and its time if it is one within a day. Raises ValueError."""
    text, pattern = cell.strip(), form.date
    if form.date == "excel":
        seconds = round((Decimal(text) - 25_569) * 86_400)
    elif form.date in COUNTS:
        seconds = int(text) // COUNTS[form.date]
    else:
        if form.date_cells:
            text = text.removesuffix(" 00:00:00")
        if "%b" in pattern:
            word = re.search(r"[^\W\d_]{3,}", text.replace(" de ", " "))
            month = _MONTH.get(_letters(word[0])[:4]) or _MONTH.get(_letters(word[0])[:3]) if word else None
            if not word or not month:
                raise ValueError(f"{cell!r}: no month")
            text = text.replace(word[0], str(month))
            text, pattern = (re.sub(r"[\s,./-]+|de ", " ", x.replace("%b", "%m")) for x in (text, pattern))
        seconds = int(np.datetime64(datetime.datetime.strptime(text, pattern), "s").astype(np.int64))
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return moment if STEPS[form.step] else moment.date()


def _number(cell: str, form: Form, role: str) -> Decimal:
    text = cell.strip().removeprefix(form.currency or " ").strip()
    scale = {"K": 3, "M": 6, "B": 9, "T": 12}.get(text[-1:].upper(), 0) if form.millions and role == "volume" else 0
    whole, point, fraction = (text[:-1] if scale else text).partition(form.decimal)
    groups = re.split(r"[\s'’,]" if form.decimal == "." else r"[\s'’.]", whole)
    if len(groups) > 1 and not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
        raise ValueError(f"{cell!r}: groups")
    plain = "".join(groups) + (f".{fraction}" if point else "")
    if not re.fullmatch(r"[+-]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]+)?", plain):
        raise ValueError(f"{cell!r}: no number")
    return Decimal(plain).scaleb(scale)
