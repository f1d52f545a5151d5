"""A searcher who looks at the same test days again and again finds skill where there is none; the ledger prevents it.

    python tests/campaigns/looks.py [--searches 1000]

Each search is of its own returns, random ones with a drift of Sharpe ratio 0.5: 1,000 days of train and 500 of test, and
20 useless features. The searcher looks 50 times at the test. One look is a regression on some of the features, fitted
on train, and shrunk. `random`: each look has settings of its own. `adaptive`: each look changes those of the best one so
far, by the p-value on test. Counted are the searches in which some look said `shown`, alone and corrected by the ledger
for the looks up to it. The exit status is 1 where the latter are more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.looks import largest_p_value
from stockml.evaluation.metrics import Floats, Target
from stockml.evaluation.predictions import Predictions
from stockml.runs.looks import Ledger, Line, Look
from stockml.tasks.looks import counted

LOOKS, TRAIN, TEST, FEATURES = 50, 1000, 500, 20
_SIGMA = 0.01


@dataclass(frozen=True)
class Settings:
    """What a look tries."""

    chosen: Floats
    """(FEATURES,) of ones and zeros."""
    shrinkage: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Settings:
        """Settings at random."""
        return cls((rng.random(FEATURES) < 0.3).astype(float), float(10 ** rng.uniform(-1, 0)))

    def changed(self, rng: np.random.Generator) -> Settings:
        """Settings with two features in or out, and another shrinkage."""
        chosen = self.chosen.copy()
        other = rng.choice(FEATURES, 2, replace=False)
        chosen[other] = 1 - chosen[other]
        return Settings(chosen, float(np.clip(self.shrinkage * 10 ** rng.uniform(-0.3, 0.3), 0.1, 1)))


def search(seed: int, *, adaptive: bool) -> tuple[bool, bool]:
    """Whether some look of a search said `shown`: alone, and corrected by the ledger."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((TRAIN + TEST, FEATURES))
    r = _SIGMA * (0.5 / np.sqrt(252) + rng.standard_normal(TRAIN + TEST))
    ledger: list[Line] = []
    best: tuple[float, Settings] | None = None
    alone = by_ledger = False
    for number in range(1, LOOKS + 1):
        settings = best[1].changed(rng) if adaptive and best else Settings.drawn(rng)
        look = looked(x, r, settings)
        ledger.append(Line(number, "", look))
        alone |= look.skill == "shown"
        by_ledger |= counted(Ledger(ledger, ()), ledger[-1])["skill"] == "shown"
        p = 1.0 if look.diebold_mariano is None else look.diebold_mariano
        if best is None or p < best[0]:
            best = p, settings
    return alone, by_ledger


def looked(x: Floats, r: Floats, settings: Settings) -> Look:
    """The look at a regression."""
    inputs = np.column_stack([np.ones(TRAIN + TEST), x * settings.chosen])
    weights = np.linalg.lstsq(inputs[:TRAIN], r[:TRAIN], rcond=None)[0]
    weights[1:] *= settings.shrinkage
    known = np.cumsum(r)[TRAIN - 1 : -1] / np.arange(TRAIN, TRAIN + TEST)
    rivals = {"zero": np.zeros(TEST), "train_mean": np.full(TEST, r[:TRAIN].mean()), "expanding_mean": known}
    days = np.datetime64("2020-01-01") + np.arange(TEST)
    test = Predictions(Target(r[TRAIN:], "return"), np.arange(TEST), days, inputs[TRAIN:] @ weights, rivals)
    found = evaluate({"test": test}, 1, synthetic=False, best="train_mean")
    p = [largest_p_value(found["significance"], name) for name in ("diebold_mariano", "clark_west")]
    return Look("", "", str(settings), "", "", ("X",), str(days[0]), str(days[-1]), *p, found["skill"], "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the shares of searches with a look that said `shown`; 1 where the ledger lets too many through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=1000)
    asked = parser.parse_args(arguments)
    worst = 0.0
    print(f"`shown` in {asked.searches:,} searches of {LOOKS} looks   alone   by the ledger")
    for name in ("random", "adaptive"):
        alone, by_ledger = np.mean([search(s, adaptive=name == "adaptive") for s in range(asked.searches)], axis=0)
        worst = max(worst, by_ledger)
        print(f"{name:<12}{alone:.1%}   {by_ledger:.1%}", flush=True)
    return int(worst > 0.05)


if __name__ == "__main__":
    sys.exit(main())
