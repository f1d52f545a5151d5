"""Writes tables of daily bars in every format that exports have."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ROLES = ("open", "high", "low", "close", "volume", "adj close")
Rows = Sequence[tuple[datetime.date, Mapping[str, Decimal]]]
"""One bar per day, oldest first."""


@dataclass(frozen=True)
class Form:
    """The format of a table."""

    names: tuple[str, ...] = ("Date", "Open", "High", "Low", "Close", "Volume")
    """Names of the date, open, high, low, close, volume, and as an optional seventh the adjusted close."""
    order: tuple[int, ...] = ()
    """The order of the columns, if it is not that of the names."""
    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    date: str = "%Y-%m-%d"
    padded: bool = True
    """Whether days and months have two digits; they always do in YYYYMMDD."""
    newest_first: bool = False
    currency: str = ""
    millions: bool = False
    """Whether the volume is written as 113.9M."""
    quoted: bool = False
    encoding: str = "utf-8"
    line_end: str = "\n"
    blank_rows: int = 0
    tickers: tuple[str, ...] = ()
    """Other stocks in the file."""
    layout: str = "plain"
    """plain | long (a column of tickers) | header (a row of tickers) | prefix (the ticker in each name) | index (an
    unnamed column of row numbers first)."""
    ticker_name: str = "Symbol"
    extra: bool = False
    """Whether there is an unused column too."""
    packed: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The columns other than the date, in the order of `names`."""
        return ROLES[: len(self.names) - 1]


def number(value: Decimal, form: Form, role: str) -> str:
    """A number in the format."""
    scaled = form.millions and role == "volume"
    text = f"{(value.scaleb(-6) if scaled else value):,f}"
    text = text.translate({ord(","): form.thousands, ord("."): form.decimal})
    return f"{form.currency if role != 'volume' else ''}{text}{'M' if scaled else ''}"


def day(date: datetime.date, form: Form) -> str:
    """A date in the format."""
    pattern = (
        form.date
        if form.padded or form.date == "%Y%m%d"
        else form.date.replace("%d", str(date.day)).replace("%m", str(date.month))
    )
    return date.strftime(pattern)


def written(rows: Rows, ticker: str, form: Form) -> bytes:
    """Write the file; other tickers have the same bars with doubled prices."""
    stocks = [*form.tickers[:1], ticker, *form.tickers[1:]]
    factors = {t: Decimal(1 if t == ticker else 2) for t in stocks}
    table: list[list[str]] = []
    for date, bar in reversed(rows) if form.newest_first else rows:
        cells = {t: [number(bar[role] * factors[t], form, role) for role in form.roles] for t in stocks}
        if form.layout == "long":
            table += [_ordered([day(date, form), *cells[t]], form, [t]) for t in stocks]
        elif form.layout == "header":
            table.append([day(date, form), *(cell for t in stocks for cell in cells[t])])
        else:
            table.append(_ordered([day(date, form), *cells[ticker]], form, []))
    date_name, *names = form.names
    if form.layout == "header":
        head = [["Price", *names * len(stocks)], ["Ticker", *(t for t in stocks for _ in names)]]
        head.append([date_name, *[""] * len(names) * len(stocks)])
    elif form.layout == "prefix":
        head = [_ordered(["", *(f"{ticker}.{name}" for name in names)], form, [])]
    else:
        head = [_ordered([date_name, *names], form, [form.ticker_name] if form.layout == "long" else [])]
    if form.layout == "index":
        table, head = [[str(n + 1), *row] for n, row in enumerate(table)], [["", *head[0]]]
    if form.extra:
        table, head = [[*row, "-0.5%"] for row in table], [[*row, "Change %" if row[-1] else ""] for row in head]
    table += [[""] * len(head[0])] * form.blank_rows
    text = io.StringIO()
    style: dict[str, Any] = {"quoting": csv.QUOTE_ALL if form.quoted else csv.QUOTE_MINIMAL}
    csv.writer(text, delimiter=form.delimiter, lineterminator=form.line_end, **style).writerows([*head, *table])
    content = text.getvalue().encode(form.encoding)
    return gzip.compress(content) if form.packed else content


def _ordered(cells: list[str], form: Form, ticker: list[str]) -> list[str]:
    return [*ticker, *([cells[n] for n in form.order] if form.order else cells)]
