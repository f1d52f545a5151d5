"""task=explain: which features, and which days of a window, the forecasts of a run depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.errors import UserError
from stockml.evaluation import importance
from stockml.reporting import importance_tables, terminal
from stockml.runs.folder import RunFolder
from stockml.tasks import NO_REQUEST, Request, report, run_metadata
from stockml.tasks.predictor import Predictor
from stockml.tasks.same_experiment import DataState, changed_data, with_its_bars
from stockml.training import explaining, hardware
from stockml.training.losses import loss_unit
from stockml.training.random_streams import PERMUTATION, stream_seed

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.data.split import Rows
    from stockml.evaluation.importance import Importance


@hardware.restored()
def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Measure importances and attributions on a split of the run's own data; write importance.json and two tables.

    The run's page is drawn again if there is one, or if `report` is true. Raises UserError where the run cannot be used
    or its data have changed.
    """
    folder = RunFolder.existing(Path(str(config.run)))
    predictor = Predictor.load(folder, config)
    predictor.check_own_settings(config)
    config, folds = with_its_bars(folder, config, dataset.prepare_folds)
    if reason := changed_data(folder, DataState.of(folds[0], folder)):
        raise UserError(f"{folder.path}: {reason}; a run is explained on its own data")
    synthetic = folds[0].panel.synthetic
    if synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    if config.explain.split == "test":
        run_metadata.require_open(folder)
        print("note        explain.split=test looks at the test: choose no feature and no model by it")
    found = {**_explained(predictor, folds, config), "synthetic": synthetic}
    print(*importance_tables.text(found), sep="\n")
    name = importance_tables.FILES[config.explain.split]
    folder.write_json(f"{name}.json", found)
    for table, rows in {name: found["features"], f"{name}_days": found["days"]}.items():
        folder.write_csv(f"{table}.csv", list(rows[0]), (list(row.values()) for row in rows), synthetic=synthetic)
        print(f"written     {folder.path / table}.csv")
    if config.report is True or (config.report == "auto" and (folder.path / "report.html").exists()):
        from stockml.reporting import run_page

        print(*report.attempted(lambda: run_page.draw(folder)), sep="\n")


def _explained(predictor: Predictor, folds: Sequence[Data], config: Config) -> dict[str, Any]:
    """The content of importance.json; walk-forward folds are taken together, each with its own model and samples."""
    panel, settings, trainer = folds[0].panel, config.explain, predictor.config.trainer
    splits = [data.split.by_name()[settings.split] for data in folds]
    step = math.ceil(sum(map(len, splits)) / settings.samples)
    step += step > 1 and step % 5 == 0  # not the same day of each week
    splits = [_every(step, panel, rows) for rows in splits]
    horizon = max(1, math.ceil(panel.reach / step))
    names, days = panel.features, importance.day_groups(panel.window)
    groups = [(slice(None), slice(number, number + 1)) for number in range(len(names))]
    groups += [(slice(panel.window - 1 + first, panel.window + last), slice(None)) for first, last in days]
    pairs = []
    for number, (fold, data, rows) in enumerate(zip(predictor.folds, folds, splits, strict=True)):
        batches = Batches(data.panel, data.scaler, predictor.chosen.device, predictor.chosen.dtype)
        rng = np.random.default_rng(stream_seed(PERMUTATION, config.seed, number))
        stocks = np.zeros_like(rows) if panel.stocks is None else panel.stocks.of(rows)
        others = [
            importance.other_samples(panel.day_numbers[rows], stocks, horizon, rng) for _ in range(settings.repeats)
        ]
        pairs.append(
            (fold.model, explaining.Samples(batches, torch.from_numpy(rows), torch.from_numpy(np.stack(others))))
        )

    spread = float(np.concatenate([samples.targets for _, samples in pairs]).std())
    rows = np.concatenate(splits)
    if not spread > 0:
        raise UserError(
            f"{config.run}: the targets of its {len(rows):,} {settings.split} samples do not differ, so nothing can be "
            "measured there; take the other split of explain.split=validation|test"
        )
    increases = np.hstack([explaining.loss_increases(*pair, groups, trainer, predictor.chosen) for pair in pairs])
    shares = increases / loss_unit(trainer, spread)
    importances = [importance.of(own, panel.day_numbers[rows], horizon) for own in shares]
    method, reason = explaining.attribution_method(*pairs[0])
    sizes, error = [None] * len(groups), None
    if method is not None:
        parts = [explaining.attributions(*pair, groups, method) for pair in pairs]
        each, missed = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
        sizes = np.abs(each).mean(axis=1).tolist()
        if method == explaining.GRADIENTS:
            change = np.abs(each[: len(names)].sum(axis=0) - missed).sum()
            error = float(np.abs(missed).sum() / change) if change > 0 else 0.0
    found = [_row(*pair) for pair in zip(importances, sizes, strict=True)]
    features = [{"feature": name, **row} for name, row in zip(names, found, strict=False)]
    dates = [panel.date(row) for row in rows[np.argsort(panel.day_numbers[rows])][[0, -1]]]
    return {
        **({} if panel.noun == "day" else {"step": panel.noun}),
        "split": settings.split,
        "repeats": settings.repeats,
        "seed": config.seed,
        "samples": len(rows),
        "day_step": step,
        "first": dates[0],
        "last": dates[1],
        "loss": trainer.loss,
        "method": method,
        "no_method": reason,
        "completeness_error": error,
        "features": sorted(features, key=lambda row: -row["importance"]),
        "days": [
            {"first_day": first, "last_day": last, **row}
            for (first, last), row in zip(days, found[len(names) :], strict=True)
        ],
    }


def _every(step: int, panel: Panel, rows: Rows) -> Rows:
    """The rows of every n-th day."""
    days = panel.day_numbers[rows]
    return rows[np.isin(days, np.unique(days)[::step])]


def _row(found: Importance, attribution: float | None) -> dict[str, Any]:
    lower, upper = found.interval or (None, None)
    return {"importance": found.value, "lower_95": lower, "upper_95": upper, "attribution": attribution}
