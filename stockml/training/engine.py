"""The training loop of every model that is trained step by step, alone or as one of several ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import RunError
from stockml.models.layers import synchronise_batch_norm
from stockml.training import flat_optimizer, losses, schedule, window_summary
from stockml.training.early_stopping import EarlyStopping
from stockml.training.flat_parameters import FlatParameters
from stockml.training.interface import AfterEpoch, EpochStats, Samples, TrainState, do_nothing
from stockml.training.random_streams import DROPOUT, stream_seed
from stockml.training.sample_order import Blocks, Updates, epoch_order

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batches
    from stockml.distributed.group import Group
    from stockml.models.layers import GlobalBatch
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig

OVERFITTED = 0.01  # "near zero": a hundredth of the loss of the best constant forecast


class Trainer:
    """Trains models step by step: one loop for every model and for any number of ranks."""

    def __init__(
        self, config: TrainerConfig, hardware: Hardware, group: Group = SINGLE_PROCESS, *, seed: int = 0
    ) -> None:
        self._config, self._hardware, self._group, self._seed = config, hardware, group, seed

    @property
    def epochs(self) -> int:
        """The most epochs that training takes."""
        return self._config.epochs

    def fit(
        self,
        model: nn.Module,
        samples: Samples,
        after_epoch: AfterEpoch = do_nothing,
        resumed: TrainState | None = None,
    ) -> TrainState:
        """Train until the epochs or the patience are used up, and leave the best epoch's weights in the model.

        Arguments and result as in `ModelTrainer.fit`. RunError where a loss is not finite.
        """
        config, group = self._config, self._group
        global_batch = config.global_batch(group.world_size)
        train = samples.train
        if config.overfit_batches:
            train = _spread_out(train, config.overfit_batches, global_batch)
            _disable_dropout(model)
        rows = torch.cat([train, samples.validation])
        model, batches = window_summary.summarised(model, samples.batches, rows, self._hardware)
        parameters = FlatParameters(model)
        group.broadcast(parameters.flat.data)
        optimizer = flat_optimizer.build(parameters.flat, config)
        if resumed is None:
            stopping = EarlyStopping(config.patience, config.min_delta)
            weights = parameters.copy()
            state = TrainState(weights, weights, optimizer.state_dict(), stopping)
        else:
            state, stopping = resumed, resumed.stopping
            stopping.patience, stopping.min_delta = config.patience, config.min_delta
            parameters.restore(state.weights)
            optimizer.load_state_dict(state.optimizer)

        blocks = Blocks.of(batches, global_batch) if batches.by_blocks else None
        if blocks is not None:
            train = train.sort().values
        updates = Updates.of(len(train), global_batch, group)
        loop = _Loop(
            model,
            batches,
            parameters.flat,
            updates,
            step=flat_optimizer.make_step(optimizer, parameters.flat),
            loss_of=losses.loss_of(config),
            at_once=1 if blocks is None else blocks.updates,
            global_batch=synchronise_batch_norm(model, group.all_reduce if group.world_size > 1 else None),
        )
        unit = losses.loss_unit(config, samples.target_std)
        is_over = bool(state.history) and stopping.is_over(len(state.history))
        for epoch in range(len(state.history) + 1, config.epochs + 1):
            if group.broadcast_bool(is_over):
                break
            started, before = time.perf_counter(), group.communication_seconds
            order = epoch_order(train, self._seed, epoch, config.shuffle, blocks)
            past_losses = [e.validation_loss / unit for e in state.history]
            rates = schedule.rates(config, epoch, len(updates.ends), past_losses)
            # torch.manual_seed formats a traceback for every kind of GPU, there or not: that takes longer than a step.
            generator = torch.default_generator if self._hardware.device.type == "cpu" else torch
            generator.manual_seed(stream_seed(DROPOUT, self._seed, epoch, group.rank))
            train_losses = self._train_epoch(loop, group.shard(order), rates)
            losses.check_train_losses(train_losses, epoch, config)
            train_loss = unit * float(train_losses @ updates.sizes) / len(train)
            parameters.average_buffers(group)
            validation_loss = losses.mean_loss(model, batches, samples.validation, config, self._hardware, group)
            losses.check_validation_loss(validation_loss, epoch, config)
            state.weights, state.optimizer = parameters.copy(), optimizer.state_dict()
            if stopping.improves(validation_loss, epoch):
                state.best_weights = state.weights
            seconds = time.perf_counter() - started
            communication = group.communication_seconds - before
            state.history.append(
                EpochStats(
                    epoch,
                    train_loss,
                    unit * validation_loss,
                    stopping.best_epoch,
                    seconds,
                    communication_seconds=communication,
                    lr=rates[-1],
                )
            )
            after_epoch(state)
            is_fitted = config.overfit_batches > 0 and train_loss <= OVERFITTED * unit
            is_over = is_fitted or stopping.is_over(epoch)

        if config.overfit_batches:
            _check_overfitted(state.history[-1].train_loss, OVERFITTED * unit, len(train), config)
        parameters.restore(state.best_weights)
        return state

    def _train_epoch(self, loop: _Loop, shard: Tensor, rates: Sequence[float]) -> Tensor:
        """One pass over this rank's shard of the samples; returns the loss (U,) of each update, float64.

        An update's gradient is the mean over its samples on all ranks, however unevenly they are distributed. On a GPU,
        nothing in the loop waits for the device.
        """
        flat, step, group, updates = loop.flat, loop.step, self._group, loop.updates
        clip_norm = self._config.grad_clip_norm
        gradient = flat.grad
        assert gradient is not None
        no_loss = flat.new_zeros(())
        losses_of_updates = []
        loop.model.train()
        batches = loop.batches.iter_batches(shard.to(loop.batches.storage_device), updates.ends, loop.at_once)
        for number, (x, y) in enumerate(batches):
            gradient.zero_()
            own = len(y)  # some ranks may have no sample of a short last update
            if loop.global_batch is not None:
                loop.global_batch.own, loop.global_batch.samples = own, int(updates.sizes[number])
                if not own:  # its weight in the update is 0
                    x, y = x.new_zeros(1, *x.shape[1:]), y.new_zeros(1)
            if len(y):
                with self._hardware.autocast_context():
                    loss = loop.loss_of(loop.model(x), y)
                flat_optimizer.backward(loss)
            losses_of_updates.append(loss.detach() if len(y) else no_loss)
            if group.world_size > 1:
                gradient.mul_(updates.weights[number])
            group.all_reduce(gradient)
            if clip_norm is not None:
                gradient.mul_((clip_norm / gradient.norm().clamp(min=1e-12)).clamp(max=1.0))
            step(rates[number])
        mean = torch.stack(losses_of_updates).cpu().double() * torch.tensor(updates.weights, dtype=torch.float64)
        group.all_reduce(mean)
        return mean


@dataclass(frozen=True)
class _Loop:
    """What stays the same through all epochs of a fit."""

    model: nn.Module
    batches: Batches
    flat: nn.Parameter
    updates: Updates
    step: Callable[[float], object]
    loss_of: Callable[..., Tensor]
    at_once: int
    """Updates whose samples are read at once, where they are read from a file."""
    global_batch: GlobalBatch | None
    """What the model's batch norm shares over several ranks."""


def _spread_out(train: Tensor, batches: int, batch: int) -> Tensor:
    """So many batches of samples, as far apart as possible: neighbouring windows share nearly all of their days."""
    samples = batches * batch
    return train[:: max(1, len(train) // samples)][:samples]


def _disable_dropout(model: nn.Module) -> None:
    """Switch dropout off: with it, no loss gets near zero."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0


def _check_overfitted(loss: float, most: float, samples: int, config: TrainerConfig) -> None:
    """RunError where a model that was to overfit a few batches has not."""
    if loss > most:
        raise RunError(
            f"trainer.overfit_batches={config.overfit_batches}: the train loss ended at {loss:.3g}, not near zero (≤ "
            f"{most:.3g}); this model cannot fit {samples} samples: try more trainer.epochs, trainer.patience=null, "
            "another trainer.lr, or look for a bug in the model"
        )
