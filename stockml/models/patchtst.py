"""PatchTST (Nie, Nguyen, Sinthong & Kalagnanam 2023): (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from stockml.errors import UserError
from stockml.models.layers import BatchNorm, output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import PatchTSTConfig

_LEAST_VARIANCE = 1e-5  # of a feature that hardly changes in a window


class Layer(nn.Module):
    """Attention, then a feed-forward network, each with a residual connection and batch normalisation."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.queries_keys_values = nn.Linear(config.dim, 3 * config.dim)
        self.attended = nn.Linear(config.dim, config.dim)
        self.wide = nn.Linear(config.dim, config.ff_dim)
        self.narrow = nn.Linear(config.ff_dim, config.dim)
        self.norms = nn.ModuleList(BatchNorm(config.dim) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (S, P, dim), S sequences of P patches, to the same shape."""
        sequences, patches, dim = x.shape
        split = self.queries_keys_values(x).view(sequences, patches, 3, self.heads, dim // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        rate = self.dropout.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        x = x + self.dropout(self.attended(attended.transpose(1, 2).reshape(sequences, patches, dim)))
        x = self._normalised(0, x)
        x = x + self.dropout(self.narrow(self.dropout(functional.gelu(self.wide(x)))))
        return self._normalised(1, x)

    def _normalised(self, number: int, x: Tensor) -> Tensor:
        normalised: Tensor = self.norms[number](x.flatten(0, 1))
        return normalised.view_as(x)


class PatchTST(nn.Module):
    """A transformer encoder over patches of days, applied to each feature separately with the same weights.

    Each feature's window is normalised to mean 0 and variance 1, with a learned scale and offset; the forecast, of a
    return, is not transformed back. Each feature's patches give a forecast; a last linear layer combines these.
    """

    def __init__(self, window: int, features: int, config: PatchTSTConfig) -> None:
        super().__init__()
        self.length, self.stride = config.patch_length, config.stride
        patches = (window - config.patch_length) // config.stride + 2
        self.scale, self.offset = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.embedding = nn.Linear(config.patch_length, config.dim)
        self.position = nn.Parameter(torch.empty(patches, config.dim).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.patches = nn.Linear(patches * config.dim, 1)
        self.output = output_layer(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        x = (x - mean) * (variance + _LEAST_VARIANCE).rsqrt() * self.scale + self.offset
        days = functional.pad(x.transpose(1, 2), (0, self.stride), "replicate")  # the last patch reaches past the end
        patches = days.unfold(2, self.length, self.stride).flatten(0, 1)
        x = self.dropout(self.embedding(patches) + self.position)
        for layer in self.layers:
            x = layer(x)
        per_feature = self.patches(x.flatten(1)).view(days.shape[:2])
        y: Tensor = self.output(per_feature)
        return y.squeeze(-1)


def build(config: PatchTSTConfig, window: int, features: int) -> PatchTST:
    """PatchTST for windows of shape (window, features); UserError where no patch fits into one."""
    if config.patch_length > window:
        raise UserError(
            f"model.patch_length: {config.patch_length} days do not fit into a window of {window}; lower it, or raise "
            "data.window"
        )
    return PatchTST(window, features, config)
