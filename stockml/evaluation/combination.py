"""Several runs' forecasts as one: the samples that all of them have, the weights, and the weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stockml.data import frequency
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Floats

_PENALTIES = (np.inf, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Of ridge, in units of the forecasts' mean sum of squares; the first is that of equal weights."""


def common(each: Sequence[Predictions]) -> list[Predictions]:
    """The predictions of the samples that all have, in the order of the first."""
    positions = [{key: number for number, key in enumerate(keys(of))} for of in each]
    shared = [key for key in positions[0] if all(key in own for own in positions)]
    return [of.of(np.array([own[key] for key in shared], dtype=int)) for of, own in zip(each, positions, strict=True)]


def keys(of: Predictions) -> list[Any]:
    """What each sample is known by in every run: its day and stock; undated, its number."""
    days: list[Any] = of.rows.tolist()
    if of.dates is not None:
        days = of.dates.astype("datetime64[s]" if frequency.has_times(of.dates) else "datetime64[D]").tolist()
    return days if of.tickers is None else list(zip(days, of.tickers.tolist(), strict=True))


def combined(each: Sequence[Predictions], weights: Sequence[float]) -> Predictions:
    """The weighted sum of forecasts of the same samples; of each baseline, the forecasts of the first that has it.

    It has no intervals: those of the members are around other forecasts.
    """
    rivals = {name: values for of in reversed(each) for name, values in of.baselines.items()}
    names = dict.fromkeys(name for of in each for name in of.baselines)
    return replace(
        each[0],
        model=weighted([of.model for of in each], weights),
        intervals={},
        next_return=next((of.next_return for of in each if of.next_return is not None), None),
        baselines={name: rivals[name] for name in names},
    )


def weighted(forecasts: Sequence[Any], weights: Sequence[float]) -> Any:
    """Σ w·f of forecasts, numbers or arrays, in the order of the members: the same digits however many samples."""
    return sum(weight * forecast for weight, forecast in zip(weights, forecasts, strict=True))


def ridge_weights(each: Sequence[Predictions], horizon: int) -> Floats:
    """(k,) non-negative weights fitted on the validation of k members, which are of the same samples in order of time.

    They minimise Σ(y − Σ w f)² + λ Σ(w − 1/k)² under w ≥ 0: stacking (Breiman 1996), shrunk towards equal weights
    (egalitarian ridge, Diebold & Shin 2019). y and f are returns, of levels the changes. λ is that of a few with which
    the weights of the first half of the days have the lowest error in the second half, the larger of equals; the
    targets of the first half, `horizon` days long, end before the second. Weights of levels and of classes are divided
    by their sum: a price stays a price, and a probability one.
    """
    truth = each[0].truth
    y, forecasts = truth.changes(truth.y_true), np.stack([truth.changes(of.model) for of in each], axis=1)
    days = each[0].rows if each[0].dates is None else each[0].dates
    _, day = np.unique(days, return_inverse=True)
    middle = (day.max() + 1) // 2
    first, second = day <= middle - max(1, horizon), day >= middle

    def error(penalty: float) -> float:
        """The squared error in the second half of the weights that the first half gives."""
        weights = _fitted(y[first], forecasts[first], penalty)
        return float(np.square(y[second] - forecasts[second] @ weights).sum())

    penalty = min(_PENALTIES if first.any() else _PENALTIES[:1], key=error)
    weights = _fitted(y, forecasts, penalty)
    if truth.kind != "return" and weights.sum() > 0:
        weights /= weights.sum()
    return weights


def _fitted(y: Floats, forecasts: Floats, penalty: float) -> Floats:
    count = forecasts.shape[1]
    equal = np.full(count, 1 / count)
    gram = forecasts.T @ forecasts
    if np.isinf(penalty) or not gram.any():
        return equal
    strength = penalty * np.trace(gram) / count
    return non_negative(gram + strength * np.eye(count), forecasts.T @ y + strength * equal)


def non_negative(gram: Floats, moments: Floats) -> Floats:
    """(k,) the w ≥ 0 that minimise wᵀGw − 2mᵀw of a positive definite G (Lawson & Hanson 1974, chapter 23)."""
    weights, free = np.zeros(len(moments)), np.zeros(len(moments), dtype=bool)
    for _ in range(10 * len(moments)):  # rounding may let it add and drop the same one without end
        gradient = np.where(free, -np.inf, moments - gram @ weights)
        if gradient.max() <= 1e-12 * np.abs(moments).max():
            break
        free[gradient.argmax()] = True
        while True:
            trial = np.zeros_like(weights)
            trial[free] = np.linalg.solve(gram[np.ix_(free, free)], moments[free])
            if not (trial[free] <= 0).any():
                break
            ratios = np.full_like(weights, np.inf)
            falling = free & (trial <= 0)
            ratios[falling] = weights[falling] / (weights[falling] - trial[falling])
            first = ratios.argmin()
            weights += ratios[first] * (trial - weights)
            weights[first], free[first] = 0.0, False
        weights = trial
    return weights
