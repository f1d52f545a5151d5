"""The audit finds each leak, in bars and in arrays, and none where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.dataset import load_panel, prepare
from stockml.data.sources.loading import load_bars
from stockml.evaluation.audit import array_checks, bar_checks, leaks
from stockml.evaluation.audit.bar_checks import Finding
from stockml.tasks.audit import ridge_forecasts
from tests.conftest import audited, random_bars

FAST = "data.window=5"


def failed(checks: list[Callable[[], Finding]]) -> set[str]:
    return {found.check for found in (check() for check in checks) if found.passed is False}


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_bars(compose.compose("data.days=700"))


def test_the_audited_pipeline_is_the_one_that_training_uses() -> None:
    config = compose.compose("data.days=400")
    trained, tried = prepare(config), bar_checks.BarsSubject(config, {}, load_bars(config), leaks.pipeline()).whole
    assert (tried.fingerprint, tried.scaler.to_dict(tried.panel, tried.split.train)) == (
        trained.fingerprint,
        trained.scaler.to_dict(trained.panel, trained.split.train),
    )
    assert np.array_equal(tried.panel.values, trained.panel.values)
    for one, other in zip(tried.split.by_name().values(), trained.split.by_name().values(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.horizon=5"],
        ["data.target=close", "data.transform=levels"],
        ["data.split=walk_forward", "data.folds=2", "data.train_span=rolling"],
    ],
)
def test_no_leak_is_seen_where_there_is_none(bars: Bars, overrides: list[str]) -> None:
    subject = audited(bars, FAST, *overrides)
    folds = [dataclasses.replace(subject, config=config) for config in subject.config.each_fold()]
    assert failed(bar_checks.on_bars(folds)) == set()


def test_a_leak_in_a_later_fold_is_seen(bars: Bars) -> None:
    honest, leaking = (audited(bars, FAST, plant=plant) for plant in (None, "scaler_on_all_rows"))
    assert {"scrambled future", "scaler on train alone"} <= failed(bar_checks.on_bars([honest, leaking]))


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("target", ["log_return", "return", "close"])
def test_the_ramp_tells_by_how_many_days_a_target_is_off(bars: Bars, target: str, horizon: int) -> None:
    settings = (FAST, f"data.target={target}", f"data.horizon={horizon}")
    assert bar_checks.ramp(audited(bars, *settings)).passed
    found = bar_checks.ramp(audited(bars, *settings, plant="shifted_target"))
    assert found.passed is False
    assert "1 day(s) too early" in found.looked_at


def test_in_null_data_days_move_as_far_as_before_and_nowhere_in_particular(bars: Bars) -> None:
    null = bar_checks.without_signal(bars, seed=0)
    before, after = (np.diff(np.log(b.columns["close"])) for b in (bars, null))
    assert np.allclose(np.abs(after), np.abs(before))
    assert 0.4 < np.mean(np.sign(after) == np.sign(before)) < 0.6
    c = null.columns
    assert (c["low"] <= np.minimum(c["open"], c["close"]) * (1 + 1e-12)).all()
    assert (c["high"] >= np.maximum(c["open"], c["close"]) * (1 - 1e-12)).all()
    assert np.array_equal(c["volume"], bars.columns["volume"])


@pytest.mark.parametrize("column", ["open", "high", "low"])
def test_a_column_that_is_a_day_ahead_is_seen(market: Path, column: str) -> None:
    bars = load_bars(compose.compose("data=csv", f"data.dir={market / 'ohlcv'}", "stock=JPM"))
    columns = {name: values[:-1] for name, values in bars.columns.items()} | {column: bars.columns[column][1:]}
    subject = audited(dataclasses.replace(bars, dates=bars.dates[:-1], columns=columns), FAST)
    findings = [bar_checks.feature_and_target(subject), bar_checks.score(subject)]
    assert any(found.passed is False for found in findings)
    if column != "open":
        assert f"feature {column} on the window's last day has correlation +0.6" in findings[0].looked_at


def test_an_audit_that_is_blind_is_reported_as_failed(bars: Bars) -> None:
    def blind(subject: bar_checks.Subject) -> Finding:
        return Finding("blind", passed=True, looked_at="nothing")

    assert bar_checks.positive_control(audited(bars, FAST), bar_checks.prefix).passed
    found = bar_checks.positive_control(audited(bars, FAST), bar_checks.prefix, blind)
    assert found.passed is False
    assert "nothing is seen by: blind" in found.looked_at


def test_too_few_samples_are_no_reason_to_fail() -> None:
    findings = [check() for check in bar_checks.on_bars([audited(random_bars(40), "data.window=5")])]
    assert [found.check for found in findings if found.passed is None] == [
        "null data", "features against target", "score"
    ]  # fmt: skip
    assert all(found.passed is not False for found in findings)


# Windows made elsewhere, in each of the ways that go wrong.

T, TRAIN, TEST = 8, 300, 80


def windowed(
    features: np.ndarray[Any, Any], target: np.ndarray[Any, Any], *, order: np.ndarray[Any, Any] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Windows a day apart over (R, F) features and (R,) targets, cut into train and test in the order given."""
    ends = np.arange(T - 1, T - 1 + TRAIN + TEST)
    ends = ends if order is None else ends[order]
    x, y = np.stack([features[end - T + 1 : end + 1] for end in ends]), target[ends]
    return {"X_train": x[:TRAIN], "y_train": y[:TRAIN], "X_test": x[TRAIN:], "y_test": y[TRAIN:]}


def standardised(x: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = (x - x[:rows].mean(axis=0)) / x[:rows].std(axis=0)
    return result


def ranged(x: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = (x - x[:rows].min(axis=0)) / np.ptp(x[:rows], axis=0)
    return result


def sound(horizon: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Log prices and volumes, (R, 2), rising so that a scaler fitted on all rows shows, and returns to be forecast."""
    rng = np.random.default_rng(0)
    price = np.cumsum(rng.normal(0.02, 0.1, TRAIN + TEST + T + 10))
    ahead = np.append(price[horizon:] - price[:-horizon], np.zeros(horizon))
    return np.stack([price, np.linspace(0, 1, len(price)) + rng.random(len(price))], axis=1), ahead


def findings_of(folder: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Finding]:
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for allow_pickle
    return audited_arrays(f"data.path={folder / 'a.npz'}")


def audited_arrays(*overrides: str) -> dict[str, Finding]:
    config = compose.compose("data=npz", *overrides)
    windows, before_test = load_panel(config)
    assert before_test is not None
    subject = array_checks.ArraysSubject(config, {"ridge": ridge_forecasts}, windows, before_test)
    return {found.check: found for found in (check() for check in array_checks.on_arrays(subject))}


def failing(findings: dict[str, Finding]) -> set[str]:
    return {name for name, found in findings.items() if found.passed is False}


@pytest.mark.parametrize("scale", [standardised, ranged])
@pytest.mark.parametrize("kind", ["return", "level", "class"])
def test_honest_arrays_pass(tmp_path: Path, kind: str, scale: Callable[..., np.ndarray[Any, Any]]) -> None:
    features, ahead = sound()
    scaled = scale(features, TRAIN + T - 1)
    target = {"return": ahead, "level": np.append(scaled[1:, 0], 0.0), "class": (ahead > 0).astype(int)}[kind]
    findings = findings_of(tmp_path, windowed(scaled, target))
    assert failing(findings) == set()
    for check in ("target in the window", "split by time", "scaler of the arrays", "train targets before test"):
        assert findings[check].passed, check
    assert "day 1 after the window" in findings["train targets before test"].looked_at


@pytest.mark.parametrize("scale", [standardised, ranged])
def test_a_scaler_that_was_fitted_on_all_rows_is_seen_in_arrays(
    tmp_path: Path, scale: Callable[..., np.ndarray[Any, Any]]
) -> None:
    features, ahead = sound()
    scaled = scale(features[: TRAIN + TEST + T - 1], len(features))
    assert failing(findings_of(tmp_path, windowed(scaled, ahead))) == {"scaler of the arrays"}


def test_a_random_split_is_seen_in_arrays(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(TRAIN + TEST)
    assert failing(findings_of(tmp_path, windowed(*sound(), order=order))) == {"split by time"}


def test_test_windows_that_are_in_train_are_seen(tmp_path: Path) -> None:
    arrays = windowed(*sound())
    arrays["X_test"][-1] = arrays["X_train"][5]
    assert "1 are in train themselves" in findings_of(tmp_path, arrays)["split by time"].looked_at


def test_a_target_that_stands_in_the_window_is_seen(tmp_path: Path) -> None:
    features, ahead = sound()
    known = {"level": features[:, 0], "class": (np.append(0, ahead[:-1]) > 0).astype(int)}
    for target in known.values():
        assert "target in the window" in failing(findings_of(tmp_path, windowed(features, target)))
    planted = np.column_stack([features, ahead])
    assert failing(findings_of(tmp_path, windowed(planted, ahead))) == {"target in the window"}


@pytest.mark.parametrize("kind", ["return", "level", "class"])
def test_train_targets_that_reach_into_test_are_seen_in_arrays(tmp_path: Path, kind: str) -> None:
    features, ahead = sound(horizon=4)
    target = {"return": ahead, "level": np.append(features[4:, 0], np.zeros(4)), "class": (ahead > 0).astype(int)}[kind]
    arrays = windowed(features, target)
    found = findings_of(tmp_path, arrays)["train targets before test"]
    assert found.passed is False
    assert "the last 3 train targets" in found.means
    purged = {**arrays, "X_train": arrays["X_train"][:-3], "y_train": arrays["y_train"][:-3]}
    assert findings_of(tmp_path, purged)["train targets before test"].passed


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "MSFT", "TSLA", "sp500_regression"])
def test_real_arrays_were_scaled_on_all_rows_and_are_sound_otherwise(market: Path, ticker: str) -> None:
    findings = audited_arrays(f"data.path={market / 'npz' / f'{ticker}.npz'}")
    assert failing(findings) == {"scaler of the arrays"}
    days = findings["train targets before test"].looked_at
    assert ("end on day 1" if ticker == "sp500_regression" else "run from day 1 to day 2") in days
