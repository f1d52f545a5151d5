"""Which expressions change if a stock's prices are all multiplied by a number, as a later split multiplies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.bars import PRICES
from stockml.data.features.evaluation import Rows, evaluate
from stockml.data.features.expressions import Expression

if TYPE_CHECKING:
    from stockml.data.bars import Floats

_STOCKS, _MORE_ROWS = 3, 60
_FACTORS = (2.0**-10, 2.0**10)
_RISE = 100.0  # as large as the prices themselves
_TOLERANCE = 1e-4  # of the values' standard deviation: far above rounding, and above small numbers added to a divisor


def depending(expressions: Mapping[str, Expression]) -> list[str]:
    """The names of the expressions whose values on random bars depend on how high one stock's prices are.

    A turnover, price times volume, does not: a split that divides the prices multiplies the volume.
    """
    if not expressions:
        return []
    rows = _random_rows(list(expressions.values()))
    before, found = _values(expressions, rows), set[str]()
    for factor in _FACTORS:
        scaled = [_values(expressions, _scaled(rows, factor, volume)) for volume in (1.0, 1 / factor)]
        found |= {name for name, values in before.items() if all(_differ(values, other[name]) for other in scaled)}
    return [name for name in expressions if name in found]


def needing_ratios(expressions: Mapping[str, Expression]) -> list[str]:
    """The names of the expressions whose values on random bars change unevenly if all prices rise by one amount, as
    ratios and logarithms do: they mean nothing where prices are below 0."""
    if not expressions:
        return []
    rows = _random_rows(list(expressions.values()))
    columns = {n: v + _RISE if n in (*PRICES, "vwap") else v for n, v in rows.columns.items()}
    before, after = _values(expressions, rows), _values(expressions, Rows(columns, rows.dates, rows.starts))
    return [name for name, values in before.items() if _differ(values, after[name], offset=True)]


def _values(expressions: Mapping[str, Expression], rows: Rows) -> dict[str, Floats]:
    return dict(zip(expressions, evaluate(list(expressions.values()), rows), strict=True))


def _differ(one: Floats, other: Floats, *, offset: bool = False) -> bool:
    """Whether two expressions' values differ by more than rounding, or are missing on other days; with `offset`, by
    more than one number for all days."""
    known = np.isfinite(one)
    if (known != np.isfinite(other)).any():
        return True
    if not known.any():
        return False
    difference = (other - one)[known]
    if offset:
        difference = difference - np.median(difference)
    return float(np.abs(difference).max()) > _TOLERANCE * float(one[known].std())


def _scaled(rows: Rows, price: float, volume: float) -> Rows:
    """The rows with the first stock's prices and volume multiplied."""
    factors = dict.fromkeys((*PRICES, "vwap"), price) | {"volume": volume}
    columns = {name: values.copy() for name, values in rows.columns.items()}
    for name in columns.keys() & factors.keys():
        columns[name][: rows.starts[1]] *= factors[name]
    return Rows(columns, rows.dates, rows.starts)


def _random_rows(expressions: list[Expression]) -> Rows:
    """Random days of three stocks, as many as the expressions need."""
    rng, reach = np.random.default_rng(0), max(one.lookback + one.lookahead for one in expressions)
    days = reach + _MORE_ROWS
    close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal((_STOCKS, days)), axis=1)).ravel()
    columns = {}
    for name in sorted({column for one in expressions for column in one.columns}):
        noise = rng.standard_normal(len(close))
        level = 1e9 * np.exp(0.5 * noise) if name == "volume" else close * np.exp(0.01 * noise)
        columns[name] = level if name in (*PRICES, "vwap", "volume") else noise
    if "high" in columns or "low" in columns:  # the day's range holds its other prices
        of_day = [columns[name] for name in (*PRICES, "vwap") if name in columns]
        highest, lowest = np.maximum.reduce(of_day), np.minimum.reduce(of_day)
        columns |= {name: edge for name, edge in (("high", highest), ("low", lowest)) if name in columns}
    dates = np.tile(np.busday_offset("2020-01-01", np.arange(days), roll="forward"), _STOCKS)
    return Rows(columns, dates, np.arange(_STOCKS + 1) * days)
