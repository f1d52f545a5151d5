"""task=evaluate: the metrics of a run from its folder alone, or its model evaluated on other data."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.root import Config, identity, saved
from stockml.config.values import differences, show
from stockml.data.settings import BarsConfig
from stockml.data.sources import loading
from stockml.errors import RunError, UserError
from stockml.evaluation import baselines, combination, intervals
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.portfolio import Portfolio
from stockml.evaluation.predictions import Predictions, deciding, tickers_of
from stockml.evaluation.truth import target
from stockml.reporting import economic, predictions_file, result_tables, terminal
from stockml.runs.comparison import different_numbers
from stockml.runs.folder import RunFolder
from stockml.runs.old_releases import require_baselines
from stockml.tasks import NO_REQUEST, Request, chain, looks, run_metadata
from stockml.tasks.predictor import Predictor, each_member, named_by_file

if TYPE_CHECKING:
    from stockml.data.panel import Panel
    from stockml.data.split import Rows


def run(config: Config, request: Request = NO_REQUEST) -> None:
    """Evaluate the predictions of the run `config.run`, or its model on the data of the config if they differ.

    Of an update, those of all runs of its chain together, too.

    Raises UserError if the run or the data cannot be used, RunError if the run's own metrics do not come out.
    """
    folder = RunFolder.existing(Path(str(config.run)))
    if folder.outcome() == "pruned":
        raise UserError(f"{folder.path}: is not finished (pruned); there is nothing to evaluate")
    require_baselines(folder.path)
    metrics = folder.read_json("metrics.json")
    own = run_metadata.saved_config(folder)
    then, asked = identity(own), identity(config)
    if (then["data"], then["stock"]) == (asked["data"], asked["stock"]):
        _own_predictions(folder, metrics, own, config)
        is_named = any(argument.startswith("update.of=") for argument in request.arguments)
        if "test" in metrics and len(runs := chain.runs(folder, config.update.of if is_named else None)) > 1:
            together, lines = chain.evaluated(runs, config)
            print(*lines, *result_tables.results(together), sep="\n")
    else:
        _on_other_data(folder, config, metrics)


def _own_predictions(folder: RunFolder, metrics: dict[str, Any], own: Config, asked: Config) -> None:
    metadata, predictions = folder.read_json("config.json"), predictions_file.read(folder)
    horizon, overfitted = metadata["data"]["horizon"], own.trainer.overfit_batches > 0
    portfolio = Portfolio.of(own, horizon)
    evaluated = evaluate(predictions, horizon, synthetic=metrics["synthetic"], portfolio=portfolio)
    kept = overfitted or "members" in metadata or "looks" in metrics
    shown = {**evaluated, "verdict": metrics["verdict"]} if kept else evaluated
    print(*result_tables.results(shown, overfitted=overfitted), sep="\n")
    now = json.loads(json.dumps(evaluated))
    if changed := different_numbers(metrics, now):
        lines = (f"{key}: {show(then)} in metrics.json, {show(found)} now" for key, (then, found) in changed.items())
        raise RunError(*lines, f"{folder.path}: {len(changed)} numbers are not those of its predictions")
    print(f"evaluated   {folder.path}: identical to its metrics.json")
    if asked.portfolio != own.portfolio:
        other = Portfolio.of(asked, horizon)
        again = evaluate(predictions, horizon, synthetic=metrics["synthetic"], portfolio=other)
        print("differently traded:", *economic.lines(again), result_tables.verdict("verdict", again), sep="\n")


def _on_other_data(folder: RunFolder, config: Config, metrics: dict[str, Any]) -> None:
    config = named_by_file(folder, config)
    each = each_member(folder, config)
    panel, found = _forecast(*each[0][:2])
    if panel.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    for key, (then, now) in differences(identity(run_metadata.saved_config(folder)), identity(config)).items():
        if not key.startswith("hardware.") and (panel.synthetic or not key.startswith("stock.simulator")):
            print(f"differs     {key}: {show(then)} in the run, {show(now)} here")
    others = [_forecast(run, own)[1] for run, own, _ in each[1:]]
    predictions = combination.combined(combination.common([found, *others]), [weight for _, _, weight in each])
    days = [f"{predictions.dates[0]} to {predictions.dates[-1]}"] if predictions.dates is not None else []
    print(
        f"data        {', '.join([f'{panel.ticker} from {panel.origin}', *days, f'{len(predictions.rows):,} samples'])}"
    )
    rivals, then = predictions.baselines, deciding(predictions_file.read(folder))
    predictions = intervals.like(then, predictions, panel)
    errors = {name: splits["validation"]["mse"] for name, splits in metrics["baselines"].items() if name in rivals}
    best = min((name for name, error in errors.items() if error is not None), key=errors.__getitem__)
    evaluated = evaluate(
        {"test": predictions},
        panel.horizon,
        synthetic=panel.synthetic,
        best=best,
        calibration=then["validation"],
        portfolio=Portfolio.of(config, panel.horizon),
    )
    if text := folder.read_json("config.json").get("combination"):
        evaluated["verdict"] += f" {text}"
    evaluated = looks.record(evaluated, predictions, config, folder, panel.fingerprint())
    print(*result_tables.results(evaluated), sep="\n")
    for name in baselines.fitted_names():
        print(f"            {name}, which would have to be fitted on these data, is not among the baselines")
    name = f"evaluations/{panel.ticker}_{datetime.now():%Y%m%d_%H%M%S}.json"
    folder.write_json(name, {**evaluated, "config": saved(config), "synthetic": panel.synthetic})
    print(f"written     {folder.path / name}")


def _forecast(folder: RunFolder, config: Config) -> tuple[Panel, Predictions]:
    """The panel of the config's data, and a run's predictions of the samples that it has not trained on."""
    fitted = Predictor.load(folder, config)
    fitted.check_own_settings(config)
    if fitted.config.trainer.quantile is not None:
        raise UserError(
            "trainer.loss=quantile: such a run is compared with quantiles of its own train split, so it is evaluated "
            "on its own data only; task=predict forecasts others"
        )
    panel, rows = _other_samples(fitted, config)
    rivals = {name: values[rows] for name, values in baselines.naive(panel, fitted.folds[0].scaler.train_mean(panel))}
    return panel, Predictions(
        truth=target(panel, rows, baselines.known_drift(rivals)),
        rows=rows,
        dates=None if panel.dates is None else panel.dates[rows],
        tickers=tickers_of(panel, rows),
        model=fitted.forecast(panel, rows),
        baselines=rivals,
        oracle=None if panel.expected is None else panel.expected[rows],
        next_return=None if panel.next_return is None else panel.next_return[rows],
    )


def _other_samples(fitted: Predictor, config: Config) -> tuple[Panel, Rows]:
    """The unscaled panel, and the rows of the samples that the run has not trained on: from its first test day on."""
    if isinstance(config.data, BarsConfig):
        panel = fitted.bars_panel(config)
        first_day = fitted.folds[0].first_day
        assert panel.dates is not None and first_day is not None
        known = panel.samples[np.isfinite(panel.target[panel.samples])]
        rows = known[panel.dates[known] >= first_day]
        if not len(rows):
            raise UserError(
                f"{panel.origin}: ends on {panel.dates.max()}, and the run can be evaluated from {first_day} on: the "
                "days before were used to train it; give later bars"
            )
        return panel, rows
    panel, before_test = loading.load_windows(config)
    fold, (window, width) = fitted.folds[0], panel.values.shape[1:]
    if fold.first_day is not None or (window, width) != fold.shape:
        raise UserError(
            f"{panel.origin}: holds windows of {window} days and {width} features, undated; the run's are "
            f"{fold.shape[0]} and {fold.shape[1]}{', of dated bars' if fold.first_day is not None else ''}"
        )
    return panel, panel.samples[before_test:]
