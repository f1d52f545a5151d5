"""Daily bars from a table with any delimiter, column names, and date and number formats.

The formats are recognised from the cells (`columns`, `cells`), not from the program that wrote them; an ambiguous table
is refused.
"""

from __future__ import annotations

import collections
import functools
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.data import spec, store
from stockml.data.bars import PRICES, Bars, Floats, adjusted_volume, adjustment, split_ratios, within
from stockml.data.settings import ANY_PRICE
from stockml.data.sources import reading
from stockml.data.sources.csv import cells, stamps, table_files
from stockml.data.sources.csv.cells import Days
from stockml.data.sources.csv.column_names import words
from stockml.data.sources.csv.columns import PAIR_VOLUME, same_ticker
from stockml.data.sources.csv.file_names import stem
from stockml.data.sources.csv.places import ROLES, Places, place
from stockml.data.sources.csv.table_files import Table
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.csv import CsvConfig


_ADJUSTED = "prices × Adj Close / Close"
_NOT_ADJUSTED = "no Adj Close: not adjusted for dividends, unless the file is"
_YEAR = r"(?<!\d)(\d{4})(?:\d{4})?(?!\d)"  # of 2563-01-02, 25630102 or 02/01/2563
_NO_MONTHS = "no date with a month's name that is known"


def load(config: Config) -> Bars:
    """The bars of the config's stock, with prices × Adj Close / Close. Raises UserError with file, line and remedy."""
    return _bars(_table(config), config, spec.columns_read(config))


def load_columns(config: Config, columns: Sequence[str]) -> Bars:
    """The bars with these columns alone, `close` or not. What of `data.columns` the file lacks is ignored.

    Raises UserError, also where a file of another stock's bars would be taken for this one's.
    """
    table, data = _table(config, lenient=True), cast("CsvConfig", config.data)
    ticker = config.stock.ticker
    is_named = table.ticker or data.path is None or same_ticker(stem(table.path), ticker)
    if ticker in data.context and not is_named:
        raise UserError(
            f"{table.path}: does not say whether its bars are of {ticker}; name the folder with {ticker}.csv: "
            "data.context_path=FOLDER"
        )
    return _bars(table, config, columns)


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ. Raises UserError."""
    data = cast("CsvConfig", config.data)
    path = table_files.find(data, config.stock.ticker)
    settings = f"{data.date_format} {data.on_bad_rows} {data.adjust_volume} {dict(data.columns)}"
    settings += "" if data.header else " no header"
    settings += f" {data.timezone}" if data.timezone else ""
    return f"{path} {store.hash_of(path, Path(data.panel_cache))} {settings}"


def load_many(configs: Sequence[Config]) -> Iterator[Callable[[], Bars]]:
    """A function for each config that loads its stock's bars; a file that holds all of them is read once."""
    data = cast("CsvConfig", configs[0].data)
    stocks = collections.Counter(cast("CsvConfig", config.data).path for config in configs)
    long = [path for path, count in stocks.items() if path is not None and (count > 1 or len(configs) == 1)]
    tables = {path: table_files.of_each_stock(table_files.find(replace(data, path=path), ""), data) for path in long}

    def of_ticker(config: Config) -> Bars:
        ticker = config.stock.ticker
        table = tables.get(cast("CsvConfig", config.data).path or "", {}).get(ticker)
        if table is None:
            return load(config)
        return _bars(table_files.of_ticker(table, ticker), config, spec.columns_read(config))

    return (functools.partial(of_ticker, config) for config in configs)


def columns(config: Config) -> tuple[list[str], list[str]]:
    """The further columns of the stock's table that are numbers, and those that are not. Raises UserError."""
    table = _table(config)
    with table_files.user_errors(table.path):
        header, ticker = table.header, table.ticker or config.stock.ticker
        known = [header.column(role, ticker) for role in ("date", "ticker", "adj close", "adj volume", *ROLES)]
        named = {header.extra(name, ticker): name for name in header.given}
        names = {n: named.get(n, name.strip()) for n, name in enumerate(header.names) if name.strip()}
        own = {n: name for n, name in names.items() if n not in known and header.extra(name, ticker) == n}
    texts = [name for number, name in own.items() if cells.is_text(table.cells[number])]
    return [name for name in own.values() if name not in texts], texts


def _table(config: Config, *, lenient: bool = False) -> Table:
    data, ticker = cast("CsvConfig", config.data), config.stock.ticker
    path = table_files.find(data, ticker)
    if ticker in (known := reading.known(table_files.key_of(path, data)) or {}):
        return table_files.of_ticker(known[ticker], ticker)
    sole = data.path is not None and ticker == stem(path)
    return table_files.read(path, ticker, data, sole=sole, lenient=lenient)


def _bars(table: Table, config: Config, asked: Sequence[str]) -> Bars:
    with table_files.user_errors(table.path):
        return _parse(table, config, asked)


def _parse(table: Table, config: Config, asked: Sequence[str]) -> Bars:
    path, ticker, data = table.path, config.stock.ticker, cast("CsvConfig", config.data)
    places = Places.of(table, config, asked)
    if not len(table.cells):
        raise UserError(f"{path}: holds no bars, only the names of the columns")
    column = {name: table.cells[number] for name, number in places.all.items()}
    _refuse_texts(table, places)
    dates, clock = column.pop("date"), table.header.clock(places.roles["date"])
    dates = dates if clock is None else stamps.with_times(dates, table.cells[clock])
    days, form = stamps.read(dates, data.date_format, data.timezone)
    read, notes = cells.numbers(column, places.further)
    prices = [name for name, role in places.names.items() if role in PRICES]
    prices += [name for name in places.further if words(name) == "vwap"]
    is_adjusted = bool(prices) and "adj close" in read and "close" in read
    adjusts_volume = data.adjust_volume and "volume" in places.names.values() and is_adjusted
    used = dict.fromkeys([*places.names.values(), *(["close", "adj close"] if is_adjusted else []), *places.further])
    read = {name: read[name] for name in used}
    rows, dropped = _usable_rows(table, days, form, read, places, data)
    newest_first = _is_newest_first(table, days, rows, places, lambda: stamps.read(dates, data.date_format, "UTC")[0])
    rows = rows[::-1] if newest_first else rows
    read = {name: values[rows] for name, values in read.items()}
    if places.volume_is_adjusted:
        notes = [*notes, "Adj Volume taken for volume"]
    elif adjusts_volume:
        read["volume"], note = _volume(read)
        notes = [*notes, note]
    factor = adjustment(read) if is_adjusted else None
    raw = {name: read[places.names.get(name, name)] for name in asked}
    return Bars(
        ticker=ticker,
        dates=days[rows],
        lines=table.lines[rows],
        columns={n: values if factor is None or n not in prices else values * factor for n, values in raw.items()},
        origin=str(path),
        dropped=dropped,
        parsing_notes="; ".join(
            [
                f"dates {form}{', newest first' if newest_first else ''}",
                *_choices(table, places, ticker),
                *notes,
                *table.notes,
                *([_ADJUSTED if is_adjusted else _NOT_ADJUSTED] if prices else []),
            ]
        ),
    )


def _refuse_texts(table: Table, places: Places) -> None:
    """Raise UserError where a further column holds text."""
    for name, number in places.further.items():
        column = table.cells[number]
        if cells.is_text(column):
            row = int((~cells.missing(column)).argmax())
            raise UserError(
                f"{table.where(row)}: {table.header.names[number].strip()} is {_shown(column.iloc[row])}: {name} holds "
                "no numbers, so no feature can use it; leave it out, or save it as numbers"
            )


def _volume(columns: Mapping[str, Floats]) -> tuple[Floats, str]:
    """The volume adjusted for the splits that Adj Close / Close shows, and a note on what was done."""
    ratios, unclear = split_ratios(columns["close"], columns["adj close"])
    volume = adjusted_volume(columns["volume"], ratios)
    note = "volume × the splits in Adj Close / Close"
    if (ratios == 1).all():
        note = "volume as in the file: Adj Close / Close shows no split"
    if unclear:
        note += f", and {unclear} large step{'s' if unclear > 1 else ''} of no usual ratio, for which volume is raw"
    return volume, note


def _usable_rows(
    table: Table,
    days: Days,
    form: str,
    read: Mapping[str, Floats],
    places: Places,
    data: CsvConfig,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The rows that can be used, and a text on those left out; UserError where a row may not be left out."""
    names, limits = table.header.names, np.finfo(np.float32)
    prices = [values for role, values in read.items() if role in PRICES]
    is_signed = any((values < 0).any() for values in prices)
    used = np.ones(len(days), dtype=bool)
    if is_signed and not data.takes_any_price:
        inside = within(days, data.start, data.end) | np.isnat(days)
        used = inside | ~inside.any()
    faults: list[tuple[NDArray[np.bool_], str]] = [
        (np.asarray((table.cells == "").all(axis=1), dtype=bool), "is blank"),
        (table.widths < len(names), f"has fewer cells than the {len(names)} names"),
        (table.widths > len(names), f"has more cells than the {len(names)} names"),
        (np.isnat(days), _no_date(table.cells[places.roles["date"]], days, form)),
    ]
    roles = ["", "", "", "date"]
    for role, values in read.items():
        size = np.abs(values)
        if role in places.further:
            no_number = np.isnan(values)
            if no_number.any():
                no_number &= ~cells.missing(table.cells[places.further[role]])
            faults.append((no_number | (size > limits.max), "{cell}, no number that can be used"))
            roles.append(role)
            continue
        usable = (size <= limits.max) & ((size >= limits.tiny) | (size == 0))  # NaN is not
        low = values < 0 if role == "volume" else values <= 0
        if role != "volume" and is_signed and data.takes_any_price:  # a bar of zeros alone is no quote
            low = np.logical_and.reduce([of == 0 for of in prices]) & (len(prices) > 1)
        faults.append((~usable, "{cell}, no number that can be used"))
        faults.append((usable & low, f"{{cell}}, must {'not be negative' if role == 'volume' else 'be above 0'}"))
        roles += [role, role]
    bad = np.logical_or.reduce([mask for mask, _ in faults]) & used
    if not bad.any():
        return np.flatnonzero(used), ()
    row = int(bad.argmax())
    role, what = next((role, what) for role, (mask, what) in zip(roles, faults, strict=True) if mask[row])
    number = places.all.get(role)
    cell = "" if number is None else f"{names[number].strip() or 'the date'} is {_shown(table.cells[number].iloc[row])}"
    first = f"{table.where(row)}: {what.format(cell=cell)}"
    is_frequent = (
        np.mean(next(mask for r, (mask, _) in zip(roles, faults, strict=True) if r == role and mask[row])) > 0.1
    )
    has_no_months = _NO_MONTHS in what and is_frequent
    if data.on_bad_rows == "error" and role in (*PRICES, "adj close") and read[role][row] < 0:
        low = np.logical_or.reduce([values <= 0 for values in prices])
        raise UserError(f"{first}; {_without_returns(days[row], days[used], low[used], data)}")
    if data.on_bad_rows == "error" or bad.all() or has_no_months:
        others = f" ({bad.sum():,} bad rows in all)" if bad.sum() > 1 else ""
        remedy = "fix or delete the line, or set data.on_bad_rows=drop"
        if has_no_months:
            remedy = "write the months as numbers"
        elif bad.all():
            remedy = "no line can be used; save the bars again"
        elif is_frequent and role == "volume":
            remedy = "fix the lines, or leave the volume out: 'stock.features=[open,high,low,close]'"
        raise UserError(f"{first}{others}; {remedy}")
    note = f"{bad.sum():,} bad row{'s' if bad.sum() > 1 else ''} (data.on_bad_rows=drop; the first, {first})"
    return np.flatnonzero(used & ~bad), (note,)


def _without_returns(day: np.datetime64, days: Days, low: NDArray[np.bool_], data: CsvConfig) -> str:
    """What to do about prices of 0 or less, the first of them on `day`."""
    settings = [] if data.target in ANY_PRICE else ["data.target=difference"]
    settings += ["data.transform=differences"] if data.transform == "returns" else []
    order = np.argsort(days)
    return (
        f"fix or delete the line, or if it was the price on {day}, from which there are no returns, set "
        f"{' '.join(settings)}, or {spec.days_without(days[order], low[order])}"
    )


def _no_date(column: pd.Series[str], days: Days, form: str) -> str:
    """What is wrong with the first cell that is no date."""
    unread = column[np.isnat(days)].astype(str)
    if len(unread) and re.search(r"\d.*[^\W\d_]{3}|[^\W\d_]{3}.*\d", unread.iloc[0]):
        return f"{{cell}}, {_NO_MONTHS}; it is read in {cells.MONTHS_KNOWN}"
    if (year := re.search(_YEAR, unread.iloc[0] if len(unread) else "")) and not 1600 <= int(year[1]) < 2100:
        return "{cell}, a year of another calendar; write those from 1600 to 2099, as 2020 for 2563 or 1399"
    return f"{{cell}}; must be a date, {form or 'YYYY-MM-DD'}, or as data.date_format= says"


def _is_newest_first(
    table: Table, days: Days, rows: NDArray[np.int64], places: Places, in_utc: Callable[[], Days]
) -> bool:
    """Whether the days are in descending order; UserError where they are in no order."""
    steps = np.diff(days[rows]).astype(np.int64)
    falls = bool((steps < 0).sum() > (steps > 0).sum())
    late = steps >= 0 if falls else steps <= 0
    if late.any():
        row, before = rows[int(late.argmax()) + 1], rows[int(late.argmax())]
        what = "comes twice" if days[row] == days[before] else f"comes after {days[before]}"
        bar, remedy = "day", _if_of_several_stocks(table, places)
        if days.dtype != np.dtype("M8[D]"):
            apart = np.diff(in_utc()[rows]).astype(np.int64)
            set_back = (apart < 0).all() if falls else (apart > 0).all()
            bar = "bar"
            remedy = "; where clocks are set back, an hour comes twice: data.timezone=UTC" if set_back else remedy
        raise UserError(
            f"{table.where(row)}: {days[row]} {what}; there must be one line per {bar}, in order, here the "
            f"{'newest' if falls else 'oldest'} first{remedy}"
        )
    return falls


def _if_of_several_stocks(table: Table, places: Places) -> str:
    """What to do if a column names the stock of each line: if no day comes twice with the same value of it."""
    day = table.cells[places.roles["date"]]
    for number, column in table.cells.items():
        is_free = number not in places.all.values() and 1 < column.nunique() <= len(column) / 2
        if is_free and not pd.DataFrame({"day": day, "name": column}).duplicated().any():
            setting = f"data.tickers=all 'data.columns={{ticker: {place(table.header, int(str(number)))}}}'"
            return f"; if {_shown(column.iloc[0])} is the stock of line {table.lines[0]}: {setting}"
    return ""


def _choices(table: Table, places: Places, ticker: str) -> list[str]:
    """Notes on the columns and rows that were chosen among several."""
    header, own = table.header, table.ticker or ticker
    roles = dict.fromkeys(role for role in places.names.values() if role in PRICES)
    chosen = {role: places.roles[role] for role in roles if not header.is_plain(role, places.roles[role], own)}
    chosen |= {
        role: places.roles[role]
        for role in ("date", *(["volume"] if "volume" in places.names.values() else []))
        if role in header.given and not header.is_plain(role, places.roles[role], own)
    }
    chosen |= {name: number for name, number in places.further.items() if name in header.given}
    if "volume" in places.names.values() and re.fullmatch(PAIR_VOLUME, header.names[places.roles["volume"]].strip()):
        chosen["volume"] = places.roles["volume"]
    notes = [f"{header.names[number].strip()} taken for {name}" for name, number in chosen.items()]
    if table.tickers > 1:
        notes.append(f"{table.ticker}, one of {table.tickers:,} tickers")
    elif table.ticker and table.ticker != ticker:
        notes.append(f"ticker {table.ticker}")
    return notes


def _shown(value: Any) -> str:
    """A cell as shown to the user."""
    missing = not value.strip() if isinstance(value, str) else pd.api.types.is_scalar(value) and pd.isna(value)
    text = textwrap.shorten(str(value), 60, placeholder=" …")
    return "empty" if missing else repr(text) if isinstance(value, str) else text
