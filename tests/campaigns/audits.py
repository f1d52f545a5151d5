"""The audit raises a false alarm in few histories that hold no leak.

    python tests/campaigns/audits.py [--histories 200]

Simulated bars without a signal, 2,520 days, data seeds 0, 1, …, default settings, at horizons of 1, 5 and 20 days, as
returns and as levels. A history is an alarm where the check of the next day or of the target fails. `--write` writes
the shares into stockml/evaluation/audit/README.md. The exit status is 1 where a share is above 5 %. It takes
minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.compose import compose
from stockml.data.sources.loading import load_bars
from stockml.evaluation.audit.leaks import pipeline
from stockml.evaluation.audit.strength_checks import feature_and_target, next_day
from stockml.evaluation.audit.subject import BarsSubject
from tests.markdown import ROOT, table, write_table

HORIZONS, TRANSFORMS = (1, 5, 20), ("returns", "levels")
README = ROOT / "stockml/evaluation/audit/README.md"


def false_alarms(histories: int, horizon: int, transform: str = "returns") -> float:
    """The share of so many histories without a leak in which a check of the features fails."""
    alarms = 0
    for seed in range(histories):
        settings = (f"data.seed={seed}", f"data.horizon={horizon}", f"data.transform={transform}")
        config = compose("stock=AAPL", "data.signal=null", "data.days=2520", *settings)
        subject = BarsSubject(config, {}, load_bars(config), pipeline())
        alarms += next_day(subject).passed is False or feature_and_target(subject).passed is False
    return alarms / histories


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the shares; 1 where one is above 5 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="write the shares into the README")
    asked = parser.parse_args(arguments)
    shares = {}
    for horizon in HORIZONS:
        for transform in TRANSFORMS:
            shares[horizon, transform] = found = false_alarms(asked.histories, horizon, transform)
            print(f"horizon {horizon}, {transform}: {found:.1%} of {asked.histories} histories", flush=True)
    if asked.write:
        rows = [(str(h), *(f"{shares[h, transform]:.1%}" for transform in TRANSFORMS)) for h in HORIZONS]
        write_table(README, "audits", table(("horizon", *TRANSFORMS), rows))
    return 0 if max(shares.values()) <= 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
