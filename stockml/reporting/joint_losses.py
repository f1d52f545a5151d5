"""The jobs of a sweep tested together, on the daily losses and returns that their folders hold."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stockml.errors import RunError, UserError
from stockml.evaluation import baselines, cross_section, joint_tests, overfitting
from stockml.evaluation.portfolio import Market, Portfolio
from stockml.evaluation.predictions import deciding
from stockml.evaluation.significance import Floats, are_same
from stockml.processes import job_pool
from stockml.reporting import predictions_file

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions
    from stockml.runs.folder import RunFolder

MOST_JOBS = 200
"""Of more jobs only the first are tested: what the tests take grows with the square of their number."""


@dataclass(frozen=True)
class _Job:
    """The daily losses of a job on test, and what they are compared with."""

    name: str
    seed: int
    horizon: int
    days: bytes
    """The test days: only jobs with the same ones are tested together."""
    targets: bytes
    """The test targets: only on the same ones is a job's loss compared with another job's."""
    losses: Floats
    gains: Mapping[str, Floats | None]
    """By baseline that knows the drift and no more: its losses minus the job's; None if both forecast the same."""


@dataclass(frozen=True)
class _Trading:
    """What a job's forecasts come to on validation, by which jobs are chosen."""

    name: str
    days: bytes
    returns: Floats
    """Daily, after costs."""
    periods_per_year: float


def columns(folders: Mapping[str, RunFolder], best: str | None = None, trials: int = 0) -> dict[str, dict[str, Any]]:
    """What is found of each job together with the others.

    `spa_p`, the p-value that any job with its test days beats every baseline of the drift, and `in_mcs`, whether it
    cannot be told from the best job on its targets. Of the jobs with its validation days, after costs:
    `val_net_sharpe`, a year's Sharpe ratio; `deflated_sharpe`, and `pbo` of all of them. `best` is the best job on
    validation, `trials` the number of jobs that were begun, where that is more.

    What is missing: jobs whose predictions cannot be read, and those without others to compare with. The seed of the
    bootstrap is the lowest of the jobs' seeds. It is done in a process of its own: what it imports takes 150 MB. Raises
    RunError where that fails.
    """
    if len(folders) < 2:
        return {name: {} for name in folders}
    call = job_pool.Call(
        lambda: functools.partial(_columns, folders, best, trials, tested=joint_tests.available()), Path(os.devnull)
    )
    with contextlib.closing(job_pool.run_each([call], cores=1, at_once=1)) as events:
        (ended,) = (event[1] for event in events if event and event[1])
    if ended.error is not None:
        raise RunError(f"testing the jobs together: {ended.error}")
    found: dict[str, dict[str, Any]] = ended.value
    return found


def _columns(
    folders: Mapping[str, RunFolder], best: str | None, trials: int, *, tested: bool
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {name: {} for name in folders}
    names = list(folders)[:MOST_JOBS]
    if best is not None and best not in names:
        names.append(best)
    read = [job for name in names if (job := _read(name, folders[name])) is not None]
    if tested:
        _test_losses([job for job, _ in read if job is not None], found)
    unread = max(0, trials - len(read))
    for group in _groups((of.days, of) for _, of in read if of is not None):
        returns = np.column_stack([of.returns for of in group])
        deflated = overfitting.deflated_sharpe(returns, len(group) + unread)
        both = {"pbo": overfitting.probability_of_overfitting(returns), "trials": len(group) + unread}
        for of, ratio, own in zip(group, overfitting.sharpe(returns), deflated, strict=True):
            of_year = float(ratio) * of.periods_per_year**0.5
            found[of.name].update(val_net_sharpe=of_year, deflated_sharpe=own, **both)
    return found


def _test_losses(jobs: Sequence[_Job], found: dict[str, dict[str, Any]]) -> None:
    """Add `spa_p` and `in_mcs`."""
    for group in _groups((job.days, job) for job in jobs):
        gains = {
            rival: {job.name: gain for job in group if (gain := job.gains.get(rival)) is not None}
            for rival in group[0].gains
        }
        p = joint_tests.superior_predictive_ability(gains, group[0].horizon, min(job.seed for job in jobs))
        for job in group:
            found[job.name]["spa_p"] = p
    for group in _groups((job.days + job.targets, job) for job in jobs):
        # two jobs with the very same losses are one model to the test
        same = {job.name: next(one.name for one in group if np.array_equal(one.losses, job.losses)) for job in group}
        losses = {job.name: job.losses for job in group if same[job.name] == job.name}
        included = set(losses)
        if len(losses) > 1:
            included = joint_tests.model_confidence_set(losses, group[0].horizon, min(job.seed for job in jobs))
        for job in group:
            found[job.name]["in_mcs"] = same[job.name] in included


_T = TypeVar("_T")


def _groups(keyed: Iterable[tuple[bytes, _T]]) -> list[list[_T]]:
    """The jobs with the same key, where there are several."""
    groups: dict[bytes, list[_T]] = defaultdict(list)
    for key, job in keyed:
        groups[key].append(job)
    return [group for group in groups.values() if len(group) > 1]


def _read(name: str, folder: RunFolder) -> tuple[_Job | None, _Trading | None] | None:
    """A job's losses, none of a sealed test, and its returns, none where it is not valued.

    None where its predictions cannot be read, or are a quantile.
    """
    try:
        metadata, splits = folder.read_json("config.json"), deciding(predictions_file.read(folder))
        metrics = folder.read_json("metrics.json")
        valued = metrics.get("economic") or metrics.get("portfolio") or {"none": ""}
        seed, horizon = int(metadata["config"]["seed"]), max(1, int(metadata["data"]["horizon"]))
        validation, test = splits["validation"], splits.get("test")
    except (UserError, KeyError, TypeError, ValueError):
        return None
    if validation.truth.quantile is not None:
        return None
    of_trading = None if "none" in valued else _traded(name, validation, Portfolio.from_json(valued))
    return None if test is None else _job(name, seed, horizon, test), of_trading


def _job(name: str, seed: int, horizon: int, test: Predictions) -> _Job:
    truth, pooled = test.truth, test.tickers is not None and test.dates is not None
    realised, model = truth.changes(truth.y_true), truth.changes(test.model)
    by_day = cross_section.by_day(test.dates) if pooled and test.dates is not None else np.asarray
    losses = by_day(np.square(realised - model))
    rivals = {
        name: truth.changes(test.baselines[name])
        for name in baselines.drifts(truth.kind, reverts=test.reverts)
        if name in test.baselines
    }
    return _Job(
        name=name,
        seed=seed,
        horizon=horizon,
        days=str(len(losses)).encode() if test.dates is None else np.unique(test.dates).tobytes(),
        targets=realised.tobytes(),
        losses=losses,
        gains={
            rival: None if are_same(realised, model, f) else by_day(np.square(realised - f)) - losses
            for rival, f in rivals.items()
        },
    )


def _traded(name: str, validation: Predictions, how: Portfolio) -> _Trading | None:
    if how.why_none(validation):
        return None
    market = Market(validation, how, validation)  # of a rule in proportion, the scale alone knows these days
    account = market.traded("model")
    days = str(len(account.net)).encode() if account.dates is None else account.dates.tobytes()
    return _Trading(name, days, account.net, market.periods_per_year)
