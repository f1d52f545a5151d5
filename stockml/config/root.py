"""The config of one experiment, its sections put together, and the check that makes one of plain values."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import Reader, bounded, nearest, one_of
from stockml.config.values import plain, show
from stockml.data.settings import BarsConfig, DataConfig, StockConfig
from stockml.data.sources.csv import CsvConfig
from stockml.data.sources.npz import NpzConfig
from stockml.data.sources.simulated import SimulatedConfig
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

    task: str
    """What is done; `stockml.tasks` has the table."""
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
        if isinstance(data, BarsConfig) and not stock.features:
            yield "stock.features: must name at least one feature"
        if isinstance(self.trainer, DDPConfig) and self.hardware.device == "mps":
            yield "trainer.name: ddp does not work on mps; take hardware=cpu, or trainer=single"


SOURCES: dict[str, type[DataConfig]] = {
    "simulated": SimulatedConfig,
    "csv": CsvConfig,
    "yahoo": YahooConfig,
    "npz": NpzConfig,
}


TRAINERS: dict[str, type[TrainerConfig]] = {"single": TrainerConfig, "ddp": DDPConfig}


def check(
    values: Mapping[str, Any],
    models: Mapping[str, type[Any]],
    rules: Callable[[Config], Iterable[str]] = lambda _config: (),
) -> tuple[Config | None, list[str]]:
    """Turn plain `values` into a Config.

    `models` maps each installed model's name to its config dataclass; `rules` gives the problems of a config that is
    sound but for them. Returns the config and no problems, or None and every problem found, a line each.
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
    if config is not None:
        problems.extend(rules(config))
    return (None, problems) if problems else (config, [])


INSTALLATION_KEYS = (
    "tracker",
    "report",
    "data.panel_cache",
    "data.memory_limit",
    "data.cache_dir",
    "hardware.num_workers",
)
"""Settings, or sections, that say where or how fast a run is made, and not what it is."""


def _elsewhere(key: str, path: str) -> str:
    """Where a key that is unknown here would be right."""
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
    """A config as a run's files hold it, plain: what was asked of this run alone is left out."""
    settings: dict[str, Any] = plain(config)
    settings.update(task="train", run=None, report="auto")
    settings.update(sweep={"fail_fast": False}, export={"onnx": False}, audit={"plant": None})
    settings["trainer"]["resume"] = None
    del settings["tracker"]
    return settings
