"""Linear models: (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from stockml.models.layers import output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import DLinearConfig, ModelConfig


class Linear(nn.Module):
    """A linear layer of all T × F inputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.output = output_layer(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        y: Tensor = self.output(x.flatten(1))
        return y.squeeze(-1)


class DLinear(nn.Module):
    """Zeng et al.'s (2023) decomposition: one linear layer over the days of the trend, one over those of the rest.

    All features share the two layers, as in the paper, which forecasts each feature separately. Here the target is one
    number: a last linear layer combines the features' forecasts.

    The trend is the days times a matrix A of weights: u·Ax + v·(x − Ax) = ((u − v)·A + v)·x. So the layers' weights are
    averaged instead of the windows, which gives the same numbers in a fraction of the time.
    """

    def __init__(self, window: int, features: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.trend = nn.Linear(window, 1)
        self.rest = nn.Linear(window, 1)
        self.output = output_layer(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        weights = (self.trend.weight - self.rest.weight) @ self._trend_matrix() + self.rest.weight
        per_feature = functional.linear(x.transpose(1, 2), weights, self.trend.bias + self.rest.bias)
        y: Tensor = self.output(per_feature.squeeze(-1))
        return y.squeeze(-1)

    def _trend_matrix(self) -> Tensor:
        """(T, T) the weight of each day (column) in each day's trend (row); the ends of a window are repeated."""
        weight, reach = self.rest.weight, self.kernel_size // 2
        each_day = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        days = functional.pad(each_day, (reach, reach), "replicate")
        return functional.avg_pool1d(days, self.kernel_size, stride=1).T


class NLinear(nn.Module):
    """Zeng et al.'s (2023) normalisation: a linear layer over the days, of each feature minus its last value.

    The last value is not added back, since the target, a return, does not continue from it. A last linear layer
    combines the features' forecasts.
    """

    def __init__(self, window: int, features: int) -> None:
        super().__init__()
        self.days = nn.Linear(window, 1)
        self.output = output_layer(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        y: Tensor = self.output(self.days((x - x[:, -1:]).transpose(1, 2)).squeeze(-1))
        return y.squeeze(-1)


def build(config: ModelConfig, window: int, features: int) -> Linear:  # noqa: ARG001  (it has no settings)
    """A linear model for windows of shape (window, features)."""
    return Linear(window * features)


def dlinear(config: DLinearConfig, window: int, features: int) -> DLinear:
    """DLinear for windows of shape (window, features)."""
    return DLinear(window, features, config.kernel_size)


def nlinear(config: ModelConfig, window: int, features: int) -> NLinear:  # noqa: ARG001  (it has no settings)
    """NLinear for windows of shape (window, features)."""
    return NLinear(window, features)
