"""A chain of updates: the test forecasts of a run, of the run that it updates, and so on, judged as one series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stockml.config.root import Config
from stockml.data import frequency
from stockml.errors import UserError
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.portfolio import Portfolio
from stockml.evaluation.predictions import Predictions, PredictionsBySplit, concatenate_folds, deciding
from stockml.reporting import predictions_file
from stockml.runs.folder import RunFolder
from stockml.tasks import run_metadata


def runs(folder: RunFolder, of: str | None = None) -> list[RunFolder]:
    """The runs of the chain that ends with `folder`, oldest first; only itself if it is no update.

    `of` is where the run that `folder` updates is now. A run that was moved is looked for beside the one that updates
    it. UserError where one is missing, or its forecasts
    are not those that it had.
    """
    found = [folder]
    while (link := found[0].read_json("config.json").get("updates")) is not None:
        newer = found[0].path
        try:
            path, sha256 = Path(of or link["run"]), link["sha256"]
        except (TypeError, KeyError):
            raise UserError(f"{newer / 'config.json'}: does not say whose update the run is; restore it") from None
        older = RunFolder(path if path.exists() else newer.with_name(path.name))
        if not (older.path / "config.json").is_file() or older.path in [one.path for one in found]:
            raise UserError(
                f"{newer}: is an update of {path}, which holds no such run; put it back there, or name it: "
                "update.of=FOLDER"
            )
        unsealed = older.read_json("config.json").get("unsealed", {})
        if predictions_file.content_hash(older) != (unsealed["sha256"] if sha256 == unsealed.get("was") else sha256):
            raise UserError(
                f"{older.path}: its predictions.csv or baselines.csv is not what it was when {newer} updated it; "
                "restore them, or make the later updates again"
            )
        found.insert(0, older)
        of = None
    return found


def evaluated(folders: Sequence[RunFolder], config: Config | None = None) -> tuple[dict[str, Any], list[str]]:
    """The test forecasts of all the runs, oldest first, evaluated as one series; and lines on whose these are.

    They are traded as `config` says, that of the last run by default. As for the folds of a walk-forward run, the best
    baseline is chosen on the validation of the first. UserError where runs forecast other targets than the first, or
    the same days.
    """
    for folder in folders:
        run_metadata.require_open(folder)
    facts = [folder.read_json("config.json") for folder in folders]
    each: list[PredictionsBySplit] = [predictions_file.read(folder) for folder in folders]
    number = f"{len(folders) - 1} update{'s' if len(folders) > 2 else ''}"
    lines = [f"chain       {number}, oldest first:", *_spans(folders, each)]
    each[0] = deciding(each[0])
    joined = concatenate_folds(_of_common_baselines(each))
    horizon = facts[-1]["data"]["horizon"]
    portfolio = Portfolio.of(config or run_metadata.saved_config(folders[-1]), horizon)
    found = evaluate(joined, horizon, synthetic=facts[-1]["synthetic"], portfolio=portfolio)
    return found, lines


def _of_common_baselines(each: Sequence[PredictionsBySplit]) -> list[PredictionsBySplit]:
    """The predictions with the baselines that all runs have: a later release may have added one."""
    names = set.intersection(*(set(of["test"].baselines) for of in each))

    def common(one: Predictions) -> Predictions:
        return replace(one, baselines={name: values for name, values in one.baselines.items() if name in names})

    return [{split: common(one) for split, one in of.items()} for of in each]


def _spans(folders: Sequence[RunFolder], each: Sequence[PredictionsBySplit]) -> Iterator[str]:
    """A line for each run with its test days, and for each gap between two runs'. Raises UserError."""
    last: Any = None
    first = _target(run_metadata.saved_values(folders[0]))
    for folder, predictions in zip(folders, each, strict=True):
        dates, settings = predictions["test"].dates, run_metadata.saved_values(folder)
        assert dates is not None
        if _target(settings) != first:
            raise UserError(f"{folder.path}: forecasts another target than {folders[0].path}; they are no chain")
        start = np.datetime64(settings["data"]["test_start"] or dates[0])
        if last is not None and dates[0] <= last:
            raise UserError(f"{folder.path}: its test begins on {dates[0]}, and that of the run before ends on {last}")
        if last is not None and start > frequency.moment_after(last):
            yield f"            no forecasts of the days after {last} and before {start}"
        yield f"            {dates[0]} to {dates[-1]}  {folder.path}"
        last = dates[-1]


def _target(settings: Mapping[str, Any]) -> list[Any]:
    """What two runs must forecast alike to be one series."""
    data = settings["data"]
    return [
        *(data[key] for key in ("target", "horizon", "benchmark")),
        bool(data["tickers"]),
        settings["trainer"]["quantile"],
    ]
