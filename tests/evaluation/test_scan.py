"""The audit sees what knows tomorrow, at any horizon, and nothing where nothing does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars, Floats
from stockml.data.sources.loading import load_bars
from stockml.evaluation.audit import scan
from stockml.evaluation.audit.strength_checks import next_day
from tests.campaigns.audits import false_alarms
from tests.conftest import audited

RNG = np.random.default_rng
NAMES = ["open", "high", "low", "close", "volume"]
WINDOW, DAYS = 10, 1200


def columns(seed: int, days: int = DAYS) -> dict[str, Floats]:
    """Bars whose open, high, low and volume go with the day's own move."""
    rng = RNG(seed)
    r = 0.01 * np.exp(0.3 * rng.standard_normal(days)) * rng.standard_normal(days)
    close = 100 * np.exp(r.cumsum())
    opened = np.append(close[0], close[:-1]) * np.exp(0.4 * r + 0.003 * rng.standard_normal(days))
    high = np.maximum(opened, close) * np.exp(0.003 * np.abs(rng.standard_normal(days)))
    low = np.minimum(opened, close) * np.exp(-0.003 * np.abs(rng.standard_normal(days)))
    volume = 1e6 * np.exp(15 * np.abs(r) + 0.2 * rng.standard_normal(days))
    return dict(zip(NAMES, (opened, high, low, close, volume), strict=True))


def scanned(seen: dict[str, Floats], true: dict[str, Floats], *, levels: bool = False) -> scan.Scan:
    values = np.column_stack(list(seen.values()))
    if not levels:
        values = np.vstack([np.zeros(values.shape[1]), np.diff(np.log(values), axis=0)])
    rows = np.arange(WINDOW, len(values) - 1)
    return scan.scan_next_day(looked_at(values, list(seen)), next_days(true), rows, WINDOW)


def looked_at(values: Floats, names: Sequence[str] = ("own",)) -> scan.Looked:
    values = values.reshape(len(values), -1)
    return scan.Looked(names, values, np.zeros(values.shape[1], dtype=bool))


def next_days(true: dict[str, Floats]) -> scan.NextDays:
    return scan.NextDays(true["close"], columns={"volume": true["volume"]})


def ahead(x: Floats) -> Floats:
    return np.append(x[1:], x[-1])


def tells_the_sign(columns: dict[str, Floats]) -> dict[str, Floats]:
    up = np.sign(np.log(ahead(columns["close"]) / columns["close"]))
    return {"volume": (columns["volume"] * np.exp(0.15 * up)).round()}


LEAKS: dict[str, Callable[[dict[str, Floats]], dict[str, Floats]]] = {
    "volume_tomorrow": lambda c: {"volume": ahead(c["volume"])},
    "open_tomorrow": lambda c: {"open": ahead(c["open"])},
    "high_low_tomorrow": lambda c: {"high": ahead(c["high"]), "low": ahead(c["low"])},
    "low_of_next_5_days": lambda c: {"low": np.minimum.reduce([np.roll(c["low"], -k) for k in range(5)])},
    "volume_tells_tomorrows_sign": tells_the_sign,
}


@pytest.fixture(scope="module")
def real(market: Path) -> Bars:
    return load_bars(
        compose.compose("data=csv", f"data.dir={market / 'ohlcv'}", "stock=MSFT", "data.start=2010-01-01")
    ).between(np.datetime64("2010-01-01"), np.datetime64("2018-12-31"))


@pytest.mark.parametrize("horizon", [1, 5, 20])
@pytest.mark.parametrize("leak", [None, *LEAKS])
def test_a_column_of_real_bars_that_knows_tomorrow_is_found_at_any_horizon(
    real: Bars, leak: str | None, horizon: int
) -> None:
    changed = {} if leak is None else LEAKS[leak](real.columns)
    leaking = {name: column[:-5] for name, column in {**real.columns, **changed}.items()}  # days that have a tomorrow
    bars = dataclasses.replace(real, dates=real.dates[:-5], columns=leaking)
    found = next_day(audited(bars, "data.window=20", f"data.horizon={horizon}"))
    assert found.passed is (leak is None), found.evidence
    if leak:
        assert f"feature {next(iter(changed))} " in found.evidence


@pytest.mark.parametrize("levels", [False, True])
def test_honest_bars_pass(levels: bool) -> None:
    assert sum(bool(scanned(columns(seed), columns(seed), levels=levels).failed) for seed in range(20)) <= 1


def test_at_most_5_percent_of_null_histories_raise_a_false_alarm() -> None:
    """A short sample of `tests/campaigns/audits.py`."""
    assert false_alarms(8, horizon=5) <= 0.05


@pytest.mark.parametrize("levels", [False, True])
def test_volume_that_goes_with_no_move_cannot_be_seen_to_be_a_day_ahead(levels: bool) -> None:
    true = columns(0)
    true["volume"] = 1e6 * np.exp(0.2 * RNG(9).standard_normal(DAYS))
    leaking = {**true, "volume": ahead(true["volume"])}
    assert not scanned(leaking, leaking, levels=levels).failed


@pytest.mark.parametrize("what", ["sign", "volume"])
def test_a_column_that_shows_tomorrow_noisily_is_found_at_a_t_of_6_and_a_half(what: str) -> None:
    found, strength = 0, 6.5 / np.sqrt(DAYS)
    for seed in range(20):
        true = columns(seed)
        r = np.diff(np.log(true["close"]), prepend=np.log(true["close"][0]))
        known = np.sign(r) if what == "sign" else 5 * (np.log(true["volume"]) - np.log(true["volume"]).mean())
        own = strength * ahead(known) + np.sqrt(1 - strength**2) * RNG(seed + 99).standard_normal(DAYS)
        bars, rows = next_days(true), np.arange(WINDOW, DAYS - 1)
        found += bool(scan.scan_next_day(looked_at(own), bars, rows, WINDOW).failed)
    assert found >= 16


def test_the_best_forecast_of_simulated_bars_may_be_shown() -> None:
    true, expected = columns(0), 0.003 * RNG(1).standard_normal(DAYS)
    close = true["close"] * np.exp(np.append(0, expected[:-1].cumsum()))
    rows = np.arange(WINDOW, DAYS - 1)
    hidden, known = scan.NextDays(close), scan.NextDays(close, expected=expected)
    assert scan.scan_next_day(looked_at(expected), hidden, rows, WINDOW).failed
    assert not scan.scan_next_day(looked_at(expected), known, rows, WINDOW).failed


def test_several_stocks_are_scanned_by_their_days() -> None:
    stocks = [columns(seed, 600) for seed in range(3)]
    joined = {name: np.concatenate([one[name] for one in stocks]) for name in NAMES}
    day, stock = np.tile(np.arange(600), 3), np.repeat(np.arange(3), 600)
    bars = dataclasses.replace(next_days(joined), stock=stock, day=day)

    def of(seen: dict[str, Floats]) -> scan.Scan:
        values = np.vstack([np.zeros(5), np.diff(np.log(np.column_stack(list(seen.values()))), axis=0)])
        return scan.scan_next_day(looked_at(values, NAMES), bars, np.arange(1800), WINDOW)

    assert not of(joined).failed
    assert of({**joined, "open": np.concatenate([ahead(one["open"]) for one in stocks])}).failed


def test_one_day_copied_over_all_stocks_is_no_more_than_one() -> None:
    x, y = RNG(0).standard_normal((500, 1)), RNG(1).standard_normal(500)
    once = scan.t_values(x, y, np.arange(500))
    copied = scan.t_values(np.repeat(x, 4, axis=0), np.repeat(y, 4), np.repeat(np.arange(500), 4))
    assert copied == pytest.approx(once)


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_overlapping_targets_raise_no_false_alarm(horizon: int) -> None:
    failed = 0
    for seed in range(20):
        rng = RNG(seed)
        y = np.lib.stride_tricks.sliding_window_view(rng.standard_normal(1500 + horizon), horizon).sum(1)[:1500]
        x = rng.standard_normal((1500, 30)).cumsum(0)
        failed += bool(scan.scan_target([(0, False, x)], [str(k) for k in range(30)], y, horizon, 0.1).failed)
    assert failed <= 1


@pytest.mark.parametrize("horizon", [1, 20])
def test_the_target_itself_is_found_over_any_horizon(horizon: int) -> None:
    y = np.lib.stride_tricks.sliding_window_view(RNG(0).standard_normal(1500 + horizon), horizon).sum(1)[:1500]
    x = np.column_stack([y + y.std() * RNG(1).standard_normal(1500), RNG(2).standard_normal(1500)])
    found = scan.scan_target([(0, False, x)], ["leak", "noise"], y, horizon, scan.LEAST_TARGET_CORRELATION)
    assert [one.feature for one in found.failed] == ["leak"]


def test_ranks_share_the_mean_of_equal_values() -> None:
    assert scan.ranks(np.array([3.0, 1.0, 3.0])).tolist() == [0.5, -1.0, 0.5]
    assert scan.ranks(np.ones(4)).tolist() == [0.0] * 4
