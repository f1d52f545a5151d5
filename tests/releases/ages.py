"""Run folders of earlier releases: the kept ones, and older ones made of these by removing what was added later."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stockml.runs.old_releases import ADDED
from tests.releases.make import rounding

FEATURES = [added.feature for added in ADDED]
"""What each release added, oldest first."""

# Besides the config's settings: keys and columns of a run's files, by the feature that brought them.
_METADATA = {
    "walk-forward": ("data.kind", "data.relative", "data.horizon", "data.spans"),
    "pooled panels": ("data.understood",),
}
_METRICS = {
    "task=audit": ("significance", "skill"),
    "pooled panels": ("significance.days",),
    "ensembles": ("validation_loss",),
}
_HISTORY = {"schedules of the learning rate": "lr"}


def releases() -> list[Path]:
    """The kept run folders of each release."""
    return sorted(path for path in Path(__file__).parent.glob("20*") if path.is_dir())


@functools.cache
def rounds_alike(release: Path) -> bool:
    """Whether this machine computes the very numbers that the release computed where its folders were made."""
    then = json.loads((release / "rounding.json").read_text())["rounding"]
    versions = json.loads((release / "single" / "config.json").read_text())["versions"]
    return bool(then == rounding()) and all(versions[name] == metadata.version(name) for name in ("torch", "numpy"))


def copied(original: Path, folder: Path, without: str | None = None) -> Path:
    """A copy of a run or sweep folder, as a release would have made it that had no feature from `without` on."""
    shutil.copytree(original, folder)
    missing = FEATURES[FEATURES.index(without) :] if without is not None else []
    for path in folder.glob("**/config.json"):
        _edit_json(path, functools.partial(_age_metadata, missing=missing))
    for path in folder.glob("**/metrics.json"):
        _edit_json(path, functools.partial(_remove, keys=[key for name in missing for key in _METRICS.get(name, ())]))
    for path in folder.glob("**/.hydra/config.yaml"):
        values = OmegaConf.load(path)
        assert isinstance(values, DictConfig)
        plain: Any = OmegaConf.to_container(values)
        _age_config(plain, missing)
        path.write_text(OmegaConf.to_yaml(OmegaConf.create(plain)))
    for path in folder.glob("**/history.csv"):
        _remove_columns(path, [_HISTORY[name] for name in missing if name in _HISTORY])
    if "walk-forward" in missing:
        for path in folder.glob("**/baselines.csv"):
            path.unlink()
    return folder


def _age_metadata(content: dict[str, Any], missing: list[str]) -> None:
    _age_config(content["config"], missing)
    _remove(content, [key for name in missing for key in _METADATA.get(name, ())])


def _age_config(values: dict[str, Any], missing: list[str]) -> None:
    for added in ADDED:
        if added.feature in missing and (not added.sources or values["data"]["source"] in added.sources):
            _remove(values, list(added.settings))
    for section in ("sweep", "export", "audit"):
        if not values.get(section, True):
            del values[section]


def _remove(content: dict[str, Any], keys: list[str]) -> None:
    """Remove dotted keys from nested dicts."""
    for key in keys:
        *sections, name = key.split(".")
        inner = content
        for section in sections:
            inner = inner.get(section, {})
        inner.pop(name, None)


def _edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def _remove_columns(path: Path, names: list[str]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [name for name in rows[0] if name not in names]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
