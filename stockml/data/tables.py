"""Daily bars from a table: `<dir>/<ticker>.csv` or `.parquet`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from stockml.config import nearest
from stockml.data.bars import Bars, Floats
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config import Config, CsvConfig

# A day, and what may follow it: a time, and how far its clock is from UTC.
_DATE = r"^\s*(\d{4}-\d\d-\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\s*$"
_PRICES = ("open", "high", "low", "close")


def load(config: Config) -> Bars:
    """The bars of the config's stock, prices adjusted by Adj Close / Close. UserError says file, line and remedy."""
    path = _file(Path(str(cast("CsvConfig", config.data).dir)), config.stock.ticker)
    table = _read(path)
    names = [str(name).strip().lower().replace("_", " ") for name in table.columns]
    columns = dict(zip(names, table.columns, strict=True))
    wanted = list(dict.fromkeys([*config.stock.features, "close"]))
    missing = [name.title() for name in ("date", *wanted) if name not in columns]
    if missing:
        raise UserError(
            f"{path}: has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns)) or 'none'}"
        )
    twice = [name.title() for name in wanted if names.count(name) > 1 or f"{name}.1" in names]
    if twice:
        raise UserError(f"{path}: has the column {', '.join(twice)} twice; rename or delete one")
    if not len(table):
        raise UserError(f"{path}: holds no bars, only the names of the columns")
    dates = _dates(path, table[columns["date"]])
    adjusted = "adj close" in columns
    read = {name: _numbers(path, table[columns[name]]) for name in [*wanted, *(["adj close"] if adjusted else [])]}
    for name, values in read.items():
        low = values < 0 if name == "volume" else values <= 0
        if low.any():
            row = int(low.argmax())
            least = "must not be negative" if name == "volume" else "must be above 0"
            raise UserError(f"{_line(path, row)}: {columns[name]} is {values[row]:g}, {least}; mend or delete the line")
    if adjusted:
        factor = read.pop("adj close") / read["close"]
        read = {name: values * factor if name in _PRICES else values for name, values in read.items()}
    return Bars(ticker=config.stock.ticker, dates=dates, columns=read, origin=str(path))


def _file(folder: Path, ticker: str) -> Path:
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder")
    for ending in ("csv", "parquet"):
        if (folder / f"{ticker}.{ending}").is_file():
            return folder / f"{ticker}.{ending}"
    there = sorted(p.stem for p in folder.iterdir() if p.suffix in (".csv", ".parquet"))
    held = f"{', '.join(there[:20])}{', …' if len(there) > 20 else ''}" or "no csv or parquet file at all"
    raise UserError(
        f"data.dir={folder}: holds no {ticker}.csv or {ticker}.parquet; it holds {held}{nearest(ticker, there)}"
    )


def _read(path: Path) -> pd.DataFrame:
    """The table as it stands in the file; of a CSV every cell is text."""
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path)
        # Blank lines are kept, so that a row's number tells its line in the file.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would leave out what has no name
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False)
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path}: is empty; save the bars again") from error
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path}: line 2 has more fields than line 1 has names; mend the lines") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text ({error.reason} at byte {error.start}); save it as UTF-8 CSV") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    filled = (table.fillna("") != "").any(axis=1).to_numpy()
    return table.iloc[: int(filled.nonzero()[0].max(initial=-1)) + 1]  # less the blank lines at the end


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'stockml[parquet]'") from error
    return table.reset_index() if table.index.name is not None else table


def _dates(path: Path, column: pd.Series[str]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """(R,) days, which must be real and strictly increasing."""
    if column.dtype.kind == "M":
        parsed = pd.Series(pd.DatetimeIndex(column).tz_localize(None))  # the day where the exchange is
    else:
        parts = column.astype(str).str.extract(_DATE, expand=False)
        parsed = pd.to_datetime(parts, errors="coerce", format="%Y-%m-%d")
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise UserError(f"{_line(path, row)}: {column.name} is {_cell(column, row)}; must be a date, YYYY-MM-DD")
    days = parsed.to_numpy().astype("datetime64[D]")
    late = np.diff(days) <= np.timedelta64(0, "D")
    if late.any():
        row = int(late.argmax()) + 1
        what = "comes twice" if days[row] == days[row - 1] else f"comes after {days[row - 1]}"
        raise UserError(f"{_line(path, row)}: {days[row]} {what}; one line a day, the oldest first")
    return days


def _numbers(path: Path, column: pd.Series[str]) -> Floats:
    """(R,) finite numbers."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    limits = np.finfo(np.float32)
    size = np.abs(values)
    bad = ~((size <= limits.max) & ((size >= limits.tiny) | (size == 0)))  # NaN among them
    if bad.any():
        row = int(bad.argmax())
        raise UserError(
            f"{_line(path, row)}: {column.name} is {_cell(column, row)}, no number that can be used "
            f"({int(bad.sum()):,} such in this column); mend or delete the line"
        )
    return values


def _cell(column: pd.Series[str], row: int) -> str:
    value = column.iloc[row]
    missing = value == "" if isinstance(value, str) else pd.api.types.is_scalar(value) and pd.isna(value)
    return "empty" if missing else repr(str(value))


def _line(path: Path, row: int) -> str:
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {row + (1 if path.suffix == '.parquet' else 2)}"
