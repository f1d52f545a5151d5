"""What config.json says of a run."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml import models
from stockml.config.root import Config, check, saved
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.runs.folder import RunFolder


def of(config: Config, folds: Sequence[Data], device: str | None, world_size: int = 1) -> dict[str, Any]:
    """What config.json says: the resolved config, and the facts that it does not fix (the device when it is known).

    Of a walk-forward run, every fold's data; of any other the one there is.
    """
    panel = folds[0].panel
    packages = ("stockml", "torch", "hydra-core", "omegaconf", "numpy", "pandas")
    return {
        "config": saved(config),
        "data": {
            "origin": panel.origin,
            "fingerprint": folds[0].fingerprint,
            "kind": panel.kind,
            "relative": panel.relative,
            "horizon": panel.horizon,
            "rows": len(panel.values),
            "understood": panel.parsing_notes,
            "dropped": list(panel.dropped),
            **_stocks(panel),
            **(_split(folds[0]) if len(folds) == 1 else {"folds": [_split(data) for data in folds]}),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "git_commit": git_commit(),
        "device": device,
        "world_size": world_size,
        "global_batch_size": config.trainer.global_batch(world_size),
        "platform": platform.platform(),
        "synthetic": panel.synthetic,
    }


def _stocks(panel: Panel) -> dict[str, Any]:
    """Of a pooled panel: where the numbers of each stock come from."""
    if panel.stocks is None:
        return {}
    return {"tickers": dict(zip(panel.stocks.tickers, panel.origins, strict=True))}


def saved_config(folder: RunFolder) -> Config:
    """The config that the run's config.json holds; UserError where it means nothing to this version."""
    facts = folder.read_json("config.json")
    values: Any = facts.get("config")
    name = values["model"]["name"] if isinstance(values, dict) and isinstance(values.get("model"), dict) else ""
    found = models.family(name)
    config, problems = check(values or {}, {} if found is None else {name: found.config})
    if config is None:
        raise UserError(*(f"{folder.path / 'config.json'}: {problem}" for problem in problems))
    return config


def _split(data: Data) -> dict[str, Any]:
    parts = data.split.by_name()
    dated = data.panel.dates is not None
    return {
        "samples": {name: len(rows) for name, rows in parts.items()},
        "spans": {name: list(data.span(rows)) if dated else None for name, rows in parts.items()},
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
    """The commit of this code, marked where the code differs from it; None outside a checkout.

    The jobs of a sweep get what the sweep has found: the code that runs is that which it imported.
    """
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
