"""Samples without a panel, for models that are fitted whole."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Drawn:
    """Samples of drawn windows as `fitted_whole.SampleBatches` gives them; the target is mostly an input."""

    def __init__(self, windows: Tensor, days: int) -> None:
        self.rows, self._x, self._days = torch.arange(len(windows)), windows, days

    def of_last_days(self, days: int) -> Drawn:
        assert days == self._days
        return self

    def inputs(self) -> NDArray[np.float64]:
        return self._x[:, -self._days :].flatten(1).numpy()

    def targets(self) -> NDArray[np.float64]:
        return (self._x[:, -1, 0] + 0.1 * self._x[:, 0, 0]).numpy()

    def names(self) -> list[str]:
        return [f"{feature}@{day}" for day in range(self._days) for feature in range(self._x.shape[2])]
