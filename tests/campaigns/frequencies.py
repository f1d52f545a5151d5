"""Every frequency in every mode, by the commands that a user types: none fails, and the next bars are dated right.

Names of frequencies choose among them. What is done is in the folder's results.txt, and is not done again.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.forking import Forker
from tests.tasks.test_frequencies import FREQUENCIES, QUICK, write

_POOL = ("data.tickers=all",)
_FOLDS = ("data.split=walk_forward", "data.folds=3")
_MODES = {
    "single": (),
    "horizon 5": ("data.horizon=5",),
    "walk-forward": _FOLDS,
    "ensemble": ("trainer.ensemble=3",),
    "ddp": ("trainer=ddp", "trainer.world_size=2"),
    "pool": _POOL,
    "pool, horizon 5": (*_POOL, "data.horizon=5"),
    "mapped": (*_POOL, "data.memory_limit=0"),
    "mapped, walk-forward, ensemble": (*_POOL, *_FOLDS, "data.memory_limit=0", "trainer.ensemble=2"),
    "mapped, ddp": (*_POOL, "data.memory_limit=0", "trainer=ddp", "trainer.world_size=2"),
}


def _commands(folder: Path, bars: list[str], new: list[str], mode: tuple[str, ...]) -> Iterator[list[str]]:
    typed, run, sweep = [*bars, *QUICK, *mode], f"run={folder / 'run'}", folder / "sweep"
    yield [*typed, f"hydra.run.dir={folder / 'run'}"]
    for task in ("predict", "evaluate", "reproduce", "explain", "report", "placebo", "looks"):
        yield [f"task={task}", run, *(["placebo.copies=2"] if task == "placebo" else [])]
    yield ["task=evaluate", run, "portfolio.rule=proportional"]
    yield ["task=evaluate", run, *new]
    yield ["task=update", run, *new, f"hydra.run.dir={folder / 'updated'}", "report=true"]
    yield ["task=evaluate", f"run={folder / 'updated'}"]
    yield from (["task=audit", *typed], ["task=features", *typed], ["task=doctor", *typed])
    yield ["-m", *typed, "seed=0,1", f"hydra.sweep.dir={sweep}"]
    yield ["task=combine", f"runs=[{sweep / 'seed_0'},{sweep / 'seed_1'}]", f"hydra.run.dir={folder / 'combined'}"]
    yield ["task=predict", f"run={folder / 'combined'}"]
    yield [*typed, "test=sealed", f"hydra.run.dir={folder / 'sealed'}"]
    yield ["task=unseal", f"run={folder / 'sealed'}"]


def _faults(forker: Forker, folder: Path, frequency: str, mode: str) -> Iterator[str]:
    dates = FREQUENCIES[frequency]
    part = len(dates) * 4 // 5 + 2
    bars, new = write(folder / "bars", dates, part), write(folder / "new", dates, len(dates))
    for command in _commands(folder, bars, new, _MODES[mode]):
        done = forker.run(command, folder)
        if done.returncode:
            yield f"{' '.join(command)}: {(done.stderr.splitlines() or [''])[0]}"
    with (folder / "run" / "forecasts.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    wanted = str(dates[part - 1 + (5 if "horizon 5" in mode else 1)])
    if np.datetime64(last["target_date"]) != np.datetime64(wanted):
        yield f"the last forecast is of {last['target_date']}, and the next bar is {wanted}"


def main() -> None:
    """Try them all, and print what went wrong."""
    results = Path(sys.argv[1]) / "results.txt"
    results.parent.mkdir(parents=True, exist_ok=True)
    known = dict(line.split(": ", 1) for line in results.read_text().splitlines()) if results.exists() else {}
    forker, wrong = Forker(), 0
    for frequency in [name for name in FREQUENCIES if not sys.argv[2:] or name in sys.argv[2:]]:
        for mode in _MODES:
            name = f"{frequency} | {mode}"
            if name not in known:
                with tempfile.TemporaryDirectory() as folder:
                    os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
                    known[name] = "; ".join(_faults(forker, Path(folder), frequency, mode)) or "ok"
                with results.open("a") as file:
                    file.write(f"{name}: {known[name]}\n")
            wrong += known[name] != "ok"
            print(f"{name:<60}{known[name]}", flush=True)
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
