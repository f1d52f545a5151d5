"""Laws of every operator of the table: the past alone, each stock alone, each day alone, NaN."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stockml.data.features.evaluation import Rows
from stockml.data.features.expressions import parse
from stockml.data.features.operators import OPERATORS
from tests.data.features.rows import NAMES, bits, call, cut, stocks, values

every_operator = pytest.mark.parametrize("name", sorted(OPERATORS))
windows_alone = pytest.mark.parametrize(
    "name", sorted(name for name, operator in OPERATORS.items() if not operator.from_first_row)
)
some = settings(max_examples=15, deadline=None)
NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1.0, -0.0, np.nan, np.inf, -np.inf, 1e300, 1e-300])
EXTRA = st.integers(0, 6)


@st.composite
def pools(draw: st.DrawFn, at_least: int = 1) -> Rows:
    """One to three stocks of up to 30 rows."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=at_least, max_size=3))
    return stocks(
        *({name: draw(arrays.arrays(float, length, elements=NUMBERS)) for name in NAMES} for length in lengths)
    )


def spans(rows: Rows) -> list[tuple[int, int]]:
    return list(itertools.pairwise(rows.starts.tolist()))


@every_operator
@given(rows=pools(), extra=EXTRA, until=st.integers(1, 30))
@some
def test_rows_that_come_later_change_nothing(name: str, rows: Rows, extra: int, until: int) -> None:
    text = call(OPERATORS[name], extra)
    before = rows.dates < rows.dates[0] + np.timedelta64(until, "D")
    assert bits(values(text, cut(rows, before))) == bits(values(text, rows)[before])


@every_operator
@given(rows=pools(), extra=EXTRA, until=st.integers(1, 30), seed=st.integers(0, 99))
@some
def test_another_future_changes_nothing_before_it(name: str, rows: Rows, extra: int, until: int, seed: int) -> None:
    text = call(OPERATORS[name], extra)
    before = rows.dates < rows.dates[0] + np.timedelta64(until, "D")
    other = np.random.default_rng(seed).normal(size=before.size)
    scrambled = {column: np.where(before, known, other) for column, known in rows.columns.items()}
    found = values(text, Rows(scrambled, rows.dates, rows.starts))
    assert bits(found[before]) == bits(values(text, rows)[before])


@windows_alone
@given(rows=pools(), extra=EXTRA, since=st.integers(0, 29))
@some
def test_rows_before_the_lookback_change_nothing(name: str, rows: Rows, extra: int, since: int) -> None:
    text = call(OPERATORS[name], extra)
    kept = rows.dates >= rows.dates[0] + np.timedelta64(since, "D")
    ripe = rows.dates >= rows.dates[0] + np.timedelta64(since + parse(text).lookback, "D")
    assert bits(values(text, cut(rows, kept))[ripe[kept]]) == bits(values(text, rows)[ripe])


@pytest.mark.parametrize("name", sorted(name for name, operator in OPERATORS.items() if operator.scope != "day"))
@given(rows=pools(at_least=2), extra=EXTRA)
@some
def test_no_value_reaches_from_one_stock_into_another(name: str, rows: Rows, extra: int) -> None:
    text = call(OPERATORS[name], extra)
    number = np.repeat(np.arange(len(rows.starts) - 1), np.diff(rows.starts))
    alone = [values(text, cut(rows, number == stock)) for stock in range(len(rows.starts) - 1)]
    assert bits(np.concatenate(alone)) == bits(values(text, rows))


@pytest.mark.parametrize("name", sorted(name for name, operator in OPERATORS.items() if operator.scope == "day"))
@given(rows=pools(at_least=2))
@some
def test_a_cross_section_is_of_that_day_s_stocks_alone(name: str, rows: Rows) -> None:
    text = call(OPERATORS[name])
    together = values(text, rows)
    for date in np.unique(rows.dates):
        assert bits(values(text, cut(rows, rows.dates == date))) == bits(together[rows.dates == date])


@every_operator
@given(rows=pools(), extra=EXTRA, data=st.data())
@some
def test_nan_is_missing_where_it_has_an_influence_and_nowhere_else(
    name: str, rows: Rows, extra: int, data: st.DataObject
) -> None:
    operator, text = OPERATORS[name], call(OPERATORS[name], extra)
    if not operator.inputs:
        return
    row = data.draw(st.integers(0, rows.dates.size - 1))
    column = data.draw(st.sampled_from(NAMES[: len(operator.inputs)]))
    missing = rows.columns[column].copy()
    missing[row] = np.nan
    before, after = values(text, rows), values(text, Rows({**rows.columns, column: missing}, rows.dates, rows.starts))
    last = min(row + parse(text).lookback, next(last for _, last in spans(rows) if last > row) - 1)
    if operator.keeps_nan:
        assert np.isnan(after[row : last + 1]).all()
    if operator.scope == "day":
        reached = rows.dates == rows.dates[row]
    else:
        reached = np.zeros(rows.dates.size, dtype=bool)
        reached[row : None if operator.from_first_row else last + 1] = True
    assert bits(after[~reached]) == bits(before[~reached])


@windows_alone
@given(rows=pools(), extra=EXTRA)
@some
def test_too_few_rows_give_no_value(name: str, rows: Rows, extra: int) -> None:
    text = call(OPERATORS[name], extra)
    found, lookback = values(text, rows), parse(text).lookback
    for first, last in spans(rows):
        assert np.isnan(found[first : min(first + lookback, last)]).all()
