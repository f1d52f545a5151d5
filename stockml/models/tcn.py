"""A temporal convolutional network (Bai, Kolter & Koltun 2018): (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from stockml.models.layers import output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import TCNConfig


class Level(nn.Module):
    """Two causal, weight-normalised convolutions, each with ReLU and dropout, and a residual connection around both."""

    def __init__(self, inputs: int, config: TCNConfig) -> None:
        super().__init__()
        self.past = config.kernel_size - 1
        self.first = weight_norm(nn.Conv1d(inputs, config.channels, config.kernel_size))
        self.second = weight_norm(nn.Conv1d(config.channels, config.channels, config.kernel_size))
        self.around = nn.Conv1d(inputs, config.channels, 1) if inputs != config.channels else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, days) to the same number of days; each depends on itself and earlier days."""
        y = x
        for convolution in (self.first, self.second):
            y = self.dropout(convolution(functional.pad(y, (self.past, 0))).relu())
        out: Tensor = (y + self.around(x)).relu()
        return out


class TCN(nn.Module):
    """Levels of convolutions whose dilation doubles from one to the next; a linear layer on the last day's channels.

    Only the last day is needed, and with dilation d a level computes it from every d-th day. So each level keeps every
    second day of the one below and needs no dilation of its own: the same numbers in half the time or less.
    """

    def __init__(self, features: int, config: TCNConfig) -> None:
        super().__init__()
        widths = [features] + [config.channels] * (config.levels - 1)
        self.levels = nn.ModuleList(Level(width, config) for width in widths)
        self.output = output_layer(config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        x = x.transpose(1, 2)
        for level in self.levels:
            x = level(x)
            days = x.shape[2]
            x = x[:, :, (days - 1) % 2 :: 2]
        y: Tensor = self.output(x[:, :, -1])
        return y.squeeze(-1)


def build(config: TCNConfig, window: int, features: int) -> TCN:  # noqa: ARG001  (it fits any window)
    """A TCN for windows of this number of features."""
    return TCN(features, config)
