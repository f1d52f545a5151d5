"""The learning rate of each update: it follows from the settings, the epoch and the losses so far.

It holds no state, so that a resumed run and every rank compute the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockml.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from stockml.training.settings import TrainerConfig


def rates(config: TrainerConfig, epoch: int, updates: int, losses: Sequence[float]) -> list[float]:
    """The learning rate (U,) of each of the epoch's updates.

    Warm-up: the rate rises linearly to the full rate over the first `warmup_epochs`. After that it is constant; or
    cosine: half a period down to 0 at the end of the last epoch (Loshchilov & Hutter 2017, without restarts); or
    plateau: halved whenever `plateau_patience` epochs have passed without improvement. `losses` are the scaled
    validation losses of the epochs before.
    """
    full = config.lr * (0.5 ** _plateaus(config, losses) if config.schedule == "plateau" else 1.0)
    if config.schedule != "cosine" and (epoch - 1) >= config.warmup_epochs:
        return [full] * updates
    warm, total = config.warmup_epochs * updates, config.epochs * updates

    def rate(step: int) -> float:
        if step < warm:
            return full * min(1.0, (step + 1) / warm)
        if config.schedule == "cosine":
            return full * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
        return full

    return [rate((epoch - 1) * updates + update) for update in range(updates)]


def _plateaus(config: TrainerConfig, losses: Sequence[float]) -> int:
    """How often so far `plateau_patience` epochs have passed without a loss that counts as an improvement."""
    watch = EarlyStopping(None, config.min_delta)
    found = since = 0
    for epoch, loss in enumerate(losses, start=1):
        if watch.improves(loss, epoch):
            since = epoch
        elif epoch - since >= config.plateau_patience:
            found, since = found + 1, epoch
    return found
