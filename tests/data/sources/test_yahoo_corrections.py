"""Which differences between two downloads of a history are corrections."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml.data.bars import Bars
from stockml.data.sources.yahoo import downloads
from tests.conftest import random_bars

pytest.importorskip("yfinance")

BARS = random_bars(400)
PRICES = ("Open", "High", "Low", "Close", "Adj Close")


def table_of(bars: Bars) -> pd.DataFrame:
    columns = {name: bars.columns[name.lower()] for name in ("Open", "High", "Low", "Close")}
    rest = {"Adj Close": bars.columns["close"] * 0.9, "Volume": bars.columns["volume"]}
    return pd.DataFrame({"Date": bars.dates.astype("datetime64[ns]"), **columns, **rest})


@settings(max_examples=25, deadline=None)
@given(split=st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 20.0]), dividend=st.floats(0.9, 1.0))
def test_a_later_split_or_dividend_is_not_a_correction(split: float, dividend: float) -> None:
    new = table_of(BARS)
    old = new.iloc[:-5].copy()
    for name in PRICES:
        new[name] = (new[name] / split * (dividend if name == "Adj Close" else 1)).round(6)
    new["Volume"] = (new["Volume"] * split).round()
    assert downloads.corrections(old, new) == ""


@settings(max_examples=25, deadline=None)
@given(row=st.integers(0, 399), name=st.sampled_from([*PRICES, "Volume"]), change=st.sampled_from([0.98, 1.005, 2.0]))
def test_any_changed_number_is_a_correction(row: int, name: str, change: float) -> None:
    old, new = table_of(BARS), table_of(BARS)
    new[name] = new[name].where(new.index != row, new[name] * change)
    assert downloads.corrections(old, new) == f"1 of 400 days differ, the first {BARS.dates[row]},"


@settings(max_examples=10, deadline=None)
@given(row=st.integers(0, 398))
def test_an_added_or_missing_day_is_a_correction(row: int) -> None:
    whole = table_of(BARS)
    fewer = whole.drop(index=row)
    expected = f"1 of 400 days differ, the first {BARS.dates[row]},"
    assert downloads.corrections(whole, fewer) == expected
    assert downloads.corrections(fewer, whole) == expected
