"""What a tracker is told of a run, read from the run's folder alone."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.values import leaves, show
from stockml.runs.names import fold_and_member

if TYPE_CHECKING:
    from stockml.runs.folder import Folder, RunFolder
    from stockml.training.interface import EpochStats

Past = Mapping[str, "list[Point]"]
"""What is known already of a run that goes on: each fold's epochs, by the prefix that its figures have."""


@dataclass(frozen=True)
class Point:
    """Figures, by name, of one step."""

    step: int
    values: Mapping[str, float]
    time: float = field(default_factory=time.time)
    """In seconds since the epoch."""


@dataclass(frozen=True)
class Begun:
    """A run that begins, or goes on."""

    name: str
    hyperparameters: Mapping[str, Any]
    """The resolved config, by dotted key."""
    tags: Mapping[str, str]
    synthetic: bool
    past: Past

    @property
    def known(self) -> list[Point]:
        """The epochs of the past, fold after fold."""
        return [point for points in self.past.values() for point in points]

    def stands(self, name: str, step: int) -> bool:
        """Whether a figure that a tracker was told before is still true: of no epoch that is trained once more."""
        own = [len(points) for prefix, points in self.past.items() if name.startswith(prefix)]
        return step <= max(own or map(len, self.past.values())) and not name.startswith(FOLDS)


@dataclass(frozen=True)
class Ended:
    """A run that has ended, however that came."""

    status: str
    """As in result.json: ok, failed, interrupted or killed."""
    points: list[Point]
    """The final figures; none where the run did not come so far."""
    tags: Mapping[str, str]
    synthetic: bool
    pictures: list[Path]
    files: list[Path]


FOLDS = "folds/"
"""What the names begin with of figures whose step is a fold."""


def prefix(part: str) -> str:
    """What the names begin with of the figures of a part of the run, `folds/2/members/0` say: fold_2/member_0/."""
    return "".join(f"{kind}_{number}/" for kind, number in fold_and_member(part).items())


def of_epoch(epoch: EpochStats, lr: float, part: str) -> Point:
    """An epoch's figures; the learning rate is the constant `lr` where the epoch does not tell its own."""
    values = {"lr": lr, **dataclasses.asdict(epoch)}
    step = values.pop("epoch")
    if not values["communication_seconds"]:
        del values["communication_seconds"]
    return Point(step, {f"{prefix(part)}{name}": float(value) for name, value in values.items()})


def begun(folder: RunFolder, past: Past) -> Begun:
    """A run whose config.json is written."""
    facts = folder.read_json("config.json")
    asked = {key: value for key, value in leaves(facts["config"]) if key.partition(".")[0] not in _OF_NO_MODEL}
    tags = {
        "ticker": facts["config"]["stock"]["ticker"],
        "folder": str(folder.path),
        "synthetic": show(facts["synthetic"]),
        "data.origin": facts["data"]["origin"],
        "data.fingerprint": facts["data"]["fingerprint"],
        "device": str(facts["device"]),
        "world_size": str(facts["world_size"]),
        "git_commit": str(facts["git_commit"]),
        **{f"version.{name}": str(version) for name, version in facts["versions"].items()},
    }
    return Begun(folder.path.name, asked, tags, bool(facts["synthetic"]), past)


_OF_NO_MODEL = ("task", "run", "report", "sweep", "export", "audit")


def ended(folder: RunFolder) -> Ended:
    """A run whose result.json is written."""
    points, tags = [], {}
    if (folder.path / "metrics.json").is_file():
        metrics = folder.read_json("metrics.json")
        best = metrics["best_baseline"]
        shown = {
            "validation": metrics["validation"],
            "test": metrics["test"],
            "best_baseline": metrics["baselines"][best],
            "oracle": metrics.get("oracle") or {},
            "timing": metrics["timing"],
        }
        points = [Point(metrics["timing"]["epochs"], dict(_figures(shown))), *_folds(folder.path / "folds.csv")]
        tags = {"best_baseline": best, "skill": str(metrics.get("skill")), "verdict": metrics["verdict"]}
    status = folder.outcome()
    if status in ("failed", "interrupted") and (error := folder.read_json("result.json").get("error")):
        tags["error"] = str(error)
    synthetic = bool(folder.read_json("config.json")["synthetic"])
    pictures = sorted(folder.path.glob("plots/*.png"))
    return Ended(status or "failed", points, tags, synthetic, pictures, list(files(folder)))


_TRACKERS_OWN = ("tensorboard", "mlflow.json")


def files(folder: Folder) -> Iterator[Path]:
    """What the folder holds, the smaller files first; not what is being written, nor other trackers' files."""
    found = [
        path
        for path in folder.path.rglob("*")
        if path.is_file() and not (path.name.startswith(".") or path.relative_to(folder.path).parts[0] in _TRACKERS_OWN)
    ]
    yield from sorted(found, key=lambda path: path.stat().st_size)


def _figures(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of nested dicts, by their names joined with slashes; what is undefined has none."""
    for key, value in leaves(values):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield key.replace(".", "/"), float(value)


def _folds(path: Path) -> Iterable[Point]:
    """Of a walk-forward run the scores of each fold, whose number is the step."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            scores = {name: row[name] for name in row if name.endswith("epoch") or name.startswith(("val_", "test_"))}
            figures = {name: text for name, text in scores.items() if text and not name.endswith(("_first", "_last"))}
            yield Point(int(row["fold"]), {f"{FOLDS}{name}": float(text) for name, text in figures.items()})
