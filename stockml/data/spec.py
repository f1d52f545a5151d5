"""What a panel holds: the features and the target that a config names, and the columns that they read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.config.schema import nearest
from stockml.data import placebo, target
from stockml.data.bars import PRICES
from stockml.data.features import price_scale
from stockml.data.features.expressions import Expression, ExpressionError, parse
from stockml.data.features.feature_set import FeatureSet, lag_key, shown, transform_of
from stockml.data.settings import BarsConfig
from stockml.data.target import TargetSpec
from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.config.root import Config
    from stockml.data.bars import Bars


_MOST_NAMED = 60
_MOST_SHOWN = 3  # with their expressions


@dataclass(frozen=True)
class PanelSpec:
    """The features and the target of a panel of dated bars."""

    features: FeatureSet
    target: TargetSpec

    @classmethod
    def of(cls, config: Config) -> PanelSpec:
        """What a checked config of dated bars names."""
        data = config.data
        assert isinstance(data, BarsConfig)
        features = FeatureSet.of(config.features, config.stock.features, data)
        return cls(features, TargetSpec.of(data))

    @classmethod
    def of_bars(cls, columns: Sequence[str], data: BarsConfig) -> PanelSpec:
        """Columns of the bars as the only features."""
        return cls(FeatureSet(tuple(columns), transform_of(data), {}, "error"), TargetSpec.of(data))

    @property
    def lost(self) -> int:
        """Bars at the start for which a feature, or the last known value of the target, has no value yet."""
        return max(self.features.lookback, self.target.lookback)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return tuple(dict.fromkeys([*self.features.columns, *self.target.columns]))

    def resolved(self, bars: Bars) -> PanelSpec:
        """The same for these bars. UserError where they have prices that it cannot use."""
        spec = replace(self, features=self.features.resolved(bars))
        of_returns = spec.features.transform == "returns"
        read = [name for name in PRICES if name in bars.columns and (of_returns or name == "close")]
        low = np.logical_or.reduce([bars.columns[name] <= 0 for name in read])
        if low.any() and (of_returns or spec.target.needs_ratios):
            row = int(low.argmax())
            name = next(name for name in read if bars.columns[name][row] <= 0)
            raise UserError(
                f"{bars.where(row)}: {bars.ticker}: {name} is {bars.columns[name][row]:g} on {bars.dates[row]}, and "
                f"returns need prices above 0; {days_without(bars.dates, low)}"
            )
        if low.any() and (names := price_scale.needing_ratios(self.features.expressions)):
            first = shown(names[0], self.features.expressions[names[0]].text)
            raise UserError(
                f"{bars.origin}: {first}: is a ratio or a logarithm of prices, and some are below 0, the first on "
                f"{bars.dates[int(low.argmax())]}; take a difference, such as $close - Ref($close, 1), or "
                f"{days_without(bars.dates, low)}"
            )
        return spec

    def alone(self) -> PanelSpec:
        """The same for a stock without others: with what is compared in place of each comparison."""
        expressions = {name: one.alone() for name, one in self.features.expressions.items()}
        compared = self.target.expression
        target = self.target if compared is None else replace(self.target, expression=compared.alone())
        return PanelSpec(replace(self.features, expressions=expressions), target)

    def lenient(self) -> PanelSpec:
        """The same with 0 where a missing value would be refused."""
        missing = "zero" if self.features.missing == "error" else self.features.missing
        return replace(self, features=replace(self.features, missing=missing))

    @property
    def cross_sectional(self) -> bool:
        """Whether all stocks are needed to compute one."""
        return self.features.cross_sectional or self.target.cross_sectional


def days_without(dates: NDArray[np.datetime64], low: NDArray[np.bool_]) -> str:
    """How to take the days (R,) after some prices, or those before where few come after."""
    first, last = np.flatnonzero(low)[[0, -1]]
    days, later = dates.astype("datetime64[D]"), 4 * (len(dates) - 1 - last) >= first
    side = f"after: data.start={days[last] + 1}" if later else f"before: data.end={days[first] - 1}"
    return f"take the days {side}"


def columns_read(config: Config) -> tuple[str, ...]:
    """The columns of the stock's own bars that a config of dated bars reads: those of other tickers are left out."""
    context = context_tickers(config)
    read = tuple(name for name in PanelSpec.of(config).columns if _ticker_of(name, context) is None)
    return read if config.data.placebo is None else placebo.columns_needed(read)


def context_read(config: Config) -> Mapping[str, tuple[str, ...]]:
    """The columns that a config of dated bars reads of other tickers, by ticker, without the ticker."""
    context = context_tickers(config)
    found: dict[str, list[str]] = {}
    for name in PanelSpec.of(config).columns:
        if (ticker := _ticker_of(name, context)) is not None:
            found.setdefault(ticker, []).append(name.removeprefix(f"{ticker}."))
    return {ticker: tuple(columns) for ticker, columns in found.items()}


def context_tickers(config: Config) -> tuple[str, ...]:
    """The tickers whose columns may be read beside the stock's own."""
    assert isinstance(config.data, BarsConfig)
    return config.data.context


def _ticker_of(column: str, context: Sequence[str]) -> str | None:
    return max((ticker for ticker in context if column.startswith(f"{ticker}.")), key=len, default=None)


def faults(config: Config) -> Iterator[str]:
    """What is wrong with the expressions of a config, a line each; nothing is read for it."""
    data, features = config.data, config.features
    if not isinstance(data, BarsConfig):
        if features.columns or not features.bars:
            named = (
                f"features={features.set}" if not features.bars else f"features.columns.{next(iter(features.columns))}"
            )
            remedy = "leave it out" if config.features.set == "bars" else "take features=bars"
            yield (
                f"{named}: expressions need dated bars; the arrays of data.source={data.source} "
                f"hold their features already; {remedy}"
            )
        return
    yield from (found := list(_of_expressions(config)))
    if not found:
        yield from _of_context(config)
        yield from _of_lag(config)


def _of_context(config: Config) -> Iterator[str]:
    """Tickers of data.context that nothing reads."""
    read = context_read(config)
    for ticker in context_tickers(config):
        if ticker not in read:
            yield (
                f"data.context: nothing reads a column of {ticker}; leave it out, or use one, "
                f"'+features.columns.NAME=\"Return(${ticker}.close)\"'"
            )


def _of_lag(config: Config) -> Iterator[str]:
    """Columns of data.lag that no feature uses."""
    data, used = config.data, PanelSpec.of(config).features.columns
    assert isinstance(data, BarsConfig)
    keys = [lag_key(name) for name in used]
    for name in data.lag:
        if name not in keys:
            yield f"data.lag.{name}: no feature uses this column; they use {', '.join(keys)}{nearest(name, keys)}"


def _of_expressions(config: Config) -> Iterator[str]:
    data, features = config.data, config.features
    assert isinstance(data, BarsConfig)
    parsed, wrong = parsed_columns(features.columns)
    yield from wrong
    key, text = f"data.target={data.target}", target.formula(data)
    if text not in target.NAMES:
        try:
            parsed[key] = found = parse(text, target=True)
        except ExpressionError as error:
            named = f"; or one of {', '.join(target.NAMES)}" if data.target not in target.NAMES else ""
            yield f"{key}: {_without_text(error, text)}{named}"
        else:
            yield from _of_target(key, found, data)
    for where, expression in parsed.items():
        if expression.cross_sectional and not data.pooled:
            remedy = (
                "set data.benchmark to a ticker of data.context, or "
                if where == key and data.target == "excess_return"
                else ""
            )
            yield f"{where}: compares stocks with each other; {remedy}name several, 'data.tickers=[AAPL,AMZN]'"
        for column in expression.columns:
            ticker, dot, _ = column.rpartition(".")
            if dot and _ticker_of(column, data.context) is None:
                typed = ticker if re.fullmatch(r"[\w.-]+", ticker) else f'"{ticker}"'
                yield f"{where}: {column}: data.context does not name {ticker}; add it, 'data.context=[{typed}]'"


def parsed_columns(columns: Mapping[str, str]) -> tuple[dict[str, Expression], list[str]]:
    """The expressions that can be parsed, by `features.columns.name=text`, and what is wrong with the others."""
    parsed, faults = {}, []
    for name, text in columns.items():
        try:
            parsed[shown(name, text)] = parse(text)
        except ExpressionError as error:
            unreadable = "cannot be read" in str(error) or not text.strip()
            taken = f"; if it had a $name, the shell has taken it out: type '+features.columns.{name}=\"…\"'"
            fault = _without_text(error, text)
            faults.append(f"{shown(name, text)}: {fault}{taken if unreadable and '$' not in text else ''}")
    return parsed, faults


def _without_text(error: ExpressionError, text: str) -> str:
    """The error without the whole expression in front, which is named already."""
    return str(error).removeprefix(f"{' '.join(text.split())}: ")


def read_by(config: Config, columns: Sequence[str]) -> str:
    """Which features of a set need some columns that a table does not have, and what to do; empty if none does."""
    each = PanelSpec.of(config).features.expressions
    found = [name for name, one in each.items() if set(one.columns) & set(columns)]
    if not found or config.features.bars:
        return ""
    if len(found) <= _MOST_SHOWN:
        read = ", ".join(shown(name, each[name].text) for name in found)
        drop = " ".join(f"'~features.columns.{name}'" for name in found)
        return f"; read by {read}: change what reads a missing column, or drop it with {drop}"
    needs = dict.fromkeys(column for one in each.values() for column in one.columns)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    named = f"{', '.join(found[:_MOST_NAMED])}{more}"
    return (
        f"; features={config.features.set} needs {', '.join(needs)}; drop what reads the missing ones with "
        f"'~features.columns.NAME': {named}"
    )


def _of_target(key: str, found: Expression, data: BarsConfig) -> Iterator[str]:
    """What is wrong with a target that is an expression."""
    if found.lookahead < 1:
        if data.target.isidentifier():
            near = nearest(data.target, target.NAMES).removeprefix("; ")
            yield (
                f"{key}: {near + ' It is' if near else 'must be'} one of {', '.join(target.NAMES)}, or an expression "
                "of later days such as Ref($close,-1)/$close-1"
            )
        else:
            yield f"{key}: uses no day after the window's last; Ref($close, -1) is the next day's close"
    elif found.is_logical and data.target_normalize != "none":
        yield f"data.target_normalize={data.target_normalize}: {key} is a class, 0 or 1; leave this out"
    elif data.target not in target.NAMES and data.horizon not in (1, found.lookahead):
        yield f"data.horizon={data.horizon}: the expression of data.target says how far it reaches; leave this out"
