"""Settings of simulated daily bars. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from stockml.config.schema import bounded
from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class SimulatedConfig(BarsConfig):
    """Bars from the simulator."""

    days: int = bounded(least=2, most=2_000_000)
    signal: Literal["realistic", "strong", "interaction"] | None
    """What part of the next return can be forecast; None: nothing."""
    seed: int = bounded(least=0)
    """Of the bars; independent of the run's seed."""

    synthetic: ClassVar[bool] = True

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        yield from super().conflicts()
        if self.days < self.window + self.horizon + 3:
            yield (
                f"days: {self.days} days are too few for train, validation and test samples of {self.window} days, "
                f"{self.horizon} ahead; raise it, or lower data.window"
            )

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """Broken rules between these settings and others of `config`."""
        yield from super().conflicts_with(config)
        if config.stock.simulator is None:
            yield (
                f"stock.ticker: {config.stock.ticker!r} has no simulator settings; name a stock of conf/stock, "
                "or use real data: data=csv data.dir=FOLDER"
            )
