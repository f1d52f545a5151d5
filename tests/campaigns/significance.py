"""That the tests of significance and the verdict find skill where there is some, and none where there is none.

    python tests/campaigns/significance.py [null seeds, default 1000]

The forecasts are those of the ridge regression that every run has among its baselines, judged as a run's model is,
against the other baselines; stock=AAPL, horizon 1.

- data.signal=null, 2,520 days (492 of them test), data seeds 0, 1, …: at a nominal 5 %, Diebold–Mariano rejects luck in
  at most 5 %, against zero and against the best baseline; Clark–West in 3 to 13 %; the verdict is "shown" in at most
  5 %. The drift is set to 0, as in oracle.py: 12 % a year is a signal of its own, which the ridge's intercept finds.
- data.signal=strong, 60,000 days, data seeds 0 to 19: the verdict is "shown" in at least 80 %.

The exit status is 1 where one of these fails. It takes about three minutes of one core.

Figures: every demand is met.

                      null, 1,000 seeds    null, first 200    strong, 20 seeds    against zero / the best baseline
    Diebold–Mariano      2.3 / 3.4 %          3.5 / 5.5 %        85 / 85 %
    Clark–West           5.3 / 5.5 %          6.0 / 6.5 %       100 / 100 %
    verdict "shown"         1.3 %                2.5 %              85 %

With the drift left in (200 seeds): Diebold–Mariano 5.5 / 7.5 %, Clark–West 14.5 / 10 %, "shown" 3.5 %. With horizon=5
and no drift (200 seeds): 2.5 / 4.5 %, 7.5 / 7.0 %, 2.5 %. Where expanding_mean is the best baseline, Diebold–Mariano
rejects about 12 %: that mean follows the returns, so that the difference of the losses is as persistent as the returns'
own sum, and its t is no longer Student's. It is one reason why "shown" asks for zero to be beaten too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stockml.compose import compose
from stockml.data.batches import Batches
from stockml.data.dataset import prepare
from stockml.evaluation import baselines, predictions
from stockml.evaluation.multiple_testing import LEVEL
from stockml.evaluation.significance import Outcome, squared_error
from stockml.evaluation.verdict import Assessment, Skill, assess, skill

NULL = ("data.signal=null", "data.days=2520", "stock.simulator.drift_percent=0")
STRONG = ("data.signal=strong", "data.days=60000")


def ridge_assessed(*overrides: str) -> Assessment:
    """What a run of these overrides would say of its ridge, were that its model."""
    data = prepare(compose("stock=AAPL", *overrides))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    own = baselines.ridge_forecasts(data, batches)
    found = predictions.collect(data, batches, own)
    rivals = set(found["validation"].baselines) - {"ridge"}
    truth, known = found["validation"].truth, found["validation"].baselines
    best = min(filter(baselines.may_be_best, rivals), key=lambda name: squared_error(truth.y_true, known[name]))
    del found["test"].baselines["ridge"]
    return assess(found["test"], best, data.panel.horizon)


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


def measured(seeds: int, *overrides: str) -> Rates:
    """The rates over data seeds 0, 1, …; prints them."""
    assessments = []
    for seed in range(seeds):
        assessments.append(ridge_assessed(*overrides, f"data.seed={seed}"))
        if sys.stdout.isatty():
            print(f"\r{seed + 1} of {seeds} seeds", end="", flush=True)
    found = rates(assessments)
    print(
        f"\r{' '.join(overrides)}, {seeds} seeds; rejected at 5 % against zero / the best baseline:\n"
        f"    Diebold–Mariano    {found.diebold_mariano_zero:.1%} / {found.diebold_mariano_best:.1%}\n"
        f"    Clark–West         {found.clark_west_zero:.1%} / {found.clark_west_best:.1%}\n"
        f"    Pesaran–Timmermann {found.pesaran_timmermann:.1%}\n"
        f"    verdicts           {', '.join(f'{word} {share:.1%}' for word, share in sorted(found.skill.items()))}",
        flush=True,
    )
    return found


def main() -> int:
    """Measure, print; 1 where something is not as it must be."""
    torch.set_num_threads(1)
    null, strong = measured(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, *NULL), measured(20, *STRONG)
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
