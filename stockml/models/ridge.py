"""Ridge regression on flattened windows, from sums that are gathered batch by batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stockml.errors import UserError
from stockml.models.fitted_whole import SampleBatches
from stockml.models.linear import Linear
from stockml.models.settings import MOST_RIDGE_INPUTS

if TYPE_CHECKING:
    from stockml.data.batches import Batch, Batches
    from stockml.models.fitted_whole import FitContext
    from stockml.models.settings import RidgeConfig

ALPHAS = tuple(10.0**exponent for exponent in range(1, 8))  # inputs have unit variance; 1e7 is nearly the mean


class RidgeRegression(Linear):
    """A linear model whose weights are those of the ridge regression with the best of `alphas`."""

    def __init__(self, inputs: int, alphas: Iterable[float]) -> None:
        super().__init__(inputs)
        self.alphas = tuple(alphas)

    def fit_whole(self, train: Iterable[Batch], validation: Iterable[Batch], context: FitContext) -> dict[str, float]:
        """Set the weights by `fit`, from the sums over the samples of all ranks; return the chosen alpha."""
        inputs = self.output.in_features
        sums, validation_sums = (
            Sums.over(part, inputs).all_reduced(context.all_reduce) for part in (train, validation)
        )
        fitted = fit(sums, validation_sums, self.alphas)
        with torch.no_grad():
            self.output.weight.copy_(fitted.weights)
            self.output.bias.fill_(fitted.intercept)
        return {"alpha": fitted.alpha}


def build(config: RidgeConfig, window: int, features: int) -> RidgeRegression:
    """A ridge regression for windows of shape (window, features); UserError where it has too many inputs."""
    inputs = window * features
    if inputs > MOST_RIDGE_INPUTS:
        raise UserError(
            f"model={config.name}: {inputs:,} inputs are more than can be solved for ({MOST_RIDGE_INPUTS:,}); "
            "lower data.window, or take model=linear"
        )
    return RidgeRegression(inputs, ALPHAS if config.alpha == "auto" else (config.alpha,))


@dataclass
class Sums:
    """What least squares needs to know of N samples with P inputs: it grows with P², not with N."""

    n: int
    x: Tensor
    """(P,) Σx"""
    y: float
    xx: Tensor
    """(P, P) Σxxᵀ"""
    xy: Tensor
    """(P,) Σxy"""
    yy: float

    @classmethod
    def over(cls, batches: Iterable[Batch], inputs: int) -> Sums:
        """The sums, in float64, over batches of windows (B, T, F) and targets (B,)."""
        zeros = torch.zeros(inputs, inputs + 2, dtype=torch.float64)
        sums = cls(0, zeros[:, -1], 0.0, zeros[:, :inputs], zeros[:, -2], 0.0)
        for windows, targets in batches:
            x, y = windows.flatten(1).double(), targets.double()
            sums.n += len(y)
            sums.x += x.sum(0)
            sums.y += float(y.sum())
            sums.xx.addmm_(x.T, x)
            sums.xy += x.T @ y
            sums.yy += float(y @ y)
        return sums

    @classmethod
    def over_rows(cls, batches: Batches, rows: Tensor) -> Sums:
        """The sums over the samples that end in `rows`."""
        return cls.over(SampleBatches(batches, rows), batches.window * batches.width)

    def all_reduced(self, all_reduce: Callable[[Tensor], None]) -> Sums:
        """The sums over the samples of all ranks, of which these are one rank's."""
        tensors = [self.xx.flatten(), self.x, self.xy, torch.tensor([self.n, self.y, self.yy], dtype=torch.float64)]
        total = torch.cat(tensors)
        all_reduce(total)
        xx, x, xy, (n, y, yy) = total.split([len(tensor) for tensor in tensors])
        return dataclasses.replace(self, n=int(n), x=x, y=float(y), xx=xx.view_as(self.xx), xy=xy, yy=float(yy))


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression."""

    alpha: float
    weights: Tensor
    """(P,)"""
    intercept: float

    def forecast(self, windows: Tensor) -> Tensor:
        """Forecasts (B,), float64, of windows (B, T, F)."""
        return windows.flatten(1).double() @ self.weights + self.intercept


def fit(train: Sums, validation: Sums, alphas: Iterable[float] = ALPHAS) -> Ridge:
    """The ridge fitted on train whose alpha has the lowest squared error on validation.

    Minimises Σ(y − b − wᵀx)² + alpha·|w|² (Hoerl & Kennard 1970), the intercept b unpenalised; one
    eigendecomposition serves every alpha.
    """
    mean_x, mean_y = train.x / train.n, train.y / train.n
    centred = train.xx - train.n * torch.outer(mean_x, mean_x)
    values, vectors = torch.linalg.eigh(centred)
    projected = vectors.T @ (train.xy - train.n * mean_x * mean_y)

    def fitted(alpha: float) -> Ridge:
        weights = vectors @ (projected / (values.clamp(min=0) + alpha))
        return Ridge(alpha, weights, mean_y - float(mean_x @ weights))

    return min(map(fitted, alphas), key=_squared_error(validation))


def _squared_error(sums: Sums) -> Callable[[Ridge], float]:
    """A function that gives Σ(y − b − wᵀx)² of a ridge, from the sums alone."""

    def error(ridge: Ridge) -> float:
        w, b = ridge.weights, ridge.intercept
        quadratic = float(w @ sums.xx @ w) + 2 * b * float(w @ sums.x) + sums.n * b * b
        return sums.yy - 2 * (float(w @ sums.xy) + b * sums.y) + quadratic

    return error
