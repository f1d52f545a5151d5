"""The stocks in a folder of tables, or in one long table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stockml.data.bars import PRICES
from stockml.data.sources import reading
from stockml.data.sources.csv import containers, table_files
from stockml.data.sources.csv.columns import Header, quoted, same_ticker
from stockml.data.sources.csv.file_names import stem
from stockml.data.sources.csv.json_tables import NoTableError
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.csv import CsvConfig

_MOST_FAULTS = 10
_MOST_LONG = 100  # files of a folder in which long ones are looked for: each is opened for it


def find_stocks(config: Config) -> list[tuple[str, CsvConfig]]:
    """Every ticker in the file `data.path`, or with a file in `data.dir`, and the settings that load its bars.

    Raises UserError where there is none.
    """
    data = cast("CsvConfig", config.data)
    if data.path is not None:
        path = table_files.find(data, "")
        return [(ticker, data) for ticker in table_files.of_each_stock(path, data) or (stem(path),)]
    files = table_files.files(Path(str(data.dir)))
    if not files:
        raise UserError(f"data.dir={data.dir}: holds no table of bars; name another folder")
    alone = dataclasses.replace(data, dir=None, context_path=data.context_path or data.dir)
    few = len(files) <= _MOST_LONG
    stocks = [
        (ticker, path) for path in files for ticker in (_several_stocks(path, data) if few else ()) or (stem(path),)
    ]
    _require_one_file_each(stocks, data)
    return [(ticker, dataclasses.replace(alone, path=str(path))) for ticker, path in stocks]


def _several_stocks(path: Path, data: CsvConfig) -> list[str]:
    """The stocks of a file that holds several; none where it is one stock's, or cannot be read.

    A file whose first line has its own name as the ticker is one stock's: the rest of it is not read.
    """
    try:
        with table_files.user_errors(path):
            if table_files.is_parquet(path):
                header, lines = Header(containers.parquet_names(path), 0), list[list[str]]()
            else:
                header, lines = table_files.beginning(path, data)
            column, line = header.column("ticker", ""), next(iter(lines[header.first :]), [])
            is_dated = header.column("date", "") is not None
        is_own = column is None or not is_dated or (column < len(line) and same_ticker(line[column], stem(path)))
        if header.tickers is None and is_own:
            return []
        found = table_files.by_ticker(table_files.whole(path, data))
    except UserError:
        return []
    return list(reading.once(table_files.key_of(path, data), lambda: found)) if len(found) > 1 else []


def _require_one_file_each(stocks: Sequence[tuple[str, Path]], data: CsvConfig) -> None:
    """Raise UserError where two files are of one stock, whatever the case of its letters."""
    of_each: dict[str, list[tuple[str, Path]]] = {}
    for ticker, path in stocks:
        of_each.setdefault(ticker.casefold(), []).append((ticker, path))
    faults = [
        f"data.dir={data.dir}: {' and '.join(path.name for _, path in same)} are both of {same[0][0]}; remove all but "
        f"one, or name the stocks of the pool: 'data.tickers=[{quoted(same[0][0])}]'"
        for same in of_each.values()
        if len(same) > 1
    ]
    if faults:
        raise UserError(*faults[:_MOST_FAULTS])


def why_no_bars(config: Config) -> str:
    """Why the file of the config's stock is no table of bars, as a phrase; empty where it is one, or may be."""
    data, ticker = cast("CsvConfig", config.data), config.stock.ticker
    path = table_files.find(data, ticker)
    if not path.stat().st_size:
        return "the file is empty"
    try:
        header = table_files.header_of(path, data)
        with table_files.user_errors(path):
            prices = [header.column(role, ticker) for role in (*PRICES, "adj close")]
            missing = "dates" if header.column("date", ticker) is None else "prices" if set(prices) == {None} else ""
        if missing:
            return f"no bars: the file has no {missing}"
        return "" if len(table_files.whole(path, data, lenient=True).cells) else "no bars: only the columns' names"
    except NoTableError:
        return "no bars: the file is no table"
    except UserError:
        return ""
