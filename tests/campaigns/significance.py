"""That the tests of significance and the verdict find skill where there is some, and none where there is none.

    python tests/campaigns/significance.py

The forecasts are those of the ridge regression that every run has among its baselines, judged as a run's model is,
against the other baselines; stock=AAPL, horizon 1.

- data.signal=null, 2,520 days (492 of them test), data seeds 0 to 199: at a nominal 5 %, Diebold–Mariano rejects luck
  in at most 5 % of them, against zero and against the best baseline; Clark–West in 3 to 13 %; the verdict is "shown" in
  at most 5 %.
- data.signal=strong, 60,000 days, data seeds 0 to 19: the verdict is "shown" in at least 80 %.

The exit status is 1 where one of these fails. It takes about FIXME minutes of one core.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from stockml.compose import compose
from stockml.data import prepare
from stockml.data.batches import Batches
from stockml.evaluation import forecasts
from stockml.evaluation.corrections import LEVEL
from stockml.evaluation.significance import Outcome
from stockml.evaluation.verdict import Assessment, Skill, assess, skill


def ridge_assessed(signal: str, days: int, seed: int, horizon: int = 1) -> Assessment:
    """What a run whose model is the ridge would say of it."""
    history = ("stock=AAPL", f"data.signal={signal}", f"data.days={days}", f"data.seed={seed}")
    data = prepare(compose(*history, f"data.horizon={horizon}"))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    unused = {part: data.panel.target[rows] for part, rows in data.split.parts().items()}
    found = {
        part: replace(scored, model=scored.baselines.pop("ridge"))
        for part, scored in forecasts.of(data, batches, unused).items()
    }
    best = forecasts.judged(found, synthetic=True)["best_baseline"]
    return assess(found["test"], best, horizon)


@dataclass(frozen=True)
class Rates:
    """Shares of assessments."""

    diebold_mariano_zero: float
    """… that reject luck against zero, at a nominal 5 %."""
    diebold_mariano_best: float
    """… against the best baseline."""
    clark_west_zero: float
    clark_west_best: float
    pesaran_timmermann: float
    skill: dict[Skill, float]


def rates(assessments: Sequence[Assessment]) -> Rates:
    """How often each test rejects, and each word is said."""

    def rejecting(outcomes: Sequence[Outcome]) -> float:
        return sum(o.p_value is not None and o.p_value < LEVEL for o in outcomes) / len(outcomes)

    zero, best = [a.against[a.zero] for a in assessments], [a.against[a.best] for a in assessments]
    return Rates(
        rejecting([c.diebold_mariano for c in zero]),
        rejecting([c.diebold_mariano for c in best]),
        rejecting([c.clark_west for c in zero]),
        rejecting([c.clark_west for c in best]),
        rejecting([a.pesaran_timmermann for a in assessments]),
        {word: count / len(assessments) for word, count in Counter(map(skill, assessments)).items()},
    )


def measured(signal: str, days: int, seeds: int, horizon: int = 1) -> Rates:
    """The rates over data seeds 0, 1, …; prints them."""
    assessments = []
    for seed in range(seeds):
        assessments.append(ridge_assessed(signal, days, seed, horizon))
        if sys.stdout.isatty():
            print(f"\r{signal}: {seed + 1} of {seeds}", end="", flush=True)
    found = rates(assessments)
    print(
        f"\r{signal}, {days:,} days, {seeds} seeds, horizon {horizon}; nominal 5 %, against zero / the best baseline:\n"
        f"    Diebold–Mariano    {found.diebold_mariano_zero:.1%} / {found.diebold_mariano_best:.1%}\n"
        f"    Clark–West         {found.clark_west_zero:.1%} / {found.clark_west_best:.1%}\n"
        f"    Pesaran–Timmermann {found.pesaran_timmermann:.1%}\n"
        f"    verdicts           {', '.join(f'{word} {share:.1%}' for word, share in sorted(found.skill.items()))}",
        flush=True,
    )
    return found


def main() -> int:
    """Measure, print; 1 where something is not as it must be."""
    null, strong = measured("null", 2520, 200), measured("strong", 60_000, 20)
    demands = {
        "Diebold–Mariano rejects at most 5 % on null data": max(null.diebold_mariano_zero, null.diebold_mariano_best)
        <= 0.05,
        "Clark–West rejects 3 to 13 % on null data": all(
            0.03 <= rate <= 0.13 for rate in (null.clark_west_zero, null.clark_west_best)
        ),
        "skill is shown in at most 5 % of null data": null.skill.get("shown", 0) <= 0.05,
        "a strong signal's skill is shown in at least 80 %": strong.skill.get("shown", 0) >= 0.8,
    }
    for demand, met in demands.items():
        print(f"{'ok    ' if met else 'BROKEN'} {demand}")
    return 0 if all(demands.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
