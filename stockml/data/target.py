"""What is forecast of dated bars: the target's values, its kind, and over which days it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.features.evaluation import Rows, evaluate
from stockml.data.features.expressions import Expression, parse
from stockml.data.features.feature_set import require_finite, rows_of
from stockml.data.panel import Kind
from stockml.data.settings import ANY_PRICE, CLOSE_TARGETS

if TYPE_CHECKING:
    from stockml.data.bars import Bars, Floats
    from stockml.data.settings import BarsConfig

_FORMULAS = {
    "direction": "Ref($close, -{h}) > $close",
    "volatility": "Ref(Power(Mean(Power(LogReturn($close), 2), {h}), 0.5), -{h})",
    "excess_return": "Ref({excess}, -{h})",
}
NAMES = (*CLOSE_TARGETS, *_FORMULAS)
"""The targets that have a name; any other text is an expression."""


@dataclass(frozen=True)
class TargetSpec:
    """The target of a config."""

    name: str
    """As the config names it."""
    kind: Kind
    horizon: int
    """Days over which it reaches."""
    end: int
    """Days from a window's end to the target's end."""
    expression: Expression | None
    """None of a change of the close, or of the close itself."""
    last: Expression | None = None
    """Of a level other than the close: its last known value."""
    normalize: str = "none"
    """`data.target_normalize`; none of a stock alone."""

    @classmethod
    def of(cls, config: BarsConfig) -> TargetSpec:
        """The target of a checked config."""
        name, h = config.target, config.horizon
        normalize = config.target_normalize if config.pooled else "none"
        if name in CLOSE_TARGETS:
            return cls(name, "level" if name == "close" else "return", h, h, None, normalize=normalize)
        text = formula(config)
        found = parse(text, target=True)
        if name == "volatility":
            last = parse(text.removeprefix("Ref(").removesuffix(f", -{h})"))
            return cls(name, "level", h, h, found, last, normalize)
        kind: Kind = "class" if found.is_logical else "return"
        horizon = max(1, found.newest - max(found.oldest, 0))  # 1 if it reads one later day alone
        return cls(name, kind, horizon, found.newest, found, normalize=normalize)

    @property
    def lookback(self) -> int:
        """Bars at the start whose target, or last known value, needs bars before them."""
        return max([0, *(one.lookback for one in (self.expression, self.last) if one is not None)])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        read = () if self.expression is None else self.expression.columns
        return tuple(dict.fromkeys(["close", *read]))

    @property
    def needs_ratios(self) -> bool:
        """Whether it is not known for prices of 0 or less."""
        return self.name not in ANY_PRICE

    @property
    def cross_sectional(self) -> bool:
        """Whether a value, or what the model is trained on, depends on other stocks."""
        return self.normalize != "none" or (self.expression is not None and self.expression.cross_sectional)

    @property
    def last_name(self) -> str:
        """Of a level: the name of its last known value."""
        days = "day's" if self.horizon == 1 else f"{self.horizon} days'"
        return f"the last {days} volatility" if self.last else "close"

    def values(self, each: Sequence[Bars]) -> list[Floats]:
        """(R,) of each stock; NaN where it is not known.

        Over h days: log_return ln(C[t+h]/C[t]), return C[t+h]/C[t] − 1, difference C[t+h] − C[t], close C[t+h].
        """
        if self.expression is not None:
            return self._evaluated(self.expression, each)
        found = []
        for bars in each:
            close, own = bars.columns["close"], np.full(len(bars.dates), np.nan)
            if self.name == "close":
                own[: -self.horizon] = close[self.horizon :]
            elif self.name == "difference":
                own[: -self.horizon] = close[self.horizon :] - close[: -self.horizon]
            else:
                change = np.log(close[self.horizon :] / close[: -self.horizon])
                own[: -self.horizon] = change if self.name == "log_return" else np.expm1(change)
            found.append(own)
        return found

    def normalized(self, each: Sequence[Bars], values: Sequence[Floats]) -> list[Floats] | None:
        """(R,) of each stock: the rank or standard score of its target among the day's stocks; None if not normalised.

        The ranks are in (0, 1].
        """
        if self.normalize == "none":
            return None
        operator = {"csrank": "CSRank", "cszscore": "CSZScore"}[self.normalize]
        rows = rows_of(each, [])
        columns = {"target": np.concatenate(values)}
        found = next(iter(evaluate([parse(f"{operator}($target)")], Rows(columns, rows.dates, rows.starts))))
        return np.split(found, rows.starts[1:-1])

    def last_values(self, each: Sequence[Bars]) -> list[Floats] | None:
        """(R,) of each stock: the last known value of a level; None for other kinds."""
        if self.kind != "level":
            return None
        return [bars.columns["close"] for bars in each] if self.last is None else self._evaluated(self.last, each)

    def _evaluated(self, expression: Expression, each: Sequence[Bars]) -> list[Floats]:
        rows = rows_of(each, expression.columns)
        found = np.split(next(iter(evaluate([expression], rows))), rows.starts[1:-1])
        for bars, values in zip(each, found, strict=True):
            require_finite(f"data.target={self.name}", values, bars)
        return found


def formula(config: BarsConfig) -> str:
    """The target as an expression, of one that is no change of the close, nor the close itself."""
    if config.target not in _FORMULAS:
        return config.target
    own = f"LogReturn($close, {config.horizon})"
    over_pool = f"CSDemean({own})"
    excess = (
        over_pool if config.benchmark is None else f'{own} - LogReturn($"{config.benchmark}".close, {config.horizon})'
    )
    return _FORMULAS[config.target].format(h=config.horizon, excess=excess)
