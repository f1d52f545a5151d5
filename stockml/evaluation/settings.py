"""Settings of how results are judged. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import bounded


@dataclass(frozen=True, kw_only=True)
class PortfolioConfig:
    """How forecasts of the test are traded, to see what they are worth. No part of training or of a choice."""

    cost_bps: float = bounded(least=0, below=10_000)
    """What is paid per trade, in basis points of what is bought or sold."""
    rule: Literal["auto", "sign", "proportional", "threshold", "quantile", "none"]
    """From forecasts to positions; `portfolio.weights` has the definitions. auto: sign for one stock, quantile for
    several. none: nothing is valued."""
    quantile: float = bounded(above=0, most=0.5)
    """The share of the stocks that are bought, and that are sold short, by rule=quantile."""
    volatility_target: float | None = bounded(above=0)
    """Volatility a year that positions are scaled to, 0.1 for 10 %; None: they are not scaled."""
    delay: int = bounded(least=0, most=1_000)
    """Days from a forecast to its trade."""

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """Broken rules between this section and others."""
        if self.rule == "quantile" and not getattr(config.data, "pooled", False):
            yield (
                "portfolio.rule=quantile: compares the stocks of a day; name several, 'data.tickers=[AAPL,AMZN]', or "
                "take sign, proportional or threshold"
            )
