"""task=update: a run's model, trained on to the days of its test, and tested on the days since."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stockml import compose, models
from stockml.config.root import Config, identity
from stockml.config.values import differences, is_within
from stockml.data import dataset, frequency
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, Request, run_metadata, start
from stockml.tasks.predictor import SAMPLE_SETTINGS
from stockml.tasks.same_experiment import can_go_on


def run(config: Config, request: Request) -> None:
    """Train the model of `config.run` on, in a new run whose test begins the day after that run's last test day.

    The new run is one of ordinary settings. Started again with the folder of an update that was killed, it goes on with
    it. Raises UserError where the run cannot be updated or there is no new day; else errors are those of `train.run`.
    """
    folder = RunFolder.existing(Path(str(config.run)))
    if folder.outcome() != "ok":
        raise UserError(
            f"{folder.path}: is not finished ({folder.ending}); continue it first: trainer.resume={folder.path}"
        )
    own = run_metadata.saved_config(folder)
    _check_own_settings(own, config)
    if not config.update.fresh and not models.can_continue(config.model):
        raise UserError(f"model={config.model.name}: is computed from its data alone; add update.fresh=true")
    settings = _settings(folder, own, config, keeps_end=_names(request.arguments, "data.end"))
    typed = [argument for argument in request.arguments if not _names([argument], "task", "run", *settings)]
    saved = ["-cp", str(folder.path / ".hydra"), "-cn", "config"]
    added = [compose.setting(key, value) for key, value in settings.items()]
    command = compose.read([*saved, *typed, *added], TASKS)
    (job,) = command.jobs
    if command.folder is not None and _is_attempt(RunFolder(command.folder), job):
        job = _resumed_or_cleared(RunFolder(command.folder), job)
    start.train(job, RunLocation(exact=command.folder), command.records)


def _names(arguments: Sequence[str], *keys: str) -> bool:
    """Whether one of the arguments sets one of the keys."""
    return any(argument.lstrip("+").partition("=")[0] in keys for argument in arguments)


def _check_own_settings(own: Config, config: Config) -> None:
    """UserError where settings are typed that make other samples, or another model, than the run's."""
    fixed = (
        "stock",
        "features",
        "model",
        "trainer.init_from",
        "trainer.warm_start",
        "trainer.quantile",
        *SAMPLE_SETTINGS,
    )
    if keys := [key for key in differences(identity(own), identity(config)) if is_within(key, fixed)]:
        raise UserError(
            f"{', '.join(keys)}: an update has the settings of its run, and its own splits; leave "
            f"{'it' if len(keys) == 1 else 'them'} out"
        )


def _settings(folder: RunFolder, own: Config, config: Config, *, keeps_end: bool) -> dict[str, Any]:
    """The settings in which the update differs from its run. UserError where no day has come since.

    Where `data.train_span=rolling`, train and validation together stay as long as they were.
    """
    data = config.data
    assert isinstance(data, BarsConfig) and isinstance(own.data, BarsConfig)
    settings: dict[str, Any] = {} if keeps_end else {"data.end": None}
    end = data.end if keeps_end else None
    panel, _ = dataset.load_panel(dataclasses.replace(config, data=dataclasses.replace(data, end=end)))
    assert panel.dates is not None
    days = np.unique(panel.dates[panel.samples])
    facts = folder.read_json("config.json")["data"]
    spans = [fold["spans"] for fold in facts.get("folds", [facts])]
    last = np.datetime64(spans[-1]["test"][1])
    if days[-1] <= last:
        raise UserError(
            f"{panel.origin}: has no day since the test of {folder.path}, which ends on {last}; the last day with a "
            f"known target is {days[-1]}: give later bars{', or a later data.end' if end else ''}"
        )

    def count(split: str, until: str) -> int:
        first, after = (np.datetime64(spans[0][name][0]) for name in (split, until))
        return int(np.searchsorted(days, after) - np.searchsorted(days, first))

    if data.train_span == "rolling" and data.train_days is None:
        settings["data.train_days"] = count("train", "test")
    if data.transform == "auto" and (transform := facts.get("transform", "returns")) != panel.transform:
        settings["data.transform"] = transform
    if data.valid_start is not None:
        settings |= {
            "data.valid_start": None,
            "data.valid_ratio": count("validation", "test") / count("train", "test"),
        }
    return settings | {
        "data.split": "holdout",
        "data.fold": None,
        "data.test_start": str(frequency.moment_after(last)),
        "trainer.warm_start": False,
        "trainer.init_from": None if config.update.fresh else str(folder.path),
        "update.fresh": False,
        "update.of": str(folder.path),
    }


def _is_attempt(folder: RunFolder, job: Config) -> bool:
    """Whether the folder holds an update of the same run that did not come to its end."""
    if not (folder.path / ".hydra").is_dir() or folder.outcome() in ("ok", "running"):
        return False
    if not (folder.path / "config.json").is_file():
        return True
    return run_metadata.saved_config(folder).update.of == job.update.of


def _resumed_or_cleared(folder: RunFolder, job: Config) -> Config:
    """The config that goes on with an attempt; as it is where the attempt cannot be continued and was removed."""
    if can_go_on(folder, job):
        return dataclasses.replace(job, trainer=dataclasses.replace(job.trainer, resume=str(folder.path)))
    folder.clear()
    shutil.rmtree(folder.path / ".hydra")
    return job
