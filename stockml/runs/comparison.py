"""Two runs' metrics.json, compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockml.config.values import leaves
from stockml.errors import UserError

_NOT_COMPARED = ("timing", "looks", "format")
_OF_ESTIMATOR = {
    "interval",
    "r2_interval",
    "r2_zero_interval",
    "statistic",
    "p_value",
    "minimum_detectable_r2",
    "r2_ct",
}
"""The figures of `significance` that another estimator of standard errors changes, and the skill with them. Releases up
to 2026-11-28 had another one, and no r2_ct of levels."""
_WORDS = ("skill", "best_baseline")
"""Texts that are results as much as the numbers are; other texts only put the numbers into words."""


def different_numbers(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The numbers of two metrics.json that differ: dotted key → what each has.

    Compared are the numbers that both have, undefined ones (null) among them, the skill and the best baseline, unless
    that is a baseline which only one of the two has. Neither the time taken is compared, nor what depends on how
    standard errors are estimated, where that differs. Raises UserError if there is nothing to compare.

    The validation of a walk-forward run is that of its first fold; up to 2026-11-28 it was that of all folds together,
    and the best baseline was chosen by it. One of each kind are compared in everything else.
    """
    one, other = (dict(leaves({k: v for k, v in values.items() if k not in _NOT_COMPARED})) for values in (then, now))
    if ("decided_on" in then) != ("decided_on" in now):
        one = {key: value for key, value in one.items() if not _is_of_validation(key)}
    words = _WORDS if _same_choice_of_baselines(then, now) else ()
    shared = [key for key in one if key in other and (key in words or not _is_words(one[key], other[key]))]
    if one.get("significance.estimator") != other.get("significance.estimator"):
        shared = [key for key in shared if key != "skill" and not _depends_on_estimator(key)]
    if not any(_is_number(one[key]) for key in shared):
        raise UserError("the two metrics.json have no number in common; there is nothing to compare")
    return {key: (one[key], other[key]) for key in shared if one[key] != other[key]}


def _depends_on_estimator(key: str) -> bool:
    return key.startswith("significance.") and not _OF_ESTIMATOR.isdisjoint(key.split("."))


def _is_of_validation(key: str) -> bool:
    """Whether a dotted key is a score on validation, or depends on the baseline that was best there."""
    parts = key.split(".")
    return "validation" in parts or parts[0] in ("validation_loss", *_WORDS)


def _same_choice_of_baselines(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether each has the other's best baseline."""
    best = {values.get("best_baseline") for values in (then, now)} - {None}
    return all(best <= set(values.get("baselines", {})) for values in (then, now))


def _is_words(*values: Any) -> bool:
    """Whether one of the values is a text, or a list with a text in it."""
    return any(isinstance(item, str) for value in values for item in (value if isinstance(value, list) else [value]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
