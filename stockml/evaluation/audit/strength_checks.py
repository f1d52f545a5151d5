"""Checks that features explain no more of the target than returns allow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stockml.evaluation.audit.subject import Finding, Subject
from stockml.evaluation.metrics import target

if TYPE_CHECKING:
    from stockml.data.bars import Floats
    from stockml.data.panel import Panel

_FEWEST_EFFECTIVE_SAMPLES = 30
_LARGEST_CORRELATION = 0.25  # a daily return's R² of 6 %
_LARGEST_R2 = 0.05
_UNITS = {"return": "returns", "level": "changes", "class": "classes"}


def feature_and_target(subject: Subject) -> Finding:
    """No feature, and no daily change of one, on any day of the window is strongly correlated with train's targets."""
    panel, rows = subject.panel(), subject.whole.split.train
    truth = target(panel, rows)
    y = truth.changes(truth.y_true)
    if np.ptp(y) <= 1e-6 * np.ptp(truth.y_true):  # but for rounding to float32
        return Finding(None, "the target is the last known value, in every train sample")
    n = len(rows) / max(1, panel.horizon)  # targets that overlap hold less
    if n < _FEWEST_EFFECTIVE_SAMPLES:
        return Finding(None, f"{len(rows):,} train samples are too few to tell chance from a leak")
    limit = min(_LARGEST_CORRELATION + 5 / math.sqrt(n), 0.95)
    largest, where = 0.0, ""
    for what, values in (("feature {}", panel.values), ("the change of feature {}", _changes(panel))):
        for lag in range(panel.window - (what != "feature {}")):
            x = values[rows, panel.window - 1 - lag] if panel.windowed else values[rows - lag]
            for feature, correlation in zip(panel.features, correlations(x.astype(np.float64), y), strict=True):
                if abs(correlation) > abs(largest):
                    largest = correlation
                    where = f"{what.format(feature)} {f'{lag} days before' if lag else 'on'} the window's last day"
    if abs(largest) > limit:
        return Finding(
            False,
            f"{where} has correlation {largest:+.2f} with the target (at most {limit:.2f} is plausible for returns)",
            "it may be shifted by a day, or computed from days after the window; check how that column is made",
        )
    scanned = f"{len(panel.features)} × {panel.window} features, and their changes, on {len(rows):,} train samples"
    return Finding(True, f"{scanned}: the largest correlation is {largest:+.2f} (allowed {limit:.2f})")


def ridge_r2(subject: Subject) -> Finding:
    """Ridge explains no more of the test than daily returns allow."""
    rows = subject.whole.split.test
    if "ridge" not in subject.forecasters:
        return Finding(None, "the windows are too large for a ridge regression")
    panel = subject.whole.panel
    truth = target(panel, rows)
    realised, forecasts = truth.changes(truth.y_true), truth.changes(subject.forecasts("ridge")["test"])
    naive = subject.whole.scaler.target_mean if panel.kind == "class" else 0.0
    spread = float(np.square(realised - naive).sum())
    if not spread:
        return Finding(None, "nothing moves in the test")
    r2 = 1 - float(np.square(realised - forecasts).sum()) / spread
    limit = max(_LARGEST_R2, 16 * max(1, panel.horizon) / len(rows))  # R² less two of its standard errors, 2√(R²/n)
    if limit > 0.9:
        return Finding(None, f"{len(rows):,} test samples are too few to tell chance from a leak")
    rival = "the train mean" if panel.kind == "class" else "zero"
    seen = f"ridge explains {r2:+.2%} of {len(rows):,} test samples' squared {_UNITS[panel.kind]}, against {rival}"
    if r2 > limit:
        return Finding(
            False,
            f"{seen}; more than {limit:.1%} is nearly always a leak",
            "before you believe it, check how each column is made, and when it was known",
        )
    return Finding(True, f"{seen} (allowed {limit:.1%})")


def correlations(x: Floats, y: Floats) -> list[float]:
    """Pearson's correlation of each column of x (N, F) with y (N,); 0 where one of the two is constant."""
    x, y = x - x.mean(axis=0), y - y.mean()
    spread = np.sqrt(np.square(x).sum(axis=0) * float(y @ y))
    found: list[float] = np.divide(y @ x, spread, out=np.zeros(x.shape[1]), where=spread > 1e-12).tolist()
    return found


def _changes(panel: Panel) -> Floats:
    """Daily changes of the features, in the place of the later day: relative ones where all values are above zero."""
    values = panel.values.astype(np.float64)
    relative = (values > 0).all(axis=tuple(range(values.ndim - 1)))
    values[..., relative] = np.log(values[..., relative])
    return np.concatenate([np.zeros_like(values[..., :1, :]), np.diff(values, axis=-2)], axis=-2)
