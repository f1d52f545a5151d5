"""What a trial of a search reports as it trains, to the process that started it."""

from __future__ import annotations

from stockml.processes import parent


def report_epoch(epoch: int, validation_loss: float) -> bool:
    """Report an epoch, counted from 1, and its validation loss; whether the trial is to stop as unpromising."""
    return bool(parent.ask((epoch, validation_loss)))
