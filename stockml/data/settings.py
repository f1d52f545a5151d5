"""Settings of a stock, and the data settings that several sources share. Imports nothing heavy."""

from __future__ import annotations

import collections
import datetime
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from stockml.config.printable import printable_name
from stockml.config.schema import advised, bounded, incidental

Feature = Literal["open", "high", "low", "close", "volume"]
Moment = datetime.date | datetime.datetime | None
"""A day, all of it; or a time, of intraday bars."""

CLOSE_TARGETS = ("log_return", "return", "close", "difference")
"""The targets that are a change of the close, or the close itself."""
ANY_PRICE = ("close", "difference", "direction")
"""The targets that are known for prices of 0 or less too."""


@dataclass(frozen=True, kw_only=True)
class GarchConfig:
    """GJR-GARCH(1,1) coefficients; omega follows from the variance target."""

    alpha: float = bounded(least=0)
    gamma: float = bounded(least=0)
    beta: float = bounded(least=0)

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields, each as `key: what is wrong`."""
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
    """How one stock moves in the simulator; volatilities and the drift are annual, in percent."""

    market_beta: float
    idio_vol_percent: float = bounded(least=0)
    idio_tail: float = bounded(above=2)
    garch: GarchConfig
    overnight_share: float = bounded(least=0, below=1)
    shares_per_day: float = bounded(above=0)
    volume: VolumeConfig
    drift_percent: float

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        if self.idio_vol_percent == 0 and self.market_beta == 0:
            yield "idio_vol_percent and market_beta are both 0: the price would never move"


@dataclass(frozen=True, kw_only=True)
class StockConfig:
    """The stock that is forecast."""

    ticker: str
    """Symbol; it names `<ticker>.csv`, `<ticker>.npz` and the run folder."""
    name: str
    """Name of the company; empty if unknown."""
    features: tuple[Feature, ...] = advised("another column or formula is added by '+features.columns.{0}=\"${0}\"'")
    """Columns of a bar that are the model's input; empty with `data.path`: all features of the arrays."""
    simulator: SimulatorConfig | None

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        if not self.ticker.strip():
            yield "ticker: must not be empty"
        elif "/" in self.ticker or "\\" in self.ticker or self.ticker.startswith("."):
            yield f"ticker: {self.ticker!r} is not a file name; a folder belongs in data.dir"
        elif printable_name(self.ticker) != self.ticker:
            yield f"ticker: {printable_name(self.ticker)} has a character that is not seen; type it without"
        if len(set(self.features)) < len(self.features):
            yield f"features: [{', '.join(self.features)}] names a feature twice"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of every data source."""

    source: str
    """The source's name in the register `stockml.data.sources`."""
    valid_ratio: float = bounded(above=0, below=1)
    """Share of the samples before the test split that become the validation split: the latest ones."""
    memory_limit: float = incidental(least=0)
    """GB of features up to which a pooled panel or windowed arrays are held in memory; larger ones stay in a file."""
    panel_cache: str = incidental()
    """Folder of these files and of every pooled panel."""
    placebo: int | None = bounded(least=1)
    """Which placebo copy of the data is used, one in which nothing can be forecast; None: the data themselves."""

    synthetic: ClassVar[bool] = False
    """Whether the source's data are simulated."""

    @property
    def made_up(self) -> bool:
        """Whether the data are simulated, or a placebo copy; every file of a run then says so."""
        return self.synthetic or self.placebo is not None


@dataclass(frozen=True, kw_only=True)
class BarsConfig(DataConfig):
    """Settings of every source of dated daily bars."""

    window: int = bounded(least=1)
    """Bars in a sample, which are days if the bars are daily."""
    horizon: int = bounded(least=1)
    """Bars from the end of the window to the end of the target."""
    target: str
    """A name of `stockml.data.target.NAMES`, or an expression over later days."""
    benchmark: str | None
    """target=excess_return: the ticker of `context` whose return is taken off; None: the mean of all stocks."""
    target_normalize: Literal["none", "csrank", "cszscore"]
    """Several stocks: whether the model is trained on the target's rank, or its standard score, among the day's stocks.
    Forecasts and metrics are of the target itself."""
    transform: Literal["auto", "returns", "differences", "levels"]
    """How the bars' columns become features. auto: returns; differences with target=difference, and of bars with prices
    below 0. Volume is a log change in both."""
    test_ratio: float = bounded(above=0, below=1)
    start: Moment
    end: Moment
    valid_start: Moment
    test_start: Moment
    split: Literal["holdout", "walk_forward"]
    """holdout: one train, validation and test split. walk_forward: the test days are cut into folds, and a model is
    trained for each."""
    folds: int = bounded(least=2, most=10_000)
    """Walk-forward: number of folds that the test days are cut into."""
    fold: int | None = bounded(least=0)
    """Walk-forward: the only fold to run, counted from 0; None: all of them in one run."""
    train_span: Literal["expanding", "rolling"]
    """Walk-forward: expanding: a fold trains on all days before it. rolling: on as many days as the first fold."""
    train_days: int | None = bounded(least=3)
    """Days before the test that become train and validation, the latest ones; None: all, or what `train_span` says."""
    embargo: int = bounded(least=0)
    """Days left out before validation and before test, in addition to the purged ones."""
    calendar: str
    """ISO 10383 code of the exchange whose trading days apply; 24/7: every day; auto: 24/7 where the bars are on all
    days of the week, else XNYS."""
    across_sessions: Literal["none", "windows", "all"]
    """Intraday bars: whether windows, and targets too (all), may span the end of a session."""
    max_gap: int | None = bounded(least=0)
    """Sessions missing between two bars in a row up to which a window or target may span them; None: any number."""
    lag: Mapping[str, int] = bounded(least=0)
    """Column → the number of bars after which its values are known: features see the value of so many bars earlier."""
    context: tuple[str, ...]
    """Further tickers of the same source, whose columns features may use: `SP500.close`."""
    context_max_age: int = bounded(least=0)
    """Sessions, from Monday to Friday, after which the last bar of such a ticker no longer counts."""
    tickers: tuple[str, ...] | Literal["all"]
    """Stocks that one model is trained on; all: every stock of the source; empty: `stock.ticker` alone."""
    on_bad_stock: Literal["error", "drop"]
    """Several stocks: whether one whose bars have faults ends the run, or is left out by name."""
    scaler: Literal["per_stock", "global"]
    """Several stocks: whether each is scaled by its own mean and standard deviation, or all by shared ones."""
    min_scaler_samples: int = bounded(least=2)
    """Several stocks, each scaled by itself: a stock with fewer train samples is scaled by the shared figures."""

    can_find_stocks: ClassVar[bool] = False
    """Whether `tickers` may be `all`: the source can find its stocks."""

    @property
    def pooled(self) -> bool:
        """Whether one model is trained on several stocks."""
        return bool(self.tickers)

    @property
    def takes_any_price(self) -> bool:
        """Whether prices of 0 or less can be used: neither the target nor the columns' change divides by prices."""
        return self.target in ANY_PRICE and self.transform != "returns"

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        yield from _of_tickers("context", self.context)
        for name in self.lag:
            if not re.fullmatch(r"\w+(\.\w+)*", name):
                yield f"lag: {name!r} has other signs than letters, digits, _ and a dot; write _ in their place"
        if isinstance(self.tickers, tuple):
            yield from _of_tickers("tickers", self.tickers)
        elif not self.can_find_stocks:
            yield "tickers: all needs a source that can find its stocks (csv); name them, 'data.tickers=[AAPL,AMZN]'"
        if self.placebo is not None and self.target == "volatility":
            yield f"placebo: {self.placebo}: a copy keeps the volatility, and so is none for data.target=volatility"
        if self.fold is not None and self.fold >= self.folds:
            yield f"fold: {self.fold} is too high; {self.folds} folds are numbered from 0 (data.folds)"
        if self.fold is not None and self.split == "holdout":
            yield "fold: needs data.split=walk_forward"
        if self.valid_start is not None and self.split == "walk_forward":
            yield "valid_start: each fold has its own validation split; leave it out, and set data.valid_ratio"
        names = ("start", "valid_start", "test_start", "end")
        given = [(name, value) for name in names if (value := getattr(self, name)) is not None]
        for (earlier, first), (later, second) in itertools.pairwise(given):
            if str(first) >= str(second):  # a date, or one with a time
                yield f"{later}: {second} must come after {earlier} ({first})"

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """Broken rules between these settings and others of `config`, each as `section.key: what is wrong`."""
        if not config.stock.features:
            yield "stock.features: must name at least one feature"
        if self.target_normalize != "none" and not self.pooled and config.run is None:
            yield (
                f"data.target_normalize={self.target_normalize}: compares stocks with each other; name several, "
                "'data.tickers=[AAPL,AMZN]'"
            )
        if self.benchmark is not None and self.target != "excess_return":
            yield f"data.benchmark={self.benchmark}: is of data.target=excess_return alone; leave it out"


def _of_tickers(key: str, names: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with a list of tickers."""
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        yield f"{key}: names {', '.join(twice)} twice"
    for name in names:
        if "/" in name or "\\" in name or name.startswith(".") or not name.strip():
            yield f"{key}: {name!r} is not a ticker"
