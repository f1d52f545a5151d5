"""Standardisation, fitted on the train rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.bars import Floats
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

_CHUNK = 65_536  # rows at a time: no float64 copy of the whole panel


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each feature, (F,), and of the target."""

    mean: Floats
    std: Floats
    target_mean: float
    target_std: float
    rows: int
    """Rows it was fitted on."""

    @classmethod
    def fit(cls, panel: Panel, train: Rows) -> Scaler:
        """Fit on every row of a train window; UserError where a feature or the target never changes there."""
        first, last = int(train[0]), int(train[-1])
        fitted = panel.values[first : last + 1] if panel.windowed else panel.values[first - panel.window + 1 : last + 1]
        flat = fitted.reshape(-1, fitted.shape[-1])
        chunks = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
        mean = np.sum([chunk.sum(axis=0, dtype=np.float64) for chunk in chunks], axis=0) / len(flat)
        std = np.sqrt(np.sum([np.square(chunk - mean).sum(axis=0) for chunk in chunks], axis=0) / len(flat))
        target = panel.target[train]
        scaler = cls(mean, std, float(target.mean()), float(target.std()), len(fitted))
        for name, value, spread in zip(panel.features, mean, std, strict=True):
            if not spread > 1e-7 * abs(value):  # float32 cannot tell smaller changes from rounding
                raise UserError(
                    f"{panel.origin}: feature {name} never changes in train (always {value:g}); "
                    f"leave it out of the data and of stock.features"
                )
        if not scaler.target_std > 1e-9 * abs(scaler.target_mean):
            raise UserError(f"{panel.origin}: the target never changes in train (always {scaler.target_mean:g})")
        return scaler

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Scaler:
        """Back from what `stats` gave."""
        target = stats["target"]
        return cls(np.array(stats["mean"]), np.array(stats["std"]), target["mean"], target["std"], stats["rows"])

    def unscaled(self, forecasts: Floats) -> Floats:
        """Scaled forecasts (N,) in the target's own units."""
        return forecasts * self.target_std + self.target_mean

    def apply(self, panel: Panel) -> None:
        """Standardise the panel's values, in place."""
        np.subtract(panel.values, self.mean.astype(np.float32), out=panel.values)
        np.divide(panel.values, self.std.astype(np.float32), out=panel.values)

    def stats(self, panel: Panel, train: Rows) -> dict[str, Any]:
        """What norm_stats.json says."""
        first = int(train[0]) - (0 if panel.windowed else panel.window - 1)
        return {
            "features": list(panel.features),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "target": {"mean": self.target_mean, "std": self.target_std},
            "rows": self.rows,
            "first_date": panel.date(first) or None,
            "last_date": panel.date(int(train[-1])) or None,
            "synthetic": panel.synthetic,
        }
