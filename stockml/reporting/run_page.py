"""report.html and plots/*.png of a run, made from the files of its folder alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.printable import from_csv_cell
from stockml.config.values import leaves, show
from stockml.data.target import NAMES
from stockml.errors import UserError
from stockml.evaluation import metrics as table
from stockml.reporting import (
    document,
    drawing,
    economic_plots,
    feature_tables,
    forecast_plots,
    importance_tables,
    interval_plots,
    predictions_file,
    score_sections,
    training_plots,
    where,
)
from stockml.reporting.document import KeyFigure, Page, Section, Table
from stockml.reporting.drawing import Plot
from stockml.reporting.score_sections import csv_cell, percent, sentence, span
from stockml.runs.members import model_name
from stockml.runs.names import fold_member_title

if TYPE_CHECKING:
    from stockml.evaluation.truth import Target
    from stockml.runs.folder import RunFolder

_FOLD_COLUMNS = (
    "fold",
    *(f"{split}_n" for split in ("train", "validation", "test")),
    *("test_first", "test_last", "purged", "epochs", "best_epoch", "val_mse"),
)
"""Of folds.csv, the columns of a page besides the metrics on test."""


def draw(folder: RunFolder) -> Path:
    """Write a run's page and plots; the path of the page.

    A run that did not end well gets what its folder has. Raises UserError where matplotlib is missing, or a file of
    the folder is missing or broken.
    """
    with drawing.style():
        return document.write(folder, _page(folder))


def plots(folder: RunFolder) -> list[Plot]:
    """The plots of a run's page, not yet drawn; errors as `draw` has them."""
    with drawing.style():
        return _page(folder).plots()


def _page(folder: RunFolder) -> Page:
    metadata = folder.read_json("config.json")
    metrics = folder.read_json("metrics.json") if (folder.path / "metrics.json").exists() else None
    try:
        config = metadata["config"]
        if metrics is None:
            error = folder.read_json("result.json").get("error") if folder.outcome() else None
            faults = [f"This run is not done: {folder.outcome() or 'not begun'}. {error or ''}".rstrip()]
            scores = []
        else:
            faults, stocks = [], read_rows(folder.path / "stocks.csv")
            scores = score_sections.sections(metrics, stocks, _changes(metadata, metrics))
        in_table = ("features.columns.",) if "features" in metadata["data"] else ()
        found: Mapping[str, Any] = metrics or {}
        noun = found.get("step", "day")
        sections = [
            *scores,
            *_members(metadata, metrics, read_rows(folder.path / "members.csv")),
            Section("Plots", plots=list(_plots(folder, metadata, metrics))),
            _data(metadata["data"], read_rows(folder.path / "folds.csv"), found.get("decided_on")),
            *importance_tables.sections(folder),
            *feature_tables.section(metadata["data"]),
        ]
        settings = [f"{key}={show(value)}" for key, value in leaves(config) if not key.startswith(in_table)]
        return Page(
            title=_title(metadata, noun),
            subtitle=f"{metadata['data']['origin']}; seed {config['seed']}; run folder {folder.path.name}",
            synthetic=bool(metadata["synthetic"]),
            faults=faults,
            verdict=[sentence(metrics["verdict"])] if metrics else [],
            figures=_key_figures(metrics) if metrics and "test" in metrics else [],
            sections=[
                *(section.worded(noun) for section in sections),
                Section(
                    "Config of the first member" if "members" in metadata else "Config",
                    [_origin(metadata)],
                    settings=settings,
                ),
            ],
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{folder.path}: no report can be made, its files are damaged ({error!r})") from error


def _members(
    metadata: Mapping[str, Any], metrics: Mapping[str, Any] | None, rows: Sequence[Mapping[str, str]]
) -> list[Section]:
    """The members of a combined run, given the rows of members.csv; nothing of any other run."""
    if not rows or metrics is None:
        return []
    text = (
        f"{metadata['combination']} Validation is the {metrics['validation']['n']:,} samples that all members have "
        "there; where members or weights were chosen by it, its scores promise more than new data keep."
    )
    tables = [
        score_sections.short_table(
            f"On {split}; members.csv has all their scores, and where they come from",
            rows,
            without=("from", *(name for name in rows[0] if name.startswith(other))),
        )
        for split, other in (("test", "val_"), ("validation", "test_"))
    ]
    return [Section("Members", [text], tables)]


def _title(metadata: Mapping[str, Any], noun: str) -> str:
    """Stock and model, and the target and the set of features where they are not the default ones."""
    config = metadata["config"]
    parts = [config["stock"]["ticker"], model_name(metadata)]
    if (quantile := config["trainer"].get("quantile")) is not None:
        parts.append(f"{quantile:g} quantile")
    target, days = config["data"].get("target", "log_return"), config["data"].get("horizon") or 1
    if (target, days) != ("log_return", 1):
        ahead = f", {days} {noun}{'s' if days > 1 else ''}" if target in NAMES else ""
        parts.append(f"{drawing.short(target, _LONGEST_TARGET)}{ahead}")
    if (of_set := config.get("features", {}).get("set", "bars")) != "bars" and "members" not in metadata:
        parts.append(f"features {of_set}")
    return " · ".join(parts)


_LONGEST_TARGET = 60  # characters


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file. UserError where a line is cut short."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if cut := next((number for number, row in enumerate(rows, 2) if None in row or None in row.values()), None):
        raise UserError(f"{path}: row {cut} has not as many cells as the header, so the file is cut short or damaged")
    return [{name: from_csv_cell(cell) for name, cell in row.items()} for row in rows]


def _key_figures(metrics: Mapping[str, Any]) -> list[KeyFigure]:
    test, best = metrics["test"], metrics["best_baseline"]
    interval = metrics.get("significance", {}).get("r2_zero_interval")
    is_class = table.has_classes(test)
    if table.has_quantiles(test):
        return _quantile_figures(metrics)
    if is_class and (mean := metrics.get("significance", {}).get("against", {}).get("train_mean")):
        interval = mean["r2_interval"]
        note = "against the train mean" + (f"; 95 % CI {span(interval, '{:+.2%}')}" if interval else "")
        r2 = KeyFigure("R² on test", percent(mean["r2"]), note)
    elif test["r2_zero"] is None:
        r2 = KeyFigure("R² on test", percent(test["r2"]), "0: the mean of the test split")
    else:
        note = f"95 % CI {span(interval, '{:+.2%}')}" if interval else "0: the forecast of no change"
        if test.get("r2_ct") is not None:
            note += f"; R²_ct {percent(test['r2_ct'])}"
        r2 = KeyFigure("R²_zero on test", percent(test["r2_zero"]), note)
    error, correlation, hits = (table.metric(name).format for name in ("mse", "ic", "hit_rate"))
    return [
        r2,
        KeyFigure(
            f"{'Brier score' if is_class else 'MSE'} on test",
            error(test["mse"]),
            f"{best}: {error(metrics['baselines'][best]['test']['mse'])}",
        ),
        KeyFigure("IC on test", correlation(test["ic"]), "correlation over time"),
        KeyFigure("Hit rate on test", hits(test["hit_rate"]), f"of {test['n']:,} samples"),
    ]


def _quantile_figures(metrics: Mapping[str, Any]) -> list[KeyFigure]:
    found, best, test = metrics["significance"], metrics["best_baseline"], metrics["test"]
    pinball, of = table.metric("pinball").format, found["against"][best]
    r1 = f"95 % CI {span(of['r1_interval'], '{:+.2%}')}"
    below = f"asked for {found['quantile']:.1%}; 95 % CI {span(found['below_interval'], '{:.1%}')}"
    return [
        KeyFigure(f"Pinball loss saved against {best}", percent(of["r1"]), r1),
        KeyFigure(
            "Pinball loss on test",
            pinball(test["pinball"]),
            f"{best}: {pinball(metrics['baselines'][best]['test']['pinball'])}",
        ),
        KeyFigure("Targets below the forecast", f"{found['below']:.1%}", below),
    ]


def _plots(folder: RunFolder, metadata: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> Iterator[Plot]:
    loss = {"mse": "MSE", "mae": "MAE"}.get(name := metadata["config"]["trainer"]["loss"], f"{name} loss")
    found = {fold_member_title(part): _history(folder.path / file) for file, part in folder.histories().items()}
    histories = {title: history for title, history in found.items() if history}
    trained_on = {"csrank": "ranks", "cszscore": "standard scores"}.get(
        metadata["config"]["data"].get("target_normalize", "none")
    )
    note = f" The loss is that of {trained_on} in the day, not of the target itself." if trained_on else ""
    if "" in histories:
        yield training_plots.losses(histories[""], loss, note)
    elif histories:
        yield training_plots.losses_of_models(histories, loss, note)
    if metrics is None or "test" not in metrics or not (folder.path / "baselines.csv").exists():
        return
    splits = predictions_file.read(folder)
    predictions = splits["test"]
    unit = _unit(predictions.truth, metadata["config"]["data"])
    if predictions.truth.quantile is not None:
        yield forecast_plots.cumulative(predictions, metrics["best_baseline"], unit)
        return
    is_class = predictions.truth.kind == "class"
    if not is_class:
        yield forecast_plots.predicted(predictions, unit)
    if calibration := forecast_plots.calibration(predictions, unit):
        yield calibration
    yield forecast_plots.cumulative(predictions, metrics["best_baseline"], unit)
    if rolling := forecast_plots.rolling_ic(predictions, metadata["data"].get("horizon") or 1):
        yield rolling
    if not is_class:
        yield forecast_plots.residuals(predictions, unit)
    yield from economic_plots.plots(splits, metrics)
    yield from where.factor_plots(metrics)
    of_target = forecast_plots.Unit("", "target units") if predictions.truth.kind == "level" else unit
    yield from interval_plots.plots(metrics.get("intervals", {}), of_target)


def _changes(metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What the metrics of changes are of; empty where there is nothing to change from."""
    if "persistence" in metrics["baselines"]:
        return "changes since the last known value"
    if metadata["data"].get("kind") == "level":
        return ""
    return "changes of the price" if metadata["config"]["data"].get("target") == "difference" else "returns"


def _unit(truth: Target, data: Mapping[str, Any]) -> forecast_plots.Unit:
    source = data["source"]
    if truth.kind == "class":
        return forecast_plots.Unit("", "")
    if truth.kind == "level" and truth.last is None:
        return forecast_plots.Unit("value", "target units")
    if data.get("target") == "difference":
        return forecast_plots.Unit("change", "units of the price")
    if truth.kind == "level":
        return forecast_plots.Unit("return", "%") if truth.relative else forecast_plots.Unit("change", "target units")
    return forecast_plots.Unit("return", "target units" if source == "npz" else "%")


def _history(path: Path) -> training_plots.History | None:
    """The losses of a history.csv; None where it has none."""
    rows = read_rows(path)
    try:
        train, validation = ([float(row[f"{split}_loss"]) for row in rows] for split in ("train", "validation"))
        best_epoch = int(rows[-1]["best_epoch"]) if rows else 0
        return training_plots.History(np.array(train), np.array(validation), best_epoch) if rows else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error!r})") from error


def _data(data: Mapping[str, Any], folds: Sequence[Mapping[str, str]], decided_on: Mapping[str, Any] | None) -> Section:
    """Where the splits lie, what was left out, the folds, and the days by which runs are compared."""
    of_folds = data.get("folds") or [data]
    spans = [list(_spans(of_fold)) for of_fold in of_folds]
    if data.get("folds"):
        rows = {f"fold {number}": of_fold for number, of_fold in enumerate(spans)}
        text = f"{data['rows']:,} rows; {len(of_folds)} fold{'s' if len(of_folds) > 1 else ''}, a model for each"
    else:
        rows = {f"{found.split} ({data['samples'][found.split]:,})": [found] for found in spans[0]}
        text = f"{data['rows']:,} rows; {', '.join(f'{split} {n:,} samples' for split, n in data['samples'].items())}"
    left_out = list(data["dropped"])
    if purged := sum(of_fold["purged"] for of_fold in of_folds):
        left_out.append(f"{purged} samples (purged: their targets end in the next split)")
    of_quantiles = bool(folds) and "test_pinball" in folds[0]
    metrics = table.shown("folds", of_quantiles=of_quantiles)
    shown = {*_FOLD_COLUMNS, *(f"test_{metric.name}" for metric in metrics)}
    header = [name for name in folds[0] if name in shown] if folds else []
    cells = [[csv_cell(name, fold[name]) for name in header] for fold in folds]
    tables = [Table("Folds; folds.csv has all their days and scores", header, cells)] if folds else []
    timeline = training_plots.timeline(rows, dated=isinstance(spans[0][0].first, str))
    texts = [f"{text}. Left out: {'; '.join(left_out) or 'nothing'}.", *data.get("stock_notes", [])]
    if decided_on:
        texts.append(
            f"Runs are compared, and the best baseline is chosen, by the validation of fold {decided_on['fold']} "
            f"alone, {decided_on['first']} to {decided_on['last']}: it comes before every test day. The validation of "
            "the other folds only decides when the training of their models stops; folds.csv has its scores."
        )
    return Section("Data and splits", texts, tables, [timeline])


def _spans(of_fold: Mapping[str, Any]) -> Iterator[training_plots.Span]:
    """Each split's days, or sample numbers where the days are not known."""
    days, before = of_fold.get("spans") or {}, 0
    for split, n in of_fold["samples"].items():
        first, last = days.get(split) or (None, None)
        yield training_plots.Span(split, first, last) if first else training_plots.Span(split, before, before + n - 1)
        before += n


def _origin(metadata: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items() if version)
    commit = f"commit {metadata['git_commit']}; " if metadata.get("git_commit") else ""
    return f"On {metadata['device']}; {versions}; {commit}data fingerprint {metadata['data']['fingerprint'][:16]}."
