"""The stocks in a folder of tables, or in one long table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stockml.data.bars import PRICES
from stockml.data.sources.csv import table_files
from stockml.data.sources.csv.file_names import stem
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.csv import CsvConfig


def find_stocks(config: Config) -> list[tuple[str, CsvConfig]]:
    """Every ticker in the file `data.path`, or with a file in `data.dir`, and the settings that load its bars.

    Raises UserError where there is none.
    """
    data = cast("CsvConfig", config.data)
    if data.path is None:
        files = table_files.files(Path(str(data.dir)))
        if not files:
            raise UserError(f"data.dir={data.dir}: holds no table of bars; name another folder")
        alone = dataclasses.replace(data, dir=None, context_path=data.context_path or data.dir)
        if len(files) == 1 and len(of_one := table_files.of_each_stock(files[0], data)) > 1:
            return [(ticker, dataclasses.replace(alone, path=str(files[0]))) for ticker in of_one]
        return [(stem(path), dataclasses.replace(alone, path=str(path))) for path in files]
    path = table_files.find(data, "")
    return [(ticker, data) for ticker in table_files.of_each_stock(path, data) or (stem(path),)]


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
    except UserError:
        return ""
