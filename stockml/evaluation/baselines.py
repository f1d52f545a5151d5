"""The naive forecasts that a model must beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from stockml.evaluation.metrics import Floats
from stockml.models import fitted_whole, ridge

if TYPE_CHECKING:
    from stockml.data.batches import Batches
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

MOST_RIDGE_INPUTS = ridge.MOST_INPUTS


def forecasts(data: Data, batches: Batches, model: str = "") -> dict[str, dict[str, Floats]]:
    """Every baseline that fits the target, fitted on train: its forecasts (N,) by part and name, in the target's units.

    Returns: zero, train mean, expanding mean (of all returns known by then), last return, always up (direction
    alone). Levels: train mean, persistence, always up. Classes: train mean, majority class (direction alone).
    All: ridge. A model that is itself a baseline, by its name, is not compared with itself.
    """
    found: dict[str, dict[str, Floats]] = {part: {} for part, _ in scored_splits(data)}
    for name, values in naive(data.panel, data.scaler.train_mean(data.panel)):
        for part, rows in scored_splits(data):
            found[part][name] = values[rows]
    if model != "ridge" and batches.window * batches.width <= MOST_RIDGE_INPUTS:
        for part, values in ridge_forecasts(data, batches).items():
            found[part]["ridge"] = values
    return found


def naive(panel: Panel, train_mean: Floats) -> Iterator[tuple[str, Floats]]:
    """Those that nothing is fitted for but the mean of train, (R,): forecasts (R,) at every row's end, one by one."""
    if panel.kind == "return":
        yield "zero", np.broadcast_to(0.0, panel.target.shape)
    yield "train_mean", train_mean
    if (past_return := panel.past_return) is not None:
        yield "expanding_mean", _expanding_mean(panel, past_return)
        yield "last_return", past_return
    if panel.last is not None:
        yield "persistence", panel.last
    if panel.kind == "class":
        yield "majority_class", np.where(train_mean >= 0.5, 1.0, 0.0)
    elif panel.last is not None:
        yield "always_up", panel.last + 1
    else:
        yield "always_up", np.broadcast_to(1.0, panel.target.shape)


def scored_splits(data: Data) -> list[tuple[str, Rows]]:
    """The parts that forecasts are scored on, and the rows in which their samples end."""
    return [("validation", data.split.validation), ("test", data.split.test)]


def _expanding_mean(panel: Panel, past_return: Floats) -> Floats:
    """(R,) the mean of all returns of the stock known at the end of each row."""
    mean = np.empty(len(past_return))
    for rows in panel.spans():
        known = np.isfinite(past_return[rows])
        np.cumsum(np.where(known, past_return[rows], 0.0), out=mean[rows])
        mean[rows] /= np.maximum(1, known.cumsum())
    return mean


def ridge_forecasts(data: Data, batches: Batches) -> dict[str, Floats]:
    """Forecasts (N,) of a ridge regression for each scored part, in the target's own units."""
    parts = {name: torch.from_numpy(rows).to(batches.storage_device) for name, rows in data.split.by_name().items()}
    train, validation = (ridge.Sums.over_rows(batches, parts[part]) for part in ("train", "validation"))
    fitted = ridge.fit(train, validation)
    forecasts = {}
    for part, rows in scored_splits(data):
        scaled = torch.empty(len(rows), dtype=torch.float64)
        for chunk, result in zip(parts[part].split(fitted_whole.CHUNK), scaled.split(fitted_whole.CHUNK), strict=True):
            result.copy_(fitted.forecast(batches.windows(chunk).cpu()))
        forecasts[part] = data.scaler.inverse_transform(scaled.numpy(), data.panel, rows)
    return forecasts
