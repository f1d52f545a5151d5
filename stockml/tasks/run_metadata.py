"""The contents of a run's config.json."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml import models
from stockml.config.root import Config, check, saved
from stockml.data import sources
from stockml.errors import UserError
from stockml.reporting import data_report, predictions_file
from stockml.runs.folder import RunFolder
from stockml.runs.old_releases import FORMAT, upgrade_config

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.evaluation.feature_table import FeatureTable


def collect(
    config: Config,
    folds: Sequence[Data],
    device: str | None,
    world_size: int = 1,
    features: FeatureTable | None = None,
    links: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The contents of config.json: the resolved config, and facts about data, versions and (if known) the device.

    `folds` are the data of each fold of a walk-forward run; one otherwise. `features` are of the first. `links` is what
    `links` returned.
    """
    panel = folds[0].panel
    return {
        "format": FORMAT,
        "config": saved(config),
        "data": {
            "origin": panel.origin,
            "fingerprint": folds[0].fingerprint,
            "kind": panel.kind,
            "relative": panel.relative,
            **({"transform": panel.transform} if panel.transform not in ("", "returns") else {}),
            "horizon": panel.horizon,
            **({} if panel.joint_target else {"reach": panel.reach}),
            "rows": len(panel.values),
            "last_day": None if panel.dates is None else str(panel.dates.max()),
            "understood": panel.parsing_notes,
            "dropped": list(panel.dropped),
            **({"gaps_in": panel.gaps_in} if panel.gaps_in else {}),
            **({} if features is None else {"features": dataclasses.asdict(features)}),
            **_stocks(folds),
            **(_split(folds[0]) if len(folds) == 1 else {"folds": [_split(data) for data in folds]}),
        },
        **software(),
        "device": device,
        "world_size": world_size,
        "global_batch_size": config.trainer.global_batch(world_size),
        "platform": platform.platform(),
        "synthetic": panel.synthetic,
        **(links or {}),
    }


def links(config: Config, initial_sha256: str | None) -> dict[str, Any]:
    """What config.json says of other runs: with whose weights training starts, and whose update this run is.

    `initial_sha256` is the hash of these weights. Raises UserError where the run that is updated is missing.
    """
    found: dict[str, Any] = {}
    if initial_sha256 is not None:
        found["init_from"] = {"run": config.trainer.init_from, "sha256": initial_sha256}
    if (run := config.update.of) is not None:
        found["updates"] = {"run": run, "sha256": predictions_file.content_hash(RunFolder.existing(Path(run)))}
    return found


def software() -> dict[str, Any]:
    """The versions of what computes, and the commit of this code."""
    packages = ("stockml", "torch", "hydra-core", "omegaconf", "numpy", "pandas")
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "git_commit": git_commit(),
    }


def _stocks(folds: Sequence[Data]) -> dict[str, Any]:
    """Where the numbers of each stock of a pooled panel come from, and what is to be known about some of them."""
    panel = folds[0].panel
    if panel.stocks is None:
        return {}
    notes = data_report.stock_notes(folds)
    tickers = dict(zip(panel.stocks.tickers, panel.origins, strict=True))
    return {"tickers": tickers, **({"stock_notes": notes} if notes else {})}


def saved_values(folder: RunFolder) -> dict[str, Any]:
    """The config in the run's config.json as plain values with today's keys, unchecked. Raises UserError."""
    values = folder.read_json("config.json").get("config")
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict):
        raise UserError(f"{folder.path / 'config.json'}: holds no config of a run; name another folder")
    return upgrade_config(values)


def saved_config(folder: RunFolder) -> Config:
    """The config in the run's config.json, of whatever release; UserError if it is no valid config."""
    values = saved_values(folder)
    model = values.get("model")
    name = str(model.get("name")) if isinstance(model, dict) else ""
    found = models.family(name)
    data = values.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    config, problems = check(values, sources.settings(source), {} if found is None else {name: found.config})
    if config is None:
        raise UserError(*(f"{folder.path / 'config.json'}: {problem}" for problem in problems))
    return config


def require_open(folder: RunFolder) -> None:
    """UserError where the test of a run is sealed: nothing that forecasts it may be done before it is unsealed."""
    if saved_values(folder)["test"] == "sealed":
        raise UserError(f"{folder.path}: its test is sealed; look at it first: task=unseal run={folder.path}")


def _split(data: Data) -> dict[str, Any]:
    splits = data.split.by_name()
    dated = data.panel.dates is not None
    return {
        "samples": {name: len(rows) for name, rows in splits.items()},
        "spans": {name: list(data.span(rows)) if dated else None for name, rows in splits.items()},
        "purged": data.split.purged,
        **({"unknown": list(data.split.unknown)} if data.split.unknown else {}),
    }


@functools.cache
def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


@functools.cache
def git_commit() -> str | None:
    """The commit of this code, with a mark if the code differs from it; None outside a checkout.

    The jobs of a sweep get what the sweep has found: the code that runs is that which it imported.
    """
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
