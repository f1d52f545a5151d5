"""What a model computes of a window before its first parameter: once a fit instead of at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from stockml.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batches
    from stockml.training.hardware import Hardware


def summarised(model: nn.Module, batches: Batches, rows: Tensor, hardware: Hardware) -> tuple[nn.Module, Batches]:
    """The model and the batches of the samples in `rows`, from the windows' summaries on, if it has any.

    A module can have two methods, with `forward(x) = from_summary(summary(x))`: `summary`, of windows (B, T, F), has
    neither parameters nor randomness, and what it computes of a window does not depend on the others, to the bit.
    RunError where the two are seen not to give what `forward` does.
    """
    summary: Any = getattr(model, "summary", None)
    if summary is None or not hasattr(model, "from_summary"):
        return model, batches
    with torch.no_grad(), hardware.autocast_context():
        found = batches.summarised(summary, rows)
        if found is None:
            return model, batches
        own = _FromSummary(model)
        some, was_training = rows[:2], model.training
        own.eval()
        is_same = torch.equal(model(batches.windows(some)), own(found.windows(some)))
        own.train(was_training)
    if not is_same:
        name = type(model).__name__
        raise RunError(f"{name}: forward(x) is not from_summary(summary(x)); correct or rename these two methods")
    return own, found


class _FromSummary(nn.Module):
    """A model from its windows' summaries on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map summaries (B, ...) to forecasts (B,)."""
        return cast("Any", self.model).from_summary(x)  # type: ignore[no-any-return]
