"""What a model's forecasts depend on: its loss where values are those of other samples, and contributions of values."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stockml.models.ensemble import Ensemble
from stockml.training.forecasting import VALUES_AT_ONCE, chunk_size
from stockml.training.losses import loss_of_each

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stockml.data.batches import Batches
    from stockml.evaluation.truth import Floats
    from stockml.training.hardware import Hardware
    from stockml.training.settings import TrainerConfig

Group = tuple[slice, slice]
"""Some days and some features of a window (T, F)."""

_NOTHING = (slice(0), slice(0))
_STEPS = 64
_MOST_AT_ONCE = 2**14  # windows whose gradients are computed together


@dataclass(frozen=True)
class Samples:
    """The samples (N,) that end in `rows`, and those, (R, N) positions among them, whose values they get."""

    batches: Batches
    rows: Tensor
    others: Tensor

    @property
    def targets(self) -> Tensor:
        """(N,) scaled, float64 in main memory."""
        return self.batches.target[self.rows].cpu().double()

    def windows(self, positions: Tensor) -> Iterator[Tensor]:
        """The windows of some samples, in chunks."""
        chunk = chunk_size(self.batches)
        ends = [*range(chunk, len(positions), chunk), len(positions)]
        return self.batches.iter_windows(self.rows[positions].to(self.batches.storage_device), ends)


def loss_increases(
    model: nn.Module, samples: Samples, groups: Sequence[Group], config: TrainerConfig, hardware: Hardware
) -> Floats:
    """(G, N) by how much the scaled loss of each sample rises where the values of a group are those of other samples.

    It is averaged over the R repeats of `samples.others`.
    """
    model.eval()
    loss, targets, own = loss_of_each(config), samples.targets, torch.arange(len(samples.rows))
    chunk, every = chunk_size(samples.batches), (_NOTHING, *groups)
    increases = torch.zeros(len(groups), len(own), dtype=torch.float64)
    found = torch.empty(len(every), len(own), dtype=torch.float64)
    with torch.inference_mode(), hardware.autocast_context():
        for others in samples.others:
            pairs = zip(samples.windows(own), samples.windows(others), own.split(chunk), strict=True)
            for x, taken, at in pairs:
                for number, (days, features) in enumerate(every):
                    kept = x[:, days, features].clone()
                    x[:, days, features] = taken[:, days, features]
                    found[number, at] = model(x).cpu().double()
                    x[:, days, features] = kept
            losses = loss(found, targets.expand_as(found))
            increases += losses[1:] - losses[0]
    mean: Floats = (increases / len(samples.others)).numpy()
    return mean


SHAP, GRADIENTS = "SHAP values", "integrated gradients"


def attribution_method(model: nn.Module, samples: Samples) -> tuple[str | None, str]:
    """How the values' contributions to a forecast are computed; or None, and why they are not.

    A module can have a method `contributions`, from windows (B, T, F) to exact Shapley values (B, T, F) in units of the
    scaled forecast. Any other needs gradients.
    """
    if all(hasattr(member, "contributions") for member in _members(model)):
        return SHAP, ""
    model.eval()
    try:
        has_gradients = model(next(samples.windows(torch.zeros(1, dtype=torch.int64))).requires_grad_()).requires_grad
    except RuntimeError:  # it computes outside of torch
        has_gradients = False
    if not has_gradients:
        return None, "the model has neither gradients nor SHAP values"
    if importlib.util.find_spec("captum") is None:
        return None, "integrated gradients need captum: pip install 'stockml[explain]'"
    return GRADIENTS, ""


def attributions(model: nn.Module, samples: Samples, groups: Sequence[Group], method: str) -> tuple[Floats, Floats]:
    """(G, N) how much each group's values contribute to each scaled forecast, and (N,) by how much all of them miss it.

    SHAP values are exact (Lundberg & Lee 2017). Integrated gradients (Sundararajan, Taly & Yan 2017), from the train
    mean of all features, are summed over steps; all together they should be the change of the forecast from there.
    """
    model.eval()
    each, missed = [], []
    for x in samples.windows(torch.arange(len(samples.rows))):
        if method == SHAP:
            found = torch.stack([member.contributions(x) for member in _members(model)]).mean(dim=0)
            missed.append(torch.zeros(len(x)))
        else:
            found, delta = _integrated_gradients(model, x)
            missed.append(delta)
        each.append(torch.stack([found[:, days, features].sum((1, 2)) for days, features in groups]))
    groups_found, all_missed = (torch.cat(parts, -1).detach().cpu().double().numpy() for parts in (each, missed))
    return groups_found, all_missed


def _integrated_gradients(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, F) of windows, and (B,) the sum of each less the change of its forecast."""
    from captum.attr import IntegratedGradients

    at_once = max(len(x), min(_MOST_AT_ONCE, VALUES_AT_ONCE // x[0].numel()))
    with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers have no gradients outside of training
        found, delta = IntegratedGradients(model).attribute(
            x.requires_grad_(), n_steps=_STEPS, internal_batch_size=at_once, return_convergence_delta=True
        )
    return found, delta


def _members(model: nn.Module) -> list[Any]:
    """The modules whose forecasts are averaged; some have the method `contributions`."""
    return list(model.members) if isinstance(model, Ensemble) else [model]
