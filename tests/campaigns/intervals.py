"""How many targets lie in the intervals, in each stock and each year, and how good the intervals are.

    python tests/campaigns/intervals.py simulated
    python tests/campaigns/intervals.py stocks BARS        (a folder with AAPL.csv, …, XOM.csv and SP500.csv)

Each is one sweep of walk-forward runs with 20 folds, an ordinary command, which it prints, in multirun/intervals
(`--folder` names another place). If it was killed, the same command continues with what is missing. Nearly all of the
bars are test: what comes before the first test day, 6 % of the samples, is a year. At the end it prints a table;
`--write` also writes it into stockml/evaluation/INTERVALS.md.

`simulated`: the eight stocks of the simulator, 5,300 days of GARCH returns with t tails each and nothing to forecast.
`stocks`: bars of the eight. The models are `ridge` and `mlp`.

The exit status is 1 unless, for each stock and model and for both levels, 80 % and 95 %:

- coverage is within 2 points of the level over all years, of simulated returns within 1.5;
- coverage is within 6 points of the level in at least 95 % of all stock-years of at least 100 days;
- the interval score is lower than that of intervals of constant width.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from tests.campaigns.model_zoo import sweep
from tests.markdown import ROOT, table, write_table

PAGE = ROOT / "stockml/evaluation/INTERVALS.md"
MODELS = ("ridge", "mlp")
COMMON = (
    "stock=glob(*)",
    f"model={','.join(MODELS)}",
    "data.split=walk_forward",
    "data.folds=20",
    "data.test_ratio=0.94",
)
SWEEPS = {"simulated": (*COMMON, "data.days=5300", "data.signal=null"), "stocks": (*COMMON, "data=csv")}
WITHIN = {"simulated": 0.015, "stocks": 0.02}
WITHIN_YEAR, SHARE_OF_YEARS, DAYS_OF_YEAR = 0.06, 0.95, 100


@dataclass(frozen=True)
class Intervals:
    """What the intervals of one level of a run came to."""

    stock: str
    model: str
    level: float
    coverage: float
    years: tuple[float, ...]
    """The coverage of each year."""
    score: float
    """The interval score over that of intervals of constant width."""

    @property
    def error(self) -> float:
        """How far the coverage is from the level."""
        return abs(self.coverage - self.level)

    @property
    def bad_years(self) -> int:
        """The years whose coverage is too far from the level."""
        return sum(abs(coverage - self.level) > WITHIN_YEAR for coverage in self.years)


def read(folder: Path) -> list[Intervals]:
    """The levels of a finished run."""
    config = json.loads((folder / "config.json").read_text())["config"]
    found = json.loads((folder / "metrics.json").read_text())["intervals"]
    return [
        Intervals(
            config["stock"]["ticker"],
            config["model"]["name"],
            float(name) / 100,
            of["coverage"],
            tuple(year["coverage"] for year in of["by_year"].values() if year["n"] >= DAYS_OF_YEAR),
            of["score"] / of["constant"]["score"],
        )
        for name, of in found.items()
    ]


def found_table(intervals: Sequence[Intervals]) -> str:
    """A row for each model and level: over the stocks, the coverages, the years and the interval scores."""
    rows = []
    for model in dict.fromkeys(of.model for of in intervals):
        for level in dict.fromkeys(of.level for of in intervals):
            same = [of for of in intervals if (of.model, of.level) == (model, level)]
            coverages, scores = [of.coverage for of in same], [of.score for of in same]
            years = sum(len(of.years) for of in same)
            rows.append(
                (
                    f"`{model}`",
                    f"{level:.0%}",
                    f"{min(coverages):.1%} to {max(coverages):.1%}",
                    f"{years - sum(of.bad_years for of in same)} of {years}",
                    f"{fmean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})",
                )
            )
    header = ("model", "level", "coverage of each stock", "stock-years within 6 points", "score over constant width")
    return table(header, rows)


def faults(intervals: Sequence[Intervals], within: float) -> list[str]:
    """The claims of this module that do not hold, a line each."""
    broken = [
        f"{of.stock}, {of.model}: coverage {of.coverage:.1%} of the {of.level:.0%} intervals"
        for of in intervals
        if of.error > within
    ]
    broken += [
        f"{of.stock}, {of.model}: the {of.level:.0%} intervals score {of.score:.3f} times those of constant width"
        for of in intervals
        if of.score >= 1
    ]
    for model, level in dict.fromkeys((of.model, of.level) for of in intervals):
        same = [of for of in intervals if (of.model, of.level) == (model, level)]
        years, bad = sum(len(of.years) for of in same), sum(of.bad_years for of in same)
        if bad > (1 - SHARE_OF_YEARS) * years:
            broken.append(f"{model}: {bad} of {years} stock-years are not within 6 points of {level:.0%}")
    return broken


def of_sweep(folder: Path) -> list[Intervals]:
    """All levels of all runs of a sweep."""
    paths: Iterable[Path] = sorted(folder.glob("*/metrics.json"))
    return [of for path in paths for of in read(path.parent)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of the sweep, print and write the table; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SWEEPS)
    parser.add_argument("bars", nargs="?", type=Path, help="stocks: the folder with the CSV files")
    parser.add_argument("--folder", type=Path, default=ROOT / "multirun" / "intervals")
    parser.add_argument("--write", action="store_true", help="write the table into INTERVALS.md")
    asked = parser.parse_args(arguments)
    if asked.what == "stocks" and asked.bars is None:
        parser.error("stocks: name the folder that holds AAPL.csv and the others")
    folder = asked.folder.absolute() / asked.what
    sweep(folder, [*SWEEPS[asked.what], *([f"data.dir={asked.bars.absolute()}"] if asked.bars else [])])
    found = of_sweep(folder)
    broken = faults(found, WITHIN[asked.what])
    print("\n".join(["", found_table(found), *broken]))
    if asked.write:
        write_table(PAGE, f"intervals_{asked.what}", found_table(found))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
