"""What a config's features are: expression, lookback, share of missing values, correlation with the target in train."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stockml.evaluation.cross_section import firsts_of_days
from stockml.evaluation.significance import Floats, mean_of

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.data.features.feature_set import FeatureSet
    from stockml.data.split import Rows

_MOST_NUMBERS = 2**26  # less than a second; of larger train splits every second, third … day counts
_CHUNK = 2**20


@dataclass(frozen=True)
class Feature:
    """A row of the table."""

    name: str
    expression: str | None
    """None of windowed arrays, whose features are not known as expressions."""
    lookback: int | None
    """Bars before its own that a value needs; None of windowed arrays."""
    from_first_row: bool
    """Whether all earlier bars have an influence, as in EMA."""
    missing: float
    """Share of the rows after the warm-up that lack a value, before features.missing fills them."""
    correlation: float | None
    """With the target, over the train samples; of the value on the window's last day, unscaled. None: one of the two
    does not vary."""
    t: float | None
    """Of the covariance; allows for targets that overlap, and for stocks that move together. None: too few days."""


@dataclass(frozen=True)
class FeatureTable:
    """The features of prepared data, and what their correlations rest on."""

    samples: int
    """The train samples that count."""
    day_step: int
    """1: all of them; 2: those of every second day."""
    features: tuple[Feature, ...]


def of(data: Data, features: FeatureSet | None) -> FeatureTable:
    """The table of scaled data; nothing but train samples counts for correlations. `features`: None of arrays."""
    panel, names = data.panel, list(data.panel.features)
    rows, step = _train_rows(data)
    correlations, t = _correlations(data, rows, max(1, math.ceil(panel.horizon / step)))
    missing = np.zeros(len(names)) if panel.missing is None else panel.missing / max(1, len(panel.values))
    texts, lookbacks = ({}, {}) if features is None else (features.described, features.lookbacks)
    from_first = set() if features is None else {n for n, one in features.expressions.items() if one.from_first_row}
    each = zip(names, missing.tolist(), correlations, t, strict=True)
    return FeatureTable(
        samples=len(rows),
        day_step=step,
        features=tuple(
            Feature(name, texts.get(name), lookbacks.get(name), name in from_first, *others) for name, *others in each
        ),
    )


def _train_rows(data: Data) -> tuple[Rows, int]:
    """The rows (N,) in which train samples end, in order of time; of very many, those of every n-th day, and n."""
    rows, width = data.split.train, len(data.panel.features)
    step = math.ceil(len(rows) * width / _MOST_NUMBERS)
    step += step % 5 == 0  # not the same day of each week
    return (rows if step == 1 else rows[data.panel.day_numbers[rows] % step == 0]), step


def _correlations(data: Data, rows: Rows, horizon: int) -> tuple[list[float | None], list[float | None]]:
    """(F,) Pearson's correlation of each feature with the target, and its t; the products of a day count as one."""
    panel, dates = data.panel, data.panel.dates
    firsts = np.arange(len(rows)) if panel.stocks is None or dates is None else firsts_of_days(dates[rows])
    edges = np.append(firsts, len(rows))
    y = panel.target[rows] - panel.target[rows].mean()
    products = np.empty((len(firsts), len(panel.features)))
    sums, squares = np.zeros(len(panel.features)), np.zeros(len(panel.features))
    days_at_once = max(1, int(_CHUNK * len(firsts) / (len(rows) * len(panel.features))))
    for start in range(0, len(firsts), days_at_once):
        days = slice(start, min(start + days_at_once, len(firsts)))
        some, at = slice(edges[days.start], edges[days.stop]), firsts[days] - firsts[days.start]
        x = _last_days(data, rows[some])
        products[days] = np.add.reduceat(x * y[some, None], at)
        sums += x.sum(axis=0)
        squares += np.square(x).sum(axis=0)
    mean = sums / len(rows)
    products -= mean * np.add.reduceat(y, firsts)[:, None]
    products *= len(firsts) / len(rows)
    scale = np.sqrt(np.maximum(0, squares / len(rows) - np.square(mean))) * y.std()
    varies = np.isfinite(data.scaler.std) & (scale > 0)
    found: list[float | None] = []
    t: list[float | None] = []
    for number, (own, does) in enumerate(zip(scale.tolist(), varies.tolist(), strict=True)):
        product = products[:, number]
        tested = mean_of(product, horizon, own) if does else None
        found.append(float(np.clip(product.mean() / own, -1, 1)) if does else None)
        t.append(None if tested is None else tested.value / tested.standard_error)
    return found, t


def _last_days(data: Data, rows: Rows) -> Floats:
    """(N, F) the features on the last day of the windows that end in `rows`, less a constant, in their own units."""
    panel, scaler = data.panel, data.scaler
    values = (panel.values[rows, -1] if panel.windowed else panel.values[rows]).astype(np.float64)
    if not panel.mapped:  # the values of a mapped panel are not scaled
        mean, std = scaler.moments(panel)
        whose = panel.stocks.of(rows) if panel.stocks is not None and len(mean) > 1 else np.zeros(len(rows), np.int64)
        values *= np.where(np.isfinite(std), std, 0).astype(np.float64)[whose]
        values += mean.astype(np.float64)[whose]
    values -= scaler.mean
    return values
