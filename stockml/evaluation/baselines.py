"""The naive forecasts that a model must beat, and the verdict whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from stockml.evaluation import ridge
from stockml.evaluation.metrics import NAMES, Floats, Scores, hit_rate, score, target

if TYPE_CHECKING:
    from stockml.data import Data
    from stockml.data.batches import Batches
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

_MOST_RIDGE_INPUTS = 3000  # the sums take inputs² × 8 bytes, the eigendecomposition inputs³ steps
_CHUNK = 1024

Table = dict[str, dict[str, Scores]]
"""Scores by baseline and part."""


@dataclass(frozen=True)
class Baselines:
    """Scores of every baseline that fits the target."""

    scores: Table
    best: str
    """The one with the lowest squared error on validation: the choice that no test score has made."""


def score_baselines(data: Data, batches: Batches) -> Baselines:
    """Fit each baseline on train, score it on validation and test.

    Returns: zero, train mean, expanding mean (of all returns known by then), last return, always up (direction
    alone). Levels: train mean, persistence, always up. Classes: train mean, majority class (direction alone).
    All: ridge.
    """
    panel, split = data.panel, data.split
    train_mean = float(panel.target[split.train].mean())
    forecasts: dict[str, Floats] = {}
    if panel.kind == "return":
        forecasts["zero"] = np.broadcast_to(0.0, panel.target.shape)
    forecasts["train_mean"] = np.broadcast_to(train_mean, panel.target.shape)
    if panel.past_return is not None:
        forecasts["expanding_mean"] = _expanding_mean(panel)
        forecasts["last_return"] = panel.past_return
    if panel.last is not None:
        forecasts["persistence"] = panel.last
    scores = {name: _score_rows(data, values) for name, values in forecasts.items()}
    if batches.window * batches.width <= _MOST_RIDGE_INPUTS:
        scores["ridge"] = score_parts(data, ridge_forecasts(data, batches))
    best = min(scores, key=lambda name: scores[name]["validation"]["mse"] or 0.0)
    if panel.kind == "class":
        always = np.broadcast_to(1.0 if train_mean >= 0.5 else 0.0, panel.target.shape)
    else:
        always = np.broadcast_to(1.0, panel.target.shape) if panel.last is None else panel.last + 1
    name = "majority_class" if panel.kind == "class" else "always_up"
    scores[name] = {part: _direction_only(panel, rows, always[rows]) for part, rows in scored_parts(data)}
    return Baselines(scores, best)


def verdict(model: Scores, baselines: Baselines) -> str:
    """One sentence: how the model's squared error on test compares with the best baseline's, and with the others'."""
    own = float(model["mse"] or 0.0)
    errors = {name: s["test"]["mse"] for name, s in baselines.scores.items()}
    best = float(errors[baselines.best] or 0.0)
    better = own < best
    said = f"{'better' if better else 'worse' if own > best else 'no better'} than {baselines.best}"
    said += f", the best baseline on validation: test MSE {own:.6g} against {best:.6g}"
    ahead = [name for name, mse in errors.items() if mse is not None and mse < own and name != baselines.best]
    if ahead:
        said += f"; {'but' if better else 'also'} worse than {', '.join(ahead)}"
    return said + (". Whether the difference is more than chance is not tested." if better else ".")


def scored_parts(data: Data) -> list[tuple[str, Rows]]:
    """The parts that forecasts are scored on, and the rows in which their samples end."""
    return [("validation", data.split.validation), ("test", data.split.test)]


def score_parts(data: Data, forecasts: Mapping[str, Floats]) -> dict[str, Scores]:
    """Scores of forecasts that are given for each scored part, (N,)."""
    return {part: score(target(data.panel, rows), forecasts[part]) for part, rows in scored_parts(data)}


def _score_rows(data: Data, forecasts: Floats) -> dict[str, Scores]:
    """Scores of forecasts that are given for every row, (R,)."""
    return score_parts(data, {part: forecasts[rows] for part, rows in scored_parts(data)})


def _expanding_mean(panel: Panel) -> Floats:
    """(R,) the mean of all returns known at the end of each row."""
    assert panel.past_return is not None
    known = np.isfinite(panel.past_return)
    mean: Floats = np.where(known, panel.past_return, 0.0).cumsum()
    mean /= np.maximum(1, known.cumsum())
    return mean


def _direction_only(panel: Panel, rows: Rows, y_pred: Floats) -> Scores:
    scores: Scores = dict.fromkeys(NAMES)
    return {**scores, "n": len(rows), "hit_rate": hit_rate(target(panel, rows), y_pred)}


def ridge_forecasts(data: Data, batches: Batches) -> dict[str, Floats]:
    """Forecasts (N,) of a ridge regression for each scored part, in the target's own units."""
    parts = {name: torch.from_numpy(rows).to(batches.home) for name, rows in data.split.parts().items()}

    def sums(part: str) -> ridge.Sums:
        chunks = (batches.gather(rows) for rows in parts[part].split(_CHUNK))
        return ridge.Sums.over(((x.cpu(), y.cpu()) for x, y in chunks), batches.window * batches.width)

    fitted = ridge.fit(sums("train"), sums("validation"))
    forecasts = {}
    for part, rows in scored_parts(data):
        scaled = torch.empty(len(rows), dtype=torch.float64)
        for chunk, result in zip(parts[part].split(_CHUNK), scaled.split(_CHUNK), strict=True):
            result.copy_(fitted.forecast(batches.windows(chunk).cpu()))
        forecasts[part] = unscaled(data, scaled)
    return forecasts


def unscaled(data: Data, scaled: torch.Tensor) -> Floats:
    """Scaled forecasts (N,) in the target's own units."""
    forecasts: Floats = np.multiply(scaled.numpy(), data.scaler.target_std)
    forecasts += data.scaler.target_mean
    return forecasts


def oracle(data: Data) -> dict[str, Scores] | None:
    """Scores of the best possible forecast, where simulated data tell it."""
    return None if data.panel.expected is None else _score_rows(data, data.panel.expected)
