"""Daily bars from Yahoo: settings. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import incidental
from stockml.data.settings import BarsConfig


@dataclass(frozen=True, kw_only=True)
class YahooConfig(BarsConfig):
    """Bars from Yahoo, downloaded once into a cache: `<cache_dir>/<symbol>.parquet`."""

    cache_dir: str = incidental()
    refresh: Literal["auto"] | bool = incidental()
    """Whether what is cached is downloaded anew; auto: where a trading day that is wanted has ended since."""
    symbols: tuple[str, ...]
    """`TICKER=SYMBOL` each, for tickers that Yahoo calls something else."""
    retries: int = incidental(least=0, most=20)
    """How often Yahoo is asked again after 429, a server's error, a time-out or a broken answer."""
    backoff_seconds: float = incidental(above=0)
    """Waited before the first of them, and twice as long before each further one."""
    timeout_seconds: float = incidental(above=0)
    """How long one answer may take."""

    def symbol(self, ticker: str) -> str:
        """What Yahoo calls a ticker."""
        return dict(pair.split("=", 1) for pair in self.symbols).get(ticker, ticker).upper()

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        yield from super().conflicts()
        for pair in self.symbols:
            if not all(pair.partition("=")):
                yield f"symbols: {pair!r} is not of the form TICKER=SYMBOL, as SP500=^GSPC is"
        for name in (pair.partition("=")[2] for pair in self.symbols):
            if "/" in name or "\\" in name or name.startswith("."):
                yield f"symbols: {name!r} is no ticker"
