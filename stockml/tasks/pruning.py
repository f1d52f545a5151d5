"""What a trial of a search reports as it trains, to the process that started it."""

from __future__ import annotations

from stockml.processes import parent


def report_epoch(epoch: int, best_loss: float) -> bool:
    """Report an epoch, counted from 1, and the best validation loss so far; whether the trial is to stop."""
    return bool(parent.ask((epoch, best_loss)))
