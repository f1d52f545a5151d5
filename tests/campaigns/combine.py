"""How often skill is said of a combination of runs that were chosen on validation, where there is nothing to find.

    python tests/campaigns/combine.py [--seeds 200] [--file multirun/combine.json]

data.signal=null, 2,520 days with the default drift, data seeds 0, 1, …; for each the 20 jobs of a sweep: ridge, linear
and mlp_flat (two seeds each) on windows of 5, 10, 20 and 40 days. The 5 that are best on validation are combined as
task=combine does it, by their mean and by ridge weights; 1 and 5 days ahead. Skill is shown in at most 2.5 % of the
seeds of each; beyond that by at most 2 standard errors of their number. The exit status is 1 where it does not hold.

What is done is kept in the file, and the same command continues with what is missing. It takes minutes of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.compose import compose
from stockml.config.root import Config
from stockml.data.batches import Batches
from stockml.data.dataset import prepare
from stockml.data.sources.simulated import SimulatedConfig
from stockml.evaluation import combination, predictions
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.predictions import Predictions
from stockml.reporting.job_ranking import ranked_on_validation
from stockml.tasks import fold_training
from stockml.training import hardware

SETTINGS = ("data.signal=null", "data.days=2520", "data.test_start=2007-09-03", "hardware=cpu")
STEPS = ("trainer.epochs=5", "trainer.batch_size=256", "trainer.lr=5e-3")
WINDOWS = (5, 10, 20, 40)
MODELS = (("ridge", 0), ("linear", 0), ("linear", 1), ("mlp_flat", 0), ("mlp_flat", 1))
BEST, HORIZONS, WEIGHTS, MOST_SHOWN = 5, (1, 5), ("mean", "ridge"), 0.025


@functools.cache
def _composed(model: str) -> Config:
    return compose(*SETTINGS, *(() if model == "ridge" else STEPS), f"model={model}")


def jobs(data_seed: int, horizon: int) -> Iterator[dict[str, Predictions]]:
    """The predictions of each job of the sweep."""
    for window in WINDOWS:

        def config_of(model: str, seed: int, window: int = window) -> Config:
            config = _composed(model)
            assert isinstance(config.data, SimulatedConfig)
            data = replace(config.data, seed=data_seed, window=window, horizon=horizon)
            return replace(config, seed=seed, data=data)

        config = config_of(*MODELS[0])
        data, chosen = prepare(config), hardware.choose(config.hardware)
        with contextlib.closing(Batches(data.panel, data.scaler, chosen.device, chosen.dtype)) as batches:
            samples = fold_training.samples_of(data, batches)
            for model, seed in MODELS:
                own = config_of(model, seed)
                module = fold_training.fresh_model(own, data, chosen.dtype)
                fold_training.trainer_for(own, chosen).fit(module, samples, lambda _state: None, None)
                forecasts = fold_training.forecasts_of(module, batches, data, chosen)
                yield predictions.collect(data, batches, forecasts, model)


def skills(data_seed: int, horizon: int) -> dict[str, str]:
    """The skill of the combination of the best jobs, by how they are weighted."""
    found = list(jobs(data_seed, horizon))
    validation = [of["validation"] for of in found]
    rows: list[dict[str, Any]] = [{"job": n, "val_r2": of.scores(of.model)["r2"]} for n, of in enumerate(validation)]
    best = [found[row["job"]] for row in ranked_on_validation(rows)[:BEST]]
    each = {split: combination.common([of[split] for of in best]) for split in ("validation", "test")}
    weights = {"mean": [1 / BEST] * BEST, "ridge": combination.ridge_weights(each["validation"], horizon).tolist()}
    return {
        name: evaluate({s: combination.combined(of, own) for s, of in each.items()}, horizon, synthetic=True)["skill"]
        for name, own in weights.items()
    }


def measured(seeds: int, file: Path | None = None) -> dict[str, Counter[str]]:
    """By horizon and weights, how often each skill is found over data seeds 0, 1, …; what the file has is kept."""
    torch.set_num_threads(1)
    kept: dict[str, dict[str, str]] = json.loads(file.read_text()) if file and file.exists() else {}
    for seed, horizon in itertools.product(range(seeds), HORIZONS):
        if (key := f"seed {seed}, horizon {horizon}") not in kept:
            kept[key] = skills(seed, horizon)
            if file:
                file.with_suffix(".tmp").write_text(json.dumps(kept, indent=1))
                file.with_suffix(".tmp").replace(file)
    return {
        f"horizon {horizon}, {name}": Counter(kept[f"seed {seed}, horizon {horizon}"][name] for seed in range(seeds))
        for horizon, name in itertools.product(HORIZONS, WEIGHTS)
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the rates; 1 where skill is shown too often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--file", type=Path, default=Path("multirun/combine.json"))
    asked = parser.parse_args(arguments)
    most = MOST_SHOWN + 2 * math.sqrt(MOST_SHOWN * (1 - MOST_SHOWN) / asked.seeds)
    found = measured(asked.seeds, asked.file)
    for name, counts in found.items():
        print(f"{name:<18}", ", ".join(f"{skill} {count / asked.seeds:.1%}" for skill, count in counts.most_common()))
    return int(any(counts["shown"] / asked.seeds > most for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
