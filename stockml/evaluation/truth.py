"""What is forecast: the realised targets, their kind, and what forecasts are measured from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stockml.data.panel import Kind, Panel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """What is forecast in N samples, and what is needed to score it."""

    y_true: Floats
    """(N,)"""
    kind: Kind
    last: Floats | None = None
    """(N,) levels only: the last known value."""
    relative: bool = True
    """Levels only: whether changes are relative to `last`, or differences."""
    drift: Floats | None = None
    """(N,) the forecast of the mean change of all days known by then, in the target's units; dated samples only."""
    quantile: float | None = None
    """The quantile that is forecast; None where it is the mean."""
    reverts: bool = False
    """Whether it is a volatility, which reverts to its mean and is never below 0."""

    @property
    def has_no_zero(self) -> bool:
        """Whether 0 is no forecast: a class, or a level whose last known value is not known; the train mean is one."""
        return self.kind == "class" or (self.kind == "level" and self.last is None)

    def changes(self, y: Floats) -> Floats:
        """(N,) returns as they are; levels as their change since the last known value."""
        if self.last is None:
            return y
        return y / self.last - 1 if self.relative else y - self.last

    def of_changes(self, changes: Floats) -> Floats:
        """(N,) what these changes since the last known value come to: the inverse of `changes`."""
        if self.last is None:
            return changes
        return self.last * (1 + changes) if self.relative else self.last + changes

    def of(self, chosen: NDArray[Any]) -> Target:
        """The targets of some of the samples, by their positions or by a mask."""
        last, drift = (None if values is None else values[chosen] for values in (self.last, self.drift))
        return Target(self.y_true[chosen], self.kind, last, self.relative, drift, self.quantile, self.reverts)


def target(panel: Panel, rows: NDArray[np.int64], drift: Floats | None = None, quantile: float | None = None) -> Target:
    """The targets of the samples that end in these rows; `drift` and `quantile` are the fields of that name."""
    last = None if panel.last is None else panel.last[rows]
    reverts = panel.target_name == "volatility"
    return Target(panel.target[rows], panel.kind, last, panel.relative, drift, quantile, reverts)
