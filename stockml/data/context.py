"""Columns of other tickers beside a stock's own, as they were known on each of its days."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.data import frequency
from stockml.data.settings import BarsConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.config.root import Config
    from stockml.data.bars import Bars

    Dates = NDArray[np.datetime64]


def joined(bars: Bars, others: Mapping[str, Bars], data: Any) -> Bars:
    """The bars with the columns of other tickers, `TICKER.column`: on each day those of the ticker's last bar up to it.

    NaN where that bar is more than `context_max_age` sessions old, Mondays to Fridays. No later bar has an influence.
    """
    columns, notes = dict(bars.columns), [bars.parsing_notes] if bars.parsing_notes else []
    origins: dict[str, str] = {}
    for ticker, other in others.items():
        days, known = _comparable(bars.dates, other.dates)
        last = np.searchsorted(known, days, side="right") - 1
        is_known = last >= 0
        is_known[is_known] = _sessions(known[last[is_known]], days[is_known]) <= data.context_max_age
        for name, values in other.columns.items():
            origins[f"{ticker}.{name}"] = other.origin
            columns[f"{ticker}.{name}"] = joined_values = np.full(len(days), np.nan)
            joined_values[is_known] = values[last[is_known]]
        notes.append(f"{ticker} from {other.origin}")
    if not others:
        return bars
    return dataclasses.replace(bars, columns=columns, parsing_notes="; ".join(notes), context=origins)


def _comparable(own: Dates, others: Dates) -> tuple[Dates, Dates]:
    """The dates of two tickers' bars, such that one of the other's is known at an own one if it is not later.

    A bar that lasts longer than an own one is known when it ends: one dated by its first day or time, when the next one
    begins, as a daily one beside intraday ones.
    """
    others = frequency.known_from(others, beside=own)
    if frequency.has_times(own) == frequency.has_times(others):
        unit = "datetime64[s]" if frequency.has_times(own) else "datetime64[D]"
        return own.astype(unit), others.astype(unit)
    days = others.astype("datetime64[D]")
    if not frequency.has_times(own):
        return own.astype("datetime64[D]"), days
    return own, np.asarray(days + np.timedelta64(1, "D"), dtype="datetime64[D]")


def _sessions(first: Dates, last: Dates) -> NDArray[np.int64]:
    return np.busday_count(first.astype("datetime64[D]"), last.astype("datetime64[D]"))


def of_context(config: Config, ticker: str) -> Config:
    """The config of a ticker of `data.context` on its own."""
    data = cast("BarsConfig", config.data)
    changes: dict[str, Any] = {"tickers": ()}
    if data.start is not None:  # with the bars before it that still count
        first = np.busday_offset(np.datetime64(str(data.start), "D"), -data.context_max_age, roll="backward")
        changes["start"] = first.item()
    if (path := getattr(data, "context_path", None)) is not None:
        is_file = Path(path).is_file()
        changes |= {"path": path if is_file else None, "dir": None if is_file else path}
    stock = dataclasses.replace(config.stock, ticker=ticker, name="")
    return dataclasses.replace(config, stock=stock, data=dataclasses.replace(data, **changes))


def reading_only(config: Config, columns: Sequence[str]) -> Config:
    """The config with these columns, and `close`, as its features, and nothing else that reads one."""
    data = cast("BarsConfig", config.data)
    return dataclasses.replace(
        config,
        stock=dataclasses.replace(config.stock, features=cast("Any", tuple(columns))),
        features=dataclasses.replace(config.features, bars=True, columns={}),
        data=dataclasses.replace(data, target="close" if data.takes_any_price else "log_return", lag={}),
    )
