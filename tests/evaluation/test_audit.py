"""The audit finds each leak, in bars and in arrays, and none where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.dataset import load_panel, prepare
from stockml.data.sources.loading import load_bars
from stockml.evaluation.audit import checks, leaks
from stockml.evaluation.audit.checks import CHECKS, Check
from stockml.evaluation.audit.strength_checks import feature_and_target, ridge_r2
from stockml.evaluation.audit.subject import ArraysSubject, BarsSubject, Finding, Subject
from stockml.evaluation.audit.target_checks import ramp, without_signal
from stockml.tasks.audit import ridge_forecasts
from tests.conftest import audited, random_bars

FAST = "data.window=5"


def failed(folds: Sequence[Subject]) -> set[str]:
    return {name for name, found in checks.run(folds) if found.passed is False}


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_bars(compose.compose("data.days=700"))


def test_the_audited_pipeline_is_the_one_that_training_uses() -> None:
    config = compose.compose("data.days=400")
    trained, tried = prepare(config), BarsSubject(config, {}, load_bars(config), leaks.pipeline()).whole
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
    assert failed(folds) == set()


def test_a_leak_in_a_later_fold_is_seen(bars: Bars) -> None:
    clean, leaking = (audited(bars, FAST, leak=leak) for leak in (None, "scaler_on_all_rows"))
    assert {"scrambled future", "scaler on train only"} <= failed([clean, leaking])


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("target", ["log_return", "return", "close"])
def test_the_ramp_shows_by_how_many_days_a_target_is_off(bars: Bars, target: str, horizon: int) -> None:
    settings = (FAST, f"data.target={target}", f"data.horizon={horizon}")
    assert ramp(audited(bars, *settings)).passed
    found = ramp(audited(bars, *settings, leak="shifted_target"))
    assert found.passed is False
    assert "1 day(s) too early" in found.evidence


def test_null_data_keep_the_size_of_each_move_and_draw_its_sign(bars: Bars) -> None:
    null = without_signal(bars, seed=0)
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
    findings = [feature_and_target(subject), ridge_r2(subject)]
    assert any(found.passed is False for found in findings)
    if column != "open":
        assert f"feature {column} on the window's last day has correlation +0.6" in findings[0].evidence


def _passes(_subject: Subject) -> Finding:
    return Finding(passed=True, evidence="nothing")


def test_the_positive_control_fails_if_a_check_does_not_see_the_future(bars: Bars) -> None:
    prefix, blind = CHECKS["prefix of features"], Check("blind", _passes, frozenset({"bars"}))
    assert checks.positive_control(audited(bars, FAST), [prefix]).passed
    found = checks.positive_control(audited(bars, FAST), [prefix, blind])
    assert found.passed is False
    assert "nothing is seen by: blind" in found.evidence


def test_too_few_samples_are_no_reason_to_fail() -> None:
    findings = dict(checks.run([audited(random_bars(40), "data.window=5")]))
    assert [name for name, found in findings.items() if found.passed is None] == [
        "null data", "features and next day", "features against target", "score of ridge"
    ]  # fmt: skip
    assert all(found.passed is not False for found in findings.values())


def _finds_fault(subject: BarsSubject) -> Finding:
    first_fold = subject.config.data == next(iter(compose.compose(*WALK).each_fold())).data
    return Finding(not first_fold, f"{len(subject.bars.dates)} bars", "a fault")


WALK = ("data=csv", "data.dir=.", FAST, "data.split=walk_forward", "data.folds=2")


def test_a_check_added_to_the_register_is_run_where_it_applies(bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [BarsSubject(config, {}, bars, leaks.pipeline()) for config in compose.compose(*WALK).each_fold()]
    monkeypatch.setattr(checks, "CHECKS", {})
    for name, every_fold in (("every fold", True), ("last fold", False)):
        check = Check(name, _finds_fault, frozenset({"bars"}), every_fold=every_fold, control=frozenset({"bars"}))
        monkeypatch.setitem(checks.CHECKS, name, check)
    monkeypatch.setitem(checks.CHECKS, "arrays", Check("arrays", _finds_fault, frozenset({"arrays"})))
    found = dict(checks.run(folds))
    assert list(found) == ["every fold", "last fold", "positive control"]
    assert (found["every fold"].passed, found["last fold"].passed) == (False, True)
    assert found["every fold"].evidence == f"fold 0: {len(bars.dates)} bars"
    assert "nothing is seen by: every fold, last fold" in found["positive control"].evidence


def test_a_check_of_bars_does_not_apply_to_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKS, "bars only", Check("bars only", _finds_fault, frozenset({"bars"})))
    found = findings_of(tmp_path, windowed(*sound()))["bars only"]
    assert found.passed is None and found.evidence == "needs the bars that the windows were made from"


# Arrays windowed elsewhere, with each fault that they can have.

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
    return dict(checks.run([ArraysSubject(config, {"ridge": ridge_forecasts}, windows, before_test)]))


def failing(findings: dict[str, Finding]) -> set[str]:
    return {name for name, found in findings.items() if found.passed is False}


@pytest.mark.parametrize("scale", [standardised, ranged])
@pytest.mark.parametrize("kind", ["return", "level", "class"])
def test_arrays_without_a_leak_pass(tmp_path: Path, kind: str, scale: Callable[..., np.ndarray[Any, Any]]) -> None:
    features, ahead = sound()
    scaled = scale(features, TRAIN + T - 1)
    target = {"return": ahead, "level": np.append(scaled[1:, 0], 0.0), "class": (ahead > 0).astype(int)}[kind]
    findings = findings_of(tmp_path, windowed(scaled, target))
    assert failing(findings) == set()
    for check in ("target in the window", "split by time", "scaler of the arrays", "train targets before test"):
        assert findings[check].passed, check
    assert "day 1 after the window" in findings["train targets before test"].evidence


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
    assert "1 are in train themselves" in findings_of(tmp_path, arrays)["split by time"].evidence


def test_a_target_that_stands_in_the_window_is_seen(tmp_path: Path) -> None:
    features, ahead = sound()
    known = {"level": features[:, 0], "class": (np.append(0, ahead[:-1]) > 0).astype(int)}
    for target in known.values():
        assert "target in the window" in failing(findings_of(tmp_path, windowed(features, target)))
    leaking = np.column_stack([features, ahead])
    assert failing(findings_of(tmp_path, windowed(leaking, ahead))) == {"target in the window"}


@pytest.mark.parametrize("kind", ["return", "level", "class"])
def test_train_targets_that_reach_into_test_are_seen_in_arrays(tmp_path: Path, kind: str) -> None:
    features, ahead = sound(horizon=4)
    target = {"return": ahead, "level": np.append(features[4:, 0], np.zeros(4)), "class": (ahead > 0).astype(int)}[kind]
    arrays = windowed(features, target)
    found = findings_of(tmp_path, arrays)["train targets before test"]
    assert found.passed is False
    assert "the last 3 train targets" in found.meaning
    purged = {**arrays, "X_train": arrays["X_train"][:-3], "y_train": arrays["y_train"][:-3]}
    assert findings_of(tmp_path, purged)["train targets before test"].passed


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "MSFT", "TSLA", "sp500_regression"])
def test_real_arrays_were_scaled_on_all_rows_and_are_sound_otherwise(market: Path, ticker: str) -> None:
    findings = audited_arrays(f"data.path={market / 'npz' / f'{ticker}.npz'}")
    assert failing(findings) == {"scaler of the arrays"}
    days = findings["train targets before test"].evidence
    assert ("end on day 1" if ticker == "sp500_regression" else "run from day 1 to day 2") in days
