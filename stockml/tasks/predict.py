"""task=predict: a trained run's forecasts of dated bars, including the next days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.config.root import Config
from stockml.config.values import list_names, list_stocks
from stockml.data import calendar, frequency
from stockml.data.features.expressions import parse
from stockml.data.pooled import ON_REQUEST
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.evaluation import combination, intervals
from stockml.evaluation.predictions import Predictions, tickers_of
from stockml.evaluation.truth import target
from stockml.reporting import predictions_file as written
from stockml.reporting import terminal, text_tables
from stockml.runs.folder import RunFolder
from stockml.runs.names import safe_name
from stockml.tasks import NO_REQUEST, Request, export
from stockml.tasks.predictor import Predictor, each_member, named_by_file
from stockml.training import hardware

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.panel import Panel
    from stockml.data.split import Rows

_SHOWN = 5  # forecasts with a known target on the terminal, before those of the next days
_MOST_ROWS = 40


@dataclass(frozen=True)
class Forecasts:
    """The forecasts of a panel, and the files they are written to."""

    panel: Panel
    table: list[list[Any]]
    """One row per forecast: date, target_date, ticker, y_pred, the ends of its intervals, y_true; empty or None if
    unknown."""
    header: Sequence[str]
    """The names of its columns."""
    path: Path
    onnx: Path | None
    """The exported model; None unless `export.onnx`."""
    meaning: str
    """What a forecast is; empty for a plain return or price."""


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Forecast, as `forecasts` does, and print the last forecasts. Raises UserError as it does."""
    found = forecasts(config, print)
    panel, table = found.panel, found.table
    print(f"data        {panel.ticker} from {panel.origin}, {panel.days()}")
    known, noun = sum(row[-1] is not None for row in table), panel.frequency.noun
    shown = [row for row in table if row[-1] is not None][-_SHOWN:] + [row for row in table if row[-1] is None]
    print(text_tables.forecast_table(found.header, shown[:_MOST_ROWS], signed=panel.kind == "return"))
    if len(shown) > _MOST_ROWS:
        print(f"            and {len(shown) - _MOST_ROWS:,} more")
    if found.meaning:
        print(f"            {found.meaning}")
    if not all(row[found.header.index("target_date")] for row in table):
        print(f"            the dates of the next {noun}s are unknown; {calendar.INSTALL}")
    ahead = len(table) - known
    print(f"forecasts   {len(table):,}, of which {ahead:,} for the next {noun}{'s' * (ahead != 1)}: {found.path}")
    if found.onnx is not None:
        print(f"onnx        {found.onnx}")


def _meaning(of_run: Config, panel: Panel) -> str:
    """What a forecast is, where it is no plain return or price."""
    if (quantile := of_run.trainer.quantile) is not None:
        return f"y_pred is the {quantile:.4g} quantile of the target: so large a share of targets should lie below it"
    config = cast("BarsConfig", of_run.data)
    noun, bars = panel.frequency.noun, panel.frequency.name
    days = f"the next {noun}" if config.horizon == 1 else f"the next {config.horizon} {noun}s"
    if panel.kind == "class":
        return f"y_pred is the probability that y_true is 1: {config.target}"
    if config.target == "volatility":
        return f"y_pred is the volatility of {days}: the root of the mean squared {bars} log return, 0.01 is about 1 %"
    if config.target == "difference":
        return f"y_pred is the change of the price over {days}, in its units"
    if config.target == "excess_return":
        rival = config.benchmark or "the mean of all stocks"
        return f"y_pred is the log return over {days} less that of {rival}"
    return ""


@hardware.restored()
def forecasts(config: Config, emit: Callable[[str], None]) -> Forecasts:
    """Forecast every bar since the first day of the run's test, and the days after the last bar; write forecasts.csv.

    The forecasts of a combined run are those of its members, weighted. `emit` gets warnings line by line. Raises
    UserError where the run or the bars cannot be used.
    """
    folder = RunFolder.existing(Path(str(config.run)))
    config = named_by_file(folder, config)
    each = each_member(folder, config)
    if config.export.onnx:
        export.require_installed()
        if len(each) > 1:
            raise UserError(
                f"export.onnx=true: {folder.path} combines {len(each)} models with inputs of their own; export each: "
                f"run={each[0][0].path}"
            )
    warned: dict[str, None] = {}
    found = [_forecast(run, own, warned.setdefault) for run, own, _ in each]
    for line in warned:
        emit(line)
    predictor, panel, samples = found[0]
    if len(found) > 1:
        shared = combination.common([samples for _, _, samples in found])
        samples = combination.combined(shared, [weight for _, _, weight in each])
    bounds = intervals.like(written.read(folder), samples, panel).intervals
    rows, days = samples.rows, _target_days(panel, cast("BarsConfig", config.data))
    for line in _beyond_sessions(predictor, panel, rows, days):
        emit(f"warning     {line}")
    names = [panel.ticker] * len(rows) if samples.tickers is None else samples.tickers.tolist()
    columns = [samples.model, *(end for of_level in bounds.values() for end in of_level), panel.target[rows]]
    assert panel.dates is not None
    table = [
        [str(panel.dates[row]), "" if np.isnat(day) else str(day), ticker, *map(_known, numbers)]
        for row, day, ticker, *numbers in zip(rows, days[rows], names, *columns, strict=True)
    ]
    other = "" if panel.ticker == predictor.config.stock.ticker else f"_{safe_name(panel.ticker)}"
    name = f"forecasts{other}.csv"
    header = ["date", "target_date", "ticker", "y_pred", *intervals.columns(list(bounds)), "y_true"]
    folder.write_csv(name, header, table, synthetic=panel.synthetic)
    onnx = export.onnx(folder, predictor, panel, rows) if config.export.onnx else None
    return Forecasts(panel, table, header, folder.path / name, onnx, _meaning(predictor.config, panel))


def _forecast(folder: RunFolder, config: Config, warn: Callable[[str], object]) -> tuple[Predictor, Panel, Predictions]:
    """A run that is not combined, the panel of the config's bars, and its forecasts; errors as in `forecasts`."""
    predictor = Predictor.load(folder, config)
    predictor.check_own_settings(config)
    panel = predictor.bars_panel(config)
    if panel.synthetic:
        warn("\n".join(terminal.SYNTHETIC))
    for line in _warnings(folder, predictor, panel):
        warn(f"warning     {line}")
    first_day = predictor.folds[0].first_day
    assert panel.dates is not None and first_day is not None
    rows = panel.samples[panel.dates[panel.samples] >= first_day]
    rows = _without_ended_stocks(panel, rows)
    if not len(rows):
        raise UserError(
            f"{panel.origin}: ends on {panel.dates.max()}, and the run can forecast from {first_day} on: earlier days "
            "were used to train it; use later bars"
        )
    y_pred, tickers = predictor.forecast(panel, rows), tickers_of(panel, rows)
    names = [panel.ticker] * len(rows) if tickers is None else tickers.tolist()
    keys = zip(panel.dates[rows].tolist(), names, strict=True)
    for line in _other_forecasts(
        folder, predictor, panel, dict(zip(keys, zip(rows.tolist(), y_pred.tolist(), strict=True), strict=True))
    ):
        warn(f"warning     {line}")
    return predictor, panel, Predictions(target(panel, rows), rows, panel.dates[rows], y_pred, {}, tickers=tickers)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _target_days(panel: Panel, config: BarsConfig) -> NDArray[np.datetime64]:
    """(R,) the day that each row forecasts; NaT where the calendar is unknown."""
    assert panel.dates is not None
    target_days = np.full(len(panel.dates), np.datetime64("NaT", "D"), dtype=panel.dates.dtype)
    for rows in panel.spans():
        days, own = panel.dates[rows], target_days[rows]
        own[: -panel.reach] = days[panel.reach :]
        count = min(panel.reach, len(days))
        if count == 0:
            continue
        later = frequency.next_dates(days, panel.reach, config.calendar, synthetic=panel.synthetic)
        if later is not None:
            own[-count:] = later[-count:]
    return target_days


def _beyond_sessions(predictor: Predictor, panel: Panel, rows: Rows, days: NDArray[np.datetime64]) -> list[str]:
    """A warning where a next bar is one of another session, and the run's targets end within theirs."""
    assert panel.dates is not None
    across = cast("BarsConfig", predictor.config.data).across_sessions
    if across == "all" or panel.frequency.period != "intraday" or panel.frequency.every_day:
        return []
    beyond = days[rows].astype("datetime64[D]") > panel.dates[rows].astype("datetime64[D]")
    if not (beyond & np.isnan(panel.target[rows])).any():
        return []
    return [
        f"the targets that the run was trained on end within their session (data.across_sessions={across}), and some "
        "of the next bars are of another one: of such moves it knows nothing"
    ]


def _rescaled(folder: RunFolder, predictor: Predictor, panel: Panel) -> list[str]:
    """A warning where the model's inputs are prices, and those of its train days are others than when it was trained.

    A later split or dividend rescales all prices before it, which returns do not show.
    """
    config = predictor.config
    own = config.data
    assert panel.dates is not None
    if not isinstance(own, BarsConfig) or panel.transform == "returns" or panel.ticker != config.stock.ticker:
        return []
    scaler = predictor.folds[0].scaler
    path = folder.path / ("folds/0" if len(predictor.folds) > 1 else ".")
    stats = RunFolder(path).read_json("norm_stats.json")
    first, last = (np.datetime64(stats[f"{end}_date"], "D") for end in ("first", "last"))
    rows = (panel.dates >= first) & (panel.dates <= last)
    if panel.stocks is not None or rows.sum() != scaler.rows:
        return ["whether prices were rescaled since the run cannot be told: its train days are not all among the bars"]
    if panel.transform == "differences":  # whose means are near 0
        ratio = panel.values[rows].std(axis=0, dtype=np.float64) / scaler.std
    else:
        ratio = panel.values[rows].mean(axis=0, dtype=np.float64) / scaler.mean
    changed = [
        f"{name} × {value:.6g}"
        for name, value in zip(panel.features, ratio, strict=True)
        if abs(value - 1) > _LARGEST_ROUNDING
    ]
    if not changed:
        return []
    return [
        f"the bars were rescaled since the run was trained ({', '.join(changed)} on its train days), as by a split or "
        f"dividend: the run knows prices on the earlier scale (data.transform={panel.transform}), so do not use these "
        "forecasts; train again, or use data.transform=returns"
    ]


def _other_forecasts(
    folder: RunFolder, predictor: Predictor, panel: Panel, found: Mapping[tuple[date, str], tuple[int, float]]
) -> list[str]:
    """A warning where expressions give other forecasts of the run's test than then, though the targets are the same.

    `found` has the row and the forecast of each day and ticker.
    """
    expressions = {name: parse(text) for name, text in predictor.config.features.columns.items()}
    if not expressions or (then := written.read(folder)["test"]).dates is None:
        return []
    own = [predictor.config.stock.ticker] * len(then.rows) if then.tickers is None else then.tickers.tolist()
    changed, largest, scale = list[date](), 0.0, predictor.folds[0].scaler.target_std
    days = then.dates.tolist()
    for day, ticker, y_true, y_pred in zip(days, own, then.truth.y_true, then.model, strict=True):
        row, again = found.get((day, ticker), (-1, y_pred))
        difference = abs(again - y_pred) / scale
        if row >= 0 and difference > _LARGEST_DIFFERENCE and np.isclose(panel.target[row], y_true, 1e-3, 1e-6):
            changed, largest = [*changed, day], max(largest, difference)
    if not changed:
        return []
    from_first = [name for name, one in expressions.items() if one.from_first_row]
    reason = (
        f"; {list_names(from_first)}: computed from a stock's first bar on, so give the same first bars"
        if from_first
        else ""
    )
    return [
        f"{len(changed):,} of {len(days):,} forecasts of the run's test are others than then, by up to {largest:.2g} "
        f"standard deviations of the target, the first on {min(changed)}{reason}"
    ]


_LARGEST_DIFFERENCE = 1e-3
"""Standard deviations of the target, between forecasts that are the same but for rounding."""

_LARGEST_ROUNDING = 1e-5
"""Relative; of prices that are written with few digits, on the mean of the train days."""


def _without_ended_stocks(panel: Panel, rows: Rows) -> Rows:
    """The rows without the next days of stocks that end before the pool does."""
    tickers = tickers_of(panel, rows)
    if tickers is None:
        return rows
    return rows[np.isfinite(panel.target[rows]) | np.isin(tickers, list(panel.ended()), invert=True)]


def _warnings(folder: RunFolder, predictor: Predictor, panel: Panel) -> list[str]:
    """Reasons to doubt the forecasts."""
    then = written.read(folder)["test"]
    assert panel.dates is not None and then.dates is not None
    trained = [predictor.config.stock.ticker] if then.tickers is None else np.unique(then.tickers).tolist()
    tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
    warnings = []
    warnings += predictor.other_comparisons(folder, panel)
    warnings += [f"left out: {note}" for note in panel.dropped if note.endswith(ON_REQUEST)]
    if unknown := predictor.unknown(panel):
        warnings.append(
            f"{list_stocks(unknown)} left out: the run scales each stock by itself, and has no scaler for them"
        )
    if others := [ticker for ticker in tickers if ticker not in trained]:
        warnings.append(f"the run was trained on {', '.join(trained)}, these are bars of {', '.join(others)}")
    if ended := panel.ended():
        named = [f"{ticker} (last bar {day})" for ticker, day in ended.items()]
        warnings.append(
            f"{list_stocks(named)}: the pool goes on to {panel.dates.max()}, so their next days are not forecast; "
            "delisted, halted, or bars that are not up to date"
        )
    if halted := [
        ticker
        for ticker, rows in zip(tickers, panel.spans(), strict=True)
        if rows.stop - rows.start >= panel.window and ticker not in unknown and rows.stop - 1 not in panel.samples
    ]:
        lacking = "" if panel.incomplete is None else ", or lacks a value (features.missing)"
        warnings.append(
            f"{list_stocks(halted)}: the next days are not forecast: the last window spans more missing sessions than "
            f"the run's data.max_gap{lacking}"
        )
    warnings += _rescaled(folder, predictor, panel)
    same, factors = np.ones(len(then.rows), dtype=bool), np.full(len(then.rows), np.nan)
    for ticker, span in zip(tickers, panel.spans(), strict=True):
        own = slice(None) if then.tickers is None else then.tickers == ticker
        if ticker not in trained or span.start == span.stop:
            continue
        days, target = panel.dates[span], panel.target[span]
        rows = np.minimum(np.searchsorted(days, then.dates[own]), len(days) - 1)
        same[own] = (days[rows] == then.dates[own]) & np.isclose(target[rows], then.truth.y_true[own], 1e-3, 1e-6)
        if then.truth.kind == "level":
            factors[own] = np.where(days[rows] == then.dates[own], target[rows] / then.truth.y_true[own], np.nan)
    if not same.all():
        factor = float(np.nanmedian(factors)) if np.isfinite(factors).any() else 1.0
        rescaled = abs(factor - 1) > 1e-3 and np.nanmax(np.abs(factors / factor - 1)) < 1e-3
        warnings.append(
            f"the bars differ from the run's: {np.count_nonzero(~same):,} of {len(same):,} targets of "
            f"its test are changed or missing, the first on {then.dates[~same][0]}"
            + (f"; prices are rescaled × {factor:.6g}, forecasts are on the earlier scale" if rescaled else "")
        )
    return warnings
