"""Simulated bars: settings. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import limited
from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class SimulatedConfig(BarsConfig):
    """Bars from the simulator."""

    days: int = limited(least=2, most=2_000_000)
    signal: Literal["realistic", "strong", "interaction"] | None
    seed: int = limited(least=0)
