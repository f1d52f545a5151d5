"""What the benchmarks share: figures and their bounds, and measurements that take turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figure:
    """One measured number and its bound, if it has one."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def cells(self) -> tuple[str, str, str, str]:
        """Benchmark, measured, bound, met or not."""
        value = f"{self.value:{'d' if isinstance(self.value, int) else '.2f'}}"
        measured = f"{value} {self.unit}{f' ({self.note})' if self.note else ''}"
        if self.most is None and self.least is None:
            return self.name, measured, "", ""
        bound = f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"
        return self.name, measured, f"{bound} {self.unit}", "met" if self.met else "not met"


@dataclass(frozen=True)
class Breakdown:
    """The parts of a measured number; it has no bound."""

    name: str
    unit: str
    parts: Mapping[str, float]

    def header(self) -> tuple[str, str, str]:
        """The columns: name, unit, share."""
        return self.name, self.unit, "share"

    def rows(self) -> list[tuple[str, str, str]]:
        """A row for each part, and the whole."""
        whole = sum(self.parts.values())
        return [
            (part, f"{value:.1f}", f"{value / whole:.0%}") for part, value in {**self.parts, "whole": whole}.items()
        ]


@dataclass(frozen=True)
class Grid:
    """Measured numbers side by side, a row for each thing that was measured. Their bounds are those of Figures."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def in_turn(rounds: int, *measures: Callable[[], float]) -> list[list[float]]:
    """The values of each measure in each round, after a first round that does not count.

    The measures take turns, so that whatever slows the machine down for a while slows all of them down.
    """
    found = [[measure() for measure in measures] for _ in range(rounds + 1)]
    return [list(values) for values in zip(*found[1:], strict=True)]


def seconds_of(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def python(*arguments: str, cwd: str, status: int = 0) -> str:
    """A fresh Python process that finds the repository's modules, which must end with that status; its output."""
    command, env = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if ended.returncode != status:
        raise RuntimeError(f"python {' '.join(arguments)}: ended with status {ended.returncode}\n{ended.stderr}")
    return ended.stdout
