"""The audit with expressions and further columns: every leak is seen and named, honest ones are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stockml import cli, compose
from stockml.data.bars import Bars, Floats
from stockml.data.sources.loading import load_bars
from stockml.evaluation.audit import checks
from stockml.evaluation.audit.future_checks import prefix, scrambled_future
from stockml.evaluation.audit.noise import noisy_after
from stockml.evaluation.audit.strength_checks import next_day
from stockml.evaluation.audit.subject import Finding
from stockml.evaluation.audit.target_checks import without_signal
from tests.conftest import audited, random_bars, write_bars
from tests.evaluation.test_scan import LEAKS, columns

HORIZONS = [1, 5, 20]
SIGNS = np.random.default_rng(7)


def _returns(c: dict[str, Floats]) -> Floats:
    return np.append(0.0, np.diff(np.log(c["close"])))


def _tomorrow(c: dict[str, Floats]) -> Floats:
    return np.append(_returns(c)[1:], 0.0)


def _partly(c: dict[str, Floats]) -> Floats:
    chance = SIGNS.choice([-1.0, 1.0], len(c["close"]))
    return np.where(SIGNS.random(len(chance)) < 0.4, np.sign(_tomorrow(c)), chance)


def _with_holes(c: dict[str, Floats]) -> Floats:
    return np.where(SIGNS.random(len(c["close"])) < 0.3, np.nan, _tomorrow(c))


HINTS: dict[str, Callable[[dict[str, Floats]], Floats]] = {
    **{f"{name}, {column}": lambda c, leak=leak, column=column: leak(c)[column]  # type: ignore[misc]
       for name, leak in LEAKS.items() for column in leak(columns(0))},
    "close_tomorrow": lambda c: np.append(c["close"][1:], c["close"][-1]),
    "return_tomorrow": _tomorrow,
    "sign_tomorrow": lambda c: np.sign(_tomorrow(c)),
    "sign_tomorrow_in_part": _partly,
    "return_tomorrow_with_holes": _with_holes,
    "up_tomorrow": lambda c: (_tomorrow(c) > 0.01).astype(float),
    "range_tomorrow": lambda c: np.append(np.log(c["high"] / c["low"])[1:], 0.0),
    "centred_mean": lambda c: np.convolve(_returns(c), np.ones(5) / 5, "same"),
}  # fmt: skip
"""Leaks offered as a further column; those of the bars' own columns are the first."""


def bars_with(**further: Floats) -> Bars:
    days = len(next(iter(further.values())))
    dates = np.busday_offset("2015-01-01", np.arange(days), roll="forward")
    return Bars(ticker="TEST", dates=dates, columns={**columns(0, days), **further}, origin="test")


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("leak", HINTS)
def test_a_leak_in_a_further_column_is_seen_at_any_horizon(
    leak: str, horizon: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = bars_with(hint=HINTS[leak](columns(0)))
    path = write_bars(bars, tmp_path / "bars")
    path.write_text(path.read_text().replace("nan", ""))
    settings = [f"data.horizon={horizon}", "data.window=5", "features.missing=drop", "model=ridge"]
    hint = '+features.columns.mood="$hint"'
    assert cli.main(["task=audit", "data=csv", f"data.path={path}", hint, *settings]) == 1
    printed = capsys.readouterr()
    assert "audit failed" in printed.err
    assert "feature mood" in printed.out or "feature $hint" in printed.out


@pytest.mark.parametrize("expression", ["Mean($hint, 3)", "$hint / $close", "CSRank($hint)"])
@pytest.mark.parametrize("horizon", [1, 20])
def test_a_leak_is_seen_through_the_expression_that_reads_it(expression: str, horizon: int) -> None:
    hint = _partly(columns(0))
    one = f'+features.columns.mood="{expression}"'
    if "CS" in expression:  # the stock of a pool, as it is audited alone
        subject = audited(bars_with(hint=hint), '+features.columns.mood="$hint"', "data.window=5")
        features = dataclasses.replace(subject.config.features, columns={"mood": expression})
        subject = dataclasses.replace(subject, config=dataclasses.replace(subject.config, features=features))
    else:
        subject = audited(bars_with(hint=hint), one, "data.window=5", f"data.horizon={horizon}")
    found = next_day(subject)
    assert found.passed is False and "$hint" in found.evidence


def test_a_column_that_is_known_late_is_looked_at_as_late_as_it_is_used() -> None:
    bars = bars_with(hint=_tomorrow(columns(0)))
    assert next_day(audited(bars, '+features.columns.mood="Ref($hint, 1)"', "data.window=5")).passed
    late = audited(bars, '+features.columns.mood="$hint"', "data.lag={hint: 1}", "data.window=5")
    assert next_day(late).passed
    both = audited(bars, '+features.columns.mood="Ref($hint, 1) + $hint"', "data.window=5")
    assert next_day(both).passed is False


@pytest.mark.parametrize("horizon", [1, 20])
def test_honest_further_columns_pass(horizon: int) -> None:
    c = columns(0)
    rng, r, days = np.random.default_rng(3), _returns(c), len(c["close"])
    noise = rng.standard_normal((4, days))
    honest = {
        "noise": noise[0],
        "positive": np.exp(noise[1]),
        "trailing": np.array([c["close"][max(0, n - 19) : n + 1].mean() for n in range(days)]),
        "copy": np.append(c["volume"][:1], c["volume"][:-1]),
        "sentiment": np.where(rng.random(days) < 0.3, np.nan, np.sign(r) + noise[2]),
        "rate": np.cumsum(0.01 * noise[3]) - 1,
        "spread": np.log(c["high"] / c["low"]),
        "event": (rng.random(days) < 0.05).astype(float),
        "year": np.arange(days) // 250.0,
    }
    features = [f'+features.columns.{name}_="${name}"' for name in honest]
    subject = audited(
        bars_with(**honest), *features, "features.missing=ffill", "data.window=5", f"data.horizon={horizon}"
    )
    assert [name for name, found in checks.run([subject]) if found.passed is False] == []


@pytest.mark.parametrize("features", ["alpha158", "alpha360", "technical", "momentum"])
@pytest.mark.parametrize("ticker", ["AAPL", "XOM", "simulated"])
def test_factor_sets_pass(market: Path, features: str, ticker: str, capsys: pytest.CaptureFixture[str]) -> None:
    real = ["data=csv", f"data.dir={market / 'ohlcv'}", f"stock={ticker}", "data.start=2010-01-01"]
    data = ["stock=AAPL", "data.days=1500"] if ticker == "simulated" else real
    assert cli.main(["task=audit", *data, f"features={features}", "data.window=1", "model=ridge"]) == 0
    assert "no leak found" in capsys.readouterr().out


@pytest.mark.parametrize("leak", ["volume_tomorrow", "open_tomorrow", "high_low_tomorrow"])
def test_a_leak_of_the_bars_is_seen_below_a_factor_set(leak: str) -> None:
    c = columns(0)
    bars = dataclasses.replace(bars_with(close=c["close"]), columns=c | LEAKS[leak](c))
    assert next_day(audited(bars, "features=alpha158", "data.window=1")).passed is False


@pytest.mark.parametrize("check", [scrambled_future, prefix])
def test_a_feature_that_looks_ahead_is_named(check: Callable[..., Finding]) -> None:
    found = check(audited(random_bars(700), "features=momentum", "data.window=5", leak="centred_window"))
    assert found.passed is False and "RET1, RET5" in found.evidence


@pytest.mark.parametrize("missing", ["error", "drop", "ffill", "zero"])
def test_values_that_are_missing_on_noisy_days_are_no_leak(missing: str) -> None:
    c = columns(0)
    hint = np.abs(_returns(c)) + 0.01
    if missing != "error":
        hint[SIGNS.random(len(hint)) < 0.02] = np.nan
    subject = audited(
        bars_with(hint=hint),
        '+features.columns.root="Power($hint - 0.009, 0.5) + 0 * Log($high - $low + 1e-9)"',
        f"features.missing={missing}",
        "data.window=3",
    )
    assert [name for name, found in checks.run([subject]) if found.passed is False] == []


def test_noise_leaves_the_days_before_it_and_what_a_column_may_hold() -> None:
    rng, days = np.random.default_rng(0), 400
    text = {
        "score": rng.choice([-1.0, 0.0, 1.0], days),
        "rare": np.where(rng.random(days) < 0.4, np.nan, rng.random(days)),
    }
    bars = bars_with(**text, **{"VIX.close": 10 + rng.random(days), "VIX.high": 12 + rng.random(days)})
    noisy = noisy_after(bars, 199, seed=1)
    for name, column in bars.columns.items():
        after = noisy.columns[name]
        assert np.array_equal(after[:200], column[:200], equal_nan=True)
        assert np.array_equal(np.isnan(after), np.isnan(column))
        assert (after[200:] == column[200:]).sum() == 0
    c = noisy.columns
    assert (c["high"] >= np.maximum(c["open"], c["close"]) * (1 - 1e-12)).all()
    assert (c["low"] <= np.minimum(c["open"], c["close"]) * (1 + 1e-12)).all()
    assert (c["VIX.high"] > c["VIX.close"]).all()
    assert set(c["score"]) == {-1.0, 0.0, 1.0} and (c["rare"][~np.isnan(c["rare"])] >= 0).all()


def test_null_data_leave_further_columns_as_they_are() -> None:
    bars = bars_with(hint=_tomorrow(columns(0)), **{"VIX.close": columns(1)["close"]})
    null = without_signal(bars, seed=0).columns
    assert all(np.array_equal(null[name], bars.columns[name]) for name in ("hint", "VIX.close", "volume"))


@pytest.mark.parametrize(
    "target", ["direction", "volatility", '"Ref($close,-2)/Ref($close,-1)-1"', '"Ref(Std(LogReturn($close),5),-5)"',
               '"Ref($volume,-1)/$volume"']
)  # fmt: skip
def test_no_leak_is_seen_of_any_target(target: str) -> None:
    bars = load_bars(compose.compose("data.days=1000"))
    subject = audited(bars, "features=technical", "data.window=1", f"data.target={target}")
    assert [name for name, found in checks.run([subject]) if found.passed is False] == []
