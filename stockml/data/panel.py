"""The panel: features, targets and dates in one copy. A window is an index into it."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats
    from stockml.data.settings import BarsConfig

Kind = Literal["return", "level", "class"]


@dataclass(frozen=True)
class Stocks:
    """Whose the rows of a pooled panel are: each stock's together, in order of time."""

    tickers: tuple[str, ...]
    """(K,)"""
    starts: NDArray[np.int64]
    """(K + 1,) the row with which each stock begins, and last the number of rows."""

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) the number of the stock that each row belongs to."""
        return np.searchsorted(self.starts, rows, side="right") - 1


@dataclass(frozen=True)
class Panel:
    """What a model learns from; sample i is the window that ends in row i.

    R rows of bars, or R windows that were made elsewhere. Nothing here is scaled.
    """

    ticker: str
    """Of the stock; or what several are called together."""
    origin: str
    """Where the numbers come from, as it is told to the user."""
    features: Sequence[str]
    values: NDArray[np.float32]
    """(R, F), a row a bar; or (R, T, F), windows made elsewhere."""
    window: int
    """T, the days of a window."""
    target: Floats
    """(R,) what is forecast; NaN in rows that are no sample."""
    kind: Kind
    """A return around zero, a level like a price, or a class, 0 or 1."""
    samples: NDArray[np.int64]
    """(N,) the rows in which a full window with a known target ends, in order of time, then of the stock."""
    dropped: tuple[str, ...]
    """What was left out and why, each as it is told to the user."""
    parsing_notes: str = ""
    """How the file was read, as it is told to the user."""
    data_warnings: tuple[str, ...] = ()
    """What the data doctor warns of, each as it is told to the user; only for dated bars."""
    synthetic: bool = False
    dates: NDArray[np.datetime64] | None = None
    """(R,) days of the rows; None for undated arrays."""
    horizon: int = 0
    """Rows from a window's end to its target's; 0 where that is not known."""
    last: Floats | None = None
    """(R,) levels only: the last value known of what is forecast; persistence forecasts it."""
    last_name: str = ""
    relative: bool = True
    """Levels only: whether changes are relative to `last` (prices), or differences."""
    expected: Floats | None = None
    """(R,) simulated returns only: the best possible forecast."""
    stocks: Stocks | None = None
    """Of a pooled panel."""
    origins: tuple[str, ...] = ()
    """Of a pooled panel: where the numbers of each stock come from."""
    content: str = ""
    """A hash of what was read from a file that holds panels; empty of others."""
    mapped: bool = False
    """Whether the values stay in such a file, and are never scaled there."""

    @property
    def windowed(self) -> bool:
        """Whether the windows were made elsewhere."""
        return self.values.ndim == 3

    def fingerprint(self) -> str:
        """A hash of every number that a model can see."""
        digest = hashlib.sha256(f"{self.features} {self.window} {self.horizon} {self.values.shape}".encode())
        digest.update(self.content.encode())
        for array in (self.samples,) if self.content else (self.values, self.target, self.samples, self.dates):
            if array is not None:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()

    def date(self, row: int) -> str:
        """The day of a row, or an empty text."""
        return "" if self.dates is None else str(self.dates[row])

    def days(self) -> str:
        """The first and the last day that any stock has, as they are told; of dated panels."""
        assert self.dates is not None
        return f"{self.dates.min()} to {self.dates.max()}"

    def spans(self) -> list[slice]:
        """The rows of each stock; one stock has all of them."""
        edges = [0, len(self.values)] if self.stocks is None else self.stocks.starts.tolist()
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    @functools.cached_property
    def day_numbers(self) -> NDArray[np.integer[Any]]:
        """(R,) the rows' days, counted from the first that any stock has; of one stock, and undated, the rows' own."""
        if self.stocks is None:
            return np.arange(len(self.values))
        assert self.dates is not None
        since = (self.dates - self.dates.min()).astype(np.int32)
        is_day = np.zeros(int(since.max()) + 1, dtype=bool)
        is_day[since] = True
        numbers: NDArray[np.int32] = (is_day.cumsum(dtype=np.int32) - 1)[since]
        return numbers

    @property
    def past_return(self) -> Floats | None:
        """(R,) the last return known at the end of the row, over one horizon; only of dated returns."""
        if self.dates is None or self.kind != "return":
            return None
        known = np.full(len(self.target), np.nan)
        for rows in self.spans():
            known[rows][self.horizon :] = self.target[rows][: -self.horizon]
        return known


def from_bars(bars: Bars, features: Sequence[str], config: BarsConfig, *, to_forecast: bool = False) -> Panel:
    """Features and targets of dated bars; UserError where there are too few.

    Those `to_forecast` from may be few, and full windows whose target is not known yet are samples too.
    Targets over h days: log_return ln(C[t+h]/C[t]), return C[t+h]/C[t] − 1, close C[t+h].
    """
    bars = bars.between(config.start, config.end)
    lost = _lost(config)
    window, horizon, rows = config.window, config.horizon, len(bars.dates) - lost
    if to_forecast and rows < window:
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few to forecast from: a window needs {window + lost}"
        )
    if not to_forecast and rows < window + horizon + 2:
        raise UserError(
            f"{bars.origin}: {len(bars.dates):,} bars are too few for train, validation and test samples of "
            f"{window} days, {horizon} ahead; more bars, or a lower data.window"
        )
    return Panel(
        ticker=bars.ticker,
        origin=bars.origin,
        features=features,
        window=window,
        kind=kind(config),
        samples=np.arange(window - 1, rows if to_forecast else rows - horizon),
        dropped=bars.dropped + unusable(config),
        parsing_notes=bars.parsing_notes,
        synthetic=bars.synthetic,
        horizon=horizon,
        last_name="close",
        **rows_of(bars, features, config),
    )


def kind(config: BarsConfig) -> Kind:
    """What sort of number the target of dated bars is."""
    return "level" if config.target == "close" else "return"


def unusable(config: BarsConfig, stocks: int = 1) -> tuple[str, ...]:
    """The bars that are no sample's last one, of so many stocks, each as it is told."""
    lost, window, horizon = _lost(config), config.window, config.horizon
    of_each = " of each stock" if stocks > 1 else ""
    return tuple(
        f"{count} bar{'s' if count > 1 else ''}{of_each} ({why})"
        for count, why in (
            (lost, "no day before it to change from"),
            (window - 1, f"no full window of {window} days yet"),
            (horizon, f"target {horizon} ahead not known yet"),
        )
        if count
    )


def rows_of(bars: Bars, features: Sequence[str], config: BarsConfig) -> dict[str, Any]:
    """What a panel has a row a bar of, by the names of its fields. Raises UserError for numbers beyond float32."""
    lost, horizon = _lost(config), config.horizon
    rows = max(0, len(bars.dates) - lost)
    values = np.empty((rows, len(features)), dtype=np.float32)
    with np.errstate(over="ignore"):  # told below
        for number, name in enumerate(features):
            values[:, number] = _transformed(name, bars.columns[name], config.transform)
    if not np.isfinite(values).all():
        raise UserError(f"{bars.origin}: holds numbers beyond float32; take data.transform=returns, or fewer bars")
    close = bars.columns["close"][lost:]
    target = np.full(rows, np.nan)
    found: dict[str, Any] = {"values": values, "target": target, "dates": bars.dates[lost:]}
    if config.target == "close":
        target[:-horizon] = close[horizon:]
        return {**found, "last": close}
    change = np.log(close[horizon:] / close[:-horizon])
    target[:-horizon] = change if config.target == "log_return" else np.expm1(change)
    return {**found, "expected": _oracle(bars, config, lost)}


def _lost(config: BarsConfig) -> int:
    return 1 if config.transform == "returns" else 0  # the first bar has no change from the one before


def _transformed(name: str, column: Floats, transform: str) -> Floats:
    if transform == "levels":
        return column
    if name == "volume":  # may be 0; for shares a day the added 1 does not show
        return np.diff(np.log1p(column))
    return np.diff(np.log(column))


def _oracle(bars: Bars, config: BarsConfig, lost: int) -> Floats | None:
    """The best possible forecast where it is known: of the next day's log return of simulated bars."""
    if bars.expected is None or config.target != "log_return" or config.horizon != 1:
        return None
    return np.append(bars.expected[lost + 1 :], np.nan)
