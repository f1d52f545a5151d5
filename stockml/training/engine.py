"""The one training loop, for every trainer and every model."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stockml.distributed.group import SINGLE_PROCESS
from stockml.errors import RunError
from stockml.training import schedule
from stockml.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batches
    from stockml.distributed.group import Group
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig

# In units of the target's standard deviation, like everything in here.
_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,  # quadratic up to one standard deviation
}
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
_OVERFITTED = 0.01  # "near zero": a hundredth of the loss of the best constant forecast
_BLOCK_BYTES, _BLOCK_SAMPLES, _BLOCKS_MIXED = 2**21, 2**14, 48
_CHUNK_VALUES = 2**22  # inputs of one batch of forecasts: 16 MB in float32

# What a stream of random numbers is drawn for. Apart from it, equal seeds would make equal streams.
INITIALISATION, _ORDER, _DROPOUT = 1, 2, 3


@dataclass(frozen=True)
class EpochStats:
    """What an epoch came to; losses in the target's own units (squared for mse and huber)."""

    epoch: int
    train_loss: float
    validation_loss: float
    best_epoch: int
    seconds: float
    communication_seconds: float = 0.0
    """Of the seconds: spent on exchanging with other ranks, waiting for them included."""
    lr: float | None = None
    """Learning rate of the last update; None where no steps were taken."""


@dataclass
class TrainState:
    """Training as it stands after an epoch: all that is needed to continue it, bit for bit.

    There is no random state in it: the order of an epoch's samples and its dropout follow from (seed, epoch, rank).
    """

    weights: Tensor
    best_weights: Tensor
    optimizer: dict[str, Any]
    stopping: EarlyStopping
    history: list[EpochStats] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain containers and tensors, for a checkpoint."""
        return {
            "weights": self.weights,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer,
            "stopping": asdict(self.stopping),
            "history": [asdict(epoch) for epoch in self.history],
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> TrainState:
        """Back from a checkpoint."""
        history = [EpochStats(**epoch) for epoch in state["history"]]
        return cls(
            state["weights"], state["best_weights"], state["optimizer"], EarlyStopping(**state["stopping"]), history
        )


class Parameters:
    """All of a model's parameters as one flat tensor, and their gradients as another: the model's own become views.

    One optimizer kernel, one clipping, one copy and (over several processes) one reduction then serve them all.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = _in_cudnn_s_order(model)
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.flat.grad = torch.zeros_like(self.flat)
        start = 0
        for p in parameters:
            end = start + p.numel()
            p.data = self.flat.data[start:end].view_as(p)
            p.grad = self.flat.grad[start:end].view_as(p)
            start = end
        # Batch statistics and the like belong to the weights though no optimizer moves them.
        self.buffers = [b for b in model.buffers() if b.is_floating_point()]

    def copy(self) -> Tensor:
        """Parameters and buffers, flat."""
        return torch.cat([self.flat.detach(), *(b.detach().flatten() for b in self.buffers)])

    def restore(self, saved: Tensor) -> None:
        """Set parameters and buffers to what `copy` gave."""
        parts = saved.to(self.flat.device).split([t.numel() for t in (self.flat, *self.buffers)])
        for tensor, part in zip((self.flat.data, *self.buffers), parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_buffers(self, group: Group) -> None:
        """Make what each rank has gathered from its own samples, batch statistics say, the mean over the ranks."""
        for buffer in self.buffers:
            group.all_reduce(buffer.div_(group.world_size))


def _in_cudnn_s_order(model: nn.Module) -> list[nn.Parameter]:
    """The parameters, recurrent layers first, their matrices before their biases.

    cuDNN reads a recurrent layer in place where memory begins with it in this order; else it copies it at every call.
    """
    recurrent = [p for module in model.modules() if isinstance(module, nn.RNNBase) for p in module.parameters()]
    place = {id(p): p.dim() for p in recurrent}
    return sorted(model.parameters(), key=lambda p: -place.get(id(p), 0))


def fit(
    model: nn.Module,
    batches: Batches,
    train: Tensor,
    validation: Tensor,
    config: TrainerConfig,
    hardware: Hardware,
    *,
    seed: int,
    target_std: float,
    after_epoch: Callable[[TrainState], None],
    resumed: TrainState | None = None,
    group: Group = SINGLE_PROCESS,
) -> TrainState:
    """Train until the epochs or the patience are used up, and leave the best epoch's weights in the model.

    `train` and `validation` hold rows of the panel, all of them on every rank of the group. `after_epoch` is called
    with the state of each finished epoch; what it raises ends the training. RunError where a loss stops being a number.
    """
    batch = config.global_batch(group.world_size)
    if config.overfit_batches:  # windows that lie apart: neighbours share nearly all of their days
        train = train[:: max(1, len(train) // (config.overfit_batches * batch))]
        train = train[: config.overfit_batches * batch]
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0  # with dropout no loss gets near zero
            elif isinstance(module, nn.RNNBase):
                module.dropout = 0.0
    parameters = Parameters(model)
    group.broadcast(parameters.flat.data)
    optimizer = _optimizer(parameters.flat, config)
    step, loss_of = _step_of(optimizer, parameters.flat), _LOSSES[config.loss]
    in_units = unit(config, target_std)

    if resumed is None:
        stopping = EarlyStopping(config.patience, config.min_delta)
        weights = parameters.copy()
        state = TrainState(weights, weights, optimizer.state_dict(), stopping)
    else:
        state, stopping = resumed, resumed.stopping
        stopping.patience, stopping.min_delta = config.patience, config.min_delta
        parameters.restore(state.weights)
        optimizer.load_state_dict(state.optimizer)

    blocks = Blocks.of(batches, batch) if batches.by_blocks else None
    if blocks is not None:
        train = train.sort().values
    parts = _Parts.of(len(train), batch, group)
    over = bool(state.history) and stopping.is_over(len(state.history))
    for epoch in range(len(state.history) + 1, config.epochs + 1):
        if group.broadcast_bool(over):
            break
        started, before = time.perf_counter(), group.communication_seconds
        order = _order(train, seed, epoch, config.shuffle, blocks)
        rates = schedule.rates(config, epoch, len(parts.ends), [e.validation_loss / in_units for e in state.history])
        torch.manual_seed(stream_seed(_DROPOUT, seed, epoch, group.rank))
        losses = _train_epoch(
            model,
            batches,
            group.shard(order),
            parts,
            rates,
            config,
            hardware,
            parameters.flat,
            step,
            loss_of,
            group,
            blocks,
        )
        _check_finite(losses, epoch, config)
        train_loss = in_units * float(losses @ parts.sizes) / len(train)
        parameters.average_buffers(group)
        validation_loss = loss_on(model, batches, validation, config, hardware, group)
        if not math.isfinite(validation_loss):
            raise _diverged(f"the validation loss became {validation_loss} after epoch {epoch}", config)
        state.weights, state.optimizer = parameters.copy(), optimizer.state_dict()
        if stopping.improves(validation_loss, epoch):
            state.best_weights = state.weights
        seconds = time.perf_counter() - started
        spent = group.communication_seconds - before
        state.history.append(
            EpochStats(epoch, train_loss, in_units * validation_loss, stopping.best_epoch, seconds, spent, lr=rates[-1])
        )
        after_epoch(state)
        fitted = config.overfit_batches > 0 and train_loss <= _OVERFITTED * in_units
        over = fitted or stopping.is_over(epoch)

    if config.overfit_batches and (loss := state.history[-1].train_loss) > _OVERFITTED * in_units:
        raise RunError(
            f"trainer.overfit_batches={config.overfit_batches}: the train loss ended at {loss:.3g}, not near zero (≤ "
            f"{_OVERFITTED * in_units:.3g}); this model cannot fit {len(train)} samples: more trainer.epochs, "
            "trainer.patience=null, another trainer.lr, or a bug in the model"
        )
    parameters.restore(state.best_weights)
    return state


def loss_on(
    model: nn.Module,
    batches: Batches,
    rows: Tensor,
    config: TrainerConfig,
    hardware: Hardware,
    group: Group = SINGLE_PROCESS,
) -> float:
    """The loss of the model's forecasts of the samples that end in `rows`, scaled; the same on every rank."""
    targets = batches.target.index_select(0, rows.to(batches.storage_device)).cpu().double()
    return float(_LOSSES[config.loss](forecast(model, batches, rows, hardware, group=group), targets))


def unit(config: TrainerConfig, target_std: float) -> float:
    """What a scaled loss is multiplied by to be in the target's own units."""
    return target_std if config.loss == "mae" else target_std**2


def forecast(
    model: nn.Module,
    batches: Batches,
    rows: Tensor,
    hardware: Hardware,
    chunk: int | None = None,
    group: Group = SINGLE_PROCESS,
) -> Tensor:
    """Scaled forecasts (N,), float64 in main memory, of the samples that end in `rows`; whole on every rank.

    How many are computed at once follows from the window's size alone, so that no setting of training shows; and always
    that many, so that a forecast is the same to the bit whatever samples come after it.
    """
    chunk = chunk or max(1, min(256, _CHUNK_VALUES // (batches.window * batches.width)))
    model.eval()
    share = group.shard(rows).to(batches.storage_device)
    # In one tensor from the start: small results kept between large windows would leave holes that no window fits.
    forecasts = torch.empty(len(share), dtype=hardware.dtype, device=hardware.device)
    with torch.inference_mode(), hardware.computing():
        filled = torch.cat([share, share[-1:].expand(-len(share) % chunk)])
        at_once = max(1, Blocks.of(batches, chunk).updates)
        windows = batches.iter_windows(filled, range(chunk, len(filled) + 1, chunk), at_once)
        for x, result in zip(windows, forecasts.split(chunk), strict=True):
            result.copy_(model(x)[: len(result)])
    return group.gather(forecasts.cpu().double(), len(rows))


def start_output_at_mean(model: nn.Module) -> None:
    """Zero a last layer named `output`: scaled targets have mean zero, so training starts at the train mean, R² ≈ 0."""
    output = getattr(model, "output", None)
    if isinstance(output, nn.Linear):
        nn.init.zeros_(output.weight)
        if output.bias is not None:
            nn.init.zeros_(output.bias)


def stream_seed(*parts: int) -> int:
    """One seed from what the stream is for and further numbers; those that differ by zeros at the end get the same."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class _Parts:
    """How an epoch is cut into updates, and what part of each is this rank's."""

    ends: list[int]
    """(U,) where each update's samples end in this rank's share."""
    sizes: Tensor
    """(U,) samples of each update over all ranks, float64."""
    weights: list[float]
    """(U,) this rank's part of each update's samples."""

    @classmethod
    def of(cls, samples: int, batch: int, group: Group) -> _Parts:
        ends = group.shard_ends(samples, batch)
        sizes = [min(batch, samples - start) for start in range(0, samples, batch)]
        own = [end - start for start, end in itertools.pairwise([0, *ends])]
        weights = [mine / size for mine, size in zip(own, sizes, strict=True)]
        return cls(ends, torch.tensor(sizes, dtype=torch.float64), weights)


def _train_epoch(
    model: nn.Module,
    batches: Batches,
    share: Tensor,
    parts: _Parts,
    rates: Sequence[float],
    config: TrainerConfig,
    hardware: Hardware,
    flat: nn.Parameter,
    step: Callable[[float], object],
    loss_of: Callable[..., Tensor],
    group: Group,
    blocks: Blocks | None,
) -> Tensor:
    """One pass over the samples; the loss of each update, float64. On a device, nothing in the loop waits for it.

    An update's gradient is the mean over its samples on all ranks, however unevenly they are spread.
    """
    assert flat.grad is not None
    losses = torch.zeros(len(parts.ends), dtype=flat.dtype, device=flat.device)
    several = group.world_size > 1
    model.train()
    at_once = 1 if blocks is None else blocks.updates
    for number, (x, y) in enumerate(batches.iter_batches(share.to(batches.storage_device), parts.ends, at_once)):
        flat.grad.zero_()
        if len(y):  # of a short last update, some ranks may have no sample
            with hardware.computing():
                loss = loss_of(model(x), y)
            loss.backward()
            losses[number] = loss.detach()
        if several:
            flat.grad.mul_(parts.weights[number])
        group.all_reduce(flat.grad)
        if config.grad_clip_norm is not None:
            flat.grad.mul_((config.grad_clip_norm / flat.grad.norm().clamp(min=1e-12)).clamp(max=1.0))
        step(rates[number])
    mean = losses.cpu().double() * torch.tensor(parts.weights, dtype=torch.float64)
    group.all_reduce(mean)
    return mean


@dataclass(frozen=True)
class Blocks:
    """How samples are shuffled that are read from a file: blocks in random order, some of them mixed at a time."""

    samples: int
    """Of a block: neighbours in the file."""
    updates: int
    """Whose samples are mixed with one another, and read at once."""
    batch: int

    @classmethod
    def of(cls, batches: Batches, batch: int) -> Blocks:
        """Blocks of two megabytes, or 16,384 samples, of which 48 are mixed, or what one update needs."""
        bytes_a_sample = batches.values[0].numel() * batches.values.element_size()
        samples = max(1, min(_BLOCK_SAMPLES, _BLOCK_BYTES // bytes_a_sample))
        return cls(samples, max(1, samples * _BLOCKS_MIXED // batch), batch)

    @property
    def mixed(self) -> int:
        """Samples that are mixed with one another."""
        return self.updates * self.batch

    def __str__(self) -> str:
        return f"blocks of {self.samples:,} neighbours in random order, {self.mixed:,} samples mixed at a time"


def _order(train: Tensor, seed: int, epoch: int, shuffle: bool, blocks: Blocks | None = None) -> Tensor:
    """The epoch's order of samples, the same on every rank: it follows from (seed, epoch)."""
    if not shuffle:
        return train
    generator = torch.Generator().manual_seed(stream_seed(_ORDER, seed, epoch))
    if blocks is None:
        return train[torch.randperm(len(train), generator=generator)]
    pieces = train.split(blocks.samples)
    order = torch.cat([pieces[number] for number in torch.randperm(len(pieces), generator=generator).tolist()])
    for mixed in order.split(blocks.mixed):
        mixed.copy_(mixed[torch.randperm(len(mixed), generator=generator)])
    return order


def _optimizer(flat: nn.Parameter, config: TrainerConfig) -> torch.optim.Optimizer:
    _remember_plain_methods()
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        settings["momentum"] = 0.9
    return _OPTIMIZERS[config.optimizer]([flat], **settings)


# A run that never compiles would spend a second on importing torch's compiler, which torch does in Optimizer's methods
# to tell the compiler to leave them alone. The two functions below go round it by what the decorators leave open; with
# a torch that is built otherwise they do nothing, and the run pays the second.


def _remember_plain_methods() -> None:
    """Let methods that import the compiler to wrap themselves find the plain method as the one wrapped already."""
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and plain.__name__ in ("add_param_group", "state_dict", "load_state_dict"):
            plain.__dict__.setdefault("__dynamo_disable", plain)


def _step_of(optimizer: torch.optim.Optimizer, flat: nn.Parameter) -> Callable[[float], object]:
    """The optimizer's step, at a learning rate, beneath its decorators, which import the compiler and call hooks.

    Adam's first step makes its state; the others call the fused kernel itself. Around it torch sorts tensors by device
    and type, at each step, which takes longer than the kernel; here there is one tensor.
    """
    undecorated = torch.no_grad()(functools.partial(inspect.unwrap(type(optimizer).step), optimizer))

    def plain(lr: float) -> object:
        optimizer.param_groups[0]["lr"] = lr
        return undecorated()

    group = optimizer.param_groups[0]
    name = {torch.optim.Adam: "_fused_adam_", torch.optim.AdamW: "_fused_adamw_"}.get(type(optimizer), "")
    kernel, settings = getattr(torch, name, None), {key: group[key] for key in _KERNEL_SETTINGS if key in group}
    if kernel is None:
        return plain
    settings["beta1"], settings["beta2"] = group["betas"]
    weights, gradient = flat.detach(), flat.grad

    def step(lr: float) -> object:
        state = optimizer.state[flat]
        if not state:
            return plain(lr)
        state["step"] += 1
        return kernel(
            [weights], [gradient], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]], lr=lr, **settings
        )

    return step


_KERNEL_SETTINGS = ("weight_decay", "eps", "amsgrad", "maximize")


def _check_finite(losses: Tensor, epoch: int, config: TrainerConfig) -> None:
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        batch = int(bad[0])
        raise _diverged(
            f"the train loss became {float(losses[batch])} in epoch {epoch}, batch {batch + 1} of {len(losses)}", config
        )


def _diverged(what: str, config: TrainerConfig) -> RunError:
    remedies = [f"a lower trainer.lr (it is {config.lr:g})"]
    if config.grad_clip_norm is None:
        remedies.append("trainer.grad_clip_norm=1")
    return RunError(f"{what}; likely the learning rate is too high: try {' or '.join(remedies)}, or look for outliers")
