"""Simulated bars: settings. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import bounded
from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class SimulatedConfig(BarsConfig):
    """Bars from the simulator."""

    days: int = bounded(least=2, most=2_000_000)
    signal: Literal["realistic", "strong", "interaction"] | None
    seed: int = bounded(least=0)
