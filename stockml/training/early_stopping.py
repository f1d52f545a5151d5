"""When training stops, and which epoch was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Ends training after `patience` epochs in which the validation loss did not fall by more than `min_delta`."""

    patience: int | None
    min_delta: float
    best_loss: float = math.inf
    best_epoch: int = 0

    def improves(self, loss: float, epoch: int) -> bool:
        """Record this epoch's loss; return whether it is the best so far."""
        better = loss < self.best_loss - (self.min_delta if self.best_epoch else 0.0)
        if better:
            self.best_loss, self.best_epoch = loss, epoch
        return better

    def is_over(self, epoch: int) -> bool:
        """Whether patience is used up at this epoch."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience
