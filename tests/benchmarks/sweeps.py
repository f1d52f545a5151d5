"""What sweeps cost: seven stocks beside one, a job beside its training and composing, the last of a thousand jobs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, median

import numpy as np

from tests import chromium
from tests.benchmarks.measuring import ROOT, Figure, in_turn, python, seconds_of
from tests.benchmarks.memory import resident_mb

_ROUNDS = 5
_RUN = str(ROOT / "run.py")
_STOCKS = ("AAPL", "AMZN", "JNJ", "JPM", "MSFT", "TSLA", "XOM")
_JOBS = (2, 12)
# The same config groups and the same sweep, with nothing to do.
_EMPTY = f"""
import hydra
hydra.main(version_base="1.3", config_path={str(ROOT / "conf")!r}, config_name="config")(lambda config: 0.0)()
"""


def batch() -> Iterator[Figure]:
    """Seven stocks as arrays of 956 × 60 × 5, default settings, basic launcher."""
    with tempfile.TemporaryDirectory() as folder:
        for number, ticker in enumerate(_STOCKS):
            _save_arrays(Path(folder) / f"{ticker}.npz", np.random.default_rng(number))
        source = ("data=npz", f"data.dir={folder}")
        alone = _timed(folder, _RUN, "report=false", *source, "stock=AAPL")
        together = _timed(folder, _RUN, "-m", "report=false", *source, f"stock={','.join(_STOCKS)}")
        runs, batches = in_turn(_ROUNDS, alone, together)
    note = f"{median(batches):.2f} s against {median(runs):.2f} s"
    ratios = [one / other for one, other in zip(batches, runs, strict=True)]
    yield Figure(
        "seven stocks of (956, 60, 5) arrays in one sweep, over one of them alone",
        median(ratios),
        "×",
        most=2.2,
        note=note,
    )


def overhead() -> Iterator[Figure]:
    """What each further job of a sweep costs, less its training, less each further job of a sweep that does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(_EMPTY)
        numbers = itertools.count()

        def a_job(program: str) -> float:
            few, many = (_timed(folder, program, *_sweep(jobs, next(numbers)))() for jobs in _JOBS)
            return (many - few) / (_JOBS[1] - _JOBS[0])

        jobs, empty = in_turn(_ROUNDS, partial(a_job, _RUN), partial(a_job, str(script)))
        metrics = (json.loads(path.read_text()) for path in Path(folder).glob("sweep*/*/metrics.json"))
        training = fmean(found["timing"]["train_seconds"] for found in metrics)
    value = 1e3 * (median(jobs) - median(empty) - training)
    note = f"{1e3 * median(jobs):.0f} ms, of them training {1e3 * training:.0f}, Hydra {1e3 * median(empty):.0f}"
    yield Figure("a job of a sweep, less its training and Hydra's composing", value, "ms", most=120, note=note)


def many_jobs() -> Iterator[Figure]:
    """A thousand jobs of one epoch: whether they grow dearer, what the sweep's process grows by, and its page."""
    stocks, seeds, hundred = (*_STOCKS, "SP500"), 125, 100
    arguments = ("-m", f"stock={','.join(stocks)}", f"seed=range({seeds})", "trainer.epochs=1", "hydra.sweep.dir=sweep")
    seconds, memory_mb = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen(
            [sys.executable, _RUN, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as sweep:
            assert sweep.stdout is not None
            for line in sweep.stdout:
                if re.match(r"\S+ +ok .*\|", line):
                    seconds.append(_process_seconds(sweep.pid))
                if seconds:
                    with contextlib.suppress(StopIteration):  # it has ended with this line
                        memory_mb.append(resident_mb("VmRSS", sweep.pid))
        page = Path(folder) / "sweep" / "report.html"
        size_mb, shown = page.stat().st_size / 1e6, _seconds_to_show(page)
    jobs = len(seconds)
    first, last = seconds[hundred] - seconds[0], seconds[-1] - seconds[-1 - hundred]
    note = f"{1e3 * last / hundred:.0f} ms a job against {1e3 * first / hundred:.0f}"
    yield Figure(
        f"process time of the last {hundred} of {jobs:,} jobs, over the first {hundred}",
        last / first,
        "×",
        most=1.1,
        note=note,
    )
    growth_mb = max(memory_mb) - memory_mb[0]
    yield Figure(f"memory that the process of a sweep of {jobs:,} jobs grows by", growth_mb, "MB", most=50)
    yield Figure(f"size of the page of a sweep of {jobs:,} jobs", size_mb, "MB", most=5)
    if shown is not None:
        yield Figure(f"showing the page of a sweep of {jobs:,} jobs in Chromium", shown, "s", most=3)


def _process_seconds(process: int) -> float:
    """User and system time of a process and of its children that have ended; from Linux's /proc."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _seconds_to_show(page: Path) -> float | None:
    """From opening a page until it is painted; None without a browser."""
    if (path := chromium.path()) is None:
        return None
    painted = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    with chromium.started(path) as browser:
        tab = browser.new_page()
        return seconds_of(lambda: (tab.goto(page.as_uri()), tab.evaluate(painted)))


def _sweep(jobs: int, number: int) -> tuple[str, ...]:
    return "-m", "report=false", f"seed=range({jobs})", f"hydra.sweep.dir=sweep{number}"


def _save_arrays(path: Path, rng: np.random.Generator) -> None:
    x_train, x_test = (rng.standard_normal((n, 60, 5)) for n in (956, 239))
    y_train, y_test = (rng.integers(0, 2, n) for n in (956, 239))
    np.savez(path, X_train=x_train, y_train=y_train, X_test=x_test, y_test=y_test)


def _timed(folder: str, *arguments: str) -> Callable[[], float]:
    return partial(seconds_of, partial(python, *arguments, cwd=folder))
