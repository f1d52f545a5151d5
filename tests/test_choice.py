"""A choice by validation knows nothing of the test: a short sample of `tests/campaigns/choice.py`."""

from __future__ import annotations

import numpy as np
import pytest

from stockml.compose import compose
from stockml.data.dataset import prepare_folds
from tests.campaigns.choice import SPLITS, measured

HISTORIES = 60


@pytest.mark.parametrize("split", SPLITS)
def test_the_best_of_many_on_validation_is_no_better_on_test_where_there_is_nothing_to_find(split: str) -> None:
    mean, error = measured(split, HISTORIES)
    assert mean <= 2 * error


def test_a_choice_by_the_validation_of_all_folds_is_found_out() -> None:
    mean, error = measured("walk_forward", HISTORIES, with_hindsight=True)
    assert mean > 4 * error


@pytest.mark.parametrize("span", ["expanding", "rolling"])
def test_the_validation_that_decides_ends_before_every_test_day_of_every_fold(span: str) -> None:
    folds = prepare_folds(compose("data.days=400", "data.split=walk_forward", f"data.train_span={span}"))
    tests = np.concatenate([fold.split.test for fold in folds])
    assert folds[0].split.validation.max() < tests.min()
    assert np.isin(folds[-1].split.validation, tests).all()  # which is why the last fold's decides nothing
