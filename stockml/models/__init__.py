"""The register of models. Importing it does not import torch.

A package adds a model of its own with an entry point in the group `stockml.models`. The entry point's name is the
model's name, its value a `Family`:

    [project.entry-points."stockml.models"]
    my_model = "my_package:FAMILY"

`model=my_model` then works without a file in `conf/model`: its defaults are those of its config dataclass. The README
has a complete example.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stockml.config import entry_points
from stockml.config.schema import bounded
from stockml.errors import UserError
from stockml.models.settings import (
    DLinearConfig,
    ElasticNetConfig,
    ForestConfig,
    GKXConfig,
    HistGradientBoostingConfig,
    LightGBMConfig,
    MLPConfig,
    ModelConfig,
    PatchTSTConfig,
    RecurrentConfig,
    RidgeConfig,
    SVRConfig,
    TCNConfig,
    TSMixerConfig,
)
from stockml.runs import plain_files

if TYPE_CHECKING:
    from torch import nn

    from stockml.config.root import Config

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "Family",
    "ModelConfig",
    "averaged",
    "bounded",
    "build",
    "can_continue",
    "conflicts",
    "continues_interrupted",
    "family",
    "is_fitted_whole",
    "is_on_one_cpu",
    "most_epochs",
    "names",
    "uses",
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
    """Whether the module computes its weights at once, by the method of `fitted_whole.FittedWhole`.

    The fields below are about such models; those that are trained by steps do all of it.
    """
    continues: bool = False
    """Whether it goes on from weights that were loaded into the module."""
    losses: tuple[str, ...] = ("mse",)
    """The choices of `trainer.loss` that it can minimise."""
    uses: tuple[str, ...] = ()
    """The settings of training by steps that mean something for it, such as `patience`."""
    draws: bool = False
    """Whether it draws random numbers; a property `draws` of the settings overrides it."""
    one_cpu: bool = False
    """Whether it is fitted by one process on the CPU: with no GPU, and not by several ranks."""
    extra: str = ""
    """The extra of stockml that installs the packages it needs."""


_LIGHTGBM = Family(
    LightGBMConfig,
    "stockml.models.lightgbm_trees:LightGBMTrees",
    fitted_whole=True,
    continues=True,
    losses=("mse", "mae", "huber", "quantile"),
    uses=("patience", "min_delta"),
    one_cpu=True,
    extra="trees",
)
_SKLEARN = Family(
    ForestConfig, "stockml.models.estimators:Estimator", fitted_whole=True, draws=True, one_cpu=True, extra="trees"
)
_HIST_GRADIENT_BOOSTING = replace(
    _SKLEARN,
    config=HistGradientBoostingConfig,
    losses=("mse", "mae", "quantile"),
    uses=("patience", "min_delta"),
)


BUILT_IN = {
    "mlp": Family(MLPConfig, "stockml.models.mlp:pooled"),
    "mlp_flat": Family(MLPConfig, "stockml.models.mlp:flattened"),
    "mlp_gkx": Family(GKXConfig, "stockml.models.mlp:gkx"),
    "ridge": Family(RidgeConfig, "stockml.models.ridge:build", fitted_whole=True),
    "elastic_net": replace(_SKLEARN, config=ElasticNetConfig, draws=False),
    "svr": replace(_SKLEARN, config=SVRConfig, draws=False),
    "random_forest": _SKLEARN,
    "extra_trees": _SKLEARN,
    "hist_gradient_boosting": _HIST_GRADIENT_BOOSTING,
    "lightgbm": _LIGHTGBM,
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
    found = _installed(config)
    try:
        builder: Callable[[Any, int, int], nn.Module] = _function(found.build)
    except ModuleNotFoundError as error:
        if not found.extra:
            raise
        advice = f"needs {error.name}: pip install 'stockml[{found.extra}]'"
        raise UserError(f"model={config.name}: {advice}") from error
    sizes = [value for value in vars(config).values() if isinstance(value, int)]
    if not found.fitted_whole and max([*sizes, window * features]) > _SMALL:
        _require_memory(config.name, lambda: builder(config, window, features))
    return builder(config, window, features)


_SMALL = 512
"""Sizes up to which no model needs much memory."""
_COPIES = 4
"""The numbers for each weight while a model trains: itself, its gradient, and two of the optimizer."""


def _require_memory(name: str, build: Callable[[], nn.Module]) -> None:
    """UserError where a model does not fit into memory, found out by building it without its numbers."""
    import torch

    with contextlib.suppress(NotImplementedError), torch.random.fork_rng(devices=[]), torch.device("meta"):
        size = sum(weights.numel() for weights in build().parameters())
        plain_files.require_memory(f"model={name} with {size:,} weights", size * _COPIES * 4, "lower its sizes")


def averaged(members: Sequence[nn.Module]) -> nn.Module:
    """One module whose forecasts are the mean of the members' forecasts; a single member is returned as it is."""
    if len(members) == 1:
        return members[0]
    from stockml.models.ensemble import Ensemble

    return Ensemble(members)


def is_fitted_whole(config: ModelConfig) -> bool:
    """Whether the model's weights are computed at once, rather than trained step by step."""
    return _installed(config).fitted_whole


def most_epochs(config: Config) -> int:
    """The most epochs that training takes: of a model that is fitted whole, its setting `rounds`, or one."""
    return getattr(config.model, "rounds", 1) if is_fitted_whole(config.model) else config.trainer.epochs


def uses(config: ModelConfig, setting: str) -> bool:
    """Whether a setting of training by steps means something for the model."""
    return not is_fitted_whole(config) or setting in _installed(config).uses


def is_on_one_cpu(config: ModelConfig) -> bool:
    """Whether the model is fitted by one process on the CPU."""
    return _installed(config).one_cpu


def continues_interrupted(config: ModelConfig) -> bool:
    """Whether interrupted training goes on where it stood, bit for bit; otherwise it begins again."""
    return not is_fitted_whole(config) or (_installed(config).continues and not _draws(config))


def conflicts(config: Config) -> Iterator[str]:
    """Settings of the trainer and the hardware that the model cannot be trained with, a line each."""
    model, trainer, found = config.model, config.trainer, _installed(config.model)
    if not found.fitted_whole:
        return
    if trainer.overfit_batches:
        yield "trainer.overfit_batches: is for models that are trained step by step; leave it out"
    if trainer.ensemble > 1 and not _draws(model):
        yield (
            f"trainer.ensemble: model={model.name} is the same with every seed, and so would be the members; "
            f"leave it out{getattr(model, 'how_to_draw', '')}"
        )
    if trainer.loss not in found.losses:
        known = f"only trainer.loss={found.losses[0]}" if len(found.losses) == 1 else ", ".join(found.losses)
        yield f"trainer.loss={trainer.loss}: model={model.name} cannot minimise it; it takes {known}"
    if found.one_cpu and trainer.name == "ddp":
        yield (
            f"trainer=ddp: model={model.name} is fitted by one process; "
            "take trainer=single, and hardware.threads=N for more cores"
        )
    if found.one_cpu and config.hardware.device not in ("auto", "cpu"):
        yield f"hardware.device={config.hardware.device}: model={model.name} computes on the CPU; take hardware=cpu"


def _draws(config: ModelConfig) -> bool:
    return bool(getattr(config, "draws", _installed(config).draws))


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
