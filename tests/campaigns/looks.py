"""Who looks at the same test days again and again finds skill where there is none; how far the ledger of looks helps.

    python tests/campaigns/looks.py [--searches 1000] [--write]
    python tests/campaigns/looks.py kills [KILLS, default 200]

Each search has returns of its own, random ones with a drift of Sharpe ratio 0.5: 1,000 days of train, 500 of test. The
searcher looks 50 times at the test:
`at random`: each look is a regression on 5 of 200 useless features, fitted on train and shrunk.
`adaptive`: each look changes a feature and the shrinkage of the best look so far, by its p-value on test.
`into the test`: each look adds noise to the forecasts of the best one so far, which fits them to the test itself.

Counted are the searches in which some look was `shown`: alone, and corrected for the looks up to it; and those in which
one still is after all looks. The exit status is 1 where more than 5 % of the first two are, once corrected.

`kills`: eight processes append 200 looks each, and none may be lost; then processes are killed amid appends, and the
ledger must stay readable, its chain sound.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.evaluation.predictions import Predictions
from stockml.evaluation.significance import SHOWN_LEVEL
from stockml.evaluation.truth import Floats, Target
from stockml.evaluation.verdict import assess, largest_p_value, skill
from stockml.runs.looks import Ledger, Line, Look, append, read
from stockml.tasks.looks import counted
from tests.markdown import table, write_table

README = Path(__file__).parents[2] / "stockml" / "runs" / "README.md"
LOOKS, TRAIN, TEST, FEATURES, CHOSEN = 50, 1000, 500, 200, 5
SEARCHERS = ("at random", "adaptive", "into the test")
_SIGMA = 0.01
_LOOK = Look("", "", "", "", "", ("X",), "2020-01-01", "2021-05-14", None, None, "not shown", "")


def tried(searcher: str, rng: np.random.Generator, r: Floats) -> Iterator[tuple[Floats, list[float]]]:
    """The forecasts (TEST,) of each look; whoever iterates appends its p-value to the list that comes with them."""
    x = rng.standard_normal((TRAIN + TEST, FEATURES))
    best: tuple[float, NDArray[np.int64], float, Floats] | None = None
    p_values: list[float] = []
    for _ in range(LOOKS):
        chosen, shrinkage = rng.choice(FEATURES, CHOSEN, replace=False), float(10 ** rng.uniform(-1, 0))
        if searcher == "adaptive" and best is not None:
            chosen, shrinkage = best[1].copy(), float(np.clip(best[2] * 10 ** rng.uniform(-0.3, 0.3), 0.1, 1))
            chosen[rng.integers(CHOSEN)] = rng.integers(FEATURES)
        inputs = np.column_stack([np.ones(TRAIN + TEST), x[:, chosen]])
        weights = np.linalg.lstsq(inputs[:TRAIN], r[:TRAIN], rcond=None)[0]
        weights[1:] *= shrinkage
        forecasts: Floats = inputs[TRAIN:] @ weights
        if searcher == "into the test" and best is not None:
            size = best[3].std()
            mixed = best[3] - best[3].mean() + 0.7 * size * rng.standard_normal(TEST)
            forecasts = best[3].mean() + mixed * size / mixed.std()
        yield forecasts, p_values
        if best is None or p_values[-1] < best[0]:
            best = p_values[-1], chosen, shrinkage, forecasts


def search(searcher: str, seed: int) -> tuple[bool, bool, bool]:
    """Whether some look of a search is `shown`: alone, corrected for the looks up to it, and corrected for all."""
    rng = np.random.default_rng(seed)
    r = _SIGMA * (0.5 / np.sqrt(252) + rng.standard_normal(TRAIN + TEST))
    known = np.cumsum(r)[TRAIN - 1 : -1] / np.arange(TRAIN, TRAIN + TEST)
    rivals = {"zero": np.zeros(TEST), "train_mean": np.full(TEST, r[:TRAIN].mean()), "expanding_mean": known}
    lines: list[Line] = []
    alone = corrected = False
    for forecasts, p_values in tried(searcher, rng, r):
        test = Predictions(Target(r[TRAIN:], "return"), np.arange(TEST), None, forecasts, rivals)
        found = assess(test, "train_mean", 1)
        p_values.append(largest_p_value(of.diebold_mariano for of in found.against.values()))
        look = _LOOK._replace(diebold_mariano=p_values[-1], skill=skill(found))
        lines.append(Line(len(lines) + 1, "", look))
        alone |= look.skill == "shown"
        corrected |= counted(Ledger(lines, ()), lines[-1])["skill"] == "shown"
    return alone, corrected, min(p_values) * LOOKS < SHOWN_LEVEL


def measure(searches: int, *, write: bool) -> int:
    """Print the shares of searches that find skill; 1 where too many do in spite of the ledger."""
    header = ("searcher", "`shown` by a look alone", "corrected for the looks so far", "for all 50")
    rows, too_many = [], False
    for name in SEARCHERS:
        shares = np.mean([search(name, seed) for seed in range(searches)], axis=0)
        too_many |= name != "into the test" and shares[1] > 0.05
        rows.append([name, *(f"{value:.1%}" for value in shares)])
        print(*rows[-1], sep="   ", flush=True)
    if write:
        write_table(README, "looks", table(header, rows))
    return int(too_many)


def _appending(path: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        append(path, _LOOK._replace(experiment=str(number)))


def kills(count: int) -> int:
    """Append from many processes, and kill some amid their appends; 1 where a look is lost or the chain broken."""
    random.seed(0)
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        path, incomplete = Path(name) / "looks.jsonl", 0
        processes = [fork.Process(target=_appending, args=(path, 200 * number, 200)) for number in range(8)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        ledger = read(path)
        lost = {str(number) for number in range(1600)} - {line.look.experiment for line in ledger.lines}
        print(f"8 × 200 looks: {len(lost)} lost, {len(ledger.faults)} faults", flush=True)
        path.unlink()
        for number in range(count):
            process = fork.Process(target=_appending, args=(path, number * 10_000, 10_000))
            process.start()
            time.sleep(random.uniform(0, 0.1))
            process.kill()
            process.join()
            ledger = read(path) if path.exists() else Ledger((), ())
            incomplete += ledger.is_cut
            if ledger.faults or lost:
                print(*ledger.faults, sep="\n")
                return 1
        print(f"{count} kills: {len(ledger.lines)} looks, {incomplete} times the last one was incomplete; all sound")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["measure", "kills"], default="measure")
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(arguments)
    return kills(asked.kills) if asked.what == "kills" else measure(asked.searches, write=asked.write)


if __name__ == "__main__":
    sys.exit(main())
