"""A walk-forward run's table, a row a fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stockml.data import Data
    from stockml.evaluation.forecasts import Parts
    from stockml.training.engine import Fit


def table(folds: Sequence[Data], fits: Sequence[Fit], parts: Sequence[Parts]) -> list[dict[str, Any]]:
    """What folds.csv says: of each fold its days and samples, how it trained, and its scores."""
    return [_row(number, *of_fold) for number, of_fold in enumerate(zip(folds, fits, parts, strict=True))]


def _row(number: int, data: Data, fit: Fit, parts: Parts) -> dict[str, Any]:
    row: dict[str, Any] = {"fold": number}
    for part, rows in data.split.parts().items():
        row |= {f"{part}_{what}": day for what, day in zip(("first", "last"), data.span(rows), strict=True)}
        row[f"{part}_n"] = len(rows)
    row |= {"purged": data.split.purged, "epochs": len(fit.history), "best_epoch": fit.stopping.best_epoch}
    for short, part in (("val", "validation"), ("test", "test")):
        scores = parts[part].scores(parts[part].model)
        row |= {f"{short}_{name}": scores[name] for name in ("mse", "mae", "r2", "r2_zero", "hit_rate", "ic")}
    return row
