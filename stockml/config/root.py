"""The whole config of an experiment, and the check that builds it from plain values."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import Reader, bounded, incidental, is_incidental, nearest, one_of
from stockml.config.values import plain, show
from stockml.data.settings import BarsConfig, DataConfig, StockConfig
from stockml.data.sources.csv import CsvConfig
from stockml.data.sources.npz import NpzConfig
from stockml.data.sources.simulated import SimulatedConfig
from stockml.data.sources.yahoo import YahooConfig
from stockml.distributed.settings import TRAINERS
from stockml.models.settings import ModelConfig
from stockml.trackers.settings import TrackerConfig
from stockml.training.settings import HardwareConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the jobs of a sweep are run."""

    fail_fast: bool
    """Whether the first failed job ends the sweep."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What task=predict writes besides forecasts.csv."""

    onnx: bool
    """Whether to write model.onnx."""


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
class Config:
    """The whole config of one experiment."""

    task: Literal["train", "reproduce", "evaluate", "predict", "report", "audit", "doctor", "fetch"] = incidental()
    run: str | None = incidental()
    """Folder of the run or sweep that the task works on."""
    seed: int = bounded(least=0, most=2**32 - 1)
    stock: StockConfig
    data: DataConfig
    model: ModelConfig
    trainer: TrainerConfig
    hardware: HardwareConfig
    sweep: SweepConfig = incidental()
    report: Literal["auto"] | bool = incidental()
    """Whether report.html and plots/ are drawn; auto: for a single run and for a sweep, not for each job of a sweep."""
    export: ExportConfig = incidental()
    audit: AuditConfig = incidental()
    tracker: TrackerConfig | None = incidental(default=None)
    """None only in a config that was read back from a run folder, which does not keep it."""

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

    def conflicts(self) -> Iterator[str]:
        """Broken rules between sections, which belong to none of them."""
        data, stock = self.data, self.stock
        if self.task not in ("train", "audit", "doctor", "fetch") and not self.run:
            yield f"run: needed with task={self.task}, the folder that it is about: run=FOLDER"
        if self.task == "train" and self.run:
            yield f"run={self.run}: task=train makes a folder of its own; leave it out, or name another task"
        if self.export.onnx and self.task != "predict":
            yield "export.onnx: a trained model is exported: task=predict run=FOLDER export.onnx=true"
        if self.audit.plant and self.task != "audit":
            yield f"audit.plant={self.audit.plant}: a leak is planted for task=audit alone; leave it out"
        if self.audit.plant and isinstance(data, NpzConfig):
            yield f"audit.plant={self.audit.plant}: needs daily bars, data=csv or data=simulated; leave it out"
        if self.task == "doctor" and isinstance(data, NpzConfig):
            yield "task=doctor: needs dated daily bars, data=csv or data=simulated; task=audit looks at arrays"
        if isinstance(data, SimulatedConfig):
            if stock.simulator is None:
                yield (
                    f"stock.ticker: {stock.ticker!r} has no simulator figures; take a stock of conf/stock, "
                    "or real data: data=csv data.dir=FOLDER"
                )
            if data.days < data.window + data.horizon + 3:
                yield (
                    f"data.days: {data.days} days hold no train, validation and test samples of "
                    f"{data.window} days and {data.horizon} ahead; raise it, or lower data.window"
                )
        if self.task == "fetch" and not isinstance(data, YahooConfig):
            yield f"data.source={data.source}: task=fetch downloads from Yahoo; leave it out, or take data=yahoo"
        if self.task == "audit" and isinstance(data, BarsConfig) and data.pooled:
            yield "data.tickers: task=audit looks at one stock at a time; leave it out, and name one with stock.ticker="
        if isinstance(data, BarsConfig) and not stock.features:
            yield "stock.features: must name at least one feature"


SOURCES: dict[str, type[DataConfig]] = {
    "simulated": SimulatedConfig,
    "csv": CsvConfig,
    "yahoo": YahooConfig,
    "npz": NpzConfig,
}


def check(values: Mapping[str, Any], models: Mapping[str, type[Any]]) -> tuple[Config | None, list[str]]:
    """Build a Config from plain `values`.

    `models` maps each installed model's name to its config dataclass. Returns the config and no problems, or
    None and every problem found, a line each. A section may have rules of its own: `conflicts()` about its own fields,
    `conflicts_with(config)` about itself and other sections.
    """
    problems: list[str] = []
    sections: dict[str, Any] = {}
    for section, key, kinds in (("data", "source", SOURCES), ("model", "name", models), ("trainer", "name", TRAINERS)):
        given = values.get(section)
        kind = given.get(key) if isinstance(given, Mapping) else None
        if isinstance(kind, str) and kind in kinds:
            sections[section] = kinds[kind]
        elif section in values:
            hint = nearest(str(kind), kinds)
            problems.append(f"{section}.{key}={show(kind)}: must be {one_of(list(kinds))}{hint}")
            sections[section] = None
    reader = Reader(sections, _elsewhere)
    config = reader.read(Config, values)
    problems += reader.problems
    for section in vars(config).values() if config is not None else ():
        if hasattr(section, "conflicts_with"):
            problems.extend(section.conflicts_with(config))
    return (None, problems) if problems else (config, [])


def _elsewhere(key: str, path: str) -> str:
    """A hint where a key that is unknown at `path` belongs; empty if nowhere."""
    registers: dict[str, dict[str, Any]] = {"data": SOURCES, "trainer": TRAINERS}
    for section, hint in typing.get_type_hints(Config).items():
        if not dataclasses.is_dataclass(hint):
            continue
        if path == f"{section}.":
            kinds = [
                n for n, cls in registers.get(section, {}).items() if key in {f.name for f in dataclasses.fields(cls)}
            ]
            if kinds:
                return f"; it belongs to {section}={' or '.join(kinds)}"
            continue
        classes: list[Any] = [hint, *registers.get(section, {}).values()]
        if any(key == f.name for cls in classes for f in dataclasses.fields(cls)):
            return f"; did you mean {section}.{key}?"
    return ""


def saved(config: Config) -> dict[str, Any]:
    """A config as plain values for a run's files, without what concerned one command only."""
    settings: dict[str, Any] = plain(config)
    settings.update(task="train", run=None, report="auto")
    settings.update(sweep={"fail_fast": False}, export={"onnx": False}, audit={"plant": None})
    settings["trainer"]["resume"] = None
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
