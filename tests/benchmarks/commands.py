"""How long commands take, each as a fresh process."""

from __future__ import annotations

import operator
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from stockml.evaluation import economic, factor, where
from stockml.evaluation.portfolio import Portfolio
from stockml.reporting import predictions_file
from stockml.runs.folder import RunFolder
from stockml.tasks import looks, run_metadata
from tests.benchmarks.measuring import ROOT, Figure, in_turn, python, seconds_of

_ROUNDS = 9
_RUN = str(ROOT / "run.py")


def answers() -> Iterator[Figure]:
    """Commands that train nothing, and so need not import torch."""
    commands = {"--help": 0, "--cfg job": 0, "stok=AAPL": 2}
    with tempfile.TemporaryDirectory() as folder:
        timed = (_timed(folder, _RUN, *command.split(), status=status) for command, status in commands.items())
        seconds = in_turn(_ROUNDS, *timed)
    for command, values in zip(commands, seconds, strict=True):
        yield Figure(f"`python run.py {command}`", median(values), "s", most=0.5)


def default_run() -> Iterator[Figure]:
    """A default run without a page, less the time to import torch; and the time that its page takes."""
    with tempfile.TemporaryDirectory() as folder:
        runs, imports, drawn = in_turn(
            _ROUNDS,
            _timed(folder, _RUN, "report=false"),
            _timed(folder, "-c", "import torch"),
            _timed(folder, _RUN),
        )
    note = f"{median(runs):.2f} s against {median(imports):.2f} s"
    difference = median(map(operator.sub, runs, imports))
    yield Figure("`python run.py report=false`, less `import torch`", difference, "s", most=1.0, note=note)
    page = median(map(operator.sub, drawn, runs))
    yield Figure("drawing its page", page, "s", most=1.5)


def value() -> Iterator[Figure]:
    """What economic value, the parts of a result, the factor report and the ledger of looks add to a run."""
    for name, typed in (
        ("a default run", []),
        ("a pool of seven stocks", ["data.tickers=[AAPL,AMZN,JNJ,JPM,MSFT,TSLA,XOM]"]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            python(_RUN, "report=false", "hydra.run.dir=run", *typed, cwd=folder)
            run = RunFolder(Path(folder) / "run")
            metrics, splits = run.read_json("metrics.json"), predictions_file.read(run)
            config, test, horizon = run_metadata.saved_config(run), splits["test"], metrics["significance"]["horizon"]
            seconds = []
            for _ in range(_ROUNDS):
                (Path(folder) / "looks.jsonl").unlink()
                began = time.process_time()
                economic.evaluate(test, Portfolio.of(config, horizon), splits["validation"])
                where.evaluate(test, metrics["best_baseline"], horizon, metrics["skill"])
                factor.evaluate(test, horizon)
                looks.record(metrics, test, config, run)
                seconds.append(time.process_time() - began)
        parts = "process time of economic value, parts, factor report and ledger"
        yield Figure(f"{parts}, which they add to {name}", 1000 * median(seconds), "ms", most=30)


def _timed(folder: str, *arguments: str, status: int = 0) -> Callable[[], float]:
    return partial(seconds_of, partial(python, *arguments, cwd=folder, status=status))
