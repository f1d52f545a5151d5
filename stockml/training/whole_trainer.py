"""Trains models that are fitted whole: in one epoch, or in an epoch for each round that the model reports."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import RunError
from stockml.models.fitted_whole import FitContext, FittedWhole, SampleBatches
from stockml.training import losses
from stockml.training.early_stopping import EarlyStopping
from stockml.training.flat_parameters import FlatParameters
from stockml.training.interface import AfterEpoch, EpochStats, Samples, TrainState, do_nothing

if TYPE_CHECKING:
    from stockml.distributed.group import Group
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig


class WholeTrainer:
    """Trains models that have the method `FittedWhole.fit_whole`."""

    def __init__(
        self,
        config: TrainerConfig,
        hardware: Hardware,
        group: Group = SINGLE_PROCESS,
        seed: int = 0,
        epochs: int = 1,
    ) -> None:
        self._config, self._hardware, self._group, self._seed = config, hardware, group, seed
        self.epochs = epochs

    def fit(
        self,
        model: nn.Module,
        samples: Samples,
        after_epoch: AfterEpoch = do_nothing,
        resumed: TrainState | None = None,
    ) -> TrainState:
        """Fit the model, each rank from its shard of the samples; arguments and result as in `ModelTrainer.fit`.

        RunError where a loss is not finite.
        """
        config, group, batches = self._config, self._group, samples.batches
        state = _fresh(model, config) if resumed is None else resumed
        if resumed is not None:
            resumed.stopping.patience = config.patience
            FlatParameters(model).restore(resumed.weights)
            model.load_state_dict(resumed.other_state(), strict=False)
        unit, done = losses.loss_unit(config, samples.target_std), len(state.history)
        started, before = time.perf_counter(), group.communication_seconds

        def report(train_loss: float, validation_loss: float) -> bool:
            nonlocal started, before
            if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
                raise RunError(
                    f"the fitted model's loss is {train_loss} on train and {validation_loss} on validation; "
                    "check the data for outliers"
                )
            epoch = len(state.history) + 1
            state.weights = FlatParameters(model).copy()
            if state.stopping.improves(validation_loss, epoch):
                state.best_weights = state.weights
            ended, communicated = time.perf_counter(), group.communication_seconds
            times = {"seconds": ended - started, "communication_seconds": communicated - before}
            best_epoch = state.stopping.best_epoch
            state.history.append(EpochStats(epoch, unit * train_loss, unit * validation_loss, best_epoch, **times))
            after_epoch(state)
            started, before = time.perf_counter(), group.communication_seconds
            return state.stopping.is_over(epoch)

        if done < self.epochs and not (done and state.stopping.is_over(done)):
            state.other_state = lambda: _other_state(model)
            parts = [SampleBatches(batches, group.shard(rows)) for rows in (samples.train, samples.validation)]
            context = FitContext(config, self._seed, torch.get_num_threads(), group.all_reduce, report, done)
            state.optimizer = dict(cast("FittedWhole", model).fit_whole(parts[0], parts[1], context))
            if not state.history:
                rows = samples.train, samples.validation
                mean = [losses.mean_loss(model, batches, part, config, self._hardware, group) for part in rows]
                report(mean[0], mean[1])
        _keep_best(model, state)
        return state


def _fresh(model: nn.Module, config: TrainerConfig) -> TrainState:
    weights = FlatParameters(model).copy()
    return TrainState(weights, weights, {}, EarlyStopping(config.patience, config.min_delta))


def _keep_best(model: nn.Module, state: TrainState) -> None:
    """Leave the best epoch's weights in the model; the state keeps those of the last epoch."""
    last = _other_state(model)
    state.other_state = lambda: last
    FlatParameters(model).restore(state.best_weights)
    if hasattr(model, "drop_rounds"):
        state.optimizer |= cast("Any", model).drop_rounds(len(state.history) - state.stopping.best_epoch)


def _other_state(model: nn.Module) -> dict[str, object]:
    """The model's state other than its floating-point tensors."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if not (isinstance(value, Tensor) and value.is_floating_point())
    }
