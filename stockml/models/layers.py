"""Layers that several models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def output_layer(width: int) -> nn.Linear:
    """A Linear from `width` inputs to one output, with weights and bias of zero.

    Scaled targets have mean zero, so a model that ends in it starts training at the train mean, at R² ≈ 0.
    """
    layer = nn.Linear(width, 1)  # it draws random weights: what is drawn after it does not depend on this function
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class GlobalBatch:
    """The batch over all ranks of which this rank's layers see a shard.

    A rank without a sample of a batch sends any one sample through its model instead, for each rank to take part in
    every sum; that sample counts nowhere.
    """

    def __init__(self, all_reduce: Callable[[Tensor], object]) -> None:
        """`all_reduce` puts the sum over all ranks into each rank's tensor."""
        self.all_reduce = all_reduce
        self.own, self.samples = 0, 0
        """Samples of the batch on this rank, and on all ranks."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks of x, to which a rank without a sample adds zeros."""
        total = x.clone() if self.own else torch.zeros_like(x)
        self.all_reduce(total)
        return total


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) of (N, C).

    Unlike torch's, it normalises a batch of one sample by the running statistics, and it does not count batches, so
    that its weights and buffers are all there is to save. Of several ranks, each normalises by the statistics of the
    global batch, see `synchronise_batch_norm`.
    """

    def __init__(self, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.momentum = momentum
        self.global_batch: GlobalBatch | None = None
        """None: this process has the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C): in training by the batch, otherwise by the running statistics."""
        batch = self.global_batch
        if not self.training or batch is None:
            by_batch = self.training and len(x) > 1
            return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, by_batch, self.momentum)
        rows = len(x) * batch.samples // max(1, batch.own)
        if rows == 1:
            return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias)
        wide = x.to(torch.promote_types(x.dtype, self.mean.dtype))
        normalised, mean, variance = _Normalise.apply(wide, rows, batch)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * (rows / (rows - 1)), self.momentum)
        y: Tensor = normalised * self.weight + self.bias
        return y.to(x.dtype)


def synchronise_batch_norm(model: nn.Module, all_reduce: Callable[[Tensor], object] | None) -> GlobalBatch | None:
    """Let each BatchNorm of the model normalise by the batch over all ranks; by its own without `all_reduce`.

    Returns the batch that the layers share, None without `all_reduce` or without a BatchNorm.
    The caller sets the batch's number of samples, `own` and `samples`, before each forward pass in training, and
    weights this rank's gradient, of a mean over its own samples, by their quotient.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    batch = GlobalBatch(all_reduce) if layers and all_reduce is not None else None
    for layer in layers:
        layer.global_batch = batch
    return batch


class _Normalise(torch.autograd.Function):
    """(N, C) minus the mean, over the standard deviation, both of so many rows on all ranks; also the two moments."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, batch: GlobalBatch) -> tuple[Tensor, Tensor, Tensor]:
        mean = batch.sum(x.sum(0)) / rows
        variance = batch.sum((x - mean).square().sum(0)) / rows  # not from the sum of squares, which loses digits
        scale = (variance + _EPSILON).rsqrt()
        normalised = (x - mean) * scale
        ctx.save_for_backward(normalised, scale)
        ctx.batch, ctx.share = batch, batch.own / batch.samples
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_moments: Tensor) -> tuple[Tensor, None, None]:
        normalised, scale = ctx.saved_tensors
        own = torch.stack([gradient.sum(0), (gradient * normalised).sum(0)])
        # The gradient is of this rank's mean loss: weighted by its share of the samples, the sum over all ranks is of
        # the global one. N rows here are that share of all rows, so dividing by N also takes the weight out again.
        mean, along = ctx.batch.sum(own * ctx.share) / len(gradient)
        return (gradient - mean - normalised * along) * scale, None, None


_EPSILON = 1e-5  # torch's own
