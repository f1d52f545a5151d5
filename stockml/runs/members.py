"""The members of a combined run: copies of finished runs in its folder, each with its weight."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.folder import RunFolder

_KEPT = (
    *("best.pt", "config.json", "metrics.json", "norm_stats.json", "result.json"),
    *("predictions.csv", "baselines.csv", "folds.csv", "stocks.csv"),
)
"""What of a run, and of its folds, a member's folder has: what forecasts, scores and a reproduction need."""


@dataclass(frozen=True)
class Member:
    """A run within a combined run."""

    folder: RunFolder
    weight: float


def members(folder: RunFolder) -> list[Member]:
    """The members of a combined run, none of any other. UserError where one has other weights than were combined."""
    found = []
    for entry in folder.read_json("config.json").get("members", []):
        kept = RunFolder(plain_files.inside(folder.path, entry["folder"]))
        if changed := {
            name for name, digest in entry["sha256"].items() if _digest(plain_files.inside(kept.path, name)) != digest
        }:
            raise UserError(f"{kept.path / min(changed)}: is not the model that was combined; combine the runs again")
        found.append(Member(kept, entry["weight"]))
    return found


def keep(run: RunFolder, folder: RunFolder) -> dict[str, str]:
    """Copy a finished run, less what only training goes on from, into a folder; the SHA-256 of its models, by file."""
    for path in _files(run.path):
        with folder.writing(path.relative_to(run.path).as_posix()) as file:
            file.write(path.read_bytes())
    models = (path for path in _files(run.path) if path.name == "best.pt")
    return {path.relative_to(run.path).as_posix(): _digest(path) for path in models}


def model_name(metadata: Mapping[str, Any]) -> str:
    """What forecasts in a run, given its config.json: its model, or how many runs are combined."""
    number = len(metadata.get("members", []))
    return f"{number} runs combined" if number else str(metadata["config"]["model"]["name"])


def _files(path: Path) -> Iterator[Path]:
    for part in (path, *sorted(path.glob("folds/*"))):
        yield from (part / name for name in _KEPT if (part / name).is_file())
    yield from sorted((path / ".hydra").glob("*.yaml"))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
