"""Factors as they are defined in words, day by day with numpy and pandas: the sets hold the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from stockml.compose import compose
from stockml.data.features.evaluation import evaluate
from stockml.data.features.expressions import parse
from stockml.data.sources.loading import load_bars
from tests.data.features.sets import ALL_COLUMNS, columns_of, rows_of

SETS = ("alpha158", "alpha360", "technical", "momentum")
BARS = load_bars(compose("data.days=700", "stock=AAPL", ALL_COLUMNS))
DAYS = (260, 261, 333, 402, 478, 555, 631, 699)
SLOW: dict[str, Callable[[pd.DataFrame], float]] = {
    # Alpha158 and Alpha360
    "KMID2": lambda d: (last(d.close) - last(d.open)) / (last(d.high) - last(d.low)),
    "KUP": lambda d: (last(d.high) - max(last(d.open), last(d.close))) / last(d.open),
    "KSFT": lambda d: (2 * last(d.close) - last(d.high) - last(d.low)) / last(d.open),
    "ROC20": lambda d: d.close.iloc[-21] / last(d.close),
    "STD60": lambda d: d.close[-60:].std() / last(d.close),
    "BETA20": lambda d: np.polyfit(range(20), d.close[-20:], 1)[0] / last(d.close),
    "RSQR10": lambda d: np.corrcoef(range(10), d.close[-10:])[0, 1] ** 2,
    "RESI30": lambda d: 1 - float(np.polyval(np.polyfit(range(30), d.close[-30:], 1), 29)) / last(d.close),
    "MIN30": lambda d: d.low[-30:].min() / last(d.close),
    "QTLU20": lambda d: np.quantile(d.close[-20:], 0.8) / last(d.close),
    "RANK30": lambda d: d.close[-30:].rank(pct=True).iloc[-1],
    "RSV10": lambda d: (last(d.close) - d.low[-10:].min()) / (d.high[-10:].max() - d.low[-10:].min()),
    "IMAX20": lambda d: (int(d.high[-20:].to_numpy().argmax()) + 1) / 20,
    "CORR10": lambda d: np.corrcoef(d.close[-10:], np.log(d.volume[-10:] + 1))[0, 1],
    "CORD30": lambda d: np.corrcoef(growth(d.close)[-30:], np.log(growth(d.volume)[-30:] + 1))[0, 1],
    "CNTD10": lambda d: (np.sign(d.close.diff()[-10:]) == 1).mean() - (np.sign(d.close.diff()[-10:]) == -1).mean(),
    "SUMP20": lambda d: up(d.close)[-20:].sum() / d.close.diff().abs()[-20:].sum(),
    "VSTD5": lambda d: d.volume[-5:].std() / last(d.volume),
    "WVMA10": lambda d: weighted(d).std() / weighted(d).mean(),
    "VSUMD60": lambda d: (last(d.volume) - d.volume.iloc[-61]) / d.volume.diff().abs()[-60:].sum(),
    "CLOSE37": lambda d: d.close.iloc[-38] / last(d.close),
    "VWAP12": lambda d: typical(d).iloc[-13] / last(d.close),
    "VOLUME59": lambda d: d.volume.iloc[-60] / last(d.volume),
    # technical
    "MACD_HIST": lambda d: last(macd(d) - macd(d).ewm(span=9).mean()) / last(d.close),
    "RSI14": lambda d: 1 - 1 / (1 + last(wilder(up(d.close))) / last(wilder(up(-d.close)))),
    "ADX14": lambda d: last(wilder((plus(d) - minus(d)).abs() / (plus(d) + minus(d)))),
    "PLUS_DI14": lambda d: last(plus(d) / wilder(true_range(d))),
    "ATR14": lambda d: last(wilder(true_range(d))) / last(d.close),
    "TRIX15": lambda d: last(thrice(d.close).pct_change()),
    "AROON25": lambda d: (int(d.high[-26:].to_numpy().argmax()) - int(d.low[-26:].to_numpy().argmin())) / 25,
    "CCI20": lambda d: last(from_mean(typical(d)[-20:])) / 0.015 / from_mean(typical(d)[-20:]).abs().mean(),
    "ULTOSC": lambda d: sum(weight * pressure(d, n) for weight, n in ((4, 7), (2, 14), (1, 28))) / 7,
    "BB_POSITION20": lambda d: last(from_mean(d.close[-20:])) / (2 * d.close[-20:].std()),
    "PARKINSON20": lambda d: math.sqrt((np.log(d.high / d.low)[-20:] ** 2).mean() / (4 * math.log(2))),
    "OBV20": lambda d: (np.sign(d.close.diff()) * d.volume)[-20:].sum() / d.volume[-20:].sum(),
    "MFI14": lambda d: flow(d)[lambda x: x > 0].sum() / flow(d).abs().sum(),
    # momentum
    "RET252": lambda d: last(d.close) / d.close.iloc[-253] - 1,
    "SCALED21": lambda d: np.clip(np.log(d.close).diff(21).iloc[-1] / vol(d, 63) / math.sqrt(21), -3, 3),
    "VOL21": lambda d: vol(d, 21),
    "RET1_VOLUME": lambda d: (
        np.clip(np.log(d.close).diff().iloc[-1] / vol(d, 63), -3, 3) * np.log(last(d.volume) / d.volume[-21:].mean())
    ),
    "DAY": lambda d: d.index[-1].weekday(),
}
"""Of a stock's rows up to a day, a factor's value on that day."""


def last(x: pd.Series) -> float:
    return float(x.iloc[-1])


def growth(x: pd.Series) -> pd.Series:
    return x / x.shift(1)


def up(x: pd.Series) -> pd.Series:
    return x.diff().clip(lower=0)


def from_mean(x: pd.Series) -> pd.Series:
    return x - x.mean()


def weighted(d: pd.DataFrame) -> pd.Series:
    return (d.close.pct_change().abs() * d.volume)[-10:]


def typical(d: pd.DataFrame) -> pd.Series:
    return d[["high", "low", "close"]].mean(axis=1)


def flow(d: pd.DataFrame) -> pd.Series:
    signed: pd.Series = np.sign(typical(d).diff()) * typical(d) * d.volume
    return signed[-14:]


def vol(d: pd.DataFrame, days: int) -> float:
    return float(np.log(d.close).diff()[-days:].std())


def macd(d: pd.DataFrame) -> pd.Series:
    return d.close.ewm(span=12).mean() - d.close.ewm(span=26).mean()


def thrice(x: pd.Series) -> pd.Series:
    return x.ewm(span=15).mean().ewm(span=15).mean().ewm(span=15).mean()


def wilder(x: pd.Series) -> pd.Series:
    return x.ewm(alpha=1 / 14).mean()


def true_range(d: pd.DataFrame) -> pd.Series:
    before = d.close.shift(1)
    ranges = pd.DataFrame({"day": d.high - d.low, "up": d.high - before, "down": before - d.low})
    widest: pd.Series = ranges.max(axis=1)
    return widest.mask(before.isna())


def plus(d: pd.DataFrame) -> pd.Series:
    rise, fall = d.high.diff(), -d.low.diff()
    return wilder(rise.where((rise > fall) & (rise > 0), 0).mask(rise.isna()))


def minus(d: pd.DataFrame) -> pd.Series:
    rise, fall = d.high.diff(), -d.low.diff()
    return wilder(fall.where((fall > rise) & (fall > 0), 0).mask(rise.isna()))


def pressure(d: pd.DataFrame, days: int) -> float:
    low = np.minimum(d.low, d.close.shift(1))
    return float((d.close - low)[-days:].sum() / true_range(d)[-days:].sum())


@pytest.mark.parametrize("name", SLOW)
def test_a_factor_is_the_one_that_is_defined(name: str) -> None:
    text = next(columns[name] for columns in map(columns_of, SETS) if name in columns)
    (values,) = evaluate([parse(text)], rows_of([BARS]))
    rows = pd.DataFrame(BARS.columns, index=pd.DatetimeIndex(BARS.dates))
    slow = [SLOW[name](rows.iloc[: day + 1]) for day in DAYS]
    rounded = 1e-4 if name in {"SCALED21", "PARKINSON20"} else 1e-7  # √21 and 4 ln 2 are rounded, 1 and 1e-12 added
    np.testing.assert_allclose(values[list(DAYS)], slow, rtol=rounded, atol=1e-9)
