"""What a run's folder says of it, as trackers log it."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.values import leaves, show
from stockml.runs.names import fold_and_member

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder
    from stockml.training.interface import EpochStats


@dataclass(frozen=True)
class Point:
    """Figures, by name, of one step."""

    step: int
    values: Mapping[str, float]
    time: float = field(default_factory=time.time)
    """In seconds since the epoch."""


@dataclass(frozen=True)
class Start:
    """A run that begins, or goes on."""

    hyperparameters: Mapping[str, Any]
    """The resolved config, by dotted key."""
    tags: Mapping[str, str]
    known: Sequence[Point]
    """The epochs that are trained already."""
    next_step: int | None
    """The first step that is still to be trained: what was logged from there on is logged again. None: nothing is."""


@dataclass(frozen=True)
class Outcome:
    """A run that has ended."""

    status: str
    """As in result.json: ok, failed, interrupted or killed."""
    points: Sequence[Point]
    """The final figures; none where the run did not come so far."""
    tags: Mapping[str, str]


def of_epoch(epoch: EpochStats, lr: float, part: str) -> Point:
    """An epoch's figures, their names prefixed by the part of the run: fold_2/member_0/ for `folds/2/members/0`."""
    prefix = "".join(f"{kind}_{number}/" for kind, number in fold_and_member(part).items())
    values = dataclasses.asdict(epoch)
    step = values.pop("epoch")
    values["lr"] = lr if epoch.lr is None else epoch.lr
    if not epoch.communication_seconds:
        del values["communication_seconds"]
    return Point(step, {f"{prefix}{name}": float(value) for name, value in values.items()})


def start(folder: RunFolder, known: Sequence[Point], next_step: int | None) -> Start:
    """A run whose config.json is written."""
    metadata = folder.read_json("config.json")
    hyperparameters = {k: v for k, v in leaves(metadata["config"]) if k.partition(".")[0] not in _NOT_OF_THE_MODEL}
    tags = {
        "ticker": metadata["config"]["stock"]["ticker"],
        "synthetic": show(metadata["synthetic"]),
        "data.origin": metadata["data"]["origin"],
        "data.fingerprint": metadata["data"]["fingerprint"],
        **{key: str(metadata[key]) for key in ("device", "world_size", "git_commit")},
        **{f"version.{name}": str(version) for name, version in metadata["versions"].items()},
    }
    return Start({**hyperparameters, "synthetic": bool(metadata["synthetic"])}, tags, known, next_step)


_NOT_OF_THE_MODEL = ("task", "run", "report", "sweep", "export", "audit")


def outcome(folder: RunFolder) -> Outcome:
    """A run whose result.json is written."""
    points, tags = [], {}
    if (folder.path / "metrics.json").is_file():
        metrics = folder.read_json("metrics.json")
        best, step = metrics["best_baseline"], metrics["timing"]["epochs"]
        shown = {key: metrics.get(key) or {} for key in ("validation", "test", "oracle", "timing")}
        shown["best_baseline"] = metrics["baselines"][best]
        points = [Point(step, dict(_finite(shown))), *_folds(folder.path / "folds.csv")]
        tags = {"best_baseline": best, "skill": str(metrics.get("skill", "sealed")), "verdict": metrics["verdict"]}
    status = folder.outcome()
    if status in ("failed", "interrupted") and (error := folder.read_json("result.json").get("error")):
        tags["error"] = str(error)
    return Outcome(status or "failed", points, tags)


def _finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of nested dicts, by their names joined with slashes."""
    for key, value in leaves(values):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield key.replace(".", "/"), float(value)


def _folds(path: Path) -> Iterator[Point]:
    """The scores of each fold of a walk-forward run; the fold is the step."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                names = [n for n in row if row[n] and (n.endswith("epoch") or n.startswith(("val_", "test_")))]
                scores = {f"folds/{n}": float(row[n]) for n in names if not n.endswith(("_first", "_last"))}
                yield Point(int(row["fold"]), scores)
