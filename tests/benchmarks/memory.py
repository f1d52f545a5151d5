"""How much memory a run takes on a large panel, beside its imports and its inputs. Reads Linux's /proc."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measuring import ROOT, Figure

_FEATURES = ("open", "high", "low", "close", "volume")
_ROWS = 1_000_000
_PANEL_MB = 4 * _ROWS * len(_FEATURES) / 1e6


def memory() -> Iterator[Figure]:
    """Training for an epoch, evaluation, baselines and artifacts, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        command, environment = [sys.executable, "-m", __name__], {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    peak_mb = float(run.stdout)
    note = f"{peak_mb:.0f} MB against {_PANEL_MB:.0f} MB"
    yield Figure(
        f"peak memory of a run on {_ROWS:,} rows of 5 features, over the size of the panel",
        peak_mb / _PANEL_MB,
        "×",
        most=8.0,
        note=note,
    )


def _peak_mb() -> float:
    """Peak resident memory of a run from bars to its files, less what is resident once the bars are made.

    The bars are kept to the end, so that the run cannot use memory that they have given back.
    """
    from stockml import compose
    from stockml.data.bars import Bars
    from stockml.data.sources.csv import tables
    from stockml.runs.location import RunLocation
    from stockml.tasks import train

    for late in ("rich.console", "rich.table"):
        importlib.import_module(late)
    config = compose.compose("report=false", "data=csv", "data.dir=.", "trainer.epochs=1", "hardware=cpu")
    days = np.arange("1900-01-01", np.datetime64("1900-01-01") + _ROWS, dtype="datetime64[D]")
    bars = Bars(config.stock.ticker, days, _columns(), "bars made in memory")
    with patch.object(tables, "load", lambda _: bars), redirect_stdout(io.StringIO()):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before_mb = resident_mb("VmRSS")
        train.run(config, RunLocation(exact=Path("run").absolute()), compose.records(config))
        return resident_mb("VmHWM") - before_mb


def _columns() -> dict[str, NDArray[np.float64]]:
    """A random walk and prices near it, made in place so that no freed memory stays resident."""
    rng = np.random.default_rng(0)
    columns = {name: rng.standard_normal(_ROWS) for name in _FEATURES}
    close = columns["close"]
    for column in columns.values():
        column *= 0.01
    np.cumsum(close, out=close)
    for column in columns.values():
        np.exp(column, out=column)
    for column in columns.values():
        column *= close if column is not close else 1.0
    for limit, name in ((np.maximum, "high"), (np.minimum, "low")):
        for other in ("open", "close", "high", "low"):
            limit(columns[name], columns[other], out=columns[name])
    return columns


def resident_mb(kind: str, process: int | str = "self") -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) / 1e6 for line in lines if line.startswith(f"{kind}:"))


if __name__ == "__main__":
    print(_peak_mb())
