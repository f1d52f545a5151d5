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
    `superior_predictive_ability`.
    """
    from arch.bootstrap import MCS

    names, table = list(losses), np.column_stack(list(losses.values()))
    block = block_days(len(table), horizon)
    test = MCS(table, size=1 - CONFIDENCE_OF_SET, block_size=block, reps=_RESAMPLES, method="R", seed=seed)
    test.compute()
    return {names[int(number)] for number in np.asarray(test.included, dtype=np.int64).ravel()}


def block_days(days: int, horizon: int) -> int:
    """Mean length of a block: n^⅓ (Hall, Horowitz & Jing 1995), at least twice the days by which targets overlap."""
    root = float(np.cbrt(days).round(9))  # the cube root of 512 is 8, not 8.000…1
    return max(math.ceil(root), 2 * horizon if horizon > 1 else 1)
