"""Two metrics.json are the same where every number that both have is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stockml.errors import UserError
from stockml.runs.comparison import different_numbers

SCORES = {"n": 10, "mse": 0.5, "ic": None}
METRICS: dict[str, Any] = {
    "format": 1,
    "validation": SCORES,
    "test": SCORES,
    "baselines": {"zero": {"test": SCORES}, "ridge": {"test": SCORES}},
    "best_baseline": "ridge",
    "significance": {"unit": "days", "interval": [0.1, None], "ahead": ["zero"]},
    "skill": "not shown",
    "verdict": "Skill is not shown.",
    "timing": {"epochs": 3, "total_seconds": 1.0},
    "looks": 1,
    "synthetic": True,
}


def changed(**values: Any) -> dict[str, Any]:
    """The metrics with some values changed: `a__b=3` is `a.b`, and None removes it."""
    metrics: dict[str, Any] = json.loads(json.dumps(METRICS))
    for key, value in values.items():
        *sections, name = key.split("__")
        inner = metrics
        for section in sections:
            inner = inner[section]
        if value is None:
            del inner[name]
        else:
            inner[name] = value
    return metrics


@pytest.mark.parametrize(
    "values",
    [
        {"timing__total_seconds": 9.0},
        {"timing__epochs": 4},
        {"looks": 7},
        {"format": 2},
        {"verdict": "In other words."},
        {"significance__unit": "samples"},
        {"significance__ahead": []},
        {"significance__ahead": ["zero", "another"]},
        {"significance": None},
        {"skill": None},
        {"validation__ic": None},
        {"test__new_metric": 0.3},
        {"baselines__ridge": None, "best_baseline": "zero", "skill": "shown"},
        {"baselines__new": {"test": SCORES}, "best_baseline": "new", "skill": "shown"},
    ],
)
def test_time_words_and_what_one_side_lacks_are_no_difference(values: dict[str, Any]) -> None:
    assert different_numbers(METRICS, changed(**values)) == {}
    assert different_numbers(changed(**values), METRICS) == {}


@pytest.mark.parametrize(
    ("key", "then", "now"),
    [
        ("validation.mse", 0.5, 0.5000000000000001),
        ("test.ic", None, 0.0),
        ("baselines.zero.test.n", 10, 11),
        ("significance.interval", [0.1, None], [0.1, 0.2]),
        ("best_baseline", "ridge", "zero"),
        ("skill", "not shown", "shown"),
        ("synthetic", True, False),
    ],
)
def test_a_number_a_best_baseline_or_a_skill_that_changed_is_a_difference(key: str, then: Any, now: Any) -> None:
    assert different_numbers(METRICS, changed(**{key.replace(".", "__"): now})) == {key: (then, now)}


def test_metrics_without_a_common_number_are_not_called_the_same() -> None:
    with pytest.raises(UserError, match="no number in common"):
        different_numbers(METRICS, {"verdict": METRICS["verdict"], "timing": METRICS["timing"]})
