"""The config of one experiment, its sections put together, and the check that makes one of plain values."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import Reader, bounded, nearest, one_of
from stockml.config.values import plain, show
from stockml.data.settings import BarsConfig, DataConfig, StockConfig
from stockml.data.sources.yahoo import YahooConfig
from stockml.distributed.settings import DDPConfig
from stockml.models.settings import ModelConfig
from stockml.trackers.settings import TrackerConfig
from stockml.training.settings import HardwareConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the jobs of a sweep hang together."""

    fail_fast: bool
    """Whether the first failed job ends the sweep."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What task=predict writes besides its forecasts."""

    onnx: bool
    """Whether model.onnx."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What is tried by task=audit alone."""

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
    """A leak to put into the pipeline that is audited, to see what it looks like."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment, whole."""

    task: Literal["train", "reproduce", "evaluate", "predict", "report", "audit", "doctor", "fetch"]
    run: str | None
    """Folder of the run, or of the sweep, that the task is about."""
    seed: int = bounded(least=0, most=2**32 - 1)
    stock: StockConfig
    data: DataConfig
    model: ModelConfig
    trainer: TrainerConfig
    hardware: HardwareConfig
    sweep: SweepConfig
    report: Literal["auto"] | bool
    """Whether report.html and plots/ are drawn; auto: of a run by itself and of a sweep, not of a sweep's jobs."""
    export: ExportConfig
    audit: AuditConfig
    tracker: TrackerConfig | None = None
    """None only in a config that was read back from a run: what follows it is no part of what it is."""

    def each_fold(self) -> list[Config]:
        """The config of each fold of a walk-forward run; else this one alone."""
        data = self.data
        if not isinstance(data, BarsConfig) or data.split == "holdout" or data.fold is not None:
            return [self]
        each = range(data.folds)
        return [dataclasses.replace(self, data=dataclasses.replace(data, fold=fold)) for fold in each]

    def each_member(self) -> list[Config]:
        """The config of each member of an ensemble; else this one alone."""
        return [dataclasses.replace(self, seed=self.seed + number) for number in range(self.trainer.ensemble)]

    def conflicts(self) -> Iterator[str]:
        """Rules across sections that are broken."""
        data, stock = self.data, self.stock
        if self.task not in ("train", "audit", "doctor", "fetch") and not self.run:
            yield f"run: needed with task={self.task}, the folder that it is about: run=FOLDER"
        if self.task == "train" and self.run:
            yield f"run={self.run}: task=train makes a folder of its own; leave it out, or name another task"
        if self.export.onnx and self.task != "predict":
            yield "export.onnx: a trained model is exported: task=predict run=FOLDER export.onnx=true"
        if self.audit.plant and self.task != "audit":
            yield f"audit.plant={self.audit.plant}: a leak is planted for task=audit alone; leave it out"
        if self.audit.plant and not isinstance(data, BarsConfig):
            yield f"audit.plant={self.audit.plant}: needs daily bars, data=csv or data=simulated; leave it out"
        if self.task == "doctor" and not isinstance(data, BarsConfig):
            yield "task=doctor: needs dated daily bars, data=csv or data=simulated; task=audit looks at arrays"
        if isinstance(data, BarsConfig):
            yield from data.stock_conflicts(stock)
        if self.task == "fetch" and not isinstance(data, YahooConfig):
            yield f"data.source={data.source}: task=fetch downloads from Yahoo; leave it out, or take data=yahoo"
        if self.task == "audit" and isinstance(data, BarsConfig) and data.pooled:
            yield "data.tickers: task=audit looks at one stock at a time; leave it out, and name one with stock.ticker="
        if isinstance(self.trainer, DDPConfig) and self.hardware.device == "mps":
            yield "trainer.name: ddp does not work on mps; take hardware=cpu, or trainer=single"


TRAINERS: dict[str, type[TrainerConfig]] = {"single": TrainerConfig, "ddp": DDPConfig}


def check(
    values: Mapping[str, Any], sources: Mapping[str, type[Any]], models: Mapping[str, type[Any]]
) -> tuple[Config | None, list[str]]:
    """Turn plain `values` into a Config.

    `sources` and `models` map the name of each data source and each model to its settings dataclass. Returns the config
    and no problems, or None and every problem found, a line each.
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
    return (None, problems) if problems else (config, [])


def _elsewhere(registers: Mapping[str, Mapping[str, type[Any]]], key: str, path: str) -> str:
    """Where a key that is unknown here would be right."""
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
    """A config as a run's files hold it, plain: what was asked of this run alone is left out."""
    settings: dict[str, Any] = plain(config)
    settings.update(task="train", run=None, report="auto")
    settings.update(sweep={"fail_fast": False}, export={"onnx": False}, audit={"plant": None})
    settings["trainer"]["resume"] = None
    del settings["tracker"]
    return settings
