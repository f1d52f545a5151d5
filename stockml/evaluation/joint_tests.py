"""Tests of many models at once, on their joint daily losses; they need the `arch` package."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping

import numpy as np

from stockml.evaluation.significance import Floats

MISSING = "joint tests of the jobs (SPA, model confidence set) need arch: pip install 'stockml[sweeps]'"
CONFIDENCE_OF_SET = 0.9
"""That of Hansen, Lunde & Nason (2011)."""
_RESAMPLES = 1000


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("arch") is not None


def superior_predictive_ability(gains: Mapping[str, Mapping[str, Floats]], horizon: int, seed: int) -> float:
    """Hansen's (2005) consistent p-value that any model beats its baselines.

    `gains` are by baseline and by model: the baseline's daily losses minus the model's, (D,), of the same days in order
    of time. A model beats its baselines if it beats each, so the largest p-value counts. The bootstrap is stationary
    (Politis & Romano 1994) and seeded, with blocks of `block_days`.
    """
    from arch.bootstrap import SPA

    p_values = [0.0]
    for by_model in gains.values():
        if not by_model:  # none can beat a baseline that all of them repeat
            return 1.0
        losses = -np.column_stack(list(by_model.values()))
        block = block_days(len(losses), horizon)
        test = SPA(np.zeros(len(losses)), losses, block_size=block, reps=_RESAMPLES, seed=seed)
        test.compute()
        p_values.append(float(test.pvalues["consistent"]))
    return max(p_values)


def model_confidence_set(losses: Mapping[str, Floats], horizon: int, seed: int) -> set[str]:
    """The models that cannot be told from the best one: the model confidence set of Hansen, Lunde & Nason (2011).

    `losses` are daily, (D,), of the same targets. The best model is in the set with 90 % probability. Bootstrap as in
    `superior_predictive_ability`. It is the set of `arch.bootstrap.MCS` with method R, without a table of all resamples
    by all pairs of models, which is 1.3 GB for 200 models.
    """
    from arch.bootstrap import StationaryBootstrap

    names, table = list(losses), np.column_stack(list(losses.values()))
    days, models = table.shape
    resampling = StationaryBootstrap(block_days(days, horizon), np.arange(days), seed=seed)
    means = [table[index].mean(0) for (index,), _ in resampling.bootstrap(_RESAMPLES)]
    found = np.subtract.outer(table.mean(0), table.mean(0))
    variances = sum(np.square(np.subtract.outer(mean, mean) - found) for mean in means) / _RESAMPLES
    deviations = np.sqrt(variances + np.eye(models))
    order, statistics = _worst_first(found / deviations)
    below = np.zeros(models - 1)  # by step of elimination, the resamples whose largest statistic is above the one found
    for mean in means:
        resampled = np.abs((np.subtract.outer(mean, mean) - found) / deviations)[np.ix_(order, order)]
        largest = np.maximum.accumulate(np.triu(resampled).max(1)[::-1])[::-1]
        below += statistics < largest[:-1]
    steps = np.flatnonzero(below / _RESAMPLES > 1 - CONFIDENCE_OF_SET)
    return {names[number] for number in order[steps[0] if len(steps) else -1 :]}


def _worst_first(statistics: Floats) -> tuple[list[int], list[float]]:
    """The models in the order of their elimination, and the largest statistic before each; (M, M) of pairs."""
    left, order, largest = np.arange(len(statistics)), [], []
    while len(left) > 1:
        among = statistics[np.ix_(left, left)]
        worst = int(np.argmax(among)) // len(left)
        largest.append(float(among.max()))
        order.append(int(left[worst]))
        left = np.delete(left, worst)
    return [*order, int(left[0])], largest


def block_days(days: int, horizon: int) -> int:
    """Mean length of a block: n^⅓ (Hall, Horowitz & Jing 1995), at least twice the days by which targets overlap."""
    root = float(np.cbrt(days).round(9))  # the cube root of 512 is 8, not 8.000…1
    return max(math.ceil(root), 2 * horizon if horizon > 1 else 1)
