"""p-values of many tests, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

LEVEL = 0.05
"""A result with a p-value below it counts as significant."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected so that with 95 % probability none below 5 % is luck, even if they are dependent (Holm 1979)."""
    order, m = _order(p_values), len(p_values)
    return _in_original_order(order, accumulate((p_values[i] * (m - rank) for rank, i in enumerate(order)), max))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Corrected so that about one in twenty of those below 5 % is luck (Benjamini & Hochberg 1995)."""
    order, m = _order(p_values)[::-1], len(p_values)
    return _in_original_order(order, accumulate((p_values[i] * m / (m - rank) for rank, i in enumerate(order)), min))


def _order(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=p_values.__getitem__)


def _in_original_order(order: Sequence[int], values: Iterable[float]) -> list[float]:
    by_index = dict(zip(order, values, strict=True))
    return [min(1.0, by_index[i]) for i in range(len(order))]
