"""Settings of a stock and of the data that every source shares. Imports nothing heavy."""

from __future__ import annotations

import collections
import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from stockml.config.schema import bounded, incidental

Feature = Literal["open", "high", "low", "close", "volume"]


@dataclass(frozen=True, kw_only=True)
class GarchConfig:
    """GJR-GARCH(1,1) coefficients; omega follows from the variance target."""

    alpha: float = bounded(least=0)
    gamma: float = bounded(least=0)
    beta: float = bounded(least=0)

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken, each as `key: what is wrong`."""
        if self.alpha + self.gamma / 2 + self.beta >= 1:
            yield "alpha + gamma/2 + beta must be below 1, or the variance grows without bound"


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """Log volume: phi × yesterday's + b_z (|z| − 0.75) + b_s (ln σ − mean) + se × noise."""

    phi: float = bounded(above=-1, below=1)
    b_z: float
    b_s: float
    se: float = bounded(least=0)


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """How one stock moves in the simulator; volatilities and drift are annual, in per cent."""

    market_beta: float
    idio_vol_percent: float = bounded(least=0)
    idio_tail: float = bounded(above=2)
    garch: GarchConfig
    overnight_share: float = bounded(least=0, below=1)
    shares_per_day: float = bounded(above=0)
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
    valid_ratio: float = bounded(above=0, below=1)
    """Share of the samples before the test that become validation: the latest ones."""
    memory_limit: float = incidental(least=0)
    """GB of features up to which a pooled panel, or an array, is held in memory; larger ones stay in their file."""
    panel_cache: str = incidental()
    """Folder of those files, and of every pooled panel."""


@dataclass(frozen=True, kw_only=True)
class BarsConfig(DataConfig):
    """What every source of dated daily bars has."""

    window: int = bounded(least=1)
    """Days that a model sees."""
    horizon: int = bounded(least=1)
    """Days ahead that the target lies."""
    target: Literal["log_return", "return", "close"]
    transform: Literal["returns", "levels"]
    test_ratio: float = bounded(above=0, below=1)
    start: datetime.date | None
    end: datetime.date | None
    valid_start: datetime.date | None
    test_start: datetime.date | None
    split: Literal["holdout", "walk_forward"]
    """One train, validation and test; or, over the test's days, fold after fold of them, each trained anew."""
    folds: int = bounded(least=2)
    """Walk-forward: pieces that the test is cut into."""
    fold: int | None = bounded(least=0)
    """Walk-forward: the one piece that is forecast, counted from 0; None: each of them, in one run."""
    train_span: Literal["expanding", "rolling"]
    """Walk-forward: whether a fold trains on all that came before, or on as much as the first one."""
    embargo: int = bounded(least=0)
    """Days left out before validation and before test, besides those that purging takes."""
    calendar: str
    """The exchange whose trading days these are, by its ISO 10383 code."""
    tickers: tuple[str, ...] | Literal["all"]
    """Stocks that one model is trained on; all: every file of `data.dir`, or every ticker of `data.path`; none: one."""
    scaler: Literal["per_stock", "global"]
    """Whether each stock of several has a mean and a standard deviation of its own, or all have the same."""

    can_take_all_tickers: ClassVar[bool] = False
    """Whether `tickers` may be `all`: the source itself knows which stocks it has."""

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
        elif not self.can_take_all_tickers:
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
