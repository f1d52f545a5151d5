"""The tests of significance and the verdict find skill where there is some, and none where there is none.

    python tests/campaigns/significance.py [--null-seeds 1000]

The forecasts are those of the ridge regression that every run has among its baselines. They are evaluated like the
forecasts of a run's model, against the other baselines; stock=AAPL, horizon 1. `--write` writes the rates into
stockml/evaluation/README.md.

- data.signal=null, 2,520 days (492 of them test), data seeds 0, 1, …: at a nominal 5 %, Diebold–Mariano rejects luck in
  at most 5 %, against zero and against the best baseline; Clark–West in 3 to 13 %; the verdict is "shown" in at most
  5 %. The drift is set to 0, as in oracle.py: 12 % a year is a signal of its own, which the ridge's intercept finds.
- data.signal=strong, 60,000 days, data seeds 0 to 19: the verdict is "shown" in at least 80 %.

The exit status is 1 where one of these fails. It takes about three minutes of one core.

verdicts.py simulates drifts, longer horizons, walk-forward and pools.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.compose import compose
from stockml.data.batches import Batches
from stockml.data.dataset import prepare
from stockml.evaluation import baselines, predictions
from stockml.evaluation.multiple_testing import LEVEL
from stockml.evaluation.significance import Outcome, squared_error
from stockml.evaluation.verdict import Assessment, Skill, assess, skill
from tests.markdown import ROOT, table, write_table

NULL = ("data.signal=null", "data.days=2520", "stock.simulator.drift_percent=0")
STRONG = ("data.signal=strong", "data.days=60000")
README = ROOT / "stockml/evaluation/README.md"


def ridge_assessed(*overrides: str) -> Assessment:
    """The assessment of the ridge baseline of a run with these overrides, as if it were the run's model."""
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
    """The share in which Diebold–Mariano rejects luck against zero, at a nominal 5 %."""
    diebold_mariano_best: float
    """The same against the best baseline."""
    clark_west_zero: float
    clark_west_best: float
    pesaran_timmermann: float
    skill: dict[Skill, float]


def rates(assessments: Sequence[Assessment]) -> Rates:
    """How often each test rejects, and how often each skill is found."""

    def rejecting(outcomes: Sequence[Outcome]) -> float:
        return sum(o.p_value is not None and o.p_value < LEVEL for o in outcomes) / len(outcomes)

    zero, best = [a.against_zero for a in assessments], [a.against[a.best] for a in assessments]
    return Rates(
        rejecting([c.diebold_mariano for c in zero]),
        rejecting([c.diebold_mariano for c in best]),
        rejecting([c.clark_west for c in zero]),
        rejecting([c.clark_west for c in best]),
        rejecting([a.pesaran_timmermann for a in assessments]),
        {word: count / len(assessments) for word, count in Counter(map(skill, assessments)).items()},
    )


def measured(seeds: int, *overrides: str) -> Rates:
    """The rates over data seeds 0, 1, …, which are printed too."""
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


def rates_table(null: Rates, strong: Rates) -> str:
    """A row for each test and for the verdict, a column for each kind of data."""

    def row(name: str, share: str) -> tuple[str, ...]:
        cells = ([getattr(found, f"{share}_zero"), getattr(found, f"{share}_best")] for found in (null, strong))
        return name, *(" / ".join(f"{value:.1%}" for value in pair) for pair in cells)

    shown = [f"{found.skill.get('shown', 0):.1%}" for found in (null, strong)]
    rows = [row("Diebold–Mariano", "diebold_mariano"), row("Clark–West", "clark_west"), ("verdict `shown`", *shown)]
    return table(("rejects luck against zero / the best baseline", "no signal", "strong signal"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the rates; 1 where one is out of its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--null-seeds", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="write the rates into the README")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    null, strong = measured(asked.null_seeds, *NULL), measured(20, *STRONG)
    if asked.write:
        write_table(README, "significance", rates_table(null, strong))
    requirements = {
        "Diebold–Mariano rejects at most 5 % on null data": max(null.diebold_mariano_zero, null.diebold_mariano_best)
        <= 0.05,
        "Clark–West rejects 3 to 13 % on null data": all(
            0.03 <= rate <= 0.13 for rate in (null.clark_west_zero, null.clark_west_best)
        ),
        "skill is shown in at most 5 % of null data": null.skill.get("shown", 0) <= 0.05,
        "a strong signal's skill is shown in at least 80 %": strong.skill.get("shown", 0) >= 0.8,
    }
    for requirement, met in requirements.items():
        print(f"{'ok    ' if met else 'BROKEN'} {requirement}")
    return 0 if all(requirements.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
