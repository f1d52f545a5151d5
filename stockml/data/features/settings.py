"""Settings of the features. Imports nothing heavy; the expressions are checked by `feature_set.faults`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """What the model sees of each day."""

    set: str
    """Name of the set in conf/features, or of an installed package's."""
    bars: bool
    """Whether the columns `stock.features`, changed as `data.transform` says, are the first features."""
    columns: Mapping[str, str]
    """Further features: name → expression."""
    missing: Literal["error", "drop", "ffill", "zero"]
    """What happens to a value that is missing between others: refused; the windows that hold it left out; the last
    value before it; zero."""

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        for name in self.columns:
            if not _NAME.fullmatch(name):
                yield f"columns.{name}: a feature's name has letters, digits and _ only, and begins with a letter"
        if not self.bars and not self.columns:
            yield "columns: no feature is left; add one, '+features.columns.NAME=\"expression\"', or features.bars=true"

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """Broken rules between these settings and others of `config`."""
        twice = [name for name in self.columns if self.bars and name in config.stock.features]
        if twice:
            yield f"features.columns.{twice[0]}: features.bars=true has this name already; take another"
