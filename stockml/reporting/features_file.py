"""The values of features and target as a file, Parquet or CSV: a row a day and stock."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from stockml.config.printable import csv_cell
from stockml.errors import UserError
from stockml.evaluation.predictions import tickers_of
from stockml.runs.files import Folder

if TYPE_CHECKING:
    import pandas as pd

    from stockml.data.panel import Panel

_CHUNK_NUMBERS = 2**22


def check(path: Path) -> None:
    """Raise UserError where the file cannot be written."""
    key = f"export.features={path}"
    if path.exists():
        raise UserError(f"{key}: is there already, and is not replaced; name another file, or remove this one")
    if not path.parent.is_dir():
        raise UserError(f"{key}: there is no folder {path.parent}; make it, or name another file")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{key}: Parquet needs pyarrow: pip install 'stockml[parquet]'; or name a .csv file")


def write(path: Path, panel: Panel) -> None:
    """Write every row of an unscaled panel: date, ticker, features, target, and `synthetic` where they are simulated.

    Of windowed arrays, a row is the last day of a window, and `date` is left out where they are undated. The target of
    rows that are no samples is missing.
    """
    try:
        with Folder(path.parent).writing(path.name) as file:
            (_write_parquet if path.suffix == ".parquet" else _write_csv)(file, panel)
    except OSError as error:
        raise UserError(f"export.features={path}: cannot be written ({error.strerror})") from error


def _write_csv(file: BinaryIO, panel: Panel) -> None:
    for number, frame in enumerate(_frames(panel)):
        frame["ticker"] = frame["ticker"].map(csv_cell)
        text = frame.rename(columns=csv_cell).to_csv(index=False, header=number == 0, lineterminator="\n")
        file.write(text.encode())


def _write_parquet(file: BinaryIO, panel: Panel) -> None:
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        writer = None
        for frame in _frames(panel):
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(file, table.schema))
            writer.write_table(table)


def _frames(panel: Panel) -> Iterator[pd.DataFrame]:
    """The rows, some at a time."""
    import pandas as pd

    step = max(1, _CHUNK_NUMBERS // len(panel.features))
    for start in range(0, len(panel.values), step):
        rows = np.arange(start, min(start + step, len(panel.values)))
        values = panel.values[rows, -1] if panel.windowed else panel.values[rows]
        tickers = tickers_of(panel, rows)
        dated = {} if panel.dates is None else {"date": panel.dates[rows].astype("datetime64[s]")}
        columns = {**dated, "ticker": np.full(len(rows), panel.ticker, object) if tickers is None else tickers}
        own = dict(zip(panel.features, values.T, strict=True))
        mark = {"synthetic": np.ones(len(rows), dtype=bool)} if panel.synthetic else {}
        yield pd.DataFrame({**columns, **own, "target": panel.target[rows], **mark})
