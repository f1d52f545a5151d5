"""Multilayer perceptrons: (B, T, F) → (B,)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from stockml.models.layers import BatchNorm, output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import GKXConfig, MLPConfig


class MLP(nn.Module):
    """Linear → ReLU → Dropout → Linear, on the flattened window."""

    def __init__(self, inputs: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.output = output_layer(hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        return self.from_summary(x.flatten(1))

    def from_summary(self, x: Tensor) -> Tensor:
        """Map inputs (B, P) to forecasts (B,)."""
        y: Tensor = self.output(self.dropout(self.hidden(x).relu()))
        return y.squeeze(-1)


class PooledMLP(MLP):
    """The same layers on the window's mean over time, which is computed once a fit."""

    def summary(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to means (B, F)."""
        return x.mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        return self.from_summary(self.summary(x))


class GKX(nn.Module):
    """Linear → batch norm → ReLU, layer after layer, on the flattened window; then Linear."""

    def __init__(self, inputs: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, units in itertools.pairwise([inputs, *hidden_dims]):
            layers += [nn.Linear(width, units, bias=False), BatchNorm(units), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.output = output_layer(hidden_dims[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        y: Tensor = self.output(self.hidden(x.flatten(1)))
        return y.squeeze(-1)


def pooled(config: MLPConfig, window: int, features: int) -> PooledMLP:  # noqa: ARG001  (every builder is given the window)
    """An MLP on the mean over time: F inputs."""
    return PooledMLP(features, config.hidden_dim, config.dropout)


def flattened(config: MLPConfig, window: int, features: int) -> MLP:
    """An MLP on the flattened window: T × F inputs."""
    return MLP(window * features, config.hidden_dim, config.dropout)


def gkx(config: GKXConfig, window: int, features: int) -> GKX:
    """Gu, Kelly & Xiu's (2020) network on the flattened window."""
    return GKX(window * features, config.hidden_dims)
