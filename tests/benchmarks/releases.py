"""The process time of runs and sweeps, compared with that of an earlier commit and with that of Lightning."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.measuring import ROOT, Figure, in_turn

_ROUNDS = 5
_COMMANDS = {
    "a default run": ("report=false",),
    "a sweep of 8 stocks × 25 seeds of one epoch": (
        "-m",
        "report=false",
        "trainer.epochs=1",
        "stock=glob(*)",
        "seed=range(25)",
    ),
}
_BEFORE_SHARING = "a574071"  # each job composed its config and read its data by itself
_TEN_EPOCHS = ("-m", "report=false", "data=csv", "trainer.epochs=10", "stock=glob(*)")
_LIGHTNING = ROOT / "tests" / "benchmarks" / "lightning_jobs.py"


def releases(commit: str) -> Iterator[Figure]:
    """User and system time, that of child processes included, of this checkout over that of the commit."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = _checkout(commit, Path(folder))
        for name, typed in _COMMANDS.items():
            scripts = (root / "run.py" for root in (ROOT, earlier))
            now, then = in_turn(_ROUNDS, *(partial(_process_seconds, run, typed, Path(folder)) for run in scripts))
            note = f"{median(now):.2f} s against {median(then):.2f} s"
            yield Figure(f"process time of {name}, over commit {commit}", median(now) / median(then), "×", note=note)


def job_cost() -> Iterator[Figure]:
    """The process time of a job of a sweep of 8 real stocks, over that before jobs shared anything, and Lightning's."""
    bars = Path(os.environ["STOCKML_MARKET"]) / "ohlcv"
    stocks = ",".join(sorted(path.stem for path in bars.glob("*.csv")))
    ours = (*_TEN_EPOCHS, f"data.dir={bars}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        earlier = _checkout(_BEFORE_SHARING, folder) / "run.py"
        few, many = "seed=range(5)", "seed=range(25)"
        now, then = in_turn(1, *(partial(_process_seconds, run, (*ours, many), folder) for run in (_RUN, earlier)))
        note = f"{1e3 * median(now) / 200:.0f} ms against {1e3 * median(then) / 200:.0f} ms"
        title = "process time of a job of a sweep of 8 stocks × 25 seeds of ten epochs"
        yield Figure(f"{title}, over commit {_BEFORE_SHARING}", median(now) / median(then), "×", most=0.4, note=note)
        theirs = ("-m", f"data_dir={bars}", f"stock={stocks}", few)
        now, then = in_turn(
            1,
            partial(_process_seconds, _RUN, (*ours, few), folder),
            partial(_process_seconds, _LIGHTNING, theirs, folder),
        )
        note = f"{1e3 * median(then) / 40:.0f} ms against {1e3 * median(now) / 40:.0f} ms"
        title = "process time of a job with Lightning and Hydra's launcher, over ours: 8 stocks × 5 seeds of ten epochs"
        yield Figure(title, median(then) / median(now), "×", least=4, note=note)


_RUN = ROOT / "run.py"


def _checkout(commit: str, folder: Path) -> Path:
    """A clone of the repository with that commit checked out."""
    clone = folder / "earlier"
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", commit], check=True)
    return clone


_numbers = itertools.count()


def _process_seconds(script: Path, typed: tuple[str, ...], folder: Path) -> float:
    """The process time of a script, in a new folder, with the modules beside it; RuntimeError where it fails."""
    cwd = folder / f"run{next(_numbers)}"
    cwd.mkdir()
    before = _children_seconds()
    ended = subprocess.run(
        [sys.executable, str(script), *typed],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(script.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{script} {' '.join(typed)}: status {ended.returncode}\n{ended.stderr}")
    return _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
