"""The settings of each model. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import bounded

MOST_LAYERS = 1000
"""Of layers, and of days that one looks at: a wish beyond it is no model, and would be built for hours."""
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

    kernel_size: int = bounded(least=1, most=MOST_LAYERS)
    """Number of days over which the trend is the mean."""

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.kernel_size % 2 == 0:
            yield f"kernel_size: {self.kernel_size} is even; it must be odd, so that the mean is centred on a day"


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(ModelConfig):
    """A stack of recurrent layers; GRU and LSTM share it."""

    hidden_dim: int = bounded(least=1)
    layers: int = bounded(least=1, most=MOST_LAYERS)
    dropout: float = bounded(least=0, below=1)
    """Before each layer but the first, and before the output."""


@dataclass(frozen=True, kw_only=True)
class TCNConfig(ModelConfig):
    """Levels of dilated convolutions, each of which looks twice as far back as the one below."""

    channels: int = bounded(least=1)
    kernel_size: int = bounded(least=2, most=MOST_LAYERS)
    levels: int = bounded(least=1, most=MOST_LAYERS)
    """A day's output sees 1 + 2 · (kernel_size − 1) · (2^levels − 1) days."""
    dropout: float = bounded(least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class PatchTSTConfig(ModelConfig):
    """A transformer encoder over patches of days."""

    patch_length: int = bounded(least=1, most=MOST_LAYERS)
    """Days of a patch."""
    stride: int = bounded(least=1, most=MOST_LAYERS)
    """Days from one patch's start to the next one's."""
    dim: int = bounded(least=1)
    heads: int = bounded(least=1, most=MOST_LAYERS)
    layers: int = bounded(least=1, most=MOST_LAYERS)
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

    blocks: int = bounded(least=1, most=MOST_LAYERS)
    ff_dim: int = bounded(least=1)
    """Hidden units where features are mixed."""
    dropout: float = bounded(least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TabularConfig(ModelConfig):
    """A model of the window's values: a column for each feature at each day."""

    days: int | None = bounded(least=1)
    """The last days of the window that it sees; None: all."""


@dataclass(frozen=True, kw_only=True)
class LightGBMConfig(TabularConfig):
    """Gradient boosting; the names are LightGBM's."""

    rounds: int = bounded(least=1)
    """The most boosting rounds; `trainer.patience` ends them earlier."""
    learning_rate: float = bounded(above=0)
    num_leaves: int = bounded(least=2, most=131072)
    max_depth: int | None = bounded(least=1)
    """None: no limit."""
    min_data_in_leaf: int = bounded(least=0)
    feature_fraction: float = bounded(above=0, most=1)
    """Of the columns, drawn for each tree."""
    bagging_fraction: float = bounded(above=0, most=1)
    """Of the samples, drawn anew every `bagging_freq` rounds."""
    bagging_freq: int = bounded(least=0)
    """0: no samples are drawn."""
    lambda_l1: float = bounded(least=0)
    lambda_l2: float = bounded(least=0)

    @property
    def draws(self) -> bool:
        """Whether samples or columns are drawn at random."""
        return self.feature_fraction < 1 or (self.bagging_fraction < 1 and self.bagging_freq > 0)

    @property
    def how_to_draw(self) -> str:
        """What makes trees differ from seed to seed."""
        return ", or draw the columns of each tree: model.feature_fraction=0.5"

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if (self.bagging_fraction < 1) != (self.bagging_freq > 0):
            yield (
                f"bagging_fraction: {self.bagging_fraction:g} with model.bagging_freq={self.bagging_freq} has no "
                "effect; set both, as in model.bagging_fraction=0.8 model.bagging_freq=1"
            )


@dataclass(frozen=True, kw_only=True)
class ForestConfig(TabularConfig):
    """A forest; random forests and extremely randomised trees share it. The names are scikit-learn's."""

    n_estimators: int = bounded(least=1)
    max_depth: int | None = bounded(least=1)
    """None: no limit."""
    min_samples_leaf: int = bounded(least=1)
    max_features: float = bounded(above=0, most=1)
    """Of the columns, drawn for each split."""


@dataclass(frozen=True, kw_only=True)
class HistGradientBoostingConfig(TabularConfig):
    """scikit-learn's gradient boosting on histograms; the names are its own."""

    max_iter: int = bounded(least=1)
    """The most trees; `trainer.patience` ends them earlier."""
    learning_rate: float = bounded(above=0)
    max_leaf_nodes: int = bounded(least=2)
    min_samples_leaf: int = bounded(least=1)
    l2_regularization: float = bounded(least=0)
    max_features: float = bounded(above=0, most=1)
    """Of the columns, drawn for each split."""


@dataclass(frozen=True, kw_only=True)
class ElasticNetConfig(TabularConfig):
    """Least squares with penalties on the weights' sizes and squares."""

    alpha: float | Literal["auto"] = bounded(above=0)
    """Weight of both penalties; auto: of 50 values down to 1/1000 of the least that leaves no weight, the one with the
    lowest error on validation."""
    l1_ratio: float = bounded(above=0, most=1)
    """The first penalty's share."""


@dataclass(frozen=True, kw_only=True)
class SVRConfig(TabularConfig):
    """Support vector regression; the names are scikit-learn's."""

    kernel: Literal["rbf", "linear", "poly", "sigmoid"]
    C: float = bounded(above=0)
    epsilon: float = bounded(least=0)
    """Errors up to it, in standard deviations of the target, cost nothing."""
    gamma: float | Literal["scale", "auto"] = bounded(above=0)
    max_iter: int = bounded(least=1)
    """The most iterations; a fit that needs more ends there, and says so. Nothing interrupts it before."""
