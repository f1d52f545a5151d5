"""What a second rank costs at the start and in each update, and what it gains where there is much to compute."""

from __future__ import annotations

import csv
import json
import operator
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.measuring import ROOT, Figure, in_turn, python, seconds_of

_RUN = str(ROOT / "run.py")
_START_ROUNDS = 9
_PAIRS = 5
_DAYS = "data.days=138950"  # 100,000 samples of train
_HEAVY = ("model=mlp_flat", "model.hidden_dim=1024", "trainer.batch_size=1024", "hardware.threads=1", _DAYS)
_RANKS = ("trainer=ddp", "trainer.world_size=2")


def start_of_ranks() -> Iterator[Figure]:
    """The time of a run of one epoch by two ranks, less that by one process."""
    with tempfile.TemporaryDirectory() as folder:
        typed = ("trainer.epochs=1", "hardware=cpu")
        measures = [
            partial(seconds_of, partial(python, _RUN, "report=false", *typed, *more, cwd=folder))
            for more in ((), _RANKS)
        ]
        single, ranks = in_turn(_START_ROUNDS, *measures)
    note = f"{median(ranks):.2f} s against {median(single):.2f} s"
    yield Figure(
        "a run of one epoch by 2 ranks, less that by one process",
        median(map(operator.sub, ranks, single)),
        "s",
        0.7,
        note=note,
    )


def much_to_compute() -> Iterator[Figure]:
    """Samples per second of two ranks over those of one, with a thread each; two runs at once are the ceiling."""
    one, two, side_by_side = in_turn(
        _PAIRS,
        lambda: sum(_samples_per_second(["trainer=ddp", "trainer.world_size=1"])),
        lambda: sum(_samples_per_second(list(_RANKS))),
        lambda: sum(
            _samples_per_second(["trainer=ddp", "trainer.world_size=1"], ["trainer=ddp", "trainer.world_size=1"])
        ),
    )
    note = f"{median(two):,.0f} against {median(one):,.0f}"
    yield Figure(
        "samples/s of 2 ranks over those of 1: `mlp_flat`, hidden_dim 1,024, batch 1,024 a rank",
        median(map(operator.truediv, two, one)),
        "×",
        least=1.7,
        note=note,
    )
    yield Figure(
        "samples/s of two independent runs at once over those of 1 (the ceiling)",
        median(map(operator.truediv, side_by_side, one)),
        "×",
    )


def update_of_ranks() -> Iterator[Figure]:
    """The time of an update of the default model by two ranks over that by one process, at the same global batch."""
    for batch in (64, 512, 4096):
        single, ranks = in_turn(
            3,
            partial(_update_microseconds, batch, f"trainer.batch_size={batch}"),
            partial(_update_microseconds, batch, *_RANKS, f"trainer.global_batch_size={batch}"),
        )
        note = f"{median(ranks):,.0f} µs against {median(single):,.0f} µs"
        ratio = median(map(operator.truediv, ranks, single))
        yield Figure(
            f"an update of the default model by 2 ranks, over one process: global batch {batch:,}",
            ratio,
            "×",
            note=note,
        )


def _samples_per_second(*runs: list[str]) -> list[float]:
    """Of the second epoch of each of the runs, which are started at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"run{number}" for number in range(len(runs))]
        started = [
            subprocess.Popen(
                [
                    sys.executable,
                    _RUN,
                    "report=false",
                    *_HEAVY,
                    *run,
                    "trainer.epochs=2",
                    "hardware=cpu",
                    f"hydra.run.dir={name}",
                ],
                cwd=folder,
                stdout=subprocess.DEVNULL,
            )
            for name, run in zip(names, runs, strict=True)
        ]
        if any([process.wait() for process in started]):  # noqa: C419  (all of them, before the folder goes)
            raise RuntimeError("a run failed")
        return [_samples(Path(folder) / name) / _second_epoch(Path(folder) / name) for name in names]


def _update_microseconds(batch: int, *typed: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        python(_RUN, "report=false", *typed, _DAYS, "trainer.epochs=2", "hardware=cpu", "hydra.run.dir=run", cwd=folder)
        run = Path(folder) / "run"
        return 1e6 * _second_epoch(run) / -(-_samples(run) // batch)


def _samples(run: Path) -> int:
    samples: int = json.loads((run / "config.json").read_text())["data"]["samples"]["train"]
    return samples


def _second_epoch(run: Path) -> float:
    with (run / "history.csv").open() as file:
        return float(list(csv.DictReader(file))[1]["seconds"])
