"""Settings of daily bars from Yahoo. Imports nothing heavy."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import incidental
from stockml.data.settings import BarsConfig

QUOTE_DELAY = datetime.timedelta(minutes=30)
"""How late Yahoo's quotes of a day may still change after its trading has ended."""


@dataclass(frozen=True, kw_only=True)
class YahooConfig(BarsConfig):
    """Bars from Yahoo, downloaded into a cache: `<cache_dir>/<symbol>.parquet`."""

    cache_dir: str = incidental()
    refresh: Literal["auto"] | bool = incidental()
    """Whether cached bars are downloaded again; auto: if a trading day that is wanted has ended since."""
    symbols: tuple[str, ...]
    """`TICKER=SYMBOL` each, for tickers whose symbol at Yahoo is another one."""
    retries: int = incidental(least=0, most=20)
    """Retries after status 429, a server error, a timeout or a malformed response."""
    backoff_seconds: float = incidental(above=0)
    """Wait before the first retry; it doubles with each further one."""
    timeout_seconds: float = incidental(above=0)
    """Limit for one response."""

    def symbol(self, ticker: str) -> str:
        """Yahoo's symbol of a ticker."""
        return dict(pair.split("=", 1) for pair in self.symbols).get(ticker, ticker).upper()

    def conflicts(self) -> Iterator[str]:
        """Broken rules across fields."""
        yield from super().conflicts()
        for pair in self.symbols:
            if not all(pair.partition("=")):
                yield f"symbols: {pair!r} is not of the form TICKER=SYMBOL, such as SP500=^GSPC"
        for name in (pair.partition("=")[2] for pair in self.symbols):
            if "/" in name or "\\" in name or name.startswith("."):
                yield f"symbols: {name!r} is not a symbol"
