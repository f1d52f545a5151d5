"""Layers that several models share."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) of (N, C).

    Unlike torch's, it normalises a batch of one sample by the running statistics, and it does not count batches, so
    that its weights and buffers are all there is to save. Each rank normalises by its own shard of the batch.
    """

    def __init__(self, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C): in training by the batch, otherwise by the running statistics."""
        by_batch = self.training and len(x) > 1
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, by_batch, self.momentum)
