"""task=predict: a trained run's forecasts of dated bars, the day to come among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from stockml.config import BarsConfig, Config
from stockml.data import calendar
from stockml.errors import UserError
from stockml.reporting import forecasts as written
from stockml.reporting import terminal
from stockml.runs import RunFolder, typeable
from stockml.tasks import export
from stockml.tasks.fitted import Fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.panel import Panel

_SHOWN = 5  # known days on the terminal, before those to come


def run(config: Config) -> None:
    """Forecast every bar since the run's test began, and the days after the last bar; write forecasts.csv, and tell.

    Raises UserError where the run or the bars do not serve.
    """
    if config.export.onnx:
        export.demand_installed()
    folder = RunFolder.existing(Path(str(config.run)))
    fitted = Fitted.of(folder, config)
    fitted.demand_own_settings(config)
    panel = fitted.bars_panel(config)
    if panel.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    for line in _warnings(folder, fitted, panel):
        print(f"warning     {line}")
    first_day = fitted.folds[0].first_day
    assert panel.dates is not None and first_day is not None
    rows = panel.samples[panel.dates[panel.samples] >= first_day]
    if not len(rows):
        raise UserError(
            f"{panel.origin}: ends on {panel.dates[-1]}, and the run may forecast from {first_day} on: the days before "
            "were used to train it; later bars"
        )
    days = _target_days(panel, cast("BarsConfig", config.data))
    forecasts = fitted.forecast(panel, rows)
    table = [
        [str(panel.dates[row]), "" if np.isnat(day) else str(day), panel.ticker, forecast, _known(panel.target[row])]
        for row, day, forecast in zip(rows, days[rows], forecasts.tolist(), strict=True)
    ]
    other = "" if panel.ticker == fitted.config.stock.ticker else f"_{typeable(panel.ticker)}"
    name = f"forecasts{other}.csv"
    folder.write_csv(name, _HEADER, table, synthetic=panel.synthetic)
    print(f"data        {panel.ticker} from {panel.origin}, {panel.dates[0]} to {panel.dates[-1]}")
    known = sum(row[-1] is not None for row in table)
    print(terminal.forecast_table(_HEADER, table[max(0, known - _SHOWN) :]))
    if np.isnat(days[-1]):
        print(f"            days to come are not named; {calendar.INSTALL}")
    print(f"forecasts   {len(table):,}, of which {len(table) - known:,} of days to come: {folder.path / name}")
    if config.export.onnx:
        print(f"onnx        {export.onnx(folder, fitted, panel, rows)}")


_HEADER = ("date", "target_date", "ticker", "y_pred", "y_true")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _target_days(panel: Panel, config: BarsConfig) -> NDArray[np.datetime64]:
    """(R,) the day that each row's forecast is of; NaT where no calendar tells."""
    assert panel.dates is not None
    days = np.full(len(panel.dates), np.datetime64("NaT"), dtype="datetime64[D]")
    days[: -panel.horizon] = panel.dates[panel.horizon :]
    count = min(panel.horizon, len(days))
    last = panel.dates[-1]
    to_come = (
        calendar.weekdays_after(last, panel.horizon)
        if panel.synthetic
        else calendar.days_after(last, panel.horizon, config.calendar)
    )
    if to_come is not None:
        days[-count:] = to_come[-count:]
    return days


def _warnings(folder: RunFolder, fitted: Fitted, panel: Panel) -> list[str]:
    """What the user should know of the bars before believing the forecasts."""
    own = fitted.config.stock.ticker
    if own != panel.ticker:
        return [f"the run was trained on {own}, these are bars of {panel.ticker}"]
    then = written.read(folder)["test"]
    assert panel.dates is not None and then.dates is not None
    rows = np.minimum(np.searchsorted(panel.dates, then.dates), len(panel.dates) - 1)
    same = (panel.dates[rows] == then.dates) & np.isclose(panel.target[rows], then.truth.y_true, rtol=1e-3, atol=1e-6)
    if same.all():
        return []
    return [
        f"the history is another than the run's: {np.count_nonzero(~same):,} of {len(same):,} realised values of its "
        f"test are changed or missing, the first of {then.dates[~same][0]}"
    ]
