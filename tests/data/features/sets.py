"""The factor sets of conf/features, and bars to compute them on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from stockml.compose import compose
from stockml.data.bars import Bars
from stockml.data.features.evaluation import Rows
from stockml.data.sources.loading import load_bars
from tests.markdown import ROOT

FOLDER = ROOT / "conf/features"
TICKERS = ("AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM")
ALL_COLUMNS = "stock.features=[open,high,low,close,volume]"


def columns_of(name: str) -> dict[str, str]:
    """The expressions of a set, by name."""
    return dict(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["columns"])


def real_bars(folder: Path, tickers: Sequence[str] = TICKERS) -> list[Bars]:
    """Bars of stocks in a folder of CSV files, with all five columns."""
    return [load_bars(compose("data=csv", f"data.dir={folder}", f"stock={ticker}", ALL_COLUMNS)) for ticker in tickers]


def rows_of(bars: Sequence[Bars]) -> Rows:
    """The bars of all stocks as the rows that expressions are evaluated on."""
    names = bars[0].columns
    return Rows(
        columns={name: np.concatenate([each.columns[name] for each in bars]) for name in names},
        dates=np.concatenate([each.dates for each in bars]),
        starts=np.cumsum([0, *(len(each.dates) for each in bars)]),
    )


def row_numbers(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(R,) how many rows of the same stock come before each row."""
    return np.concatenate([np.arange(count) for count in np.diff(rows.starts)])
