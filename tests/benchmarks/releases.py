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
    """The process time of a job of a sweep of 8 real stocks × 25 seeds, beside an earlier commit and Lightning."""
    bars = Path(os.environ["STOCKML_MARKET"]) / "ohlcv"
    stocks = sorted(path.stem for path in bars.glob("*.csv"))
    jobs = 25 * len(stocks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        typed = (*_TEN_EPOCHS, f"data.dir={bars}", "seed=range(25)")
        ours, earlier, theirs = (
            _process_seconds(script, arguments, folder) / jobs
            for script, arguments in (
                (_RUN, typed),
                (_checkout(_BEFORE_SHARING, folder) / "run.py", typed),
                (_LIGHTNING, ("-m", f"data_dir={bars}", f"stock={','.join(stocks)}", "seed=range(25)")),
            )
        )
    title = f"process time of a job of a sweep of {len(stocks)} stocks × 25 seeds of ten epochs"
    note = f"{1e3 * ours:.0f} ms against {1e3 * earlier:.0f} ms"
    yield Figure(f"{title}, over commit {_BEFORE_SHARING}", ours / earlier, "×", most=0.4, note=note)
    note = f"{1e3 * theirs:.0f} ms against {1e3 * ours:.0f} ms"
    yield Figure(f"{title}: Lightning with Hydra's launcher, over ours", theirs / ours, "×", least=4, note=note)


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
