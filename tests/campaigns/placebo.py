"""Whether the p-values of placebo copies are uniform where nothing can be forecast, and how often they find a signal.

    python tests/campaigns/placebo.py [--searches 200] [--copies 19] [--write]

Each search has simulated bars of its own, with the drift and the clustered volatility of a stock. It fits ten ridge
regressions, two sets of features × five penalties, and chooses one on validation. The copies are `data.placebo`, and
the search is repeated on each, as task=placebo does. Holm: as in a table of a sweep, the largest Diebold–Mariano
p-value against the rivals of the verdict, of the run that is chosen, corrected for all ten.

The exit status is 1 where the ranks of searches without a signal are not uniform (Kolmogorov–Smirnov, p ≤ 0.05; ties of
a rank are broken by chance).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import compose
from stockml.config.root import Config
from stockml.data import dataset
from stockml.evaluation.multiple_testing import holm
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Floats, Target
from stockml.evaluation.verdict import assess, largest_p_value
from tests.markdown import table, write_table

README = Path(__file__).parents[2] / "stockml" / "tasks" / "PLACEBO.md"
SIGNALS = {"none": None, "realistic, about 1 % of variance": "realistic", "strong, about 4 %": "strong"}
PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5)
WINDOW, DAYS = 5, 1500


def search(config: Config) -> tuple[float, float]:
    """The R² on test of the regression that is chosen on validation, and its p-value corrected by Holm."""
    data = dataset.prepare(config)
    windows = np.lib.stride_tricks.sliding_window_view(data.panel.values, WINDOW, axis=0)
    rows = data.split.by_name()
    y = {name: data.panel.target[of] for name, of in rows.items()}
    train_mean = y["train"].mean()
    found: list[tuple[float, Floats]] = []
    for columns in (slice(3, 4), slice(None)):  # the close alone; all features
        x = {name: windows[of - WINDOW + 1][:, columns].reshape(len(of), -1).astype(float) for name, of in rows.items()}
        middle = x["train"].mean(axis=0)
        u, s, v = np.linalg.svd(x["train"] - middle, full_matrices=False)
        for penalty in PENALTIES:
            weights = v.T @ (s / (s**2 + penalty) * (u.T @ (y["train"] - train_mean)))
            forecasts = {name: train_mean + (values - middle) @ weights for name, values in x.items()}
            found.append((float(((y["validation"] - forecasts["validation"]) ** 2).mean()), forecasts["test"]))
    chosen = min(range(len(found)), key=lambda number: found[number][0])
    r2 = 1 - ((y["test"] - found[chosen][1]) ** 2).sum() / (y["test"] ** 2).sum()
    return float(r2), holm([_p_value(y["test"], forecasts, train_mean) for _, forecasts in found])[chosen]


def _p_value(y: Floats, forecasts: Floats, train_mean: float) -> float:
    rivals = {"zero": np.zeros(len(y)), "train_mean": np.full(len(y), train_mean)}
    test = Predictions(Target(y, "return"), np.arange(len(y)), None, forecasts, rivals)
    p = largest_p_value(of.diebold_mariano for of in assess(test, "train_mean", 1).against.values())
    return 1.0 if p is None else p


def rank(config: Config, seed: int, copies: int) -> tuple[float, float, float]:
    """The share of random rank, the p-value of the copies, and Holm's, of one search."""

    def of(copy: int | None) -> tuple[float, float]:
        changed: dict[str, Any] = {"seed": seed, "placebo": copy}
        return search(dataclasses.replace(config, data=dataclasses.replace(config.data, **changed)))

    own, by_holm = of(None)
    better = sum(of(1 + copies * seed + number)[0] >= own for number in range(copies))
    p = (1 + better) / (1 + copies)
    return p - np.random.default_rng(seed).random() / (1 + copies), p, by_holm


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--copies", type=int, default=19)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(arguments)
    rows, uniform = [], 1.0
    for name, signal in SIGNALS.items():
        began = time.perf_counter()
        fixed = ("features=bars", f"data.window={WINDOW}", f"data.days={DAYS}", "data.valid_ratio=0.25")
        config = compose.compose(*fixed, f"data.signal={'null' if signal is None else signal}")
        found = np.array([rank(config, seed, asked.copies) for seed in range(asked.searches)])
        p = float(kstest(found[:, 0], "uniform").pvalue)
        uniform = p if signal is None else uniform
        shares = (found[:, 1:] <= 0.05 + 1e-12).mean(axis=0)
        ks = f"{p:.2f}" if signal is None else ""
        rows.append([name, *(f"{share:.1%}" for share in shares), ks])
        print(*rows[-1], f"{time.perf_counter() - began:.0f} s", sep="   ", flush=True)
    if asked.write:
        header = ("signal", "copies: p ≤ 0.05", "Holm: p ≤ 0.05", "ranks uniform: p")
        write_table(README, "placebo", table(header, rows))
    return int(uniform <= 0.05)


if __name__ == "__main__":
    sys.exit(main())
