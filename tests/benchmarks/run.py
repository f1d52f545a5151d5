"""`python tests/benchmarks/run.py [name …]` measures speed and memory, prints one table, fails where a bound is missed.

The names are those of BENCHMARKS; medians over rounds in which the things compared take turns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.benchmarks.commands import answers, default_run
from tests.benchmarks.distributed import much_to_compute, start_of_ranks, update_of_ranks
from tests.benchmarks.measuring import Breakdown, Figure, Grid
from tests.benchmarks.memory import memory
from tests.benchmarks.models import of_models
from tests.benchmarks.panels import beyond_memory, pooled
from tests.benchmarks.sweeps import batch, overhead
from tests.benchmarks.training import training

BENCHMARKS: dict[str, Callable[[], Iterable[Figure | Breakdown | Grid]]] = {
    "answers": answers,
    "default_run": default_run,
    "training": training,
    "models": of_models,
    "memory": memory,
    "pooled": pooled,
    "beyond_memory": beyond_memory,
    "batch": batch,
    "overhead": overhead,
    "start_of_ranks": start_of_ranks,
    "much_to_compute": much_to_compute,
    "update_of_ranks": update_of_ranks,
}


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all; 0 where every bound is kept."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    found = [result for name in names or BENCHMARKS for result in BENCHMARKS[name]()]
    figures = [result for result in found if isinstance(result, Figure)]
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("benchmark", "measured", "asked for", "", box=SIMPLE)
    for figure in figures:
        table.add_row(*figure.cells())
    console.print(table)
    for breakdown in (result for result in found if isinstance(result, Breakdown)):
        console.print(_breakdown_table(breakdown))
    for grid in (result for result in found if isinstance(result, Grid)):
        console.print(_grid_table(grid))
    return 0 if all(figure.met for figure in figures) else 1


def _breakdown_table(breakdown: Breakdown) -> Table:
    whole = sum(breakdown.parts.values())
    table = Table(breakdown.name, breakdown.unit, "share", box=SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for part, value in {**breakdown.parts, "whole": whole}.items():
        table.add_row(part, f"{value:.1f}", f"{value / whole:.0%}")
    return table


def _grid_table(grid: Grid) -> Table:
    table = Table(box=SIMPLE)
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
