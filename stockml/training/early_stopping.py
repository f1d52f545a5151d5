"""When to stop, and which epoch was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Watches the scaled validation loss: `patience` epochs in which it is not lower by more than `min_delta` do."""

    patience: int | None
    min_delta: float
    best_loss: float = math.inf
    best_epoch: int = 0

    def improves(self, loss: float, epoch: int) -> bool:
        """Note this epoch's loss; whether it is the best so far."""
        better = loss < self.best_loss - (self.min_delta if self.best_epoch else 0.0)
        if better:
            self.best_loss, self.best_epoch = loss, epoch
        return better

    def is_over(self, epoch: int) -> bool:
        """Whether patience has run out at this epoch."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience
