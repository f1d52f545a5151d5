"""Metrics of forecasts, exact sums over all samples in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stockml.data.panel import Kind, Panel

Floats = NDArray[np.float64]
Scores = dict[str, "float | int | None"]

DIRECTION_ONLY = ("always_up", "majority_class")
"""Baselines whose forecasts say nothing but a direction."""

NAMES = ("n", "mse", "mae", "rmse", "r2", "r2_zero", "hit_rate", "ic")


@dataclass(frozen=True)
class Target:
    """What is forecast in N samples, and what is needed to score it."""

    y_true: Floats
    """(N,)"""
    kind: Kind
    last: Floats | None = None
    """(N,) levels only: the last value known."""
    relative: bool = True
    """Levels only: whether changes are relative to `last`, or differences."""

    def changes(self, y: Floats) -> Floats:
        """(N,) returns themselves; of levels the change since the last known value."""
        if self.last is None:
            return y
        return y / self.last - 1 if self.relative else y - self.last


def target(panel: Panel, rows: NDArray[np.int64]) -> Target:
    """The targets of the samples that end in these rows."""
    last = None if panel.last is None else panel.last[rows]
    return Target(panel.target[rows], panel.kind, last, panel.relative)


def score(truth: Target, y_pred: Floats) -> Scores:
    """Every metric of the forecasts (N,); None where one is undefined.

    mse, mae, rmse and r2 = 1 − Σ(r−f)²/Σ(r−r̄)² are in the target's own terms. The others judge returns, and levels by
    their change since the last known value: r2_zero = 1 − Σ(r−f)²/Σr² (Gu, Kelly & Xiu 2020); hit_rate, the share of
    moves whose sign is forecast; ic, Pearson's correlation of f and r over time. Classes: hit_rate is the share of
    forecasts on the right side of ½, r2_zero is undefined.
    """
    y = truth.y_true
    error = y - y_pred
    squared = float(error @ error)
    spread = float(np.square(y - y.mean()).sum())
    realised, forecast = truth.changes(y), truth.changes(y_pred)
    missed, moved = realised - forecast, float(realised @ realised)
    return {
        "n": len(y),
        "mse": squared / len(y),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(squared / len(y))),
        "r2": 1 - squared / spread if spread > 0 else None,
        "r2_zero": 1 - float(missed @ missed) / moved if truth.kind != "class" and moved > 0 else None,
        "hit_rate": hit_rate(truth, y_pred),
        "ic": _correlation(realised, forecast),
    }


def hit_rate(truth: Target, y_pred: Floats) -> float | None:
    """Share of moves, or classes, forecast rightly; None where nothing moved or no direction is forecast."""
    if truth.kind == "class":
        return float(((y_pred >= 0.5) == (truth.y_true >= 0.5)).mean())
    realised, forecast = truth.changes(truth.y_true), truth.changes(y_pred)
    moved = realised != 0
    if not moved.any() or not forecast.any():
        return None
    return float((np.sign(forecast) == np.sign(realised))[moved].mean())


def _correlation(a: Floats, b: Floats) -> float | None:
    """Pearson's; None where one of the two is constant but for rounding."""
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt(float(a @ a) * float(b @ b))
    if min(np.ptp(a), np.ptp(b)) <= 1e-12 or spread == 0:
        return None
    return float(np.clip(a @ b / spread, -1, 1))
