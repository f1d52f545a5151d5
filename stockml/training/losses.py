"""Losses: as they are trained on, and in the target's own units."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import RunError
from stockml.training.forecasting import forecast

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stockml.data.batches import Batches
    from stockml.distributed.group import Group
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""Of scaled forecasts and targets, (B,) each, in units of the target's standard deviation: their mean loss."""

_LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,  # quadratic up to one standard deviation
}


def loss_of(config: TrainerConfig) -> Loss:
    """The loss that a trainer minimises."""
    if config.quantile is not None:
        return functools.partial(_pinball, config.quantile)
    return _LOSSES[config.loss]


def loss_of_each(config: TrainerConfig) -> Loss:
    """The same, of each forecast (...) and target (...) by itself: the loss of a mean over one."""
    each = torch.vmap(loss_of(config))
    return lambda forecasts, targets: each(forecasts.flatten(), targets.flatten()).view_as(forecasts)


def _pinball(quantile: float, forecasts: Tensor, targets: Tensor) -> Tensor:
    """The loss that the quantile of the targets minimises (Koenker & Bassett 1978)."""
    above = targets - forecasts
    return torch.maximum(quantile * above, (quantile - 1) * above).mean()


def mean_loss(
    model: nn.Module,
    batches: Batches,
    rows: Tensor,
    config: TrainerConfig,
    hardware: Hardware,
    group: Group = SINGLE_PROCESS,
) -> float:
    """The scaled loss of the model's forecasts of the samples that end in `rows`; the same on every rank."""
    targets = batches.target.index_select(0, rows.to(batches.storage_device)).cpu().double()
    return float(loss_of(config)(forecast(model, batches, rows, hardware, group=group), targets))


def loss_unit(config: TrainerConfig, target_std: float) -> float:
    """What a scaled loss is multiplied by to be in the target's own units."""
    return target_std if config.loss in ("mae", "quantile") else target_std**2


def check_train_losses(losses: Tensor, epoch: int, config: TrainerConfig) -> None:
    """RunError, naming epoch and batch, where one of the losses (U,) of the epoch's updates is not finite."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        batch = int(bad[0])
        raise _diverged(
            f"the train loss became {float(losses[batch])} in epoch {epoch}, batch {batch + 1} of {len(losses)}", config
        )


def check_validation_loss(loss: float, epoch: int, config: TrainerConfig) -> None:
    """RunError, naming the epoch, where the loss is not finite."""
    if not math.isfinite(loss):
        raise _diverged(f"the validation loss became {loss} after epoch {epoch}", config)


def _diverged(what: str, config: TrainerConfig) -> RunError:
    remedies = [f"a lower trainer.lr (it is {config.lr:g})"]
    if config.grad_clip_norm is None:
        remedies.append("trainer.grad_clip_norm=1")
    return RunError(
        f"{what}; the learning rate is probably too high: try {' or '.join(remedies)}, or check the data for outliers"
    )
