"""Wrong expressions: each is refused in one line that says what is wrong."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stockml.data.features.evaluation import evaluate
from stockml.data.features.expressions import MAX_DEPTH, MAX_LENGTH, ExpressionError, parse
from stockml.data.features.operators import OPERATORS
from tests.data.features.rows import stocks

TABLE = [
    ("", "is empty"),
    (" \n ", "is empty"),
    ("Maen($close, 5)", "there is no operator Maen; the nearest is Mean"),
    ("mean($close, 5)", "there is no operator mean; the nearest is Mean"),
    ("Xyzzy($close)", "there is no operator Xyzzy; there are Add, Sub, "),
    ("rsi($close, 14)", "there is no operator rsi; the nearest is RSI"),
    ("Mean($close)", "Mean takes 2 arguments, not 1: Mean(x, n)"),
    ("Mean($close, 5, 6)", "Mean takes 2 arguments, not 3: Mean(x, n)"),
    ("Return()", "Return takes 1 to 2 arguments, not 0: Return(x, n=1)"),
    ("Log($close, 5)", "Log takes 1 argument, not 2: Log(x)"),
    ("If($close, 5)", "If takes 3 arguments, not 2: If(condition, x, y)"),
    ("DayOfWeek($close)", "DayOfWeek takes 0 arguments, not 1"),
    ("Mean($close, 0)", "n must be a whole number ≥ 1, not 0; windows over all rows so far are not supported"),
    ("Mean($close, -5)", "n must be a whole number ≥ 1, not -5"),
    ("Mean($close, 1.5)", "n must be a whole number ≥ 1, not 1.5"),
    ("Mean($close, 1000000000)", "n must be a whole number from 1 to 10000, not 1e+09"),
    ("Mean($close, 10**9)", "Mean(x, n): 10**9 must be a plain number"),
    ("Mean($close, $open)", "Mean(x, n): $open must be a plain number"),
    ("Mean(5, $close)", "Mean(x, n): $close must be a plain number"),
    ("Mean($close, True)", "Mean(x, n): True must be a plain number"),
    ("Mean($close, '5')", "Mean(x, n): '5' must be a plain number"),
    ("Std($close, 1)", "n must be a whole number ≥ 2, not 1"),
    ("Skew($close, 2)", "n must be a whole number ≥ 3, not 2"),
    ("Quantile($close, 5, 1.5)", "q must be a number from 0 to 1, not 1.5"),
    ("Ref($close, -1)", "Ref(x, -1) looks ahead: a feature may use no later row"),
    ("Mean(Ref(Ref($close, -1), 1), 5)", "Ref(x, -1) looks ahead"),
    ("Delta($close, -1)", "n must be a whole number ≥ 1, not -1"),
    ("Mean(x=$close, n=5)", "arguments are given by position alone"),
    ("Mean($close, n=5)", "arguments are given by position alone"),
    ("Mean(*$close)", "arguments are given by position alone"),
    ("Mean($close, 5).signal", "Mean has one output only; leave .signal out"),
    ("MACD($close, 12, 26, 9)", "choose an output of MACD: .macd, .signal, .hist"),
    ("MACD($close, 12, 26, 9).sig", "choose an output of MACD: .macd, .signal, .hist"),
    ("MACD($close, 12, 26, 9).signal.hist", "is no number, column or operator"),
    ("RSI($close, 1)", "): timeperiod=1 is out of TA-Lib's range"),
    ("RSI($close, 2.5)", "timeperiod must be a whole number"),
    ("RSI(14)", "reads no column"),
    ("close.shift", "write $close.shift for the column shift of close"),
    ("Mean($close, 5).__class__", "Mean has one output only"),
    ("().__class__.__bases__", "is no number, column or operator"),
    ("1 < $close < 2", "two comparisons in one"),
    ("$close > 1 & $open > 2", "two comparisons in one; write (x > y) & (y > z), each in its own parentheses"),
    ("$close ^ 2", "^ is no operator: write x ** y"),
    ("$close % 2", "% is no operator"),
    ("$close // 2", "// is no operator: write x / y"),
    ("$close @ $open", "@ is no operator"),
    ("$close is $open", "`is` is no operator: write x == y"),
    ("$close in $open", "`in` is no operator"),
    ("$close if $open else 1", "write If(condition, x, y)"),
    ("$close[1]", "$close[1]: is no number, column or operator"),
    ("[$close, 1]", "is no number, column or operator"),
    ("{'a': $close}", "is no number, column or operator"),
    ("lambda x: $close", "is no number, column or operator"),
    ("[x for x in $close]", "is no number, column or operator"),
    ("(x := $close)", "is no number, column or operator"),
    ("f'{$close}'", "is no number, column or operator"),
    ("f'{close}'", "is no number, column or operator"),
    ("'close'", '"close" is a text: write $"close"'),
    ("b'close' + $close", "is no number, column or operator"),
    ("... + $close", "is no number, column or operator"),
    ("None", "is no number, column or operator"),
    ("True + $close", "True is no number: write 1"),
    ("1j * $close", "is no number, column or operator"),
    ("1e999 * $close", "1e999 is too large a number"),
    ("9" * 400 + " * $close", "is too large a number"),
    ("9" * (MAX_LENGTH - 1), "is too large a number"),
    ("5", "reads no column"),
    ("Mean(5, 3)", "reads no column"),
    ("Mean", "Mean is an operator: write Mean(x, n), or $Mean for a column"),
    ("$close(5)", "$close is no operator"),
    ("Mean($close, 5)(3)", "Mean($close, 5) is no operator"),
    ("__import__('os')", "there is no operator __import__"),
    ("eval('1')", "there is no operator eval"),
    ("$close +", "cannot be read: invalid syntax at the end"),
    ("$close + * 2", "cannot be read: invalid syntax at character 10"),
    ("Mean($close, 5", "'(' was never closed at character 5"),
    ("Mean($close, 5))", "unmatched ')' at character 16"),
    ("$close $open", "cannot be read: invalid syntax"),
    ("$close = 5", "cannot be read: "),
    ("$close; $open", "cannot be read: invalid syntax at character 7"),
    ("import os", "cannot be read: invalid syntax at character 1"),
    ("$close # the price", "# at character 8: comments are not supported"),
    ("$ + 1", "$ at character 1 has no name after it"),
    ('$"" + 1', "names no column"),
    ('$"close', "$ at character 1 has no name after it"),
    ("$close × 2", "invalid character '×' (U+00D7) at character 8"),
    ("$close\0", "cannot be read"),
    ("$close + \ud800", "cannot be read"),
    ("(" * 300 + "$close" + ")" * 300, f"is nested too deeply; at most {MAX_DEPTH} levels are allowed"),
    ("-" * 1900 + "$close", "is nested too deeply"),
    ("Abs(" * 150 + "$close" + ")" * 150, "is nested too deeply"),
    (" and ".join(["$close"] * 150), "is nested too deeply"),
    ("$close" + "+1" * 900, "is nested too deeply"),
    ("$close + " + "1" * 100_000, f"is 100009 characters long; at most {MAX_LENGTH} are allowed"),
]


@pytest.mark.parametrize(("text", "fault"), TABLE, ids=[text[:30] for text, _ in TABLE])
def test_a_wrong_expression_is_refused_in_one_line(text: str, fault: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    message = str(caught.value)
    assert fault in message
    assert message.isprintable() and len(message) < 500


def test_without_ta_lib_its_functions_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "talib", None)
    parse.cache_clear()
    with pytest.raises(ExpressionError, match=r"^RSI needs TA-Lib: pip install 'stockml\[indicators\]'$"):
        parse("RSI($close, 14)")
    with pytest.raises(ExpressionError, match=r"^SUM needs TA-Lib: .*; or write Sum$"):
        parse("SUM($close, 14)")
    assert parse("EMA($close, 14)").lookback == 13


def test_the_nearest_name_of_every_operator_is_found() -> None:
    for name in OPERATORS:
        if len(name) > 2:
            with pytest.raises(ExpressionError, match=rf"the nearest is {name}$"):
                parse(f"{name.lower()}q($close)" if name.lower() not in ("ref",) else "reff($close)")


FRAGMENTS = [
    *OPERATORS, "$close", "$open", '$"news score"', "close", "RSI", "MACD", ".signal", ".__class__", "__import__('os')",
    "(", ")", "[", "]", "{", "}", ",", "+", "-", "*", "/", "**", "//", "%", "&", "|", "~", "not ", " and ", " or ",
    " if ", " else ", "lambda x: ", " for x in ", ":=", "=", "==", "<", ">", "'a'", 'b"a"', "f'{close}'", "0", "1", "5",
    "-1", "1.5", "1e308", "9" * 60, "0x1f", "1j", "True", "None", "...", " ", "\n", "\t", "\\", "#", ";", "$", "\0",
    "é", "ﬁ", "column0_0", "await ", "yield ", "async ", "import os", "exec('1')", "\ud800", "\u200b",
]  # fmt: skip
VALID = ["($close-Ref($close,1))/Std($close,20)", "MACD($close,12,26,9).signal", "If($a>$b and not $c, -1, 2**10**10)",
         "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 10)"]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A valid expression with pieces cut out and put in."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(text)))
        last = min(first + draw(st.integers(0, 3)), len(text))
        text = text[:first] + draw(st.just("") | st.sampled_from(FRAGMENTS) | st.characters()) + text[last:]
    return text


@given(
    text=st.text(max_size=60)
    | changed()
    | st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
    | st.tuples(st.sampled_from(FRAGMENTS), st.integers(1, 2500)).map(lambda pair: pair[0] * pair[1])
)
@example("2**10**10**10 * $close")
@example("9**9**9**9 * $close")
@example("Mean(2, 3) * $close + Corr(1, $close, 2) + Quantile($close, 2, 0)")
@example("Rank($close, 10000) + RSI($close, 100000) + CSZScore(CSRank($close) / 0)")
@example("[" * 2000)
@example("{" * 199 + "}" * 199)
@example("(" * 1000)
@example("not " * 500 + "close")
@example("f'" * 1000)
@settings(max_examples=500, deadline=None)
def test_any_text_has_values_or_is_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except ExpressionError as error:
        assert str(error).isprintable()
    else:
        assert parsed.lookahead == 0
        assert parsed.lookback >= 0
        table = {name: np.array([1.0, np.nan, 2.0, 0.0, -1e300, np.inf, 3.0]) for name in (*parsed.columns, "x")}
        (values,) = evaluate([parsed], stocks(table, table))
        assert values.dtype == np.dtype(float) and values.shape == (14,)


def test_nothing_is_executed() -> None:
    ran: list[str] = []
    watching = False

    def hook(event: str, _: object) -> None:
        if watching and event in ("exec", "os.system", "subprocess.Popen"):
            ran.append(event)

    sys.addaudithook(hook)  # stays, but is blind outside of this test
    texts = ["open('x')", "print(1)", "eval('1')", "exec('1')", "__import__('os').system('true')", "print", "open + 1"]
    watching = True
    eval("1")
    assert ran == ["exec"]
    for text in [*texts, *(text for text, _ in TABLE)]:
        with contextlib.suppress(ExpressionError):
            parse(text)
    watching = False
    assert ran == ["exec"]
