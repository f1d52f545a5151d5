"""The register of the leakage audit: laws that samples without leaks obey, tried on the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stockml.evaluation.audit import pool_checks
from stockml.evaluation.audit.array_checks import order_of_time, scaler_of_arrays, target_in_window, targets_apart
from stockml.evaluation.audit.future_checks import prefix, scrambled_future
from stockml.evaluation.audit.pool_checks import PoolSubject
from stockml.evaluation.audit.split_checks import scaler_on_train, splits_apart
from stockml.evaluation.audit.strength_checks import feature_and_target, next_day, ridge_r2
from stockml.evaluation.audit.subject import Finding, Subject
from stockml.evaluation.audit.target_checks import null_data, ramp

Kind = Literal["bars", "arrays"]

_BARS: frozenset[Kind] = frozenset({"bars"})
_ARRAYS: frozenset[Kind] = frozenset({"arrays"})
_BOTH = _BARS | _ARRAYS

POSITIVE_CONTROL = "positive control"


@dataclass(frozen=True)
class Check:
    """A law of samples without leaks."""

    name: str
    """As it is printed; at most 25 characters."""
    function: Callable[[Any], Finding]
    """Of a `BarsSubject` or `ArraysSubject`."""
    applies_to: frozenset[Kind]
    """The kinds of data that it can be tried on."""
    every_fold: bool = False
    """Whether it is tried on each fold of a walk-forward config; else on the last one only."""
    control: frozenset[Kind] = frozenset()
    """The kinds of data on which it must fail if the target is among the features: the positive control."""


def run(folds: Sequence[Subject]) -> Iterator[tuple[str, Finding]]:
    """Each check's name and what it finds, one by one; a config that is not walk-forward has one fold."""
    last = folds[-1]
    for check in CHECKS.values():
        if last.kind in check.applies_to:
            yield check.name, _first_failure(check, folds if check.every_fold else [last])
        elif last.kind == "arrays":
            yield check.name, Finding(None, "needs the bars that the windows were made from")
    yield POSITIVE_CONTROL, positive_control(last, [check for check in CHECKS.values() if last.kind in check.control])


def run_pool(pool: PoolSubject) -> Iterator[tuple[str, Finding]]:
    """Each check's name and what it finds, one by one: of what joins the stocks, then of each stock alone."""
    for name, check_pool in POOL_CHECKS.items():
        yield name, check_pool(pool)
    last = list(pool.stocks.values())[-1][-1]
    for check in CHECKS.values():
        if last.kind in check.applies_to:
            yield check.name, _first_failing_stock(check, pool.stocks)
    yield POSITIVE_CONTROL, positive_control(last, [check for check in CHECKS.values() if last.kind in check.control])


def _first_failing_stock(check: Check, stocks: Mapping[str, Sequence[Subject]]) -> Finding:
    """What the check finds in the first stock in which it fails; else in the last one that it applies to."""
    every = {
        ticker: _first_failure(check, folds if check.every_fold else [folds[-1]]) for ticker, folds in stocks.items()
    }
    failed = [ticker for ticker, found in every.items() if found.passed is False]
    passed = [ticker for ticker, found in every.items() if found.passed]
    ticker = [*every, *passed, *failed[:1]][-1]
    where = f"{ticker} ({len(failed)} of {len(every)} stocks)" if failed else f"in {len(passed)} of {len(every)} stocks"
    shown = where if failed or not passed else f"{where}; {ticker}"
    return replace(every[ticker], evidence=f"{shown}: {every[ticker].evidence}")


def _first_failure(check: Check, folds: Sequence[Subject]) -> Finding:
    """What the check finds in the first fold in which it fails; else in the last one."""
    for number, fold in enumerate(folds):
        found = check.function(fold)
        if len(folds) > 1:
            found = replace(found, evidence=f"fold {number}: {found.evidence}")
        if found.passed is False:
            break
    return found


def positive_control(subject: Subject, checks: Iterable[Check]) -> Finding:
    """With the target among the features, each of the checks fails; else the audit cannot be trusted."""
    found = {check.name: check.function(subject.with_future()) for check in checks}
    blind = [name for name, finding in found.items() if finding.passed]
    if blind:
        return Finding(
            False,
            f"with the future among the features, nothing is seen by: {', '.join(blind)}",
            "the audit cannot see leaks in these data: do not trust what it passes",
        )
    failed = [name for name, finding in found.items() if finding.passed is False]
    if not failed:
        return Finding(None, "too few samples")
    return Finding(True, f"with the future among the features these fail, as they must: {', '.join(failed)}")


CHECKS = {
    check.name: check
    for check in (
        Check("target in the window", target_in_window, _ARRAYS),
        Check("split by time", order_of_time, _ARRAYS),
        Check("scaler of the arrays", scaler_of_arrays, _ARRAYS),
        Check("train targets before test", targets_apart, _ARRAYS),
        Check("scrambled future", scrambled_future, _BOTH, every_fold=True, control=_BARS),
        Check("prefix of features", prefix, _BARS, control=_BARS),
        Check("scaler on train only", scaler_on_train, _BOTH, every_fold=True),
        Check("splits apart in time", splits_apart, _BARS, every_fold=True),
        Check("ramp", ramp, _BARS),
        Check("null data", null_data, _BARS),
        Check("features and next day", next_day, _BARS, every_fold=True),
        Check("features against target", feature_and_target, _BOTH, every_fold=True, control=_BOTH),
        Check("score of ridge", ridge_r2, _BOTH, every_fold=True),
    )
}
"""Every check by its name, in the order in which they are run: adding one is one entry."""

POOL_CHECKS: dict[str, Callable[[PoolSubject], Finding]] = {
    "pool: rows of stocks": pool_checks.rows_of_stocks,
    "pool: comparisons": pool_checks.comparisons,
    "pool: splits apart": pool_checks.splits_by_day,
    "pool: scaler on train": pool_checks.scaler_on_train,
    "pool: next day": pool_checks.next_day,
}
"""Checks of what joins several stocks, by name."""
