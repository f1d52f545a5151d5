"""Rows to evaluate expressions on, and a call of each operator."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stockml.data.features.evaluation import Rows, evaluate
from stockml.data.features.expressions import parse
from stockml.data.features.operators import OPERATORS, Operator

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c")  # as many as any operator of the table takes
MONDAY = np.datetime64("2024-01-01")
WINDOWS = [name for name, operator in OPERATORS.items() if operator.scope == "window"]


def stocks(*tables: dict[str, Floats]) -> Rows:
    """The rows of several stocks, whose first dates are the same."""
    lengths = [len(next(iter(table.values()))) for table in tables]
    return Rows(
        {name: np.concatenate([table[name] for table in tables]) for name in tables[0]},
        np.concatenate([MONDAY + np.arange(length) for length in lengths]),
        np.r_[0, np.cumsum(lengths)],
    )


def cut(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    """Some of the rows."""
    lengths = [int(kept[first:last].sum()) for first, last in itertools.pairwise(rows.starts)]
    return Rows(
        {name: values[kept] for name, values in rows.columns.items()}, rows.dates[kept], np.r_[0, np.cumsum(lengths)]
    )


def values(text: str, rows: Rows) -> Floats:
    (found,) = evaluate([parse(text)], rows)
    return found


def call(operator: Operator, extra: int = 0) -> str:
    """The operator of columns a, b, …, with its smallest allowed numbers (windows: and `extra` more)."""
    numbers = [
        f"{parameter.low + extra:g}" if parameter.is_window else f"{(parameter.low + parameter.high) / 3:g}"
        for parameter in operator.parameters
    ]
    return f"{operator.name}({', '.join([*(f'${name}' for name in NAMES[: len(operator.inputs)]), *numbers])})"


def bits(numbers: Floats) -> Sequence[int]:
    """The numbers' bits, alike for every NaN."""
    result: list[int] = np.where(np.isnan(numbers), np.nan, numbers).view(np.int64).tolist()
    return result
