"""Each operator equals its slow version."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stockml.data.features import windows
from stockml.data.features.evaluation import Rows
from stockml.data.features.expressions import parse
from stockml.data.features.operators import OPERATORS
from tests.data.features import slow
from tests.data.features.rows import NAMES, WINDOWS, Floats, bits, call, stocks, values

DATES_ALONE = {"DayOfWeek", "Month"}
# Sums and differences: where terms cancel, the error is of the size of the terms' last digits, not of the result's.
SUMS = {"Add", "Sub", "Delta", "Diff", "Mean", "Sum", "EMA", "Var", "Std", "Mad", "Cov", "Slope", "Resi", "CSDemean"}


def table(seed: int, rows: int) -> dict[str, Floats]:
    """Prices, returns, and whole numbers with ties and zeros; a few NaN in each."""
    rng = np.random.default_rng(seed)
    columns = {
        "a": 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows))),
        "b": rng.normal(0, 0.01, rows),
        "c": rng.integers(-2, 3, rows).astype(float),
    }
    for column in columns.values():
        column[rng.random(rows) < 0.04] = np.nan
    columns["a"][5:12] = columns["c"][5:12] = 3.7  # equal values
    return columns


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - DATES_ALONE))
@pytest.mark.parametrize("extra", [0, 2, 9, 27])
def test_an_operator_equals_its_slow_version(name: str, extra: int) -> None:
    operator = OPERATORS[name]
    tables = [table(seed, rows) for seed, rows in ((1, 80), (2, 33), (3, 50))]
    rows = stocks(*tables)
    index = pd.DatetimeIndex(rows.dates)
    for shift in range(3):  # each column in each place
        turned = {to: rows.columns[NAMES[(place + shift) % 3]] for place, to in enumerate(NAMES)}
        text = call(operator, extra)
        found = values(text, Rows(turned, rows.dates, rows.starts))
        parameters = parse(text).root.parameters  # type: ignore[union-attr]
        inputs = [pd.Series(turned[to], index=index) for to in NAMES[: len(operator.inputs)]]
        spans = [(0, len(index))] if operator.scope == "day" else list(zip(rows.starts, rows.starts[1:], strict=False))
        for first, last in spans:
            with np.errstate(all="ignore"):
                slowly = slow.slow(name, *(x.iloc[first:last] for x in inputs), parameters=parameters)
            scale = max(1.0, *(float(np.nanmax(np.abs(x))) for x in inputs[:2])) if name in SUMS else 1.0
            np.testing.assert_allclose(found[first:last], slowly, rtol=1e-10, atol=1e-13 * scale, err_msg=text)


def test_every_operator_has_a_slow_version() -> None:
    known = {*slow.BY_ROWS, *slow.BY_LAG, *slow.BY_WINDOW, *slow.OTHERS, *DATES_ALONE}
    assert known == set(OPERATORS)


def test_weekdays_and_months_are_the_calendar_s() -> None:
    rows = stocks({"a": np.zeros(800)})
    index = pd.DatetimeIndex(rows.dates)
    assert values("DayOfWeek()", rows).tolist() == index.day_of_week.tolist()
    assert values("Month()", rows).tolist() == index.month.tolist()


@pytest.mark.parametrize("name", ["Std", "Var", "Slope", "Mad", "Resi", "Cov"])
@pytest.mark.parametrize("constant", [0.1, 1e9 / 3, -7e-9])
def test_equal_values_have_no_spread_at_all(name: str, constant: float) -> None:
    equal = {letter: np.full(60, constant) for letter in NAMES}
    assert set(values(call(OPERATORS[name], 47), stocks(equal))[59:]) == {0.0}
    assert set(values("Mean($a, 49) - $a", stocks(equal))[59:]) == {0.0}


@pytest.mark.parametrize("name", ["Corr", "Rsquare", "Skew", "Kurt", "ZScore"])
def test_what_is_divided_by_no_spread_is_missing(name: str) -> None:
    equal = {letter: np.full(60, 0.1) for letter in NAMES}
    assert np.isnan(values(call(OPERATORS[name], 45), stocks(equal))).all()


@pytest.mark.parametrize("name", WINDOWS)
def test_blocks_of_rows_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, text = stocks(table(4, 300)), call(OPERATORS[name], 5)
    at_once = values(text, rows)
    monkeypatch.setattr(windows, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(windows, "_BLOCK_BYTES", 800)
    assert bits(values(text, rows)) == bits(at_once)


def test_a_large_level_does_not_drown_a_small_spread() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, 200)
    small, large = values("Std($a, 60)", stocks({"a": x})), values("Std($a, 60)", stocks({"a": x + 2.0**30}))
    np.testing.assert_allclose(large[59:], small[59:], rtol=1e-6)
