"""Chronological train, validation and test samples, purged so that no target reaches into the next part."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stockml.config import BarsConfig
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config import DataConfig
    from stockml.data.panel import Panel

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The samples of each part, as rows of the panel, in order of time."""

    train: Rows
    validation: Rows
    test: Rows
    purged: int
    """Samples left out because their target ends after the next part has begun, or for an embargo."""

    def parts(self) -> dict[str, Rows]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(panel: Panel, config: DataConfig, before_test: int | None = None) -> Split:
    """Cut the panel's samples by time; `before_test` of them come before the test where that is given.

    A sample belongs to the part in which its window ends. A sample is purged whose target ends later than the first
    window end of the next part: so every target of a part ends before the next part's first target begins. An embargo
    leaves out as many samples more. A walk-forward config's test is the piece that its fold names, 0 by default.
    Raises UserError where a part is left empty.
    """
    samples, dated = panel.samples, panel.dates is not None
    first, n, embargo, valid_start = 0, len(samples), 0, None
    if before_test is None and isinstance(config, BarsConfig):
        test_start, valid_start, embargo = config.test_start, config.valid_start, config.embargo
        before_test = _from(panel, "test_start", test_start) if test_start else n - round(n * config.test_ratio)
        if config.split == "walk_forward":
            edges = before_test + _edges(n - before_test, config.folds)
            fold = config.fold or 0
            first = edges[fold] - before_test if config.train_span == "rolling" else 0
            before_test, n = edges[fold], edges[fold + 1]
    assert before_test is not None
    if valid_start:
        before_validation = _from(panel, "valid_start", valid_start)
    else:
        before_validation = before_test - max(1, round((before_test - first) * config.valid_ratio))
    cuts = np.split(samples[:n], [first, max(first, before_validation), max(first, before_test)])[1:]
    gap = panel.horizon + embargo
    train, validation = (
        part[part + gap <= later[0]] if len(later) else part for part, later in itertools.pairwise(cuts)
    )
    result = Split(train, validation, cuts[2], sum(map(len, cuts)) - len(train) - len(validation) - len(cuts[2]))
    sizes = {name: len(part) for name, part in result.parts().items()}
    least = {"train": 2, "validation": 1, "test": 1}
    if any(sizes[name] < least[name] for name in sizes) or before_validation > before_test:
        told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise UserError(
            f"{panel.origin}: {len(samples):,} samples leave a part of the split too small ({told}); "
            f"more data, or another data.valid_ratio{', data.test_ratio or split date' if dated else ''}"
        )
    return result


def _edges(samples: int, folds: int) -> Rows:
    """(folds + 1,) where pieces of nearly equal size begin and end."""
    return np.round(np.linspace(0, samples, folds + 1)).astype(np.int64)


def _from(panel: Panel, key: str, day: object) -> int:
    """How many samples come before the day."""
    assert panel.dates is not None
    days = panel.dates[panel.samples]
    position = int(np.searchsorted(days, np.datetime64(str(day), "D")))
    if position == 0 or position == len(days):
        raise UserError(f"data.{key}={day}: must lie after {days[0]} and not after {days[-1]}, where samples are")
    return position
