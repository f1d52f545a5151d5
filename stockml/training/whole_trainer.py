"""Trains models that are fitted whole: their weights are computed at once, and training is one epoch.

Of the trainer's settings only `loss` has a meaning for them: it is the loss in history.csv.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from stockml import models
from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import RunError, UserError
from stockml.models.fitted_whole import FittedWhole, SampleBatches
from stockml.training import losses
from stockml.training.early_stopping import EarlyStopping
from stockml.training.flat_parameters import FlatParameters
from stockml.training.interface import AfterEpoch, EpochStats, Samples, TrainState, do_nothing

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.distributed.group import Group
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig


def check_settings(config: Config, window: int, features: int) -> None:
    """UserError where the model cannot be built, or the trainer has settings that mean nothing without steps."""
    problems: list[str] = []
    if config.trainer.overfit_batches:
        problems.append("trainer.overfit_batches: is for models that are trained step by step; leave it out")
    if config.trainer.ensemble > 1:
        problems.append(
            f"trainer.ensemble: model={config.model.name} is the same with every seed, and so would be the members; "
            "leave it out"
        )
    try:
        models.build(config.model, window, features)
    except UserError as error:
        problems += error.lines
    if problems:
        raise UserError(*problems)


class WholeTrainer:
    """Trains models that have the method `FittedWhole.fit_whole`."""

    epochs = 1

    def __init__(self, config: TrainerConfig, hardware: Hardware, group: Group = SINGLE_PROCESS) -> None:
        self._config, self._hardware, self._group = config, hardware, group

    def fit(
        self,
        model: nn.Module,
        samples: Samples,
        after_epoch: AfterEpoch = do_nothing,
        resumed: TrainState | None = None,
    ) -> TrainState:
        """Fit the model, each rank from its shard of the samples; arguments and result as in `ModelTrainer.fit`.

        With `resumed`, the weights are taken from there. RunError where a loss is not finite.
        """
        if resumed is not None:
            FlatParameters(model).restore(resumed.best_weights)
            model.load_state_dict(resumed.other_state, strict=False)
            return resumed
        config, group, batches = self._config, self._group, samples.batches
        started, before = time.perf_counter(), group.communication_seconds
        train, validation = (SampleBatches(batches, group.shard(rows)) for rows in (samples.train, samples.validation))
        facts = cast("FittedWhole", model).fit_whole(train, validation, group.all_reduce)
        train_loss, validation_loss = (
            losses.mean_loss(model, batches, rows, config, self._hardware, group)
            for rows in (samples.train, samples.validation)
        )
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise RunError(
                f"the fitted model's loss is {train_loss} on train and {validation_loss} on validation; "
                "check the data for outliers"
            )
        stopping = EarlyStopping(config.patience, config.min_delta)
        stopping.improves(validation_loss, epoch=1)
        weights = FlatParameters(model).copy()
        state = TrainState(weights, weights, dict(facts), stopping, other_state=_other_state(model))
        unit = losses.loss_unit(config, samples.target_std)
        state.history.append(
            EpochStats(
                1,
                unit * train_loss,
                unit * validation_loss,
                best_epoch=1,
                seconds=time.perf_counter() - started,
                communication_seconds=group.communication_seconds - before,
            )
        )
        after_epoch(state)
        return state


def _other_state(model: nn.Module) -> dict[str, object]:
    """The model's state other than its floating-point tensors."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if not (isinstance(value, Tensor) and value.is_floating_point())
    }
