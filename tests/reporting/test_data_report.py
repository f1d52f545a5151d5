"""The first lines of a run: its features and its target."""

from __future__ import annotations

import pytest

from stockml import compose
from stockml.data.dataset import prepare
from stockml.reporting import data_report

POOL = "data.tickers=[AAPL,MSFT,TSLA]"
MOOD = '+features.columns.mood="$close"'


def line(name: str, *typed: str) -> str:
    config = compose.compose("stock=AAPL", "data.days=500", "data.window=5", *typed)
    lines = data_report.lines([prepare(config)], config)
    return next(line[12:] for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ((), "bars: 5, open, high, low, close, volume"),
        ((MOOD,), "bars: 5, open, high, low, close, volume; own: 1, mood"),
        ((MOOD, "features.bars=false"), "own: 1, mood"),
        ((MOOD, "features.bars=false", "+data.lag.close=2"), "own: 1, mood; $close, lag 2"),
        (
            (MOOD, "features=momentum"),
            "momentum: 16, RET1, RET5, RET21, RET63, RET252, SCALED1, SCALED5, SCALED21, …; own: 1, mood",
        ),
        (("features=momentum", "~features.columns.RET1", "~features.columns.RET5"), "momentum: 14, RET21, RET63"),
    ],
)
def test_features_are_named_by_their_set_and_those_added_to_it_apart(typed: tuple[str, ...], expected: str) -> None:
    assert line("features", *typed).startswith(expected)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("data.horizon=5",), "a return 5 days ahead; train mean"),
        (("data.target='Ref($close,-2)/Ref($close,-1)-1'",), "a return, ends 2 days ahead: Ref($close,-2)/"),
        (("data.target=direction",), "a class, 0 or 1: direction; train mean"),
        (("data.target=volatility",), "a level, its direction relative to the last day's volatility; "),
        (("data.target=volatility", "data.horizon=5"), "a level, its direction relative to the last 5 days' volat"),
    ],
)
def test_the_target_is_named_with_its_end(typed: tuple[str, ...], expected: str) -> None:
    assert line("target", *typed).startswith(expected)


def test_the_line_of_a_pool_says_what_is_trained_on_and_a_mean_of_zero() -> None:
    assert "; the model is trained on its rank in the day" in line("target", POOL, "data.target_normalize=csrank")
    assert "on its standard score in the day" in line("target", POOL, "data.target_normalize=cszscore")
    assert "; train mean 0, " in line("target", POOL, "data.target=excess_return")


def test_a_rank_as_target_is_pointed_to_what_trains_on_ranks() -> None:
    config = compose.compose("stock=AAPL", "data.days=500", POOL, "data.target='CSRank(Ref($close,-1)/$close)'")
    assert "data.target_normalize=csrank" in "\n".join(data_report.lines([prepare(config)], config))


def test_bars_before_a_target_s_last_known_value_are_left_out_for_that() -> None:
    assert line("left out", "data.target=volatility", "data.horizon=9").startswith(
        "9 bars (no last known value of the target yet); "
    )
