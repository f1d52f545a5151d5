"""Prices below 0, as of oil in April 2020: differences and levels are forecast, returns are refused by the day."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data import dataset, doctor
from stockml.data.bars import PRICES, Bars
from stockml.data.dataset import load_panel, prepare
from stockml.data.sources.loading import load_bars
from stockml.errors import UserError
from stockml.evaluation import baselines
from stockml.evaluation.metrics import score
from stockml.evaluation.truth import target
from tests.conftest import random_bars, write_bars

DAYS, LOW = 300, 120
"""Bars, and the one that closes below 0."""


def oil() -> Bars:
    bars = random_bars(DAYS, 3, "OIL")
    columns = {name: values.copy() for name, values in bars.columns.items()}
    for name, price in zip(PRICES, (14.0, 17.85, -40.32, -37.63), strict=True):
        columns[name][LOW] = price
    return dataclasses.replace(bars, columns=columns)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(oil(), tmp_path_factory.mktemp("bars"))


def test_a_minus_of_another_sign_is_read_as_one(path: Path, tmp_path: Path) -> None:
    (other := tmp_path / "OIL.csv").write_text(path.read_text().replace(",-", ",\u2212"))
    read, plain = (load_bars(compose.compose(*settings(p, "data.target=difference"))) for p in (other, path))
    assert plain.columns["close"].min() < 0
    assert all(np.array_equal(read.columns[name], values) for name, values in plain.columns.items())


def settings(path: Path, *overrides: str) -> list[str]:
    return ["data=csv", f"data.path={path}", "data.window=5", *overrides]


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("name", ["difference", "close", "direction"])
def test_features_are_differences_and_the_target_is_what_its_name_says(path: Path, name: str, horizon: int) -> None:
    panel, _ = load_panel(compose.compose(*settings(path, f"data.target={name}", f"data.horizon={horizon}")))
    bars = oil().columns
    close = bars["close"]
    now, later = close[1:-horizon], close[1 + horizon :]
    expected = {"difference": later - now, "close": later, "direction": (later > now).astype(float)}[name]
    assert np.allclose(panel.target[:-horizon], expected)
    for number, feature in enumerate(PRICES):
        assert np.allclose(panel.values[:, number], np.diff(bars[feature]), atol=1e-4)
    assert np.allclose(panel.values[:, 4], np.diff(np.log1p(bars["volume"])), atol=1e-6)
    assert panel.next_return is not None
    assert np.isnan(panel.next_return).nonzero()[0].tolist() == [LOW - 2, LOW - 1, len(close) - 2]


@pytest.mark.parametrize("name", ["log_return", "return", "volatility", "Ref($close,-1)/$close-1"])
def test_returns_are_refused_by_the_day_and_every_remedy_leads_on(path: Path, name: str) -> None:
    typed = settings(path, f"data.target='{name}'")
    with pytest.raises(UserError) as refused:
        load_panel(compose.compose(*typed))
    (line,) = refused.value.lines
    assert f"line {LOW + 2}: " in line
    assert str(oil().dates[LOW]) in line
    remedies = re.findall(r"data\.\w+=[\w-]+", line)
    assert [remedy.partition("=")[0] for remedy in remedies] == ["data.target", "data.start"]
    for remedy in remedies:
        load_panel(compose.compose(*typed, remedy))


def test_a_close_below_zero_is_measured_by_its_differences(path: Path) -> None:
    data = prepare(compose.compose(*settings(path, "data.target=close", "data.test_ratio=0.7")))
    truth = target(data.panel, data.split.test)
    assert (truth.kind, truth.relative, truth.reverts) == ("level", False, False)
    naive = {name: y[data.split.test] for name, y in baselines.naive(data.panel, data.scaler.train_mean(data.panel))}
    assert score(truth, naive["persistence"])["r2_zero"] == 0
    assert np.allclose(truth.changes(naive["always_up"]), 1)


def test_zeros_of_an_ordinary_stock_stay_an_error_and_a_bar_of_zeros_is_no_price(tmp_path: Path) -> None:
    ordinary = random_bars(DAYS, 4, "AAA")
    for name in PRICES:
        ordinary.columns[name][50] = 0
    with pytest.raises(UserError, match="must be above 0"):
        load_panel(compose.compose(*settings(write_bars(ordinary, tmp_path), "data.target=difference")))
    unquoted = dataclasses.replace(oil(), ticker="BBB")
    for name in PRICES:
        unquoted.columns[name][50] = 0
    with pytest.raises(UserError, match=r"line 52: .* must be above 0"):
        load_panel(compose.compose(*settings(write_bars(unquoted, tmp_path), "data.target=difference")))


def test_a_bar_whose_sign_was_lost_is_an_error_of_the_doctor(path: Path) -> None:
    bars = load_bars(compose.compose(*settings(path, "data.target=difference")))
    assert [of.check for of in doctor.examine(bars) if of.severity == "error"] == []
    for name in PRICES:
        bars.columns[name][80] *= -1
    assert ("high below low", 80) in {(of.check, of.row) for of in doctor.examine(bars)}


@pytest.mark.parametrize(
    ("text", "is_ratio"),
    [
        ("$close - Ref($close, 5)", False),
        ("($close - Mean($close, 20)) / Std($close, 20)", False),
        ("$high - $low", False),
        ("LogReturn($volume + 1)", False),
        ("Return($close, 5)", True),
        ("$close / Mean($close, 20)", True),
        ("Log($close)", True),
    ],
)
def test_features_that_are_ratios_of_prices_are_refused_and_differences_are_not(
    path: Path, text: str, is_ratio: bool
) -> None:
    config = compose.compose(*settings(path, "data.target=difference", f"+features.columns.own='{text}'"))
    if not is_ratio:
        assert "own" in load_panel(config)[0].features
        return
    with pytest.raises(UserError, match="is a ratio or a logarithm of prices") as refused:
        load_panel(config)
    assert str(oil().dates[LOW]) in str(refused.value)


def test_a_placebo_copy_keeps_the_sizes_of_the_differences(path: Path) -> None:
    own, copy = (
        load_bars(compose.compose(*settings(path, "data.target=difference", *more)))
        for more in ((), ("data.placebo=1",))
    )
    moves, copied = np.diff(own.columns["close"]), np.diff(copy.columns["close"])
    mean = moves.mean()
    assert np.allclose(np.abs(copied - mean), np.abs(moves - mean))


@pytest.mark.parametrize("setting", ["data.target=difference", "data.transform=differences"])
def test_differences_of_several_stocks_are_refused_where_prices_are_adjusted(path: Path, setting: str) -> None:
    pool = ["data=csv", f"data.dir={path.parent}", "data.tickers=[OIL]", setting]
    with pytest.raises(UserError, match=f"{setting}: not with data.tickers"):
        dataset.load_panel(compose.compose(*pool))
