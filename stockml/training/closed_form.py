"""Models whose best weights are computed at once: no steps are taken, and the whole of training is one epoch.

Of the trainer's settings only `loss` has a meaning for them: it is what history.csv reports.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import torch

from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import UserError
from stockml.evaluation import baselines
from stockml.models import ridge as solver
from stockml.training import engine
from stockml.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from stockml.config.root import Config
    from stockml.data.batches import Batches
    from stockml.distributed.group import Group
    from stockml.models.linear import Linear
    from stockml.models.settings import RidgeConfig
    from stockml.training.hardware import Hardware


def check_solvable(config: Config, inputs: int) -> None:
    """UserError where the trainer is asked for what has no meaning without steps, or there are too many inputs."""
    faults = []
    if config.trainer.overfit_batches:
        faults.append("trainer.overfit_batches: is for models that are trained step by step; leave it out")
    if config.trainer.ensemble > 1:
        faults.append(
            f"trainer.ensemble: no seed changes model={config.model.name}, so its members are one; leave it out"
        )
    if inputs > baselines.MOST_RIDGE_INPUTS:
        faults.append(
            f"model={config.model.name}: {inputs:,} inputs are more than can be solved for "
            f"({baselines.MOST_RIDGE_INPUTS:,}); lower data.window, or take model=linear"
        )
    if faults:
        raise UserError(*faults)


def ridge(
    model: Linear,
    batches: Batches,
    train: Tensor,
    validation: Tensor,
    config: Config,
    hardware: Hardware,
    *,
    target_std: float,
    after_epoch: Callable[[engine.TrainState], None],
    resumed: engine.TrainState | None = None,
    group: Group = SINGLE_PROCESS,
) -> engine.TrainState:
    """Give the model the weights of the ridge regression on train; alpha, unless it is set, by the error on validation.

    Each rank sums over its share of the samples, and all of them solve the same equations.
    """
    started, before = time.perf_counter(), group.communication_seconds
    parameters = engine.Parameters(model)
    if resumed is not None:
        parameters.restore(resumed.best_weights)
        return resumed
    settings: RidgeConfig = config.model  # type: ignore[assignment]
    alphas = solver.ALPHAS if settings.alpha == "auto" else (settings.alpha,)
    fitted = solver.fit(_sums(batches, train, group), _sums(batches, validation, group), alphas)
    with torch.no_grad():
        model.output.weight.copy_(fitted.weights)
        model.output.bias.fill_(fitted.intercept)
    unit = engine.unit(config.trainer, target_std)
    train_loss, validation_loss = (
        unit * engine.loss_on(model, batches, rows, config.trainer, hardware, group) for rows in (train, validation)
    )
    stopping = EarlyStopping(config.trainer.patience, config.trainer.min_delta)
    stopping.improves(validation_loss / unit, epoch=1)
    weights = parameters.copy()
    fit = engine.TrainState(weights, weights, {"alpha": fitted.alpha}, stopping)
    seconds = time.perf_counter() - started
    fit.history.append(
        engine.EpochStats(1, train_loss, validation_loss, 1, seconds, group.communication_seconds - before)
    )
    after_epoch(fit)
    return fit


def _sums(batches: Batches, rows: Tensor, group: Group) -> solver.Sums:
    """The sums over the samples that end in `rows`, of which each rank gathers its share."""
    own = solver.Sums.over_rows(batches, group.shard(rows))
    if group.world_size == 1:
        return own
    parts = [own.xx.flatten(), own.x, own.xy, torch.tensor([own.n, own.y, own.yy], dtype=torch.float64)]
    whole = torch.cat(parts)
    group.all_reduce(whole)
    xx, x, xy, (n, y, yy) = whole.split([len(part) for part in parts])
    return dataclasses.replace(own, n=int(n), x=x, y=float(y), xx=xx.view_as(own.xx), xy=xy, yy=float(yy))
