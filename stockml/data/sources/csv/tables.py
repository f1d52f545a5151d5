"""Daily bars from a table with any delimiter, column names, and date and number formats.

The formats are recognised from the cells (`columns`, `cells`), not from the program that wrote them; an ambiguous table
is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stockml.data import store
from stockml.data.bars import Bars, Floats, adjusted, adjusted_volume, split_ratios
from stockml.data.sources.csv import cells, table_files
from stockml.data.sources.csv.cells import Days
from stockml.data.sources.csv.table_files import Table
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.csv import CsvConfig

_PRICES = ("open", "high", "low", "close")


def load(config: Config) -> Bars:
    """The bars of the config's stock, with prices × Adj Close / Close. Raises UserError with file, line and remedy."""
    data, ticker = cast("CsvConfig", config.data), config.stock.ticker
    path = table_files.find(data, ticker)
    return _bars(
        table_files.read(path, ticker, sole=data.path is not None and ticker == table_files.stem(path)), config
    )


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ. Raises UserError."""
    data = cast("CsvConfig", config.data)
    path = table_files.find(data, config.stock.ticker)
    settings = f"{data.date_format} {data.on_bad_rows} {data.adjust_volume}"
    return f"{path} {store.hash_of(path, Path(data.panel_cache))} {settings}"


def find_stocks(config: Config) -> list[tuple[str, CsvConfig]]:
    """Every ticker in the file `data.path`, or with a file in `data.dir`, and the settings that load its bars.

    Raises UserError where there is none.
    """
    data = cast("CsvConfig", config.data)
    if data.path is None:
        files = table_files.files(Path(str(data.dir)))
        if not files:
            raise UserError(f"data.dir={data.dir}: holds no table of bars; name another folder")
        return [(table_files.stem(path), dataclasses.replace(data, dir=None, path=str(path))) for path in files]
    path = table_files.find(data, "")
    return [(ticker, data) for ticker in table_files.by_ticker(table_files.whole(path)) or (table_files.stem(path),)]


def load_many(configs: Sequence[Config]) -> Iterator[Callable[[], Bars]]:
    """A function for each config that loads its stock's bars; a file that holds all of them is read once."""
    data = cast("CsvConfig", configs[0].data)
    if data.path is None or any(config.data != data for config in configs):
        return (functools.partial(load, config) for config in configs)
    path = table_files.find(data, "")
    tables = table_files.by_ticker(table_files.whole(path))

    def of_ticker(config: Config) -> Bars:
        ticker = config.stock.ticker
        table = tables.get(ticker)
        return load(config) if table is None else _bars(table_files.of_ticker(table, ticker), config)

    return (functools.partial(of_ticker, config) for config in configs)


def _bars(table: Table, config: Config) -> Bars:
    with table_files.user_errors(table.path):
        return _parse(table, config)


def _parse(table: Table, config: Config) -> Bars:
    path, ticker, data = table.path, config.stock.ticker, cast("CsvConfig", config.data)
    wanted = list(dict.fromkeys([*config.stock.features, "close"]))
    found = {
        role: table.header.column(role, table.ticker or ticker) for role in ("date", *_PRICES, "adj close", "volume")
    }
    adjusts_volume = data.adjust_volume and "volume" in wanted and found["adj close"] is not None
    adj_volume = table.header.column("adj volume", table.ticker or ticker) if adjusts_volume else None
    if adj_volume is not None:
        found["volume"] = adj_volume
    missing = [role.title() for role in ("date", *wanted) if found[role] is None]
    if missing:
        names = textwrap.shorten(", ".join(name.strip() for name in table.header.names), 300, placeholder=" …")
        raise UserError(f"{path}: has no column {', '.join(missing)}; it has {names or 'none'}")
    if not len(table.cells):
        raise UserError(f"{path}: holds no bars, only the names of the columns")
    column = {role: table.cells[number] for role, number in found.items() if number is not None}
    days, form = cells.days(column.pop("date"), data.date_format)
    read, notes = cells.numbers(column)
    is_adjusted = "adj close" in read
    read = {role: read[role] for role in [*wanted, *(["adj close"] if is_adjusted else [])]}
    rows, dropped = _usable_rows(table, days, form, read, found, data)
    newest_first = _is_newest_first(table, days, rows)
    rows = rows[::-1] if newest_first else rows
    read = {role: values[rows] for role, values in read.items()}
    if adj_volume is not None:
        notes = [*notes, "Adj Volume taken for volume"]
    elif adjusts_volume:
        read["volume"], note = _volume(read)
        notes = [*notes, note]
    read = adjusted(read)
    return Bars(
        ticker=ticker,
        dates=days[rows],
        lines=table.lines[rows],
        columns=read,
        origin=str(path),
        dropped=dropped,
        parsing_notes="; ".join(
            [
                f"dates {form}{', newest first' if newest_first else ''}",
                *_choices(table, found, [role for role in wanted if role in _PRICES], ticker),
                *notes,
                "prices × Adj Close / Close"
                if is_adjusted
                else "no Adj Close: not adjusted for dividends, unless the file is",
            ]
        ),
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
    found: Mapping[str, int | None],
    data: CsvConfig,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The rows that can be used, and a text on those left out; UserError where a row may not be left out."""
    names, limits = table.header.names, np.finfo(np.float32)
    faults: list[tuple[NDArray[np.bool_], str]] = [
        (np.asarray((table.cells == "").all(axis=1), dtype=bool), "is blank"),
        (table.widths < len(names), f"has fewer cells than the {len(names)} names"),
        (table.widths > len(names), f"has more cells than the {len(names)} names"),
        (np.isnat(days), f"{{cell}}; must be a date, {form or 'YYYY-MM-DD'}, or as data.date_format= says"),
    ]
    roles = ["", "", "", "date"]
    for role, values in read.items():
        size = np.abs(values)
        usable = (size <= limits.max) & ((size >= limits.tiny) | (size == 0))  # NaN is not
        low = values < 0 if role == "volume" else values <= 0
        faults.append((~usable, "{cell}, no number that can be used"))
        faults.append((usable & low, f"{{cell}}, must {'not be negative' if role == 'volume' else 'be above 0'}"))
        roles += [role, role]
    bad = np.logical_or.reduce([mask for mask, _ in faults])
    if not bad.any():
        return np.arange(len(days)), ()
    row = int(bad.argmax())
    role, what = next((role, what) for role, (mask, what) in zip(roles, faults, strict=True) if mask[row])
    number = found.get(role)
    cell = "" if number is None else f"{names[number].strip() or 'the date'} is {_shown(table.cells[number].iloc[row])}"
    first = f"{table.where(row)}: {what.format(cell=cell)}"
    if data.on_bad_rows == "error" or bad.all():
        others = f" ({bad.sum():,} bad rows in all)" if bad.sum() > 1 else ""
        raise UserError(f"{first}{others}; fix or delete the line, or set data.on_bad_rows=drop")
    note = f"{bad.sum():,} bad row{'s' if bad.sum() > 1 else ''} (data.on_bad_rows=drop; the first, {first})"
    return (~bad).nonzero()[0], (note,)


def _is_newest_first(table: Table, days: Days, rows: NDArray[np.int64]) -> bool:
    """Whether the days are in descending order; UserError where they are in no order."""
    steps = np.diff(days[rows]).astype(np.int64)
    falls = bool((steps < 0).sum() > (steps > 0).sum())
    late = steps >= 0 if falls else steps <= 0
    if late.any():
        row, before = rows[int(late.argmax()) + 1], rows[int(late.argmax())]
        what = "comes twice" if days[row] == days[before] else f"comes after {days[before]}"
        order = "newest" if falls else "oldest"
        raise UserError(
            f"{table.where(row)}: {days[row]} {what}; there must be one line per day, in order, here the {order} first"
        )
    return falls


def _choices(table: Table, found: Mapping[str, int | None], wanted: Sequence[str], ticker: str) -> list[str]:
    """Notes on the columns and rows that were chosen among several."""
    notes = [
        f"{table.header.names[number].strip()} taken for {role}"
        for role in wanted
        if (number := found[role]) is not None and not table.header.is_plain(role, number, table.ticker or ticker)
    ]
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
