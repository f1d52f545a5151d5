"""Recognises the columns of a table by the words of their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

# As copied from Yahoo's page, with the text of the tooltips.
_SPLITS = "close close price adjusted for splits"
_DIVIDENDS = "adj close adjusted close price adjusted for splits and dividend and or capital gain distributions"
# The known names of each role, words only; the earliest is taken if a table has several of them.
# Only the dates may have an empty name: an index that was saved without one.
_NAMES = {
    "date": ("date", "trade date", "trading date", "datetime", "date time", "timestamp", "time", "day", "index", ""),
    "open": ("open", "open price", "px open", "opening price"),
    "high": ("high", "high price", "px high", "day high"),
    "low": ("low", "low price", "px low", "day low"),
    "close": ("close", _SPLITS, "close last", "close price", "closing price", "last", "last price", "px last", "price"),
    "adj close": ("adj close", _DIVIDENDS, "adjusted close", "close adj", "adj close price", "adjusted", "adj price"),
    "adj volume": ("adj volume", "adjusted volume", "volume adj", "volume adjusted"),
    "volume": ("volume", "vol", "px volume", "share volume", "shares traded", "traded volume", "total traded quantity"),
    "ticker": ("ticker", "symbol", "tic", "stock symbol", "code", "stock", "instrument", "name"),
}
_FIGURES = ("open", "high", "low", "close", "adj close", "volume")
_KNOWN = "|".join(name.replace(" ", " ?") for role in ("date", *_FIGURES) for name in _NAMES[role] if name)
_FIGURE = re.compile(rf"(?:.* )?(?:{_KNOWN})|(?:{_KNOWN}) .*")
_SURE_TICKERS = ("ticker", "symbol", "tic", "stock symbol")
_NUMBER = re.compile(r"\W*\d[\d.,]*\W*")


def words(name: str) -> str:
    """The words of a name in lower case: `Adj. Close**` and `ADJ_CLOSE` are `adj close`."""
    name = unicodedata.normalize("NFKC", name).lower().strip()
    name = re.sub(r"^(\d+\.\s|unnamed: \d+(_level_\d+)?$)", "", name)
    name = re.sub(r"(?<=\w)\s*\(.*\)$", "", name)  # a unit, as in Close (USD)
    return re.sub(r"[\W_]+", " ", name).strip()


def _letters(name: str) -> str:
    """The letters and digits of a name: `adjClose` and `Adj Close` are `adjclose`."""
    return words(name).replace(" ", "")


def same_ticker(one: str, other: str) -> bool:
    """Whether two spellings are one stock: ^GSPC and GSPC, BRK-B and brk.b, AAPL and AAPL.US."""
    spelt, like = (words(ticker).removesuffix(" us").replace(" ", "") for ticker in (one, other))
    return spelt == like != ""


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

    def column(self, role: str, ticker: str) -> int | None:
        """The number of the column with a role for a ticker; None if there is none.

        Raises AmbiguousTableError where two columns have the same name.
        """
        own, stock = [_letters(name) for name in self.names], _letters(ticker)
        is_figure = role in (*_FIGURES, "adj volume")
        if self.tickers is not None and is_figure:
            own = [n if same_ticker(t, ticker) else "" for n, t in zip(own, self.tickers, strict=True)]
        for name in _NAMES[role]:
            name = name.replace(" ", "")
            spelt = {name, stock + name, name + stock} if is_figure else {name}
            found = [number for number, letters in enumerate(own) if letters in spelt]
            if len(found) > 1 and name:
                raise AmbiguousTableError(f"has the column {self.names[found[0]].strip()} twice; rename or delete one")
            if found:
                return found[0]
        return None

    def is_plain(self, role: str, number: int, ticker: str) -> bool:
        """Whether the column's name is that of its role, with or without the ticker."""
        stock, name = _letters(ticker), _letters(role)
        return _letters(self.names[number]) in (name, stock + name, name + stock)

    def is_surely_tickers(self, number: int) -> bool:
        """Whether the column can only hold tickers; a column `Name` may hold the company's name."""
        return words(self.names[number]) in _SURE_TICKERS


def header(rows: Sequence[Sequence[str]]) -> Header:
    """The header in a table's first rows: names and, as yfinance writes them, tickers and the name of the index.

    Raises AmbiguousTableError where a row above the names holds numbers.
    """
    named = next((n for n, row in enumerate(rows) if figures_named(row) >= 2), None)
    if named is None:
        named = next((n for n, row in enumerate(rows) if any(map(str.strip, row))), 0)
    names = tuple(rows[named]) if rows else ()
    found = Header(names, named + 1)
    above = range(named)
    if named and _is_of_tickers(rows[named - 1], len(names), sure=("ticker", "symbol")):
        found, above = replace(found, tickers=_padded(rows[named - 1], len(names))), range(named - 1)
    elif len(rows) > found.first and _is_of_tickers(rows[found.first], len(names)):
        found = replace(found, tickers=_padded(rows[found.first], len(names)), first=found.first + 1)
    numbers = [n for n in above if any(_NUMBER.fullmatch(cell.strip()) for cell in rows[n])]
    if numbers:
        raise AmbiguousTableError(
            f"line {numbers[0] + 1} holds numbers above the names of line {named + 1}; put the names first"
        )
    index = rows[found.first] if len(rows) > found.first else []
    if index and words(index[0]) in _NAMES["date"][:-1] and not any(map(str.strip, index[1:])):
        found = replace(found, names=(index[0], *names[1:]), first=found.first + 1)
    elif found.tickers is not None:
        found = replace(found, names=("", *names[1:]))
    elif len(index) == len(names) + 1 and not any(words(name) in _NAMES["date"] for name in names):
        found = replace(found, names=("", *names))  # as R writes row names: without a name
    return found


def figures_named(row: Sequence[str]) -> int:
    """The number of cells that name a price, the volume or the date, with or without a ticker."""
    spelt = [words(cell) for cell in row]
    return sum(_FIGURE.fullmatch(cell) is not None for cell in spelt) + (spelt[:1] == [""] and len(row) > 1)


def _is_of_tickers(row: Sequence[str], width: int, sure: Sequence[str] = ("ticker", "symbol", "")) -> bool:
    """Whether a row of the header names the stock of each column but the first."""
    first, rest = (words(row[0]) if row else "", [cell.strip() for cell in row[1:]])
    if first not in sure or len(row) != width or width < 2 or not all(rest):
        return False
    return bool(first) or not any(_NUMBER.fullmatch(cell) for cell in rest)


def _padded(row: Sequence[str], width: int) -> tuple[str, ...]:
    return tuple([*row, *[""] * width][:width])
