"""Which job of a sweep is best on validation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
"""A job, by the columns of summary.csv."""


def best_on_validation(rows: Iterable[Row]) -> Row | None:
    """The first of `ranked_on_validation`, None where that is empty."""
    return next(iter(ranked_on_validation(rows)), None)


def ranked_on_validation(rows: Iterable[Row]) -> list[Row]:
    """The jobs by R² on validation, the highest first; those that forecast one quantile by pinball loss, lowest first.

    Jobs that have none are left out, and all of them where their losses cannot be compared.
    """
    rows = list(rows)
    scored = [row for row in rows if row["val_r2"] is not None]
    if scored or len({row.get("trainer.quantile") for row in rows}) > 1:
        return sorted(scored, key=lambda row: -float(row["val_r2"]))
    of_quantile = [row for row in rows if row.get("val_pinball") is not None]
    return sorted(of_quantile, key=lambda row: float(row["val_pinball"]))
