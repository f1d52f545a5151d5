"""The configuration: dataclasses, and the checks that turn plain values into them.

The values live in `conf/`; a field here has no default, so that no default is written twice.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import difflib
import itertools
import math
import operator
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal

Feature = Literal["open", "high", "low", "close", "volume"]


def limited(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    default: Any = MISSING,
) -> Any:
    """A field whose number must lie within the given bounds; what has a file in `conf/` has its default there."""
    bounds = {"≥": least, ">": above, "≤": most, "<": below}
    return field(default=default, metadata={sign: bound for sign, bound in bounds.items() if bound is not None})


@dataclass(frozen=True, kw_only=True)
class GarchConfig:
    """GJR-GARCH(1,1) coefficients; omega follows from the variance target."""

    alpha: float = limited(least=0)
    gamma: float = limited(least=0)
    beta: float = limited(least=0)

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken, each as `key: what is wrong`."""
        if self.alpha + self.gamma / 2 + self.beta >= 1:
            yield "alpha + gamma/2 + beta must be below 1, or the variance grows without bound"


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """Log volume: phi × yesterday's + b_z (|z| − 0.75) + b_s (ln σ − mean) + se × noise."""

    phi: float = limited(above=-1, below=1)
    b_z: float
    b_s: float
    se: float = limited(least=0)


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """How one stock moves in the simulator; volatilities and drift are annual, in per cent."""

    market_beta: float
    idio_vol_percent: float = limited(least=0)
    idio_tail: float = limited(above=2)
    garch: GarchConfig
    overnight_share: float = limited(least=0, below=1)
    shares_per_day: float = limited(above=0)
    volume: VolumeConfig
    drift_percent: float

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if self.idio_vol_percent == 0 and self.market_beta == 0:
            yield "idio_vol_percent and market_beta are both 0: the price would never move"


@dataclass(frozen=True, kw_only=True)
class StockConfig:
    """What is forecast."""

    ticker: str
    """Symbol; names `<ticker>.csv`, `<ticker>.npz` and the run folder."""
    name: str
    """Of the company; empty where it is not known."""
    features: tuple[Feature, ...]
    """Columns of a bar that the model sees; empty with `data.path`: as many as the arrays have."""
    simulator: SimulatorConfig | None

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if not self.ticker.strip():
            yield "ticker: must not be empty"
        elif "/" in self.ticker or "\\" in self.ticker or self.ticker.startswith("."):
            yield f"ticker: {self.ticker!r} is no file name; a folder goes into data.dir"
        if len(set(self.features)) < len(self.features):
            yield f"features: [{', '.join(self.features)}] names a feature twice"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What every source of data has."""

    source: str
    valid_ratio: float = limited(above=0, below=1)
    """Share of the samples before the test that become validation: the latest ones."""
    memory_limit: float = limited(least=0)
    """GB of features up to which a pooled panel, or an array, is held in memory; larger ones stay in their file."""
    panel_cache: str
    """Folder of those files, and of every pooled panel."""


@dataclass(frozen=True, kw_only=True)
class BarsConfig(DataConfig):
    """What every source of dated daily bars has."""

    window: int = limited(least=1)
    """Days that a model sees."""
    horizon: int = limited(least=1)
    """Days ahead that the target lies."""
    target: Literal["log_return", "return", "close"]
    transform: Literal["returns", "levels"]
    test_ratio: float = limited(above=0, below=1)
    start: datetime.date | None
    end: datetime.date | None
    valid_start: datetime.date | None
    test_start: datetime.date | None
    split: Literal["holdout", "walk_forward"]
    """One train, validation and test; or, over the test's days, fold after fold of them, each trained anew."""
    folds: int = limited(least=2)
    """Walk-forward: pieces that the test is cut into."""
    fold: int | None = limited(least=0)
    """Walk-forward: the one piece that is forecast, counted from 0; None: each of them, in one run."""
    train_span: Literal["expanding", "rolling"]
    """Walk-forward: whether a fold trains on all that came before, or on as much as the first one."""
    embargo: int = limited(least=0)
    """Days left out before validation and before test, besides those that purging takes."""
    calendar: str
    """The exchange whose trading days these are, by its ISO 10383 code."""
    tickers: tuple[str, ...] | Literal["all"]
    """Stocks that one model is trained on; all: every file of `data.dir`, or every ticker of `data.path`; none: one."""
    scaler: Literal["per_stock", "global"]
    """Whether each stock of several has a mean and a standard deviation of its own, or all have the same."""

    @property
    def pooled(self) -> bool:
        """Whether one model is trained on several stocks."""
        return bool(self.tickers)

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if isinstance(self.tickers, tuple):
            twice = [name for name, count in collections.Counter(self.tickers).items() if count > 1]
            if twice:
                yield f"tickers: names {', '.join(twice)} twice"
            for name in self.tickers:
                if "/" in name or "\\" in name or name.startswith(".") or not name.strip():
                    yield f"tickers: {name!r} is no ticker"
        elif not isinstance(self, CsvConfig):
            yield "tickers: all belongs to data=csv; name the stocks, 'data.tickers=[AAPL,AMZN]'"
        if self.fold is not None and self.fold >= self.folds:
            yield f"fold: {self.fold} is too high; {self.folds} folds are numbered from 0 (data.folds)"
        if self.fold is not None and self.split == "holdout":
            yield "fold: belongs to data.split=walk_forward"
        if self.valid_start is not None and self.split == "walk_forward":
            yield "valid_start: each fold has a validation of its own; leave it out, and set data.valid_ratio"
        names = ("start", "valid_start", "test_start", "end")
        given = [(name, value) for name in names if (value := getattr(self, name)) is not None]
        for (earlier, first), (later, second) in itertools.pairwise(given):
            if first >= second:
                yield f"{later}: {second} must come after {earlier} ({first})"


@dataclass(frozen=True, kw_only=True)
class SimulatedConfig(BarsConfig):
    """Bars from the simulator."""

    days: int = limited(least=2, most=2_000_000)
    signal: Literal["realistic", "strong", "interaction"] | None
    seed: int = limited(least=0)


@dataclass(frozen=True, kw_only=True)
class CsvConfig(BarsConfig):
    """Bars from a table: the file `path`, or that of the ticker in `dir`."""

    path: str | None
    dir: str | None
    date_format: str | None
    """strptime's signs; None: as the file's own dates tell."""
    on_bad_rows: Literal["error", "drop"]
    """Whether rows without a date or a usable number are refused, or left out and counted."""

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        yield from super().conflicts()
        if not self.dir and not self.path:
            yield "dir: needed with data=csv, the folder of the bars: data.dir=FOLDER (or one file: data.path=FILE)"
        elif self.dir and self.path:
            yield "path: data=csv needs either data.path=FILE or data.dir=FOLDER, one of the two"
        signs = set(re.findall("%.", self.date_format or ""))
        if self.date_format is not None and not (
            {"%d"} & signs and {"%m", "%b", "%B"} & signs and {"%Y", "%y"} & signs
        ):
            yield f"date_format: {self.date_format!r} must tell day, month and year, as %d/%m/%Y does"


@dataclass(frozen=True, kw_only=True)
class YahooConfig(BarsConfig):
    """Bars from Yahoo, downloaded once into a cache: `<cache_dir>/<symbol>.parquet`."""

    cache_dir: str
    refresh: Literal["auto"] | bool
    """Whether what is cached is downloaded anew; auto: where a trading day that is wanted has ended since."""
    symbols: tuple[str, ...]
    """`TICKER=SYMBOL` each, for tickers that Yahoo calls something else."""
    retries: int = limited(least=0, most=20)
    """How often Yahoo is asked again after 429, a server's error, a time-out or a broken answer."""
    backoff_seconds: float = limited(above=0)
    """Waited before the first of them, and twice as long before each further one."""
    timeout_seconds: float = limited(above=0)
    """How long one answer may take."""

    def symbol(self, ticker: str) -> str:
        """What Yahoo calls a ticker."""
        return dict(pair.split("=", 1) for pair in self.symbols).get(ticker, ticker).upper()

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        yield from super().conflicts()
        for pair in self.symbols:
            if not all(pair.partition("=")):
                yield f"symbols: {pair!r} is not of the form TICKER=SYMBOL, as SP500=^GSPC is"
        for name in (pair.partition("=")[2] for pair in self.symbols):
            if "/" in name or "\\" in name or name.startswith("."):
                yield f"symbols: {name!r} is no ticker"


@dataclass(frozen=True, kw_only=True)
class NpzConfig(DataConfig):
    """Arrays windowed elsewhere, from `path`, or from `<dir>/<ticker>.npz`."""

    path: str | None
    dir: str | None

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if bool(self.path) == bool(self.dir):
            yield "path: data=npz needs either data.path=FILE.npz or data.dir=FOLDER, one of the two"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every model has."""

    name: str


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """What every trainer has."""

    name: str
    epochs: int = limited(least=1)
    batch_size: int = limited(least=1)
    """Samples per process and update."""
    ensemble: int = limited(least=1)
    """Models trained, with the seeds that follow `seed`, whose forecasts are averaged."""
    lr: float = limited(above=0)
    schedule: Literal["constant", "cosine", "plateau"]
    """What becomes of the learning rate; cosine: down to 0 over all epochs; plateau: halved where nothing improves."""
    warmup_epochs: float = limited(least=0)
    """Epochs, or a part of one, in which the learning rate rises to `lr`."""
    plateau_patience: int = limited(least=1)
    """Epochs without a better validation loss before schedule=plateau halves the learning rate."""
    optimizer: Literal["adam", "adamw", "sgd"]
    weight_decay: float = limited(least=0)
    loss: Literal["mse", "mae", "huber"]
    patience: int | None = limited(least=1)
    """Epochs without a better validation loss before training stops; None: never early."""
    min_delta: float = limited(least=0)
    """How much lower a validation loss must be to count as better, in units of the scaled target: for mse, in R²."""
    grad_clip_norm: float | None = limited(above=0)
    shuffle: bool
    overfit_batches: int = limited(least=0)
    """Train on so many batches alone, until their loss is near zero, and fail where it never is; 0: off."""
    resume: str | None
    """Folder of an interrupted run, continued in place."""

    def global_batch(self, world_size: int) -> int:
        """Samples of one update, over all processes."""
        return self.batch_size * world_size

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            yield f"warmup_epochs: {self.warmup_epochs:g} leave nothing of {self.epochs} epochs (trainer.epochs)"
        if self.schedule == "plateau" and self.patience is not None and self.plateau_patience >= self.patience:
            yield (
                f"plateau_patience: after {self.plateau_patience} epochs without a better one training has stopped; "
                "lower it, or raise trainer.patience"
            )


@dataclass(frozen=True, kw_only=True)
class DDPConfig(TrainerConfig):
    """Several processes that train one model: torchrun-style workers."""

    world_size: int | Literal["auto"] = limited(least=1)
    """Processes over all nodes; auto: one a GPU, else one a core, but no more than have a full batch."""
    global_batch_size: int | None = limited(least=1)
    """Samples per update over all processes, in place of batch_size."""
    launcher: Literal["local", "torchrun"]
    """Who starts and supervises the workers of this machine."""
    nnodes: int = limited(least=1)
    """Machines; the same command is typed on each, but for `node_rank`."""
    node_rank: int = limited(least=0)
    rdzv_endpoint: str | None
    """`host:port` on node 0, where the nodes meet."""
    max_restarts: int = limited(least=0)
    """How often the workers start anew from the last checkpoint after one of them has failed."""
    timeout_seconds: float = limited(above=0)
    """How long ranks wait for one another before the one that is missed is taken to hang."""

    def global_batch(self, world_size: int) -> int:
        """Samples of one update, over all processes."""
        return self.global_batch_size or self.batch_size * world_size

    def endpoint(self) -> tuple[str, int] | None:
        """`rdzv_endpoint` as host and port; None where it is not of that form."""
        host, colon, port = (self.rdzv_endpoint or "").strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")  # of an IPv6 address
        return (host, int(port)) if colon and host and port.isdecimal() and 0 < int(port) < 65536 else None

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        yield from super().conflicts()
        if self.rdzv_endpoint is not None and self.endpoint() is None:
            yield f"rdzv_endpoint: {self.rdzv_endpoint!r} is not of the form host:port"
        elif self.nnodes > 1 and self.rdzv_endpoint is None:
            yield "rdzv_endpoint: nodes must know where to meet, a free port of node 0: trainer.rdzv_endpoint=HOST:PORT"
        if self.node_rank >= self.nnodes:
            yield f"node_rank: {self.node_rank} is too high; {self.nnodes} nodes are numbered from 0 (trainer.nnodes)"
        if isinstance(self.world_size, int):
            if self.world_size % self.nnodes:
                yield f"world_size: {self.world_size} ranks cannot be shared out evenly to {self.nnodes} nodes"
            if self.global_batch_size is not None and self.global_batch_size < self.world_size:
                yield (
                    f"global_batch_size: {self.global_batch_size} samples are too few for {self.world_size} ranks; "
                    "raise it, or lower trainer.world_size"
                )


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Where the numbers are computed."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: int | Literal["auto"] = limited(least=1)
    precision: Literal["fp32", "fp64", "bf16"]
    deterministic: bool
    num_workers: int = limited(least=0)

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if self.precision == "bf16" and self.device in ("cpu", "mps"):
            yield f"precision: bf16 needs hardware=cuda, not {self.device}; take fp32"
        if self.precision == "fp64" and self.device == "mps":
            yield "precision: mps has no fp64; take fp32, or hardware=cpu"


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the jobs of a sweep hang together."""

    fail_fast: bool
    """Whether the first failed job ends the sweep."""


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Where a run is followed, besides in its own folder."""

    csv: bool
    """Whether in the run folder's scalars.csv, a row a figure."""
    tensorboard: bool
    """Whether in event files, in the folder `tensorboard` of the run folder."""
    mlflow: bool
    uri: str
    """Where MLflow keeps its runs: a server, or a database such as sqlite:///FILE."""
    experiment: str
    """What MLflow calls that which the runs belong to."""
    wait_seconds: float = limited(least=0)
    """How long a run that has ended waits for what is still to be sent."""

    def names(self) -> list[str]:
        """The trackers that are asked for, as they are typed."""
        return [name for name in ("csv", "tensorboard", "mlflow") if getattr(self, name)]

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if not self.mlflow:
            return
        if not re.match(r"[a-z][a-z0-9+.-]*:/|databricks", self.uri):
            yield f"uri: {self.uri!r} is no address of MLflow's; write http://HOST:PORT, or sqlite:///FILE"
        elif re.match(r"[^/]*//[^/@]*:[^/]*@", self.uri):
            yield (
                "uri: holds a password, which run folders would show; leave it to the environment: "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, PGPASSWORD for PostgreSQL"
            )
        if not self.experiment.strip():
            yield "experiment: must not be empty"


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
    seed: int = limited(least=0, most=2**32 - 1)
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
        if isinstance(self.trainer, DDPConfig) and self.hardware.device == "mps":
            yield "trainer.name: ddp does not work on mps; take hardware=cpu, or trainer=single"


SOURCES: dict[str, type[DataConfig]] = {
    "simulated": SimulatedConfig,
    "csv": CsvConfig,
    "yahoo": YahooConfig,
    "npz": NpzConfig,
}
TRAINERS: dict[str, type[TrainerConfig]] = {"single": TrainerConfig, "ddp": DDPConfig}


def check(values: Mapping[str, Any], models: Mapping[str, type[Any]]) -> tuple[Config | None, list[str]]:
    """Turn plain `values` into a Config.

    `models` maps each installed model's name to its config dataclass. Returns the config and no problems, or
    None and every problem found, a line each.
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
    config = _read(Config, values, "", problems, sections)
    return (None, problems) if problems else (config, [])


def _read(
    cls: type[Any], values: Mapping[str, Any], path: str, problems: list[str], sections: Mapping[str, Any]
) -> Any:
    """Build a `cls` from `values`, adding what is wrong with them to `problems`."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    before, known = len(problems), f"; known here: {', '.join(fields)}"
    for key in values:
        if key not in fields:
            problems.append(f"{path}{key}: no such key{nearest(key, fields, path) or _elsewhere(key, path) or known}")
    built: dict[str, Any] = {}
    complete = True
    for name, spec in fields.items():
        where = f"{path}{name}"
        if name not in values:
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                problems.append(f"{where}: missing")
            continue
        value = values[name]
        wanted = sections.get(where, hints[name])
        if wanted is None:  # its kind is unknown, which has been said
            complete = False
            continue
        nested = next((t for t in _options(wanted) if dataclasses.is_dataclass(t)), None)
        if nested is not None and not (value is None and type(None) in _options(wanted)):
            if isinstance(value, Mapping):
                built[name] = _read(typing.cast("type[Any]", nested), value, f"{where}.", problems, {})
            else:
                problems.append(f"{where}={show(value)}: must be a group of settings, {where}.<key>=…")
            continue
        try:
            built[name] = _convert(value, wanted, spec.metadata)
        except ValueError as error:
            problems.append(f"{where}={show(value)}: {error}")
    if len(problems) > before or not complete:
        return None
    result = cls(**built)
    if hasattr(result, "conflicts"):
        problems.extend(f"{path}{conflict}" for conflict in result.conflicts())
    return result


def _options(wanted: Any) -> tuple[Any, ...]:
    return typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)


def _convert(value: Any, wanted: Any, bounds: Mapping[str, float]) -> Any:
    """`value` as one of the types that `wanted` names; ValueError says what is allowed."""
    for option in _options(wanted):
        accepted, result = _accept(value, option)
        if accepted:
            if isinstance(result, (int, float)) and not isinstance(result, bool):
                _within(result, bounds, wanted)
            return result
    choices = [c for option in _options(wanted) for c in _choices(option)]
    given = [v for v in value if v not in choices] if isinstance(value, (list, tuple)) else [value]
    hint = nearest(str(given[0]), choices) if given else ""
    advice = ""
    if str in _options(wanted) and isinstance(value, (bool, int, float)):
        advice = '; quote it: \'"…"\' on the command line, "…" in YAML'
    raise ValueError(f"must be {_describe(wanted, bounds)}{advice}{hint}")


def _choices(option: Any) -> list[str]:
    """The texts that a Literal, or a list of them, allows."""
    args = typing.get_args(option)
    return _choices(args[0]) if typing.get_origin(option) is tuple else [c for c in args if isinstance(c, str)]


def _accept(value: Any, option: Any) -> tuple[bool, Any]:
    """Whether `value` is of type `option`, and as that type. Nothing is guessed: 1.5 is no int, true no str."""
    origin = typing.get_origin(option)
    if origin is Literal:
        return isinstance(value, str) and value in typing.get_args(option), value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False, None
        item = typing.get_args(option)[0]
        pairs = [_accept(v, item) for v in value]
        return all(ok for ok, _ in pairs), tuple(v for _, v in pairs)
    if option is type(None):
        return value is None, None
    if option is datetime.date:
        try:
            return isinstance(value, str), datetime.date.fromisoformat(value)
        except (TypeError, ValueError):
            return False, None
    if option is float and isinstance(value, int) and not isinstance(value, bool):
        return True, float(value)
    return type(value) is option, value


def _within(number: float, bounds: Mapping[str, float], wanted: Any) -> None:
    holds = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
    if not (math.isfinite(number) and all(holds[sign](number, bound) for sign, bound in bounds.items())):
        raise ValueError(f"must be {_describe(wanted, bounds)}")


def _describe(wanted: Any, bounds: Mapping[str, float]) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    limits = " and ".join(f"{sign} {bound:.10g}" for sign, bound in bounds.items())
    parts = []
    for option in _options(wanted):
        if option is datetime.date:
            parts.append("a date, YYYY-MM-DD")
        elif typing.get_origin(option) is Literal:
            parts.append(one_of(list(typing.get_args(option))))
        elif typing.get_origin(option) is tuple:
            parts.append(f"a list of {_describe(typing.get_args(option)[0], {}).removeprefix('one of ')}")
        else:
            parts.append(f"{names[option]} {limits}".rstrip() if option in (int, float) else names[option])
    return " or ".join(parts)


def one_of(names: Sequence[str]) -> str:
    """The allowed names, as a phrase."""
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def named(tickers: Sequence[str], most: int = 10) -> str:
    """How many stocks, and the first ones' names."""
    shown = f"{', '.join(tickers[:most])}{', …' if len(tickers) > most else ''}"
    return f"{len(tickers):,} stock{'s' if len(tickers) > 1 else ''}: {shown}"


def nearest(name: str, known: typing.Iterable[str], path: str = "") -> str:
    """`; did you mean …?` where a known name is like `name`, else nothing."""
    spelt = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    return f"; did you mean {path}{spelt[close[0]]}?" if close else ""


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


def show(value: Any) -> str:
    """A config value as it is typed."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return "{…}" if isinstance(value, Mapping) else str(value)


def plain(config: Any) -> Any:
    """A config as nested dicts, lists and scalars that JSON and YAML can hold."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple):
        return [plain(item) for item in config]
    return config.isoformat() if isinstance(config, datetime.date) else config


def saved(config: Config) -> dict[str, Any]:
    """A config as a run's files hold it, plain: what was asked of this run alone is left out."""
    settings: dict[str, Any] = plain(config)
    settings.update(task="train", run=None, report="auto")
    settings.update(sweep={"fail_fast": False}, export={"onnx": False}, audit={"plant": None})
    settings["trainer"]["resume"] = None
    del settings["tracker"]
    return settings


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of nested dicts, by its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings of nested dicts that differ, by dotted key: what each has, `ABSENT` where it has none."""
    a, b = dict(leaves(one)), dict(leaves(other))
    keys = dict.fromkeys([*a, *b])
    return {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys if a.get(key, ABSENT) != b.get(key, ABSENT)}


class _Absent:
    def __repr__(self) -> str:
        return "no such key"


ABSENT = _Absent()
