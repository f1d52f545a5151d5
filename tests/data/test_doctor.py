"""The data doctor finds each injected fault on its day, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stockml import compose
from stockml.data import doctor, doctor_prices, jumps
from stockml.data.bars import Bars, Floats
from stockml.data.doctor import Finding
from stockml.data.doctor_prices import Days
from stockml.data.sources.loading import load_bars
from stockml.errors import UserError
from tests.conftest import random_bars

DAYS = 200
PRICES = ("open", "high", "low", "close")
ERRORS = {"duplicate date", "NaN amid bars", "price not positive", "high below low"}
Planted = tuple[Bars, Days | None, np.datetime64]  # bars, the exchange's days, and the day that must be named
Draw = Callable[[st.SearchStrategy[int]], int]


def changed(bars: Bars, **columns: Floats) -> Bars:
    return replace(bars, columns={**bars.columns, **columns})


def put(values: Floats, rows: int | slice, value: float) -> Floats:
    values = values.copy()
    values[rows] = value
    return values


def some_of(draw: Draw, names: tuple[str, ...]) -> str:
    return names[draw(st.integers(0, len(names) - 1))]


def duplicate(bars: Bars, row: int, draw: Draw) -> Planted:
    rows = np.sort(np.append(np.arange(DAYS), row))
    columns = {name: values[rows] for name, values in bars.columns.items()}
    return replace(bars, dates=bars.dates[rows], columns=columns), bars.dates, bars.dates[row]


def shifted(bars: Bars, row: int, draw: Draw) -> Planted:
    dates = bars.dates - 1
    return replace(bars, dates=dates), dates, dates[int((dates.astype(int) % 7 == 3).argmax())]


def nan_amid(bars: Bars, row: int, draw: Draw) -> Planted:
    name = some_of(draw, tuple(bars.columns))
    holed = put(bars.columns[name], slice(row, row + draw(st.integers(1, 5))), np.nan)
    return changed(bars, **{name: holed}), bars.dates, bars.dates[row]


def nan_at_an_end(bars: Bars, row: int, draw: Draw) -> Planted:
    name = some_of(draw, tuple(bars.columns))
    at_start = draw(st.integers(0, 1)) == 1
    holed = put(bars.columns[name], slice(0, row) if at_start else slice(row, None), np.nan)
    return changed(bars, **{name: holed}), bars.dates, bars.dates[0 if at_start else row]


def not_positive(bars: Bars, row: int, draw: Draw) -> Planted:
    name = some_of(draw, PRICES)
    return changed(bars, **{name: put(bars.columns[name], row, -draw(st.integers(0, 3)))}), bars.dates, bars.dates[row]


def below_zero(bars: Bars, row: int, draw: Draw) -> Planted:
    low = put(bars.columns["low"], row, -draw(st.integers(1, 3)))
    return replace(changed(bars, low=low), takes_any_price=True), bars.dates, bars.dates[row]


def crossed(bars: Bars, row: int, draw: Draw) -> Planted:
    high, low = bars.columns["high"], bars.columns["low"]
    return changed(bars, high=put(high, row, low[row]), low=put(low, row, high[row])), bars.dates, bars.dates[row]


def above_the_high(bars: Bars, row: int, draw: Draw) -> Planted:
    columns = {name: values[row] for name, values in bars.columns.items()}
    high = max(columns["open"], columns["close"]) * (1 - 10.0 ** -draw(st.integers(3, 5)))
    assume(high > columns["low"])
    return changed(bars, high=put(bars.columns["high"], row, high)), bars.dates, bars.dates[row]


def below_the_low(bars: Bars, row: int, draw: Draw) -> Planted:
    columns = {name: values[row] for name, values in bars.columns.items()}
    low = min(columns["open"], columns["close"]) * (1 + 10.0 ** -draw(st.integers(3, 5)))
    assume(low < columns["high"])
    return changed(bars, low=put(bars.columns["low"], row, low)), bars.dates, bars.dates[row]


def missing(bars: Bars, row: int, draw: Draw) -> Planted:
    rows = np.r_[0:row, row + draw(st.integers(1, 5)) : DAYS]
    columns = {name: values[rows] for name, values in bars.columns.items()}
    return replace(bars, dates=bars.dates[rows], columns=columns), bars.dates, bars.dates[row]


def long_gap(bars: Bars, row: int, draw: Draw) -> Planted:
    weeks = np.timedelta64(7 * draw(st.integers(1, 50)), "D")
    dates = np.where(np.arange(DAYS) < row, bars.dates, bars.dates + weeks)
    return replace(bars, dates=dates), None, dates[row]


def closed(bars: Bars, row: int, draw: Draw) -> Planted:
    return bars, np.delete(bars.dates, row), bars.dates[row]


def stale(bars: Bars, row: int, draw: Draw) -> Planted:
    days = slice(row, row + draw(st.integers(3, 6)))
    columns = {name: put(bars.columns[name], days, bars.columns[name][row - 1]) for name in PRICES}
    return changed(bars, **columns), bars.dates, bars.dates[row]


def one_price(bars: Bars, row: int, draw: Draw) -> Planted:
    days = slice(row, row + draw(st.integers(1, 20)))
    columns = {name: put(bars.columns[name], days, bars.columns["close"][row]) for name in PRICES}
    return changed(bars, **columns, volume=put(bars.columns["volume"], days, 0)), bars.dates, bars.dates[row]


def spike(bars: Bars, row: int, draw: Draw) -> Planted:
    factor = (1 + draw(st.integers(30, 900)) / 100) ** (1 if draw(st.integers(0, 1)) else -1)
    columns = {name: put(bars.columns[name], row, bars.columns[name][row] * factor) for name in PRICES}
    return changed(bars, **columns), bars.dates, bars.dates[row]


def split(bars: Bars, row: int, draw: Draw) -> Planted:
    ratio = jumps.SPLITS[draw(st.integers(0, len(jumps.SPLITS) - 1))] ** (1 if draw(st.integers(0, 1)) else -1)
    ratio *= 1 + draw(st.integers(-14, 14)) / 1000
    factor = ratio * bars.columns["close"][row - 1] / bars.columns["open"][row]
    columns = {name: np.r_[bars.columns[name][:row], bars.columns[name][row:] * factor] for name in PRICES}
    volume = np.r_[bars.columns["volume"][:row], bars.columns["volume"][row:] / ratio]
    return changed(bars, **columns, volume=volume), bars.dates, bars.dates[row]


def lasting(bars: Bars, row: int, draw: Draw) -> Planted:
    row, factor = max(row, 5), 10.0 ** (draw(st.integers(2, 7)) * (1 if draw(st.integers(0, 1)) else -1))
    columns = {name: np.r_[bars.columns[name][:row] * factor, bars.columns[name][row:]] for name in PRICES}
    return changed(bars, **columns), bars.dates, bars.dates[row]


def swapped(bars: Bars, row: int, draw: Draw) -> Planted:
    night = np.exp(0.001 * np.random.default_rng(row).standard_normal(DAYS))
    close = bars.columns["close"]
    opened = np.r_[close[0], close[:-1]] * night  # as real opens: near the last close
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) / 1.001
    return changed(bars, open=close, close=opened, high=high, low=low), bars.dates, bars.dates[0]


def no_volume(bars: Bars, row: int, draw: Draw) -> Planted:
    days = slice(row, row + draw(st.integers(1, 9)))
    return changed(bars, volume=put(bars.columns["volume"], days, 0)), bars.dates, bars.dates[row]


def opens_repeat(bars: Bars, row: int, draw: Draw) -> Planted:
    rows = np.r_[row : row + draw(st.integers(15, 20))]
    columns = {name: bars.columns[name].copy() for name in PRICES}
    assume(not doctor_prices._equal(columns["open"][1:], columns["close"][:-1]).any())  # by chance
    columns["open"][rows] = columns["close"][rows - 1]
    columns["high"] = np.maximum(columns["high"], columns["open"])
    columns["low"] = np.minimum(columns["low"], columns["open"])
    return changed(bars, **columns), bars.dates, bars.dates[row]


def no_value(bars: Bars, row: int, draw: Draw) -> Planted:
    mood = put(np.sin(np.arange(DAYS)), slice(row, row + draw(st.integers(1, 20))), np.nan)
    return changed(bars, mood=mood), bars.dates, bars.dates[row]


def constant_column(bars: Bars, row: int, draw: Draw) -> Planted:
    first = draw(st.integers(1, 60))
    return (
        changed(bars, mood=put(np.sin(np.arange(DAYS)), slice(first, first + 130), 3.0)),
        bars.dates,
        bars.dates[first],
    )


def outlier(bars: Bars, row: int, draw: Draw) -> Planted:
    mood = put(np.sin(np.arange(DAYS)), row, 10.0 ** draw(st.integers(2, 9)))
    return changed(bars, mood=mood), bars.dates, bars.dates[row]


FAULTS: dict[Callable[[Bars, int, Draw], Planted], str] = {
    duplicate: "duplicate date",
    nan_amid: "NaN amid bars",
    nan_at_an_end: "NaN at an end",
    not_positive: "price not positive",
    below_zero: "price of 0 or less",
    crossed: "high below low",
    above_the_high: "above the high",
    below_the_low: "below the low",
    missing: "missing sessions",
    long_gap: "missing sessions",
    closed: "exchange closed",
    shifted: "days of the week do not fit the calendar (data.timezone, data.calendar)",
    stale: "stale bars",
    one_price: "stale bars",
    spike: "spike",
    split: "split not adjusted",
    lasting: "lasting jump",
    swapped: "open and close swapped",
    no_volume: "zero volume",
    opens_repeat: "open repeats close",
    no_value: "days without a value",
    constant_column: "constant column",
    outlier: "outlier",
}


def seen(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(finding.severity, finding.check, str(finding.date)) for finding in findings}


def test_opens_far_from_the_closes_before_are_not_swapped_by_chance() -> None:
    found = {
        of.check for seed in range(300) for of in doctor.examine(random_bars(doctor_prices._LEAST_SWAPPED + 1, seed))
    }
    assert "open and close swapped" not in found


def test_every_check_has_an_injected_fault() -> None:
    assert {check.name for check in doctor._CHECKS} == {*FAULTS.values(), "columns swapped"}  # see test_doctor_sample


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, DAYS - 25), st.data())
def test_an_injected_fault_is_the_only_finding_and_has_its_day(
    plant: Callable[[Bars, int, Draw], Planted], seed: int, row: int, data: st.DataObject
) -> None:
    bars = random_bars(DAYS, seed)
    assert doctor.examine(bars, bars.dates) == doctor.examine(bars) == []
    bars, sessions, day = plant(bars, row, data.draw)
    check = FAULTS[plant]
    severity = "error" if check in ERRORS else "warning"
    assert seen(doctor.examine(bars, sessions)) == {(severity, check, str(day))}


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_prices_that_were_rounded_to_float32_and_then_adjusted_are_in_order(seed: int) -> None:
    bars = random_bars(DAYS, seed)
    opened, close = bars.columns["open"], bars.columns["close"]
    tight = {**bars.columns, "high": np.maximum(opened, close), "low": np.minimum(opened, close)}
    rng = np.random.default_rng(seed)
    factor = 0.3 * (1 + 1e-7 * rng.standard_normal((4, DAYS)))
    rounded = {
        name: tight[name].astype(np.float32) * factor[number].astype(np.float32) for number, name in enumerate(PRICES)
    }
    assert doctor.examine(changed(bars, **{k: v.astype(np.float64) for k, v in rounded.items()}), bars.dates) == []


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda days: st.dictionaries(
            st.sampled_from(["open", "high", "low", "volume"]),
            st.lists(st.floats(), min_size=days, max_size=days).map(np.array),
        ).flatmap(
            lambda columns: st.lists(st.floats(), min_size=days, max_size=days).map(
                lambda close: {**columns, "close": np.array(close)}
            )
        )
    )
)
def test_any_numbers_give_findings_and_no_exception(columns: dict[str, Floats]) -> None:
    dates = np.datetime64("2020-01-01") + np.arange(len(columns["close"]))
    for finding in doctor.examine(Bars("X", dates, columns, "x.csv"), dates):
        assert finding.value and finding.remedy and finding.date in dates


@pytest.mark.parametrize("stock", ["JPM", "SP500", "TSLA"])
def test_simulated_bars_have_no_errors_and_few_warnings(stock: str) -> None:
    bars = load_bars(compose.compose(f"stock={stock}", "data.signal=strong", "data.days=5000"))
    findings = doctor.examine(bars)
    assert all(finding.severity == "warning" for finding in findings)
    assert len(findings) <= 3


WARNED = {
    "JPM": {("warning", "spike", "2015-08-24")},
    "SP500": {("warning", "open repeats close", "2003-10-31")},
    "TSLA": {("warning", "spike", "2012-01-13")},
}


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM"])
def test_real_bars_have_no_errors_and_few_warnings(market: Path, ticker: str) -> None:
    every = "stock.features=[open,high,low,close,volume]"
    bars = load_bars(compose.compose("data=csv", f"data.dir={market / 'ohlcv'}", f"stock={ticker}", every))
    assert seen(doctor.examine(bars)) == WARNED.get(ticker, set())


@pytest.mark.parametrize(
    ("factor", "volume", "check", "cause"),
    [
        (1 / 12, 1, "lasting jump", "a split of about 12 without its volume"),
        (1 / 12, 12, "split not adjusted", "about 1/12"),
        (1 / 2.6, 2.6, "split not adjusted", "about 1/2.6"),
        (100, 1, "lasting jump", "about 100: another unit"),
        (100, 1 / 100, "split not adjusted", "about 100"),
        (1000, 1, "lasting jump", "dots and commas"),
        (1e-6, 1, "lasting jump", "about 1/1,000,000: another currency unit"),
    ],
)
def test_the_volume_tells_a_split_from_another_unit(factor: float, volume: float, check: str, cause: str) -> None:
    bars, row = random_bars(DAYS), 90
    after = np.arange(DAYS) >= row
    columns = {name: np.where(after, bars.columns[name] * factor, bars.columns[name]) for name in PRICES}
    bars = changed(bars, **columns, volume=np.where(after, bars.columns["volume"] * volume, bars.columns["volume"]))
    (found,) = doctor.examine(bars)
    assert (found.check, found.row) == (check, row) and cause in found.value
    fixed = changed(bars, **{name: np.where(after, v, v * factor) for name in PRICES for v in [bars.columns[name]]})
    assert doctor.examine(bars.between(found.date, None)) == doctor.examine(fixed) == []  # both remedies


@pytest.mark.parametrize(("daily", "move"), [(0.01, -0.205), (0.02, -0.3), (0.05, -0.4), (0.06, 0.9)])
def test_a_crash_that_markets_have_seen_is_no_jump(daily: float, move: float) -> None:
    """As the S&P 500 in October 1987, a stock after bad earnings, a cryptocurrency in March 2020, a penny stock."""
    returns = daily / 1.5 * np.random.default_rng(0).standard_t(4, 2000)
    returns[1000] = np.log1p(move)
    close = np.exp(np.cumsum(returns))
    dates = np.busday_offset("2015-01-01", np.arange(2000), roll="forward")
    found = {finding.check for finding in doctor.examine(Bars("X", dates, {"close": close}, "x.csv"))}
    assert not found & {"lasting jump", "split not adjusted"}


def test_errors_are_refused_in_a_line_with_file_line_day_and_value() -> None:
    bars, _, day = crossed(random_bars(DAYS), 7, lambda _: 1)
    bars = replace(bars, origin="bars/X.csv", lines=np.arange(DAYS) + 2)
    with pytest.raises(UserError, match=rf"^bars/X\.csv, line 9: {day}: high below low: low .* > high .*task=doctor"):
        doctor.counts(bars)


def test_warnings_are_counted() -> None:
    bars = random_bars(DAYS)
    volume = put(put(bars.columns["volume"], 3, 0), 9, 0)
    bars = changed(bars, volume=volume)
    bars, _, _ = spike(bars, 50, lambda _: 100)
    assert doctor.labels(doctor.counts(bars)) == ("spike", "zero volume (2)")


def test_lines_stay_with_their_bars() -> None:
    bars = replace(random_bars(DAYS), origin="x.csv", lines=np.arange(DAYS) + 2)
    assert bars.between(bars.dates[50], None).where(0) == "x.csv, line 52"
