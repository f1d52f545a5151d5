"""The process time of runs and sweeps, compared with that of an earlier commit."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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


def releases(commit: str) -> Iterator[Figure]:
    """User and system time, that of child processes included, of this checkout over that of the commit."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(earlier)], check=True)
        subprocess.run(["git", "-C", str(earlier), "checkout", "--quiet", commit], check=True)
        for name, typed in _COMMANDS.items():
            now, then = in_turn(_ROUNDS, *(_process_seconds(root, typed, Path(folder)) for root in (ROOT, earlier)))
            note = f"{median(now):.2f} s against {median(then):.2f} s"
            yield Figure(f"process time of {name}, over commit {commit}", median(now) / median(then), "×", note=note)


_numbers = itertools.count()


def _process_seconds(root: Path, typed: tuple[str, ...], folder: Path) -> Callable[[], float]:
    return partial(_measure, root, typed, folder)


def _measure(root: Path, typed: tuple[str, ...], folder: Path) -> float:
    """The process time of `python run.py …` of a checkout, in a new folder; RuntimeError where it fails."""
    cwd = folder / f"run{next(_numbers)}"
    cwd.mkdir()
    before = _children_seconds()
    ended = subprocess.run(
        [sys.executable, str(root / "run.py"), *typed],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{root}: run.py {' '.join(typed)}: status {ended.returncode}\n{ended.stderr}")
    return _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
