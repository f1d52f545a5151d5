"""The features of a config: their names, the columns that they read, and their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stockml.data.bars import PRICES
from stockml.data.features.evaluation import Rows, evaluate_stocks
from stockml.data.features.expressions import Expression, parse
from stockml.data.features.nodes import rows_back
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats
    from stockml.data.features.settings import FeaturesConfig
    from stockml.data.settings import BarsConfig

MISSING_ADVICE = "set features.missing=drop, ffill or zero"
_LONGEST = 60  # characters of an expression that are shown
_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class FeatureSet:
    """What the model sees of each day."""

    bars: tuple[str, ...]
    """Columns of the bars that are features themselves."""
    transform: str
    """How these are changed: `returns`, `differences` or `levels`; `auto`: by the bars, see `resolved`."""
    expressions: Mapping[str, Expression]
    """Further features, by name."""
    missing: str
    given_lag: Mapping[str, int] = field(default_factory=dict)
    """`data.lag`."""

    @classmethod
    def of(cls, config: FeaturesConfig, columns: Sequence[str], data: BarsConfig) -> FeatureSet:
        """The features of a checked config whose bars have these columns."""
        parsed = {name: parse(text) for name, text in config.columns.items()}
        return cls(tuple(columns) if config.bars else (), transform_of(data), parsed, config.missing, data.lag)

    def resolved(self, bars: Bars) -> FeatureSet:
        """The same for these bars: where `auto` leaves it to them, differences if they have prices below 0."""
        if self.transform != "auto":
            return self
        return replace(self, transform="differences" if bars.below_zero else "returns")

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in order."""
        return (*self.bars, *self.expressions)

    @property
    def texts(self) -> dict[str, str]:
        """Each feature as an expression, by name."""
        own = {name: f"LogReturn(${name}{' + 1' if name == 'volume' else ''})" for name in self.bars}
        if self.transform == "differences":
            own |= {name: f"${name} - Ref(${name}, 1)" for name in self.bars if name in PRICES}
        elif self.transform == "levels":
            own = {name: f"${name}" for name in self.bars}
        return own | {name: one.text for name, one in self.expressions.items()}

    @property
    def described(self) -> dict[str, str]:
        """Each feature as an expression with the lag of what it reads, by name: `$mood, lag 2`."""
        read = {name: (name,) for name in self.bars} | {name: one.columns for name, one in self.expressions.items()}
        lags = {name: [(c, self.lag[c]) for c in dict.fromkeys(read[name]) if c in self.lag] for name in read}
        return {
            name: ", ".join([text, *(f"{f'${c} ' if len(read[name]) > 1 else ''}lag {days}" for c, days in lags[name])])
            for name, text in self.texts.items()
        }

    @property
    def lookbacks(self) -> dict[str, int]:
        """Bars at the start for which each feature has no value yet, by name."""
        lag, change = self.lag, 0 if self.transform == "levels" else 1
        own = {name: change + lag.get(name, 0) for name in self.bars}
        late = {name: max([0, *(lag.get(c, 0) for c in one.columns)]) for name, one in self.expressions.items()}
        return own | {name: late[name] + one.lookback for name, one in self.expressions.items()}

    @property
    def lookback(self) -> int:
        """Bars at the start for which a feature has no value yet."""
        return max([0, *self.lookbacks.values()])

    @property
    def lag(self) -> dict[str, int]:
        """The columns that are known some bars later, and the number of bars."""
        return {name: days for name in self.columns if (days := self.given_lag.get(lag_key(name), 0))}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([*self.bars, *(c for one in self.expressions.values() for c in one.columns)]))

    def known(self, bars: Bars) -> dict[str, Floats]:
        """The columns that expressions read, each (R,) as late as they use it at the earliest."""
        back: dict[str, int] = {}
        for one in self.expressions.values():
            for name, rows in rows_back(one.root).items():
                back[name] = min(rows, back.get(name, rows))
        lag = {name: rows + self.lag.get(name, 0) for name, rows in back.items()}
        return {name: bars.lagged(lag).columns[name] for name in back}

    @property
    def cross_sectional(self) -> bool:
        """Whether a value depends on other stocks."""
        return any(one.cross_sectional for one in self.expressions.values())

    def values(self, each: Sequence[Bars], lost: int) -> list[NDArray[np.float32]]:
        """(R − lost, F) of each stock, whose first `lost` bars are left out; NaN where a value is missing.

        Raises UserError where a value is missing that may not be, and where one is infinite or beyond float32.
        """
        each = [bars.lagged(self.lag) for bars in each] if self.lag else each
        found = [np.empty((max(0, len(bars.dates) - lost), len(self.names)), dtype=np.float32) for bars in each]
        for bars, own in zip(each, found, strict=True):
            with np.errstate(over="ignore"):  # reported below
                for number, name in enumerate(self.bars):
                    own[:, number] = _transformed(name, bars.columns[name], self.transform, lost)
            if not np.isfinite(own[:, : len(self.bars)]).all():
                raise UserError(
                    f"{bars.origin}: holds numbers beyond float32; take data.transform=returns, or fewer bars"
                )
        if self.expressions:
            self._evaluate(each, lost, found)
        return found

    def _evaluate(self, each: Sequence[Bars], lost: int, found: Sequence[NDArray[np.float32]]) -> None:
        """Fill in the values of the expressions."""
        rows = rows_of(each, [column for one in self.expressions.values() for column in one.columns])
        computed = evaluate_stocks(list(self.expressions.values()), rows)
        for bars, own, (_, values) in zip(each, found, computed, strict=True):
            for number, (name, column) in enumerate(zip(self.expressions, values[:, lost:], strict=True)):
                require_finite(shown(name, self.expressions[name].text), column, bars, lost)
                if self.missing == "error":
                    self._require_complete(name, column, bars, lost)
                own[:, len(self.bars) + number] = column

    def fill(self, values: NDArray[np.float32]) -> None:
        """Change the missing values of a stock, (R, F), as `missing` says; before a feature's first value, none."""
        if self.missing == "zero":
            values[np.isnan(values)] = 0
        elif self.missing == "ffill":
            for column in values.T[len(self.bars) :]:
                last = np.maximum.accumulate(np.where(np.isnan(column), -1, np.arange(len(column))))
                column[:] = np.where(last < 0, np.nan, column[last])  # before the first value nothing is known

    def _require_complete(self, name: str, column: Floats, bars: Bars, lost: int) -> None:
        """Raise UserError where a value is missing."""
        is_missing = np.isnan(column)
        if not is_missing.any():
            return
        row, one = lost + int(is_missing.argmax()), self.expressions[name]
        read = slice(max(0, row - one.lookback), row + 1)
        reason = next((_no_bar_of(c, bars) for c in one.columns if np.isnan(bars.columns[c][read]).any()), "")
        raise UserError(
            f"{bars.origin}: {bars.ticker}: {shown(name, one.text)}: no value on {is_missing.sum():,} of "
            f"{len(column):,} days, the first {bars.dates[row]}{reason}; {MISSING_ADVICE}"
        )


def _no_bar_of(column: str, bars: Bars) -> str:
    """Why a column of another ticker has no value; empty of the stock's own columns."""
    origin = bars.context.get(column)
    if origin is None:
        return ""
    return f", since {column} of {origin} has none: no bar up to that day, or an older one than data.context_max_age"


def lag_key(column: str) -> str:
    """The name of a column in `data.lag`: `_` stands for signs that a setting's name cannot have."""
    return re.sub(r"[^\w.]", "_", column)


def rows_of(each: Sequence[Bars], columns: Sequence[str]) -> Rows:
    """The columns of several stocks as the rows that expressions are evaluated on."""
    return Rows(
        columns={name: np.concatenate([bars.columns[name] for bars in each]) for name in dict.fromkeys(columns)},
        dates=np.concatenate([bars.dates for bars in each]),
        starts=np.cumsum([0, *(len(bars.dates) for bars in each)]),
    )


def shown(name: str, text: str) -> str:
    """A feature as it is typed, shortened."""
    return f"features.columns.{name}={text if len(text) <= _LONGEST else f'{text[:_LONGEST]} …'}"


def require_finite(what: str, column: Floats, bars: Bars, lost: int = 0) -> None:
    """Raise UserError where a value of the bars after the first `lost` is infinite or beyond float32."""
    bad = np.abs(column) > _LARGEST  # NaN is not
    if bad.any():
        row = int(bad.argmax())
        raise UserError(
            f"{bars.origin}: {bars.ticker}: {what}: is {column[row]:g} on {bars.dates[lost + row]}"
            f"{f' and {bad.sum() - 1:,} other days' if bad.sum() > 1 else ''}; change the expression, for example add "
            "1e-12 to what it divides by"
        )


def _transformed(name: str, column: Floats, transform: str, lost: int) -> Floats:
    if transform == "levels":
        return column[lost:]
    if transform == "differences" and name != "volume":
        return np.diff(column[max(0, lost - 1) :])
    # volume may be 0; the added 1 is negligible for daily volumes
    logs = np.log1p(column) if name == "volume" else np.log(column)
    return np.diff(logs[max(0, lost - 1) :])


def transform_of(data: BarsConfig) -> str:
    """How the config's columns of bars are changed; `auto` where that is left to the bars."""
    if data.transform != "auto" or (data.takes_any_price and data.target != "difference" and not data.pooled):
        return data.transform
    return "differences" if data.target == "difference" else "returns"
