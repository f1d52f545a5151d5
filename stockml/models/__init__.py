"""The register of models. Importing it does not import torch.

A package adds a model of its own with an entry point in the group `stockml.models`. The entry point's name is the
model's name, its value a `Family`:

    [project.entry-points."stockml.models"]
    my_model = "my_package:FAMILY"

`model=my_model` then works without a file in `conf/model`: its defaults are those of its config dataclass. The README
has a complete example.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stockml.config import entry_points
from stockml.config.schema import bounded
from stockml.errors import UserError
from stockml.models.settings import (
    DLinearConfig,
    GKXConfig,
    MLPConfig,
    ModelConfig,
    PatchTSTConfig,
    RecurrentConfig,
    RidgeConfig,
    TCNConfig,
    TSMixerConfig,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "Family",
    "ModelConfig",
    "averaged",
    "bounded",
    "build",
    "can_continue",
    "family",
    "is_fitted_whole",
    "names",
]

ENTRY_POINTS = "stockml.models"


@dataclass(frozen=True)
class Family:
    """A model by name: the dataclass of its settings (with a field `name`), and the function that builds it."""

    config: type[Any]
    build: str
    """`module:function` of a function `(config, window, features) -> torch.nn.Module` that maps (B, T, F) to (B,).

    `layers.output_layer` makes a last layer with which training starts at the train mean.
    """
    fitted_whole: bool = False
    """Whether the module computes its weights at once, by the method of `fitted_whole.FittedWhole`."""
    continues: bool = False
    """Whether a module that is fitted whole goes on from weights that were loaded into it; others always do."""


BUILT_IN = {
    "mlp": Family(MLPConfig, "stockml.models.mlp:pooled"),
    "mlp_flat": Family(MLPConfig, "stockml.models.mlp:flattened"),
    "mlp_gkx": Family(GKXConfig, "stockml.models.mlp:gkx"),
    "ridge": Family(RidgeConfig, "stockml.models.ridge:build", fitted_whole=True),
    "linear": Family(ModelConfig, "stockml.models.linear:build"),
    "dlinear": Family(DLinearConfig, "stockml.models.linear:dlinear"),
    "nlinear": Family(ModelConfig, "stockml.models.linear:nlinear"),
    "gru": Family(RecurrentConfig, "stockml.models.recurrent:gru"),
    "lstm": Family(RecurrentConfig, "stockml.models.recurrent:lstm"),
    "tcn": Family(TCNConfig, "stockml.models.tcn:build"),
    "patchtst": Family(PatchTSTConfig, "stockml.models.patchtst:build"),
    "tsmixer": Family(TSMixerConfig, "stockml.models.tsmixer:build"),
}


def names() -> list[str]:
    """The names of all installed models."""
    return [*BUILT_IN, *sorted(entry_points.names(ENTRY_POINTS) - set(BUILT_IN))]


def family(name: str) -> Family | None:
    """The model of that name, None where none is installed; UserError where a package's entry point is broken."""
    return BUILT_IN.get(name) or entry_points.find(ENTRY_POINTS, name, Family, "model")


def build(config: ModelConfig, window: int, features: int) -> nn.Module:
    """The model that `config` describes, for windows of shape (window, features), freshly initialised."""
    builder: Callable[[Any, int, int], nn.Module] = _function(_installed(config).build)
    return builder(config, window, features)


def averaged(members: Sequence[nn.Module]) -> nn.Module:
    """One module whose forecasts are the mean of the members' forecasts; a single member is returned as it is."""
    if len(members) == 1:
        return members[0]
    from stockml.models.ensemble import Ensemble

    return Ensemble(members)


def is_fitted_whole(config: ModelConfig) -> bool:
    """Whether the model's weights are computed at once, rather than trained step by step."""
    return _installed(config).fitted_whole


def can_continue(config: ModelConfig) -> bool:
    """Whether training goes on from weights that were loaded into the model."""
    return not is_fitted_whole(config) or _installed(config).continues


def _installed(config: ModelConfig) -> Family:
    found = family(config.name)
    if found is None:
        raise UserError(f"model.name={config.name}: not installed here; installed are {', '.join(names())}")
    return found


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
