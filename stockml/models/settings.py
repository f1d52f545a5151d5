"""The settings of each model. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import bounded

MOST_RIDGE_INPUTS = 3000
"""Of a ridge regression: the sums take inputs² × 8 bytes, the eigendecomposition inputs³ steps."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings that every model has."""

    name: str


@dataclass(frozen=True, kw_only=True)
class RidgeConfig(ModelConfig):
    """Least squares with a penalty on the weights."""

    alpha: float | Literal["auto"] = bounded(above=0)
    """Weight of the penalty alpha·|w|²; auto: the power of ten from 10 to 1e7 with the lowest error on validation."""


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """One hidden layer; the pooled and the flattened MLP share it."""

    hidden_dim: int = bounded(least=1)
    dropout: float = bounded(least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class GKXConfig(ModelConfig):
    """Hidden layers with batch norm."""

    hidden_dims: tuple[int, ...]
    """Units of each hidden layer."""

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if not self.hidden_dims or min(self.hidden_dims) < 1:
            yield "hidden_dims: must list the units of each hidden layer: at least one layer, with at least one unit"


@dataclass(frozen=True, kw_only=True)
class DLinearConfig(ModelConfig):
    """A trend, and the rest."""

    kernel_size: int = bounded(least=1)
    """Number of days over which the trend is the mean."""

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.kernel_size % 2 == 0:
            yield f"kernel_size: {self.kernel_size} is even; it must be odd, so that the mean is centred on a day"


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(ModelConfig):
    """A stack of recurrent layers; GRU and LSTM share it."""

    hidden_dim: int = bounded(least=1)
    layers: int = bounded(least=1)
    dropout: float = bounded(least=0, below=1)
    """Before each layer but the first, and before the output."""


@dataclass(frozen=True, kw_only=True)
class TCNConfig(ModelConfig):
    """Levels of dilated convolutions, each of which looks twice as far back as the one below."""

    channels: int = bounded(least=1)
    kernel_size: int = bounded(least=2)
    levels: int = bounded(least=1)
    """A day's output sees 1 + 2 · (kernel_size − 1) · (2^levels − 1) days."""
    dropout: float = bounded(least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class PatchTSTConfig(ModelConfig):
    """A transformer encoder over patches of days."""

    patch_length: int = bounded(least=1)
    """Days of a patch."""
    stride: int = bounded(least=1)
    """Days from one patch's start to the next one's."""
    dim: int = bounded(least=1)
    heads: int = bounded(least=1)
    layers: int = bounded(least=1)
    ff_dim: int = bounded(least=1)
    """Hidden units of each layer's feed-forward network."""
    dropout: float = bounded(least=0, below=1)

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.dim % self.heads:
            yield f"dim: {self.dim} is not divisible by {self.heads}, the number of heads (model.heads)"


@dataclass(frozen=True, kw_only=True)
class TSMixerConfig(ModelConfig):
    """Blocks that mix days, then features."""

    blocks: int = bounded(least=1)
    ff_dim: int = bounded(least=1)
    """Hidden units where features are mixed."""
    dropout: float = bounded(least=0, below=1)
