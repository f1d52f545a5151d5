"""No number from the future reaches a feature, a scaler, or a forecast (laws 1 to 5)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml import compose
from stockml.config import BarsConfig, CsvConfig
from stockml.data import Data, prepare, simulated, tables
from stockml.data.bars import Bars
from stockml.data.panel import from_bars
from stockml.data.scaler import Scaler
from stockml.data.split import split
from tests.conftest import Run, random_bars, write_bars

FIVE = ("open", "high", "low", "close", "volume")


@functools.cache
def defaults() -> BarsConfig:
    return cast(BarsConfig, compose.compose("data=csv", "data.dir=.").data)


def bars_config(**changes: Any) -> BarsConfig:
    return dataclasses.replace(defaults(), **changes)


@pytest.fixture(params=["simulated", "real"])
def bars(request: pytest.FixtureRequest) -> Bars:
    if request.param == "simulated":
        return simulated.load(compose.compose("data.days=600", "stock=XOM"))
    folder = request.getfixturevalue("market") / "ohlcv"
    return tables.load(compose.compose("data=csv", f"data.dir={folder}", "stock=JPM"))


def scrambled_after(bars: Bars, row: int) -> Bars:
    """The bars, every row after `row` replaced by noise."""
    rng = np.random.default_rng(1)
    columns = {name: column.copy() for name, column in bars.columns.items()}
    for column in columns.values():
        column[row + 1 :] *= np.exp(rng.standard_normal(len(column) - row - 1))
    return dataclasses.replace(bars, columns=columns)


def prepared(bars: Bars, folder: Path) -> Data:
    write_bars(dataclasses.replace(bars, ticker="TEST"), folder)
    return prepare(compose.compose("data=csv", f"data.dir={folder}", "stock.ticker=TEST"))


def test_features_scaler_and_forecasts_up_to_a_day_ignore_every_later_row(bars: Bars, tmp_path: Path, run: Run) -> None:
    last = int(len(bars.dates) * 0.9)  # within test: nothing that training may use comes after it
    forecasts = []
    for name, version in (("whole", bars), ("scrambled", scrambled_after(bars, last))):
        write_bars(dataclasses.replace(version, ticker="TEST"), tmp_path / f"{name}_data")
        run(name, "data=csv", f"data.dir={tmp_path / f'{name}_data'}", "stock.ticker=TEST", "+experiment=quick")
        rows = [line.split(",") for line in (tmp_path / name / "predictions.csv").read_text().splitlines()[1:]]
        forecasts.append([(date, y_pred) for _, _, date, _, _, y_pred in rows if date <= str(bars.dates[last])])
    assert forecasts[0] == forecasts[1]
    assert any(date == str(bars.dates[last]) for date, _ in forecasts[0])
    for name in ("norm_stats.json", "history.csv"):
        whole, scrambled = ((tmp_path / folder / name).read_text() for folder in ("whole", "scrambled"))
        if name == "history.csv":  # less the seconds
            whole, scrambled = (
                "\n".join(line.rsplit(",", 1)[0] for line in text.splitlines()) for text in (whole, scrambled)
            )
        assert whole == scrambled


@pytest.mark.parametrize("transform", ["returns", "levels"])
def test_features_of_a_prefix_are_a_prefix_of_the_features(bars: Bars, transform: str) -> None:
    config = bars_config(transform=transform)
    whole = from_bars(bars, FIVE, config)
    for days in (100, 250, 400):
        columns = {name: column[:days] for name, column in bars.columns.items()}
        prefix = from_bars(dataclasses.replace(bars, dates=bars.dates[:days], columns=columns), FIVE, config)
        assert np.array_equal(prefix.values, whole.values[: len(prefix.values)])
        assert prefix.dates is not None and prefix.dates[-1] == bars.dates[days - 1]


def test_scaler_ignores_validation_and_test(bars: Bars, tmp_path: Path) -> None:
    before = prepared(bars, tmp_path / "before")
    first_validation = int(before.split.validation[0]) + 1  # a panel of returns starts at the second bar
    after = prepared(scrambled_after(bars, first_validation), tmp_path / "after")
    assert before.scaler.stats(before.panel, before.split.train) == after.scaler.stats(after.panel, after.split.train)
    assert before.fingerprint != after.fingerprint


def test_scaler_sees_every_train_row_and_no_other() -> None:
    config = bars_config(window=5)
    panel = from_bars(random_bars(), FIVE, config)
    train = split(panel, config).train
    fitted = Scaler.fit(panel, train)
    seen = panel.values[train[0] - 4 : train[-1] + 1].astype(np.float64)
    assert np.allclose(fitted.mean, seen.mean(axis=0), rtol=1e-6)
    assert np.allclose(fitted.std, seen.std(axis=0), rtol=1e-6)


@settings(deadline=None)
@given(
    days=st.integers(60, 400),
    window=st.integers(1, 20),
    horizon=st.integers(1, 20),
    valid_ratio=st.floats(0.05, 0.5),
    test_ratio=st.floats(0.05, 0.5),
    by_date=st.booleans(),
)
def test_every_target_ends_before_the_next_part_s_first_target_begins(
    days: int, window: int, horizon: int, valid_ratio: float, test_ratio: float, by_date: bool
) -> None:
    bars = random_bars(days)
    dates = {"valid_start": bars.dates[days // 2].item(), "test_start": bars.dates[days * 2 // 3].item()}
    config = bars_config(
        window=window, horizon=horizon, valid_ratio=valid_ratio, test_ratio=test_ratio, **(dates if by_date else {})
    )
    panel = from_bars(bars, FIVE, config)
    try:
        parts = split(panel, config)
    except Exception as error:  # too little is left for a part: refused, which is no leak
        assert "too small" in str(error) or "must lie after" in str(error)
        return
    for earlier, later in ((parts.train, parts.validation), (parts.validation, parts.test)):
        assert earlier[-1] + horizon < later[0] + 1  # a target begins on the day after its window's last
    total = len(parts.train) + len(parts.validation) + len(parts.test) + parts.purged
    assert total == len(panel.samples) == days - 1 - (window - 1) - horizon
    assert panel.samples[0] == window - 1
    if by_date:
        assert panel.dates is not None
        assert panel.dates[parts.validation[0]] >= np.datetime64(dates["valid_start"])
        assert panel.dates[parts.test[0]] >= np.datetime64(dates["test_start"])


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_ramp_proves_where_each_target_lies(horizon: int) -> None:
    days = 200
    ramp = np.arange(1.0, days + 1)
    bars = dataclasses.replace(random_bars(days), columns={"close": ramp})
    for target in ("close", "return", "log_return"):
        panel = from_bars(bars, ("close",), bars_config(window=10, horizon=horizon, target=target, transform="levels"))
        today = ramp[panel.samples]
        then = today + horizon
        expected = {"close": then, "return": then / today - 1, "log_return": np.log(then / today)}
        assert np.allclose(panel.target[panel.samples], expected[target], rtol=1e-12)
        assert np.array_equal(panel.values[panel.samples, 0], today.astype(np.float32))
        assert np.isnan(panel.target[days - horizon :]).all()


def test_start_and_end_bound_the_bars(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    bars = random_bars()
    write_bars(bars, folder)
    first, last = bars.dates[50], bars.dates[350]
    config = compose.compose(
        "data=csv", f"data.dir={folder}", "stock.ticker=TEST", f"data.start={first}", f"data.end={last}"
    )
    assert cast(CsvConfig, config.data).start == first.item()
    panel = prepare(config).panel
    assert panel.dates is not None
    assert (panel.dates[0], panel.dates[-1]) == (bars.dates[51], last)
