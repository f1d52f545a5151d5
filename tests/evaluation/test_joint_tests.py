"""The tests of many models at once are those of the arch package, seeded, and know that alike models are alike."""

from __future__ import annotations

import numpy as np
import pytest

from stockml.evaluation import joint_tests
from stockml.evaluation.significance import Floats

pytest.importorskip("arch")


def losses(gain: float, seed: int = 0) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Daily losses of two baselines, and of five models of which the third has lower ones."""
    rng = np.random.default_rng(seed)
    base = np.square(rng.standard_normal(500))
    models = {f"job{k}": base - gain * (k == 2) + 0.1 * rng.standard_normal(500) for k in range(5)}
    return {"zero": base, "train_mean": base + 0.001 * rng.standard_normal(500)}, models


def gains(baselines: dict[str, Floats], models: dict[str, Floats]) -> dict[str, dict[str, Floats]]:
    return {
        rival: {name: rival_loss - loss for name, loss in models.items()} for rival, rival_loss in baselines.items()
    }


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_p_value_that_any_model_is_better_is_that_of_arch_on_the_losses(horizon: int) -> None:
    from arch.bootstrap import SPA

    baselines, models = losses(0.01)
    one = {"zero": baselines["zero"]}
    block = joint_tests.block_days(500, horizon)
    spa = SPA(one["zero"], np.column_stack(list(models.values())), block_size=block, reps=1000, seed=3)
    spa.compute()
    found = joint_tests.superior_predictive_ability(gains(one, models), horizon, 3)
    assert found == pytest.approx(spa.pvalues["consistent"])
    assert joint_tests.superior_predictive_ability(gains(one, models), horizon, 3) == found
    both = joint_tests.superior_predictive_ability(gains(baselines, models), horizon, 3)
    assert both >= found


@pytest.mark.parametrize("seed", range(6))
def test_the_set_of_the_best_models_is_that_of_arch(seed: int) -> None:
    from arch.bootstrap import MCS

    rng = np.random.default_rng(seed)
    days, horizon, base = 60 + 20 * seed, 1 + 4 * (seed % 2), rng.standard_normal(60 + 20 * seed) ** 2
    models = {f"job{k}": base + rng.uniform(0, 0.1) + 0.3 * rng.standard_normal(days) for k in range(2 + 2 * seed)}
    table, block = np.column_stack(list(models.values())), joint_tests.block_days(days, horizon)
    mcs = MCS(table, size=1 - joint_tests.CONFIDENCE_OF_SET, block_size=block, reps=1000, method="R", seed=seed)
    mcs.compute()
    assert joint_tests.model_confidence_set(models, horizon, seed) == {f"job{k}" for k in mcs.included}


def test_a_better_model_is_found_and_told_from_the_others() -> None:
    baselines, models = losses(0.05)
    assert joint_tests.superior_predictive_ability(gains(baselines, models), 1, 0) < 0.01
    assert joint_tests.model_confidence_set(models, 1, 0) == {"job2"}


def test_nothing_is_found_where_no_model_is_better() -> None:
    baselines, models = losses(0.0)
    assert joint_tests.superior_predictive_ability(gains(baselines, models), 1, 0) > 0.05
    assert len(joint_tests.model_confidence_set(models, 1, 0)) >= 4


def test_a_baseline_that_every_model_repeats_is_not_beaten() -> None:
    baselines, models = losses(0.05)
    assert joint_tests.superior_predictive_ability({**gains(baselines, models), "same": {}}, 1, 0) == 1


def test_blocks_grow_with_the_days_and_cover_the_overlap() -> None:
    assert [joint_tests.block_days(n, 1) for n in (1, 8, 9, 512, 1000, 12_000)] == [1, 2, 3, 8, 10, 23]
    assert joint_tests.block_days(500, 5) == 10
