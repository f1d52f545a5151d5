"""What a panel holds: the features and the target that a config names, and the columns that they read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stockml.config.root import Config

_COLUMN = re.compile(r'\$("[^"]*"|\w+)(?:\.("[^"]*"|\w+))?')


def columns_read(config: Config) -> tuple[str, ...]:
    """The columns of the stock's own bars that a config of dated bars reads: those of other tickers are left out."""
    own = [*(config.stock.features if config.features.bars else ()), "close"]
    return tuple(dict.fromkeys([*own, *(name for name, of_other in _named(config) if not of_other)]))


def context_read(config: Config) -> Mapping[str, tuple[str, ...]]:
    """The columns that a config of dated bars reads of other tickers, by ticker, without the ticker."""
    found: dict[str, tuple[str, ...]] = {}
    for ticker, column in _named(config):
        if column:
            found[ticker] = tuple(dict.fromkeys([*found.get(ticker, ()), column]))
    return found


def _named(config: Config) -> list[tuple[str, str]]:
    texts = " ".join(config.features.columns.values())
    return [(one.strip('"'), two.strip('"')) for one, two in _COLUMN.findall(texts)]
