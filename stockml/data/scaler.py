"""Standardisation, fitted on the train rows only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.bars import Floats
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

_CHUNK = 65_536  # rows at a time: no float64 copy of the whole panel


@dataclass(frozen=True)
class NormalizedTarget:
    """Moments of a normalised target over all train samples, and the least-squares line of the target itself on it."""

    mean: float
    std: float
    base: float
    """The target where it has its mean."""
    slope: float
    """By how much the target rises with one standard deviation of it."""


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation (F,) of the features, and of the target.

    The deviation of an expression that never changes in train is infinite, so that the model sees 0.
    """

    mean: Floats
    std: Floats
    target_mean: float
    target_std: float
    """If each stock has its own: the root of their mean square, weighted by train samples."""
    rows: int
    """Rows it was fitted on."""
    stocks: Mapping[str, Scaler] | None = None
    """By ticker, if each stock of a pooled panel is scaled by itself; the other fields are then of all stocks."""
    from_pool: tuple[str, ...] = ()
    """The stocks whose own samples are too few, so that their figures in `stocks` are those of all stocks."""
    normalized: NormalizedTarget | None = None
    """If a model is trained on the normalised target: one for all stocks, so that forecasts keep their order."""

    @classmethod
    def fit(cls, panel: Panel, train: Rows, *, per_stock: bool = False, fewest: int = 2) -> Scaler:
        """Fit on each stock's rows from its first train window to its last; UserError where one is constant there.

        With `per_stock`, a stock with fewer train samples than `fewest` takes the figures of all stocks.
        """
        spans = _rows_of_windows(panel, train)
        sums: dict[int, Floats] = {}
        shared = _fitted(panel, train, list(spans.values()), panel.origin, sums)
        if panel.normalized is not None:
            shared = replace(shared, normalized=_normalized(panel.target[train], panel.normalized[train], panel.origin))
        if not per_stock or panel.stocks is None:
            return shared
        whose = panel.stocks.of(train)
        counts = np.bincount(whose)[list(spans)]
        stocks, from_pool = {}, []
        for (number, rows), count in zip(spans.items(), counts, strict=True):
            ticker = panel.stocks.tickers[number]
            if count < fewest:
                from_pool.append(ticker)
                stocks[ticker] = replace(shared, normalized=None)
            else:
                stocks[ticker] = _fitted(panel, train[whose == number], [rows], panel.origins[number], sums)
        spread = np.sqrt(np.average([stock.target_std**2 for stock in stocks.values()], weights=counts))
        return replace(shared, target_std=float(spread), stocks=stocks, from_pool=tuple(from_pool))

    @classmethod
    def from_dict(cls, stats: Mapping[str, Any]) -> Scaler:
        """The scaler that `to_dict` or `figures` wrote."""
        target = stats["target"]
        std = np.array([np.inf if std is None else std for std in stats["std"]])
        normalized = NormalizedTarget(**stats["normalized_target"]) if "normalized_target" in stats else None
        scaler = cls(np.array(stats["mean"]), std, target["mean"], target["std"], stats["rows"], normalized=normalized)
        stocks = stats.get("stocks")
        return (
            scaler
            if stocks is None
            else replace(
                scaler,
                stocks={name: cls.from_dict(own) for name, own in stocks.items()},
                from_pool=tuple(stats.get("from_pool", ())),
            )
        )

    def inverse_transform(self, forecasts: Floats, panel: Panel, rows: Rows) -> Floats:
        """Scaled forecasts (N,) of the samples that end in `rows`, converted to the target's units."""
        if self.normalized is not None:
            return forecasts * self.normalized.slope + self.normalized.base
        mean, std = self._targets(panel, rows)
        return forecasts * std + mean

    @property
    def shared_line(self) -> tuple[float, float]:
        """A forecast in the target's units for a scaled one of 0, and its rise with 1, if all stocks share them."""
        if self.normalized is not None:
            return self.normalized.base, self.normalized.slope
        return self.target_mean, self.target_std

    @property
    def loss_std(self) -> float:
        """The standard deviation of what a model is trained on, in whose units losses are."""
        return self.target_std if self.normalized is None else self.normalized.std

    def transform_target(self, panel: Panel) -> Floats:
        """(R,) what a model is trained on: the panel's standardised target, or its normalised one."""
        if self.normalized is not None and panel.normalized is not None:
            return (panel.normalized - self.normalized.mean) / self.normalized.std
        mean, std = self._targets(panel)
        return (panel.target - mean) / std

    def train_mean(self, panel: Panel) -> Floats:
        """(R,) the mean of the train targets that each row is scaled by."""
        return np.broadcast_to(self._targets(panel)[0], panel.target.shape)

    def moments(self, panel: Panel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(K, F) each: mean and standard deviation of the features of each stock; K = 1 if all share them."""
        each = self._each(panel)
        return np.array([own.mean for own in each], np.float32), np.array([own.std for own in each], np.float32)

    def transform(self, panel: Panel) -> None:
        """Standardise the panel's values, in place."""
        mean, std = self.moments(panel)
        for own, centre, spread in zip(panel.spans() if len(mean) > 1 else [slice(None)], mean, std, strict=True):
            values = panel.values[own]
            np.subtract(values, centre, out=values)
            np.divide(values, spread, out=values)

    def to_dict(self, panel: Panel, train: Rows) -> dict[str, Any]:
        """The content of norm_stats.json."""
        first = min(span.start for span in _rows_of_windows(panel, train).values())
        stocks = {} if self.stocks is None else {name: own.figures() for name, own in self.stocks.items()}
        return {
            "features": list(panel.features),
            **self.figures(),
            "first_date": panel.date(first) or None,
            "last_date": panel.date(int(train[-1])) or None,
            **({"stocks": stocks} if stocks else {}),
            **({"from_pool": list(self.from_pool)} if self.from_pool else {}),
            **({"normalized_target": asdict(self.normalized)} if self.normalized else {}),
            "synthetic": panel.synthetic,
        }

    def figures(self) -> dict[str, Any]:
        """Mean, standard deviation and rows, without the stocks' own, as plain numbers."""
        return {
            "mean": self.mean.tolist(),
            "std": [std if np.isfinite(std) else None for std in self.std.tolist()],
            "target": {"mean": self.target_mean, "std": self.target_std},
            "rows": self.rows,
        }

    def _each(self, panel: Panel) -> list[Scaler]:
        """The scaler of each of the panel's stocks; the shared one for a stock without train samples."""
        if self.stocks is None:
            return [self]
        tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
        return [self.stocks.get(ticker, self) for ticker in tickers]

    def _targets(self, panel: Panel, rows: Rows | None = None) -> tuple[Floats | float, Floats | float]:
        """Mean and standard deviation of the target for each of `rows`, by default for all rows."""
        each = self._each(panel)
        if len(each) == 1:
            return each[0].target_mean, each[0].target_std
        assert panel.stocks is not None
        mean, std = np.array([own.target_mean for own in each]), np.array([own.target_std for own in each])
        if rows is None:
            counts = np.diff(panel.stocks.starts)
            return np.repeat(mean, counts), np.repeat(std, counts)
        whose = panel.stocks.of(rows)
        return mean[whose], std[whose]


def _normalized(target: Floats, normalized: Floats, origin: str) -> NormalizedTarget:
    """Of the train samples (N,)."""
    mean, std, base = float(normalized.mean()), float(normalized.std()), float(target.mean())
    slope = float(((normalized - mean) * (target - base)).mean() / std) if std > 0 else 0.0
    if not slope > 0:
        raise UserError(
            f"{origin}: data.target_normalize: the target's rank among the day's stocks shows nothing of the target in "
            "train; use more stocks with the same days, or data.target_normalize=none"
        )
    return NormalizedTarget(mean, std, base, slope)


def _rows_of_windows(panel: Panel, train: Rows) -> dict[int, slice]:
    """By the index of each stock that has train samples: all rows of their windows."""
    reach = 0 if panel.windowed else panel.window - 1
    if panel.stocks is None:
        return {0: slice(int(train[0]) - reach, int(train[-1]) + 1)}
    ordered = np.sort(train)
    edges = np.searchsorted(ordered, panel.stocks.starts)
    return {
        number: slice(int(ordered[first]) - reach, int(ordered[end - 1]) + 1)
        for number, (first, end) in enumerate(itertools.pairwise(edges))
        if end > first
    }


def _fitted(panel: Panel, train: Rows, spans: Sequence[slice], origin: str, sums: dict[int, Floats]) -> Scaler:
    """The scaler fitted on the rows of the spans and on the targets of the train samples.

    `sums` keeps the sums over rows, by the first of them, for scalers of the same spans.
    """
    width, known = len(panel.features), None if panel.incomplete is None else ~panel.incomplete
    rows = sum(span.stop - span.start if known is None else int(known[span].sum()) for span in spans)
    count = rows * (panel.window if panel.windowed else 1)

    chunks = [
        slice(start, min(start + _CHUNK, span.stop)) for span in spans for start in range(span.start, span.stop, _CHUNK)
    ]

    def values(chunk: slice) -> NDArray[np.float32]:
        found = panel.values[chunk] if known is None else panel.values[chunk][known[chunk]]
        return found.reshape(-1, width)

    for chunk in chunks:
        if chunk.start not in sums:
            sums[chunk.start] = values(chunk).sum(axis=0, dtype=np.float64)
    mean = np.sum([sums[chunk.start] for chunk in chunks], axis=0) / count
    std = np.sqrt(np.sum([_squares(values(chunk) - mean) for chunk in chunks], axis=0) / count)
    target = panel.target[train]
    scaler = Scaler(mean, std, float(target.mean()), float(target.std()), rows)
    constant = ~(std > 1e-7 * np.abs(mean))  # smaller changes are rounding in float32
    if constant.all() or constant[: width - panel.expressions].any():
        first = int(constant.argmax())
        is_own = first >= width - panel.expressions
        remedy = "take another expression" if is_own else "leave it out of the data and of stock.features"
        raise UserError(
            f"{origin}: feature {panel.features[first]} never changes in train (always {mean[first]:g}); {remedy}"
        )
    std[constant] = np.inf  # scaled, it is 0 on every day, whatever comes after train
    if not scaler.target_std > 1e-9 * abs(scaler.target_mean):
        raise UserError(f"{origin}: the target never changes in train (always {scaler.target_mean:g})")
    return scaler


def _squares(differences: NDArray[np.float64]) -> Floats:
    """(F,) the sums of the squares of (N, F) differences, which are overwritten."""
    sums: Floats = np.square(differences, out=differences).sum(axis=0)
    return sums
