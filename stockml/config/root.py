"""The whole config of an experiment, and the check that builds it from plain values."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import Reader, bounded, incidental, is_incidental, nearest, one_of
from stockml.config.values import plain, show
from stockml.data.features.settings import FeaturesConfig
from stockml.data.settings import BarsConfig, DataConfig, StockConfig
from stockml.distributed.settings import TRAINERS
from stockml.evaluation.settings import PortfolioConfig
from stockml.models.settings import ModelConfig
from stockml.runs.settings import LooksConfig
from stockml.trackers.settings import TrackerConfig
from stockml.training.settings import HardwareConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the jobs of a sweep are run."""

    fail_fast: bool
    """Whether the first failed job ends the sweep."""
    zip: tuple[str, ...] = ()
    """Swept keys whose values are paired. This and the next two are empty in the config of a job."""
    list: tuple[str, ...] = ()
    """Sets of overrides, of which each job has one."""
    exclude: tuple[str, ...] = ()
    """Sets of overrides: jobs that have all of one are left out."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Files that a task writes where it is asked to."""

    onnx: bool
    """Whether task=predict writes model.onnx."""
    features: str | None
    """The file, .parquet or .csv, to which task=features writes the features and the target."""

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        if self.features is not None and not self.features.endswith((".parquet", ".csv")):
            yield f"features={self.features}: must end in .parquet or .csv"


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of task=audit."""

    plant: (
        Literal[
            "scaler_on_all_rows",
            "shifted_target",
            "centred_window",
            "future_return",
            "random_split",
            "label_over_boundary",
        ]
        | None
    )
    """A leak to inject into the audited pipeline, to see how the audit reports it."""


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """Settings of task=update."""

    fresh: bool
    """Whether training starts with random weights, instead of those of the run that is updated."""
    of: str | None
    """Folder of the run whose update this run is; task=update sets it."""


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """Settings of task=explain."""

    split: Literal["validation", "test"]
    repeats: int = bounded(least=1, most=10_000)
    """Permutations that an importance is averaged over."""
    samples: int = bounded(least=100)
    """About the most samples that are used; of more, those of every n-th day."""


@dataclass(frozen=True, kw_only=True)
class UnsealConfig:
    """Settings of task=unseal."""

    best: int | None = bounded(least=1)
    """How many of a sweep's finished jobs are unsealed, those that are best on validation; all of them if None."""


@dataclass(frozen=True, kw_only=True)
class CombineConfig:
    """Settings of task=combine."""

    weights: Literal["mean", "ridge"]
    """The members' weights: equal, or non-negative ones that are fitted on validation."""
    best: int | None = bounded(least=1)
    """How many of a sweep's finished jobs are members, those that are best on validation; all of them if None."""


@dataclass(frozen=True, kw_only=True)
class PlaceboConfig:
    """Settings of task=placebo."""

    copies: int = bounded(least=1, most=100_000)
    """Copies of the data on which the run or the sweep is repeated."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole config of one experiment."""

    task: str = incidental()
    """What is done; `stockml.tasks` has the table."""
    run: str | None = incidental()
    """Folder of the run or sweep that the task works on."""
    runs: tuple[str, ...] = incidental()
    """Folders of the runs and sweeps that task=combine combines."""
    seed: int = bounded(least=0, most=2**32 - 1)
    stock: StockConfig
    data: DataConfig
    features: FeaturesConfig
    model: ModelConfig
    trainer: TrainerConfig
    hardware: HardwareConfig
    sweep: SweepConfig = incidental()
    report: Literal["auto"] | bool = incidental()
    """Whether report.html and plots/ are drawn; auto: for a single run and for a sweep, not for each job of a sweep."""
    export: ExportConfig = incidental()
    audit: AuditConfig = incidental()
    update: UpdateConfig = incidental()
    intervals: tuple[float, ...]
    """Levels of the intervals around forecasts, rising, 0.8 for 80 %; empty: none."""
    test: Literal["open", "sealed"] = incidental()
    """Whether the test is forecast and scored, or not before task=unseal."""
    portfolio: PortfolioConfig
    explain: ExplainConfig = incidental()
    combine: CombineConfig = incidental()
    unseal: UnsealConfig = incidental()
    placebo: PlaceboConfig = incidental()
    looks: LooksConfig = incidental()
    tracker: TrackerConfig | None = incidental(default=None)
    """None only in a config that was read back from a run folder, which does not keep it."""

    def conflicts(self) -> Iterator[str]:
        """Broken rules of fields outside the sections."""
        levels = self.intervals
        if list(levels) != sorted(set(levels)) or not all(0 < level < 1 for level in levels):
            yield f"intervals={show(levels)}: must be levels between 0 and 1, each once, rising; [0.8,0.95], or []"

    def each_fold(self) -> list[Config]:
        """The config of each fold of a walk-forward run; for any other run a list of this one."""
        data = self.data
        if not isinstance(data, BarsConfig) or data.split == "holdout" or data.fold is not None:
            return [self]
        each = range(data.folds)
        return [dataclasses.replace(self, data=dataclasses.replace(data, fold=fold)) for fold in each]

    def each_member(self) -> list[Config]:
        """The config of each member of an ensemble; without an ensemble a list of this one."""
        return [dataclasses.replace(self, seed=self.seed + number) for number in range(self.trainer.ensemble)]


def check(
    values: Mapping[str, Any], sources: Mapping[str, type[Any]], models: Mapping[str, type[Any]]
) -> tuple[Config | None, list[str]]:
    """Build a Config from plain `values`.

    `sources` and `models` map the name of each data source and each model to its settings dataclass. Returns the config
    and no problems, or None and every problem found, a line each. A section may have rules of its own: `conflicts()`
    about its own fields, `conflicts_with(config)` about itself and other sections.
    """
    kinds: dict[str, Mapping[str, type[Any]]] = {"data": sources, "model": models, "trainer": TRAINERS}
    problems: list[str] = []
    sections: dict[str, Any] = {}
    for section, known in kinds.items():
        key = "source" if section == "data" else "name"
        given = values.get(section)
        kind = given.get(key) if isinstance(given, Mapping) else None
        if isinstance(kind, str) and kind in known:
            sections[section] = known[kind]
        elif section in values:
            hint = nearest(str(kind), known)
            problems.append(f"{section}.{key}={show(kind)}: must be {one_of(list(known))}{hint}")
            sections[section] = None
    reader = Reader(sections, functools.partial(_elsewhere, {**kinds, "model": {}}))
    config = reader.read(Config, values)
    problems += reader.problems
    for section in vars(config).values() if config is not None else ():
        if hasattr(section, "conflicts_with"):
            problems.extend(section.conflicts_with(config))
    return (None, problems) if problems else (config, [])


INSTALLATION_KEYS = ("tracker", "report", "looks", "data.panel_cache", "data.cache_dir", "hardware.num_workers")
"""Settings, or sections, that belong to an installation: of a saved run they are not taken over."""


def _elsewhere(registers: Mapping[str, Mapping[str, type[Any]]], key: str, path: str) -> str:
    """A hint where a key that is unknown at `path` belongs; empty if nowhere."""
    for section, hint in typing.get_type_hints(Config).items():
        if not dataclasses.is_dataclass(hint):
            continue
        if path == f"{section}.":
            kinds = [
                n for n, cls in registers.get(section, {}).items() if key in {f.name for f in dataclasses.fields(cls)}
            ]
            if kinds:
                choices = " or ".join(f"{section}={kind}" for kind in kinds)
                return f"; type {choices}, which {'has' if len(kinds) == 1 else 'have'} it"
            continue
        classes: list[Any] = [hint, *registers.get(section, {}).values()]
        if any(key == f.name for cls in classes for f in dataclasses.fields(cls)):
            return f"; did you mean {section}.{key}?"
    return ""


def saved(config: Config) -> dict[str, Any]:
    """A config as plain values for a run's files, without what concerned one command only."""
    settings: dict[str, Any] = plain(config)
    settings.update(task="train", run=None, report="auto")
    settings.update(sweep={"fail_fast": False}, export={"onnx": False, "features": None}, audit={"plant": None})
    settings.update(explain={"split": "validation", "repeats": 5, "samples": 20_000}, unseal={"best": None})
    settings["placebo"] = {"copies": 20}
    settings["trainer"]["resume"] = None
    settings["update"]["fresh"] = False
    del settings["tracker"]
    return settings


def identity(config: Config) -> dict[str, Any]:
    """The settings that make an experiment what it is, as plain values: all but the `incidental` ones.

    Two configs of the same identity give the same numbers on the same data, if these are either held in memory by both
    or read from their file by both (data.memory_limit): that decides the order in which samples are shuffled.
    """
    return _identity(config)


def _identity(section: Any) -> dict[str, Any]:
    found = {}
    for spec in dataclasses.fields(section):
        value = getattr(section, spec.name)
        if not is_incidental(spec):
            found[spec.name] = _identity(value) if dataclasses.is_dataclass(value) else plain(value)
    return found
