"""Recognises the columns of a table by the words of their names."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stockml.config.schema import nearest
from stockml.data.sources.csv.column_names import (
    CLOCKS,
    ENGLISH,
    SURE_TICKERS,
    folded,
    is_known,
    letters,
    spellings,
    words,
)

Given = Mapping[str, str | int]
"""What data.columns names: a role, or another name → the column's name in the file, or its position from 1."""
NO_COLUMNS: Given = {}

_FIGURES = ("open", "high", "low", "close", "adj close", "volume")
_NUMBERS = (*_FIGURES, "adj volume")
_KNOWN = "|".join(name.replace(" ", " ?") for role in ("date", *_FIGURES) for name in ENGLISH[role])
_FIGURE = re.compile(rf"(?:.* )?(?:{_KNOWN})|(?:{_KNOWN}) .*")
ROLES = {name.replace(" ", "_"): name for name in ENGLISH}
"""The roles by the names that data.columns gives them: adj_close."""
_A_NUMBER = re.compile(r"\W*\d[\d.,]*\W*")
PAIR_VOLUME = r"Volume [A-Z0-9]{2,6}"
"""The name of a crypto-currency's volume in the base or the quote of its pair."""
_STAMP = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with or without a sign before and after it."""
    return _A_NUMBER.fullmatch(cell.strip()) is not None


def same_ticker(one: str, other: str) -> bool:
    """Whether two spellings are one stock: ^GSPC and GSPC, BRK-B and brk.b, AAPL and AAPL.US."""
    spelt, like = (words(ticker).removesuffix(" us").replace(" ", "") for ticker in (one, other))
    return spelt == like != ""


def quoted(name: str) -> str:
    """A column's name as it is typed in data.columns."""
    return name if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) else f'"{name}"'


class AmbiguousTableError(ValueError):
    """A table that can be read in more than one way; the message has the readings and what to do."""


@dataclass(frozen=True)
class Header:
    """The names of a table's columns, and where its bars begin."""

    names: tuple[str, ...]
    first: int
    """The number of rows above the first bar."""
    tickers: tuple[str, ...] | None = None
    """The stock of each column, where the header has a row of them."""
    has_names: bool = True
    """Whether the file names its columns; if not, the names are the positions."""
    given: Given = field(default_factory=dict)
    """The columns that data.columns names, by role or by another name of the user's."""

    def column(self, role: str, ticker: str) -> int | None:
        """The number of the column with a role for a ticker; None if there is none.

        Raises AmbiguousTableError where two columns have the same name.
        """
        place = self.given.get(role.replace(" ", "_"))
        if place is not None:
            return place - 1 if isinstance(place, int) else self._named(place, ticker)
        others = {self._named(p, ticker) if isinstance(p, str) else p - 1 for p in self.given.values()}
        own, stock = [folded(name) for name in self.names], folded(ticker)
        own = ["-" if number in others else name for number, name in enumerate(own)]
        is_figure = role in _NUMBERS
        if self.tickers is not None and is_figure:
            own = [n if same_ticker(t, ticker) else "" for n, t in zip(own, self.tickers, strict=True)]
        for name in spellings(role, own):
            spelt = {name, stock + name, name + stock} if is_figure else {name}
            found = [number for number, letters in enumerate(own) if letters in spelt]
            if len(found) > 1 and name:
                key = role.replace(" ", "_")
                raise AmbiguousTableError(
                    f"has the column {self.names[found[0]].strip()} twice; choose one by its position: "
                    f"'data.columns={{{key}: {found[0] + 1}}}'"
                )
            if found:
                return found[0]
        if role == "volume":  # of crypto-currencies: first in the base, then in the quote
            pairs = [n for n, name in enumerate(self.names) if re.fullmatch(PAIR_VOLUME, name.strip())]
            return pairs[0] if pairs else None
        return None

    def extra(self, name: str, ticker: str) -> int | None:
        """The number of a further column for a ticker, by the name in data.columns or in the file; None if there is
        none.

        `news_score` is also the column `News score`, if no other has this very name. Raises AmbiguousTableError where
        several have it.
        """
        if name in self.given and name not in ROLES:
            return self.column(name, ticker)
        return self._named(name, ticker)

    def clock(self, date: int) -> int | None:
        """The number of the column with the times, where there is one beside that of the days."""
        if (place := self.given.get("time")) is not None:
            return place - 1 if isinstance(place, int) else self._named(place, "")
        return next((n for n, name in enumerate(self.names) if words(name) in CLOCKS and n != date), None)

    def _named(self, name: str, ticker: str) -> int | None:
        stock = letters(ticker)
        own = [
            (number, text.strip())
            for number, text in enumerate(self.names)
            if self.tickers is None or not self.tickers[number] or same_ticker(self.tickers[number], ticker)
        ]
        spelt = {letters(name), stock + letters(name), letters(name) + stock}
        alike: Sequence[Callable[[str], bool]] = (
            lambda text: text == name.strip(),
            lambda text: text.lower() == name.strip().lower(),
            lambda text: words(text) == words(name) != "",
            lambda text: letters(name) != "" and letters(text) in spelt,
        )
        for is_alike in alike:
            found = [number for number, text in own if text and is_alike(text)]
            if len(found) > 1:
                several = ", ".join(dict.fromkeys(self.names[number].strip() for number in found))
                twice = "twice" if several == self.names[found[0]].strip() else f"for {name} ({several})"
                raise AmbiguousTableError(f"has the column {several.split(', ')[0]} {twice}; rename or delete one")
            if found:
                return found[0]
        return None

    def with_columns(self, given: Given, *, lenient: bool = False) -> Header:
        """This header with the columns that data.columns names; `lenient`: without those that the file lacks.

        Raises AmbiguousTableError where the file lacks one.
        """
        kept = {}
        for name, place in given.items():
            if isinstance(place, int):
                is_there, what = place <= len(self.names), f"it has {len(self.names)} columns"
            else:
                known = [text.strip() for text in self.names if text.strip()]
                listed = textwrap.shorten(", ".join(known), 300, placeholder=" …") or "none"
                is_there = self.tickers is not None or self._named(place, "") is not None
                what = f"it has {listed}{nearest(place, known)}"
                if name not in ROLES and place in ROLES and self._named(name, "") is not None:
                    what = f"the role comes first: 'data.columns={{{place}: {quoted(name)}}}'"
            if is_there:
                kept[name] = place
            elif not lenient:
                raise AmbiguousTableError(f"has no column {place!r}, which data.columns.{name} names; {what}")
        return replace(self, given=kept)

    def is_plain(self, role: str, number: int, ticker: str) -> bool:
        """Whether the column's name is that of its role, with or without the ticker."""
        stock, name = letters(ticker), letters(role)
        return letters(self.names[number]) in (name, stock + name, name + stock)

    def is_surely_tickers(self, number: int) -> bool:
        """Whether the column can only hold tickers; a column `Name` may hold the company's name."""
        return "ticker" in self.given or words(self.names[number]) in SURE_TICKERS


def header(rows: Sequence[Sequence[str]], given: Given = NO_COLUMNS, *, has_names: bool = True) -> Header:
    """The header in a table's first rows: names and, as yfinance writes them, tickers and the name of the index.

    `given` are the columns that data.columns names; where it names positions only, there may be no header, as without
    `has_names`: the columns are named by their positions. Raises AmbiguousTableError where a row above the names holds
    numbers.
    """
    named = next((n for n, row in enumerate(rows) if figures_named(row, given) >= 2), None) if has_names else None
    if named is None:
        named = next((n for n, row in enumerate(rows) if any(map(str.strip, row))), 0)
        bars = next((n for n, row in enumerate(rows) if _holds_numbers(row)), 0)
        if has_names and not given and bars > named and len(rows[bars - 1]) == len(rows[bars]):
            named = bars - 1  # below lines about the table
        if rows and (not has_names or _is_of_bars(rows[named], given)):
            names = tuple(str(number + 1) for number in range(len(rows[named])))
            return Header(names, named, has_names=False, given=NO_COLUMNS if given else _positions(rows[named]))
    names = tuple(rows[named]) if rows else ()
    found = Header(names, named + 1)
    above = range(named)
    sure = ("ticker", "symbol", *([""] if len(set(names)) < len(names) else []))
    if named and _is_of_tickers(rows[named - 1], len(names), sure):
        found, above = replace(found, tickers=_padded(rows[named - 1], len(names))), range(named - 1)
    elif len(rows) > found.first and _is_of_tickers(rows[found.first], len(names)):
        found = replace(found, tickers=_padded(rows[found.first], len(names)), first=found.first + 1)
    numbers = [n for n in above if any(map(is_number, rows[n]))]
    if numbers:
        raise AmbiguousTableError(
            f"line {numbers[0] + 1} holds numbers above the names of line {named + 1}; put the names first"
        )
    index = rows[found.first] if len(rows) > found.first else []
    if index and words(index[0]) in ENGLISH["date"] and not any(map(str.strip, index[1:])):
        found = replace(found, names=(index[0], *names[1:]), first=found.first + 1)
    elif found.tickers is not None:
        found = replace(found, names=("", *names[1:]))
    elif len(index) == len(names) + 1 and not any(words(name) in ("", *ENGLISH["date"]) for name in names):
        found = replace(found, names=("", *names))  # as R writes row names: without a name
    return found


def figures_named(row: Sequence[str], given: Given = NO_COLUMNS) -> int:
    """The number of cells that name a price, the volume or the date, with or without a ticker, or a column of
    data.columns."""
    spelt = [words(cell) for cell in row]
    own = {words(place) for place in given.values() if isinstance(place, str)} - {""}
    known = sum(
        cell in own or _FIGURE.fullmatch(cell) is not None or is_known(text)
        for cell, text in zip(spelt, row, strict=True)
    )
    return known + (spelt[:1] == [""] and len(row) > 1) + 4 * (set("ohlc") <= set(spelt))


def _is_of_bars(row: Sequence[str], given: Given) -> bool:
    """Whether a row is no header: it has numbers where `given` says that a price or the volume is; without positions,
    its cells are numbers and dates."""
    places = [place for name, place in given.items() if ROLES.get(name) in _NUMBERS]
    positions = [place for place in places if isinstance(place, int)]
    if len(positions) < len(places):
        return False
    if positions:
        return any(place <= len(row) and is_number(row[place - 1]) for place in positions)
    return _holds_numbers(row)


def _holds_numbers(row: Sequence[str]) -> bool:
    """Whether most cells of a row, of three at least, are numbers or dates."""
    cells = [cell.strip() for cell in row]
    numbers = [cell for cell in cells if is_number(cell) or _STAMP.fullmatch(cell)]
    return len(numbers) >= 3 and len(numbers) * 2 > len(cells)


def _positions(row: Sequence[str]) -> Given:
    """The columns of a file without names that Binance (klines) or MetaTrader has written; none of any other."""
    cells = [cell.strip() for cell in row]
    if len(cells) == 12 and all(re.fullmatch(r"\d{13}|\d{16}", cells[n]) for n in (0, 6)):
        return {"date": 1, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6}
    if len(cells) == 7 and re.fullmatch(r"\d{4}\.\d\d\.\d\d", cells[0]) and re.fullmatch(r"\d\d:\d\d", cells[1]):
        return {"date": 1, "time": 2, "open": 3, "high": 4, "low": 5, "close": 6, "volume": 7}
    return NO_COLUMNS


def _is_of_tickers(row: Sequence[str], width: int, sure: Sequence[str] = ("ticker", "symbol", "")) -> bool:
    """Whether a row of the header names the stock of each column but the first."""
    first, rest = (words(row[0]) if row else "", [cell.strip() for cell in row[1:]])
    if first not in sure or len(row) != width or width < 2 or not all(rest):
        return False
    return bool(first) or not any(map(is_number, rest))


def _padded(row: Sequence[str], width: int) -> tuple[str, ...]:
    return tuple([*row, *[""] * width][:width])
