"""The best of many on validation is no better on test than the others, where there is nothing to find.

    python tests/campaigns/choice.py [--histories 400]

data.signal=null without drift, 1,260 days, data seeds 0, 1, …; 20 rules, each a small return up or down by the sign of
a column on a day of the window, all of the same size, so that none is better by being smaller. Of every history the
rule that is best on validation is chosen as a sweep chooses its best job, holdout and walk-forward. Over all histories,
its R² on test exceeds the mean of the 20 by no more than two standard errors; the exit status is 1 where it does.

For comparison: chosen by the validation of all folds of a walk-forward, whose days are mostly test days of other folds,
the best is far better than the mean, though there is nothing to find.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.compose import compose
from stockml.config.root import Config
from stockml.data.dataset import Data, prepare_folds
from stockml.evaluation.predictions import Predictions, PredictionsBySplit, concatenate_folds, deciding
from stockml.evaluation.truth import Floats, target
from stockml.reporting.job_ranking import best_on_validation

RULES = 20
_SIZE = 0.1  # of a forecast, in standard deviations of the returns
SETTINGS = ("data.signal=null", "data.days=1260", "stock.simulator.drift_percent=0", "data.window=10")
SPLITS = {"holdout": ("data.split=holdout",), "walk_forward": ("data.split=walk_forward",)}


def excess(config: Config, *, with_hindsight: bool = False) -> float:
    """The R² on test of the rule that is best on validation, minus the mean R² of all rules.

    `with_hindsight`: validation is that of all folds together.
    """
    folds = prepare_folds(config)
    rows: list[dict[str, Any]] = []
    for rule in range(RULES):
        found = [_of_rule(data, rule) for data in folds]
        joined: PredictionsBySplit = concatenate_folds(found) if len(found) > 1 else found[0]
        scored = joined if with_hindsight else deciding(joined)
        validation, test = (scored[split].scores(scored[split].model) for split in ("validation", "test"))
        rows.append({"job": str(rule), "val_r2": validation["r2"], "test_r2": test["r2"]})
    best = best_on_validation(rows)
    assert best is not None
    return float(best["test_r2"]) - statistics.fmean(float(row["test_r2"]) for row in rows)


def _of_rule(data: Data, rule: int) -> dict[str, Predictions]:
    """A rule's forecasts of a fold."""
    column, days_ago = rule % len(data.panel.features), rule // len(data.panel.features)
    sign = 1 if np.random.default_rng(rule).random() < 0.5 else -1

    def predictions(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Predictions:
        signs = np.sign(data.panel.values[rows - days_ago, column].astype(np.float64))
        forecasts: Floats = sign * _SIZE * data.scaler.target_std * signs
        return Predictions(target(data.panel, rows), rows, None, forecasts, {})

    return {split: predictions(rows) for split, rows in data.split.by_name().items() if split != "train"}


def measured(split: str, histories: int, *, with_hindsight: bool = False) -> tuple[float, float]:
    """The mean excess over the histories, and its standard error."""
    found = [
        excess(compose(*SETTINGS, *SPLITS[split], f"data.seed={seed}"), with_hindsight=with_hindsight)
        for seed in range(histories)
    ]
    return statistics.fmean(found), statistics.stdev(found) / len(found) ** 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the excess; 1 where it is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=400)
    asked = parser.parse_args(arguments)
    too_large = False
    for split in SPLITS:
        mean, error = measured(split, asked.histories)
        too_large |= mean > 2 * error
        print(f"{split:<14}{mean:+.3%} ± {error:.3%}", flush=True)
    mean, error = measured("walk_forward", asked.histories, with_hindsight=True)
    print(f"by all folds  {mean:+.3%} ± {error:.3%}")
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
