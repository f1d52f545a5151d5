"""Layers that several models share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) of (N, C).

    Other than torch's, it lets a last batch of one sample pass by the running statistics, and counts no batches: its
    weights and buffers are all there is to save. Each rank of several normalises by its own share of the batch.
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
        """Normalise (N, C), by the batch in training and else by what training has gathered."""
        by_batch = self.training and len(x) > 1
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, by_batch, self.momentum)
