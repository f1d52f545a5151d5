"""Metrics agree with independent formulas, and with themselves however samples are put."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stockml.evaluation.metrics import Target, score

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=50)


@given(pairs)
def test_metrics_agree_with_their_definitions(pairs: list[tuple[float, float]]) -> None:
    y, f = (np.array(column) for column in zip(*pairs, strict=True))
    scores = score(Target(y, "return"), f)
    assert scores["n"] == len(y)
    assert scores["mse"] == pytest.approx(np.mean((y - f) ** 2))
    assert scores["mae"] == pytest.approx(np.mean(abs(y - f)))
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((y - f) ** 2)))
    if np.ptp(y) > 1e-2 and np.ptp(f) > 1e-2:
        assert scores["r2"] == pytest.approx(1 - np.sum((y - f) ** 2) / np.sum((y - y.mean()) ** 2))
        assert scores["r2_zero"] == pytest.approx(1 - np.sum((y - f) ** 2) / np.sum(y**2))
        assert scores["ic"] == pytest.approx(stats.pearsonr(y, f).statistic)
    hits = [np.sign(a) == np.sign(b) for a, b in zip(y, f, strict=True) if a != 0]
    if hits and f.any():
        assert scores["hit_rate"] == pytest.approx(np.mean(hits))


@given(pairs, st.randoms())
def test_metrics_do_not_depend_on_the_order_of_samples(pairs: list[tuple[float, float]], random: object) -> None:
    shuffled = sorted(pairs, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = (
        score(Target(y, "return"), f) for y, f in (map(np.array, zip(*p, strict=True)) for p in (pairs, shuffled))
    )
    for name, value in one.items():
        assert other[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9))


def test_what_is_undefined_is_none() -> None:
    constant = np.ones(5)
    scores = score(Target(constant, "return"), constant)
    assert (scores["r2"], scores["ic"]) == (None, None)
    still = score(Target(np.zeros(5), "return"), constant)
    assert (still["r2_zero"], still["hit_rate"]) == (None, None)
    assert score(Target(np.arange(5.0), "return"), np.zeros(5))["hit_rate"] is None


def test_levels_are_judged_by_their_change() -> None:
    last, y = np.array([100.0, 100.0, 100.0]), np.array([110.0, 90.0, 100.0])
    persistence = score(Target(y, "level", last), last)
    assert persistence["r2_zero"] == 0
    assert persistence["hit_rate"] is None
    right = score(Target(y, "level", last), np.array([105.0, 95.0, 101.0]))
    assert right["hit_rate"] == 1  # the third did not move
    assert right["r2_zero"] == pytest.approx(1 - (0.05**2 + 0.05**2 + 0.01**2) / (0.1**2 + 0.1**2))
    differences = score(Target(y, "level", last, relative=False), np.array([105.0, 95.0, 101.0]))
    assert differences["r2_zero"] == pytest.approx(right["r2_zero"])


def test_classes_have_no_r2_zero_and_are_hit_on_the_right_side_of_one_half() -> None:
    scores = score(Target(np.array([0.0, 1, 1, 0]), "class"), np.array([0.4, 0.6, 0.4, 0.5]))
    assert scores["r2_zero"] is None
    assert scores["hit_rate"] == 0.5
