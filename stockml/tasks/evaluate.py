"""task=evaluate: a run's metrics again, from its folder alone; or its model judged on other data."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.root import Config, saved
from stockml.config.values import differences, show
from stockml.data import dataset
from stockml.data.settings import BarsConfig
from stockml.errors import RunError, UserError
from stockml.evaluation import baselines, predictions
from stockml.evaluation.metrics import target
from stockml.evaluation.predictions import Predictions
from stockml.reporting import predictions_file as written
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.tasks import NO_REQUEST, Request, run_metadata
from stockml.tasks.predictor import Fitted

if TYPE_CHECKING:
    from stockml.data.panel import Panel
    from stockml.data.split import Rows


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Judge the run that `config.run` names: its own forecasts, or its model's on other data where such are named.

    Raises UserError where the run or the data do not serve, RunError where the run's own metrics do not come out.
    """
    folder = RunFolder.existing(Path(str(config.run)))
    metrics = folder.read_json("metrics.json")
    own = run_metadata.saved_config(folder)
    if (own.data, own.stock) == (config.data, config.stock):
        _again(folder, metrics)
    else:
        _on_other_data(folder, config, metrics)


def _again(folder: RunFolder, metrics: dict[str, Any]) -> None:
    horizon = folder.read_json("config.json")["data"]["horizon"]
    evaluated = predictions.evaluate(written.read(folder), horizon, synthetic=metrics["synthetic"])
    print(*terminal.results(evaluated), sep="\n")
    now = json.loads(json.dumps({**evaluated, **{name: metrics[name] for name in _OF_TRAINING}}))
    if changed := differences(metrics, now):
        lines = (f"{key}: {show(then)} in metrics.json, {show(found)} now" for key, (then, found) in changed.items())
        raise RunError(*lines, f"{folder.path}: {len(changed)} numbers are not those of its forecasts")
    print(f"evaluated   {folder.path}: identical to its metrics.json")


_OF_TRAINING = ("validation_loss", "timing", "synthetic")


def _on_other_data(folder: RunFolder, config: Config, metrics: dict[str, Any]) -> None:
    fitted = Fitted.of(folder, config)
    fitted.check_own_settings(config)
    panel, rows = _other_samples(fitted, config)
    own = fitted.config
    if panel.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    for key, (then, now) in differences(saved(own), saved(config)).items():
        if panel.synthetic or not key.startswith("stock.simulator"):
            print(f"differs     {key}: {show(then)} in the run, {show(now)} here")
    spans = [f"{panel.dates[rows[0]]} to {panel.dates[rows[-1]]}"] if panel.dates is not None else []
    print(f"data        {', '.join([f'{panel.ticker} from {panel.origin}', *spans, f'{len(rows):,} samples'])}")
    every = {name: values[rows] for name, values in baselines.naive(panel, fitted.folds[0].scaler.train_mean(panel))}
    scored = Predictions(
        truth=target(panel, rows),
        rows=rows,
        dates=None if panel.dates is None else panel.dates[rows],
        tickers=predictions.tickers_of(panel, rows),
        model=fitted.forecast(panel, rows),
        baselines=every,
        oracle=None if panel.expected is None else panel.expected[rows],
    )
    errors = {name: parts["validation"]["mse"] for name, parts in metrics["baselines"].items() if name in every}
    best = min((name for name, error in errors.items() if error is not None), key=errors.__getitem__)
    evaluated = predictions.evaluate({"test": scored}, panel.horizon, synthetic=panel.synthetic, best=best)
    print(*terminal.results(evaluated), sep="\n")
    print("            ridge, which would have to be fitted on these data, is not among the baselines")
    name = f"evaluations/{panel.ticker}_{datetime.now():%Y%m%d_%H%M%S}.json"
    folder.write_json(name, {**evaluated, "config": saved(config), "synthetic": panel.synthetic})
    print(f"written     {folder.path / name}")


def _other_samples(fitted: Fitted, config: Config) -> tuple[Panel, Rows]:
    """The panel, unscaled, and the rows whose samples the run has not seen: of bars, those since its test began."""
    if isinstance(config.data, BarsConfig):
        panel = fitted.bars_panel(config)
        first_day = fitted.folds[0].first_day
        assert panel.dates is not None and first_day is not None
        known = panel.samples[np.isfinite(panel.target[panel.samples])]
        rows = known[panel.dates[known] >= first_day]
        if not len(rows):
            raise UserError(
                f"{panel.origin}: ends on {panel.dates.max()}, and the run may be judged from {first_day} on: the days "
                "before were used to train it; later bars"
            )
        return panel, rows
    panel, before_test = dataset.load(config)
    fold, (window, width) = fitted.folds[0], panel.values.shape[1:]
    if fold.first_day is not None or (window, width) != fold.shape:
        raise UserError(
            f"{panel.origin}: holds windows of {window} days and {width} features, undated; the run's are "
            f"{fold.shape[0]} and {fold.shape[1]}{', of dated bars' if fold.first_day is not None else ''}"
        )
    return panel, panel.samples[before_test:]
