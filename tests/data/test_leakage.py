"""No number from the future reaches a feature, a scaler, or a forecast (laws 1 to 5)."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.dataset import prepare
from stockml.data.samples import from_bars
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.data.sources.csv import CsvConfig, tables
from stockml.data.sources.simulated import simulator
from stockml.data.spec import PanelSpec
from stockml.data.split import split
from stockml.evaluation.audit.future_checks import prefix
from stockml.evaluation.audit.split_checks import scaler_on_train, splits_apart
from stockml.evaluation.audit.subject import BarsSubject, Finding
from stockml.evaluation.audit.target_checks import ramp
from tests.conftest import Run, audited, random_bars, write_bars

FIVE = ("open", "high", "low", "close", "volume")


@functools.cache
def defaults() -> BarsConfig:
    return cast(BarsConfig, compose.compose("data=csv", "data.dir=.").data)


def bars_config(**changes: Any) -> BarsConfig:
    return dataclasses.replace(defaults(), **changes)


@pytest.fixture(params=["simulated", "real"])
def bars(request: pytest.FixtureRequest) -> Bars:
    if request.param == "simulated":
        return simulator.load(compose.compose("data.days=600", "stock=XOM"))
    folder = request.getfixturevalue("market") / "ohlcv"
    return tables.load(compose.compose("data=csv", f"data.dir={folder}", "stock=JPM"))


def scrambled_after(bars: Bars, row: int) -> Bars:
    """The bars, with noise in place of every row after `row`, in which a high stays above its low."""
    noise = np.exp(np.random.default_rng(1).standard_normal(len(bars.dates) - row - 1))
    columns = {name: column.copy() for name, column in bars.columns.items()}
    for column in columns.values():
        column[row + 1 :] *= noise
    return dataclasses.replace(bars, columns=columns)


def test_features_scaler_and_forecasts_up_to_a_day_ignore_every_later_row(bars: Bars, tmp_path: Path, run: Run) -> None:
    last = int(len(bars.dates) * 0.9)  # within test: nothing that training may use comes after it
    forecasts = []
    for name, version in (("whole", bars), ("scrambled", scrambled_after(bars, last))):
        write_bars(dataclasses.replace(version, ticker="TEST"), tmp_path / f"{name}_data")
        run(name, "data=csv", f"data.dir={tmp_path / f'{name}_data'}", "stock.ticker=TEST", "+experiment=quick")
        rows = [line.split(",") for line in (tmp_path / name / "predictions.csv").read_text().splitlines()[1:]]
        forecasts.append(
            [(date, of_day) for _, _, date, _, _, *of_day, _next_return in rows if date <= str(bars.dates[last])]
        )
    assert forecasts[0] == forecasts[1]
    assert any(date == str(bars.dates[last]) for date, _ in forecasts[0])
    folders = [tmp_path / name for name in ("whole", "scrambled")]
    stats = [(folder / "norm_stats.json").read_text() for folder in folders]
    assert stats[0] == stats[1]
    tables = [csv.DictReader((folder / "history.csv").read_text().splitlines()) for folder in folders]
    epochs = [[{**row, "seconds": ""} for row in table] for table in tables]
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("overrides", [[], ["data.transform=levels", "data.target=close"], ["data.horizon=5"]])
@pytest.mark.parametrize("law", [prefix, ramp, scaler_on_train, splits_apart])
def test_the_audit_s_laws_hold(bars: Bars, law: Callable[[BarsSubject], Finding], overrides: list[str]) -> None:
    found = law(audited(bars, *overrides))
    assert found.passed, found


def test_scaler_sees_every_train_row_and_no_other() -> None:
    config = bars_config(window=5)
    panel = from_bars(random_bars(), PanelSpec.of_bars(FIVE, config), config)
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
def test_every_target_ends_before_the_first_target_of_the_next_split_begins(
    days: int, window: int, horizon: int, valid_ratio: float, test_ratio: float, by_date: bool
) -> None:
    bars = random_bars(days)
    dates = {"valid_start": bars.dates[days // 2].item(), "test_start": bars.dates[days * 2 // 3].item()}
    config = bars_config(
        window=window, horizon=horizon, valid_ratio=valid_ratio, test_ratio=test_ratio, **(dates if by_date else {})
    )
    panel = from_bars(bars, PanelSpec.of_bars(FIVE, config), config)
    try:
        splits = split(panel, config)
    except Exception as error:  # a split is too small: refused, which is not a leak
        assert "too small" in str(error) or "must be after" in str(error)
        return
    for earlier, later in ((splits.train, splits.validation), (splits.validation, splits.test)):
        assert earlier[-1] + horizon < later[0] + 1  # a target begins on the day after its window's last
    total = len(splits.train) + len(splits.validation) + len(splits.test) + splits.purged
    assert total == len(panel.samples) == days - 1 - (window - 1) - horizon
    assert panel.samples[0] == window - 1
    if by_date:
        assert panel.dates is not None
        assert panel.dates[splits.validation[0]] >= np.datetime64(dates["valid_start"])
        assert panel.dates[splits.test[0]] >= np.datetime64(dates["test_start"])


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
