"""A linear model on the flattened window: (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.config import ModelConfig


class Linear(nn.Module):
    """One Linear from all T × F inputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.output = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        y: Tensor = self.output(x.flatten(1))
        return y.squeeze(-1)


def build(config: ModelConfig, window: int, features: int) -> Linear:  # noqa: ARG001  (it has no settings)
    """A linear model for windows of shape (window, features)."""
    return Linear(window * features)
