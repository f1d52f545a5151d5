"""Each operator once more: window by window, by pandas' or numpy's function for a whole series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Window = Callable[..., float]
Series = pd.Series


def slow(name: str, *inputs: Series, parameters: tuple[float, ...]) -> Series:
    """The operator's values on one stock, or on a whole pool for a cross-sectional one; the inputs' index is dates."""
    if name in BY_ROWS:
        return BY_ROWS[name](*inputs)
    if name in BY_LAG:
        return BY_LAG[name](inputs[0], inputs[0].shift(int(parameters[0])))
    if name in BY_WINDOW:
        return _windows(BY_WINDOW[name], inputs, *parameters)
    return OTHERS[name](*inputs, *parameters)


def _windows(function: Window, inputs: tuple[Series, ...], n: float, *numbers: float) -> Series:
    size, values = int(n), []
    for end in range(1, len(inputs[0]) + 1):
        parts = [x.iloc[max(end - size, 0) : end].reset_index(drop=True) for x in inputs]
        whole = len(parts[0]) == size and not any(part.isna().any() for part in parts)
        values.append(function(*parts, *numbers) if whole else np.nan)
    return Series(values, index=inputs[0].index, dtype=float)


def _strict(function: Callable[..., object]) -> Callable[..., Series]:
    def rows(*inputs: Series) -> Series:
        values = Series(function(*inputs), index=inputs[0].index, dtype=float)
        return values.where(~pd.concat(inputs, axis=1).isna().any(axis=1))

    return rows


def _numbers(w: Series) -> Series:
    return Series(np.arange(1.0, len(w) + 1))


def _power(a: float, b: float) -> float:
    real = a >= 0 or b.is_integer()
    return (np.inf if a == 0 and b < 0 else a**b) if real else np.nan


def _slope(w: Series) -> float:
    return float(w.cov(_numbers(w)) / _numbers(w).var())


def _line(w: Series) -> Series:
    return w.mean() + _slope(w) * (_numbers(w) - _numbers(w).mean())


def _rsquare(w: Series) -> float:
    return np.nan if w.nunique() == 1 else float(1 - ((w - _line(w)) ** 2).sum() / ((w - w.mean()) ** 2).sum())


def _moment(function: Callable[[Series], Any]) -> Window:
    return lambda w: np.nan if w.nunique() == 1 else float(function(w))


BY_ROWS: dict[str, Callable[..., Series]] = {
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Mul": lambda x, y: x * y,
    "Div": lambda x, y: x / y,
    "Power": _strict(lambda x, y: [_power(a, b) for a, b in zip(x, y, strict=True)]),
    "Gt": _strict(lambda x, y: x > y),
    "Ge": _strict(lambda x, y: x >= y),
    "Lt": _strict(lambda x, y: x < y),
    "Le": _strict(lambda x, y: x <= y),
    "Eq": _strict(lambda x, y: x == y),
    "Ne": _strict(lambda x, y: x != y),
    "And": _strict(lambda x, y: (x != 0) & (y != 0)),
    "Or": _strict(lambda x, y: (x != 0) | (y != 0)),
    "Not": _strict(lambda x: x == 0),
    "If": lambda c, x, y: x.where(c != 0, y).where(c.notna()),
    "Greater": _strict(lambda x, y: pd.concat([x, y], axis=1).max(axis=1)),
    "Less": _strict(lambda x, y: pd.concat([x, y], axis=1).min(axis=1)),
    "Abs": lambda x: x.abs(),
    "Log": lambda x: x.map(np.log),
    "Sign": lambda x: (x > 0).astype(float).sub(x < 0).where(x.notna()),
}
BY_LAG: dict[str, Callable[[Series, Series], Series]] = {
    "Ref": lambda _, earlier: earlier,
    "Delta": lambda x, earlier: x - earlier,
    "Diff": lambda x, earlier: x - earlier,
    "Return": lambda x, earlier: (x - earlier) / earlier,
    "LogReturn": lambda x, earlier: (x / earlier).map(np.log),
}
BY_WINDOW: dict[str, Window] = {
    "Mean": lambda w: w.mean(),
    "Sum": lambda w: w.sum(),
    "Var": lambda w: w.var(),
    "Std": lambda w: w.std(),
    "Skew": _moment(pd.Series.skew),
    "Kurt": _moment(pd.Series.kurt),
    "Max": lambda w: w.max(),
    "Min": lambda w: w.min(),
    "IdxMax": lambda w: w.argmax() + 1,
    "IdxMin": lambda w: w.argmin() + 1,
    "Med": lambda w: w.median(),
    "Mad": lambda w: (w - w.mean()).abs().mean(),
    "Rank": lambda w: w.rank(pct=True).iloc[-1],
    "Quantile": lambda w, q: w.quantile(q),
    "WMA": lambda w: (w * _numbers(w) / _numbers(w).sum()).mean(),
    "Slope": _slope,
    "Rsquare": _rsquare,
    "Resi": lambda w: (w - _line(w)).iloc[-1],
    "Corr": lambda v, w: np.nan if v.nunique() == 1 or w.nunique() == 1 else v.corr(w),
    "Cov": lambda v, w: v.cov(w),
    "ZScore": _moment(lambda w: (w.iloc[-1] - w.mean()) / w.std()),
}


def _ema(x: Series, n: float) -> Series:
    values = []
    for end in range(len(x)):
        weights = (1 - 2 / (n + 1)) ** np.arange(end, -1, -1.0)
        seen = x.iloc[: end + 1].to_numpy()
        there = ~np.isnan(seen)
        values.append((weights[there] * seen[there]).sum() / weights[there].sum() if there[-1] else np.nan)
    return Series(values, index=x.index)


OTHERS: dict[str, Callable[..., Series]] = {
    "Count": lambda x, n: x.notna().astype(float).rolling(int(n)).sum(),
    "EMA": _ema,
    "CSRank": lambda x: x.groupby(level=0).rank(pct=True),
    "CSZScore": lambda x: x.groupby(level=0).transform(
        lambda day: (day - day.mean()) / day.std(ddof=0) if day.nunique() > 1 else day * 0
    ),
    "CSDemean": lambda x: x.groupby(level=0).transform(lambda day: day - day.mean()),
}
