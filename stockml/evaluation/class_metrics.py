"""Metrics of forecasts that are the probability of a one, of classes 0 and 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_loss(y_true: Floats, y_pred: Floats) -> float:
    """−mean(y ln p + (1−y) ln(1−p)), p the forecast, at least 10⁻⁶ and at most 1 − 10⁻⁶."""
    p = np.clip(y_pred, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-np.where(y_true >= 0.5, np.log(p), np.log1p(-p)).mean())


_LEAST_PROBABILITY = 1e-6


def auc(y_true: Floats, y_pred: Floats) -> float | None:
    """The share of pairs of a one and a zero in which the one has the higher forecast; equal ones count half.

    Mann & Whitney (1947). None where there is only one class.
    """
    ones = y_true >= 0.5
    n_ones = int(ones.sum())
    pairs = n_ones * (len(ones) - n_ones)
    if not pairs:
        return None
    _, of, counts = np.unique(y_pred, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[of]  # equal values share the mean of their ranks
    return float((ranks[ones].sum() - n_ones * (n_ones + 1) / 2) / pairs)


def mcc(y_true: Floats, y_pred: Floats) -> float | None:
    """The correlation of the classes with those forecast, on the right side of ½ (Matthews 1975).

    None where all samples, or all forecasts, are of one class.
    """
    realised, forecast = (values >= 0.5 for values in (y_true, y_pred))
    if realised.all() or forecast.all() or not realised.any() or not forecast.any():
        return None
    return float(np.corrcoef(realised, forecast)[0, 1])
