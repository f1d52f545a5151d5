"""TSMixer (Chen, Li, Arik, Yoder & Pfister 2023): (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from stockml.models.layers import BatchNorm, output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import TSMixerConfig


class Block(nn.Module):
    """Mixes the days of each feature, then the features of each day, each with a residual connection.

    Before each of the two, all T × F inputs are batch-normalised.
    """

    def __init__(self, window: int, features: int, config: TSMixerConfig) -> None:
        super().__init__()
        self.norms = nn.ModuleList(BatchNorm(window * features) for _ in range(2))
        self.days = nn.Linear(window, window)
        self.wide = nn.Linear(features, config.ff_dim)
        self.narrow = nn.Linear(config.ff_dim, features)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, F) to the same shape."""
        normalised = self.norms[0](x.flatten(1)).view_as(x)
        x = x + self.dropout(self.days(normalised.transpose(1, 2)).relu()).transpose(1, 2)
        normalised = self.norms[1](x.flatten(1)).view_as(x)
        mixed: Tensor = x + self.dropout(self.narrow(self.dropout(self.wide(normalised).relu())))
        return mixed


class TSMixer(nn.Module):
    """Mixing blocks; then a linear layer over the days, shared by the features, and one that combines these."""

    def __init__(self, window: int, features: int, config: TSMixerConfig) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(window, features, config) for _ in range(config.blocks)))
        self.days = nn.Linear(window, 1)
        self.output = output_layer(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        y: Tensor = self.output(self.days(self.blocks(x).transpose(1, 2)).squeeze(-1))
        return y.squeeze(-1)


def build(config: TSMixerConfig, window: int, features: int) -> TSMixer:
    """TSMixer for windows of shape (window, features)."""
    return TSMixer(window, features, config)
