"""What an expression means, and what it needs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from stockml.data.features.evaluation import Rows, evaluate, evaluate_stocks
from stockml.data.features.expressions import Call, ExpressionError, Number, parse
from stockml.data.features.operators import OPERATORS
from tests.data.features.rows import bits, stocks, values

rng = np.random.default_rng(0)
BARS = {
    name: 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 60)))
    for name in ("open", "high", "low", "close", "volume", "^N225", "news score", "SP500.close", "^N225.close", "class")
}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("close", "$close"),
        ("  $close\n  - open ", "Sub($close, $open)"),
        ("-close", "Mul(-1, close)"),
        ("+close", "close"),
        ("close + open * high", "Add(close, Mul(open, high))"),
        ("(close + open) * high", "Mul(Add(close, open), high)"),
        ("close / open / high", "Div(Div(close, open), high)"),
        ("-close ** 2", "Mul(-1, Power(close, 2))"),
        ("close ** -1", "Power(close, -1)"),
        ("2 ** 3 ** 2 + close", "Add(Power(2, Power(3, 2)), close)"),
        ("close > open", "Gt(close, open)"),
        ("close >= open", "Ge(close, open)"),
        ("close < open", "Lt(close, open)"),
        ("close <= open", "Le(close, open)"),
        ("close == open", "Eq(close, open)"),
        ("close != open", "Ne(close, open)"),
        ("(close > open) & (high > low)", "And(Gt(close, open), Gt(high, low))"),
        ("close > open and high > low and low > 1", "And(And(close > open, high > low), low > 1)"),
        ("(close > open) | (high > low)", "Or(Gt(close, open), Gt(high, low))"),
        ("close > open or high > low", "Or(Gt(close, open), Gt(high, low))"),
        ("not close > open", "Not(Gt(close, open))"),
        ("~(close > open)", "Not(Gt(close, open))"),
        ("Mean(close, 5.0)", "Mean(close, 5)"),
        ("Diff(close)", "Diff(close, 1)"),
        ("Return(close)", "Return(close, 1)"),
        ("Less(open, close) - 1e-12", "Sub(Less(open, close), 0.000000000001)"),
        ("$'news score' + $class", '$"news score" + $"class"'),
        ("$'^N225'.close", '$"^N225.close"'),
        ("$SP500.close", '$"SP500"."close"'),
    ],
)
def test_two_ways_to_write_the_same(text: str, same: str) -> None:
    rows = stocks(BARS)
    assert parse(text).root == parse(same).root
    assert bits(values(text, rows)) == bits(values(same, rows))


def test_columns_are_in_order_of_appearance_without_dollars() -> None:
    text = '$high / Ref(low, 1) - $high * $"^N225".close + If($SP500.close > 0, $"news score", 1)'
    assert parse(text).columns == ("high", "low", "^N225.close", "SP500.close", "news score")


@pytest.mark.parametrize(
    ("text", "lookback"),
    [
        ("$close", 0),
        ("Ref($close, 1)", 1),
        ("Ref($close, 0)", 0),
        ("Mean($close, 5)", 4),
        ("Mean(Ref($close, 1), 5)", 5),
        ("Ref(Mean($close, 5), 2) / Mean($close, 3)", 6),
        ("Std($close / Ref($close, 1) - 1, 20)", 20),
        ("ZScore(Return($close), 10)", 10),
        ("CSRank(Delta($close, 3))", 3),
        ("EMA($close, 12)", 11),
        ("DayOfWeek()", 0),
        ("MACD($close, 12, 26, 9).signal", 33),
        ("Mean(RSI($close, 14), 3)", 16),
    ],
)
def test_the_lookback_is_the_rows_before_that_it_needs(text: str, lookback: int) -> None:
    parsed = parse(text)
    assert (parsed.lookback, parsed.lookahead) == (lookback, 0)
    whole = values(text, stocks(BARS))
    assert np.isfinite(whole[lookback:]).all()
    if lookback and not text.startswith("EMA"):
        assert np.isnan(whole[:lookback]).all()


@pytest.mark.parametrize(
    ("text", "lookback", "lookahead"),
    [
        ("Ref($close, -2) / Ref($close, -1) - 1", 0, 2),
        ("Mean(Ref($close, -5), 5)", 4, 5),
        ("Std(Ref($close, -3), 7) * Ref($close, 2)", 6, 3),
        ("Ref(Mean($close, 3), -4)", 0, 4),
    ],
)
def test_a_target_may_look_ahead_and_says_how_far(text: str, lookback: int, lookahead: int) -> None:
    parsed = parse(text, target=True)
    assert (parsed.lookback, parsed.lookahead) == (lookback, lookahead)
    (found,) = evaluate([parsed], stocks(BARS))
    there = np.flatnonzero(np.isfinite(found))
    assert there[0] == lookback
    assert there[-1] == 59 - lookahead
    with pytest.raises(ExpressionError, match="looks ahead"):
        parse(text)


def test_qlib_s_next_return_is_of_the_day_after_tomorrow() -> None:
    (found,) = evaluate([parse("Ref($close,-2)/Ref($close,-1)-1", target=True)], stocks(BARS))
    close = BARS["close"]
    assert bits(found[:-2]) == bits(close[2:] / close[1:-1] - 1)


def test_it_knows_what_it_compares() -> None:
    assert parse("Mean(CSRank($close), 5)").cross_sectional
    assert not parse("Mean($close, 5)").cross_sectional
    assert parse("Mean(EMA($close, 3), 5)").from_first_row
    assert not parse("Mean($close, 3)").from_first_row


def test_cross_sections_nest_among_windows() -> None:
    pool = stocks(*({name: np.roll(x, shift) for name, x in BARS.items()} for shift in range(4)))
    inner = values("CSRank(Return($close, 2))", pool)
    outer = Rows({"inner": inner}, pool.dates, pool.starts)
    text = "CSZScore(Mean(CSRank(Return($close, 2)), 3) * CSRank(Return($close, 2)))"
    assert bits(values(text, pool)) == bits(values("CSZScore(Mean($inner, 3) * $inner)", outer))


def test_several_expressions_are_what_each_is_alone() -> None:
    pool = stocks(BARS, {name: x[:23] for name, x in BARS.items()})
    texts = ["Mean($close, 5)", "Std($close, 5)/Mean($close, 5)", "$close", "CSRank(Mean($close, 5))", "$close"]
    together = list(evaluate([parse(text) for text in texts], pool))
    assert [bits(found) for found in together] == [bits(values(text, pool)) for text in texts]
    by_stock = [found for _, found in evaluate_stocks([parse(text) for text in texts], pool)]
    assert bits(np.hstack(by_stock).ravel()) == bits(np.stack(together).ravel())


def test_a_common_part_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def function(x: np.ndarray, n: int) -> np.ndarray:
        counted.append(n)
        return x * n

    slow = Call(OPERATORS["Mean"].__class__("Slow", function, ("x",), "", OPERATORS["Mean"].parameters))
    monkeypatch.setitem(OPERATORS, "Slow", slow.operator)
    texts = ["Slow($close, 5)", "Std(Slow($close, 5), 3)", "Slow($close, 6) + Slow($close, 5)"]
    list(evaluate([parse(text) for text in texts], stocks(BARS, BARS)))
    assert sorted(counted) == [5, 5, 6, 6]  # for each of the two stocks


def test_infinite_values_and_nan_come_without_a_warning() -> None:
    zeros = stocks({"close": np.array([0.0, 1.0, -1.0, 0.0])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values("1 / $close", zeros).tolist() == [np.inf, 1, -1, np.inf]
        assert np.isnan(values("Log($close)", zeros)[2])
        assert values("2 ** 10 ** 10 * $close", zeros)[1] == np.inf
        assert values("(0 - 1) / 0 * Abs($close)", zeros)[1] == -np.inf
    before = np.geterr()
    found = evaluate([parse("1 / $close"), parse("2 / $close")], zeros)
    next(found)
    assert np.geterr() == before


def test_the_rows_that_it_is_given_stay_as_they_are() -> None:
    rows = stocks(BARS)
    before = {name: bits(x) for name, x in rows.columns.items()}
    list(evaluate([parse("Mean($close, 5)"), parse("$close"), parse("Quantile($close, 5, 0.3)")], rows))
    assert {name: bits(x) for name, x in rows.columns.items()} == before
    (found,) = evaluate([parse("$close")], rows)
    found[0] = 7
    assert {name: bits(x) for name, x in rows.columns.items()} == before


def test_a_missing_column_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ExpressionError, match=r"there is no column rsi; there are close, open"):
        values("Mean($rsi, 3)", stocks({"close": np.ones(3), "open": np.ones(3)}))


def test_no_rows_have_no_values() -> None:
    empty = stocks({"close": np.ones(0)})
    assert values("Mean($close, 3) + CSRank($close) + Ref($close, 1) + Rank($close, 2)", empty).size == 0


def test_a_constant_stays_a_float() -> None:
    assert parse("close + 3").root == Call(OPERATORS["Add"], (parse("close").root, Number(3.0)))
