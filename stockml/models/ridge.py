"""Ridge regression on flattened windows, from sums that are gathered batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from stockml.data.batches import Batches

CHUNK = 1024  # samples that are held as windows at a time
ALPHAS = tuple(10.0**exponent for exponent in range(1, 8))  # inputs have unit variance; 1e7 is nearly the mean


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
    def over(cls, batches: Iterable[tuple[Tensor, Tensor]], inputs: int) -> Sums:
        """Gather windows (B, T, F) and targets (B,), in float64."""
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
        """Of the samples that end in `rows`."""
        chunks = (batches.gather(part) for part in rows.to(batches.storage_device).split(CHUNK))
        return cls.over(((x.cpu(), y.cpu()) for x, y in chunks), batches.window * batches.width)


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
    """Σ(y − b − wᵀx)² of a ridge, from the sums alone."""

    def error(ridge: Ridge) -> float:
        w, b = ridge.weights, ridge.intercept
        quadratic = float(w @ sums.xx @ w) + 2 * b * float(w @ sums.x) + sums.n * b * b
        return sums.yy - 2 * (float(w @ sums.xy) + b * sums.y) + quadratic

    return error
