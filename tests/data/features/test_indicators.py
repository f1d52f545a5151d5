"""TA-Lib's functions equal the library called directly, and keep the laws of operators."""

from __future__ import annotations

import numpy as np
import pytest

from stockml.data.features import indicators
from stockml.data.features.evaluation import Rows
from stockml.data.features.expressions import ExpressionError, parse
from stockml.data.features.operators import OPERATORS
from tests.data.features.rows import Floats, bits, cut, stocks, values

talib = pytest.importorskip("talib")
every_function = pytest.mark.parametrize("name", sorted(set(indicators.names()) - set(OPERATORS)))


def bars(seed: int, rows: int = 260) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    open_ = close * np.exp(rng.normal(0, 0.01, rows))
    return {
        "open": open_,
        "high": np.maximum(close, open_) * np.exp(rng.uniform(0, 0.01, rows)),
        "low": np.minimum(close, open_) * np.exp(-rng.uniform(0, 0.01, rows)),
        "close": close,
        "volume": rng.integers(1, 10**6, rows).astype(float),
        "periods": rng.integers(2, 30, rows).astype(float),
    }


def columns(name: str) -> list[str]:
    """The columns that suit a function's inputs."""
    operator = indicators.find(name)
    assert operator is not None
    return [given if given in bars(0, 1) else "close" for given in operator.inputs]


def calls(name: str) -> list[str]:
    """The function with its defaults, once for each output."""
    operator = indicators.find(name)
    assert operator is not None
    text = f"{name}({', '.join(f'${column}' for column in columns(name))})"
    return [f"{text}.{output}" for output in operator.outputs] or [text]


@every_function
def test_a_function_equals_the_library(name: str) -> None:
    table = bars(1)
    found = getattr(talib, name)(*(table[column] for column in columns(name)))
    outputs = found if isinstance(found, tuple) else (found,)
    for text, output in zip(calls(name), outputs, strict=True):
        lookback, ours = parse(text).lookback, values(text, stocks(table))
        assert bits(ours[lookback:]) == bits(np.asarray(output, dtype=float)[lookback:])
        assert np.isnan(ours[:lookback]).all()


@every_function
def test_it_looks_at_the_past_of_one_stock_alone(name: str) -> None:
    first, second = stocks(bars(1)), stocks(bars(2, 190))
    for text in calls(name):
        whole = values(text, first)
        together = values(text, stocks(bars(1), bars(2, 190)))
        assert bits(together) == bits(np.r_[whole, values(text, second)])
        for until in (60, 150, 200):
            before = np.arange(260) < until
            scrambled = {column: np.where(before, first.columns[column], x) for column, x in bars(3).items()}
            assert bits(values(text, cut(first, before))) == bits(whole[:until])
            assert bits(values(text, Rows(scrambled, first.dates, first.starts))[:until]) == bits(whole[:until])


def test_parameters_are_given_by_position() -> None:
    table = bars(1)
    rows = stocks(table)
    close = table["close"]
    macd, signal, hist = talib.MACD(close, fastperiod=5, slowperiod=20, signalperiod=4)
    for output, expected in (("macd", macd), ("signal", signal), ("hist", hist)):
        assert bits(values(f"MACD($close, 5, 20, 4).{output}", rows)) == bits(expected)
    upper, _, _ = talib.BBANDS(close, timeperiod=10, nbdevup=1.5, nbdevdn=2.5, matype=1)
    assert bits(values("BBANDS($close, 10, 1.5, 2.5, 1).upper", rows)) == bits(upper)
    atr = talib.ATR(table["high"], table["low"], close, timeperiod=7)
    assert bits(values("ATR($high, $low, $close, 7)", rows)) == bits(atr)
    returns = np.r_[np.nan, close[1:] / close[:-1] - 1]
    assert bits(values("SMA(Return($close), 5)", rows)) == bits(talib.SMA(returns, 5))


def test_after_a_missing_value_it_starts_anew() -> None:
    table = bars(1)
    table["low"][100] = np.nan
    found = values("ATR($high, $low, $close, 14)", stocks(table))
    again = talib.ATR(*(table[name][101:] for name in ("high", "low", "close")), timeperiod=14)
    assert np.isnan(found[100:115]).all()
    assert bits(found[101:]) == bits(again)


def test_outputs_have_short_names() -> None:
    assert {name: indicators.find(name).outputs for name in ("MACD", "BBANDS", "STOCH", "AROON", "MAMA")} == {  # type: ignore[union-attr]
        "MACD": ("macd", "signal", "hist"),
        "BBANDS": ("upper", "middle", "lower"),
        "STOCH": ("k", "d"),
        "AROON": ("down", "up"),
        "MAMA": ("mama", "fama"),
    }


def test_too_few_rows_have_no_value() -> None:
    assert np.isnan(values("RSI($close, 14)", stocks(bars(1, 14), bars(2, 1)))).all()
    with pytest.raises(ExpressionError, match="timeperiod=1"):
        parse("RSI($close, 1)")
