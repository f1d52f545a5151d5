"""Recurrent networks: (B, T, F) → (B,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from stockml.models.layers import output_layer

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.models.settings import RecurrentConfig


class Recurrent(nn.Module):
    """Recurrent layers over the days; a linear layer on the last day's state."""

    def __init__(self, kind: type[nn.GRU | nn.LSTM], features: int, config: RecurrentConfig) -> None:
        super().__init__()
        between = config.dropout if config.layers > 1 else 0.0
        self.layers = kind(features, config.hidden_dim, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.output = output_layer(config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, T, F) to forecasts (B,)."""
        states, _ = self.layers(x)
        y: Tensor = self.output(self.dropout(states[:, -1]))
        return y.squeeze(-1)


def gru(config: RecurrentConfig, window: int, features: int) -> Recurrent:  # noqa: ARG001  (it fits any window)
    """Gated recurrent units (Cho et al. 2014)."""
    return Recurrent(nn.GRU, features, config)


def lstm(config: RecurrentConfig, window: int, features: int) -> Recurrent:  # noqa: ARG001  (it fits any window)
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""
    return Recurrent(nn.LSTM, features, config)
