"""Speed and memory, measured: medians over rounds in which the things that are compared take turns.

    python tests/benchmarks/run.py [NAME …]
    python tests/benchmarks/run.py [NAME …] --write
    python tests/benchmarks/run.py releases --against COMMIT

NAME is one of BENCHMARKS; without any, all of them run. The results are printed as tables; `--write` also writes them
into tests/benchmarks/README.md. `releases` compares the process time of this checkout with that of an earlier commit.
The exit status is 1 where a bound is not met.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.benchmarks.commands import answers, default_run, value
from tests.benchmarks.distributed import much_to_compute, start_of_ranks, update_of_ranks
from tests.benchmarks.measuring import Breakdown, Figure, Grid
from tests.benchmarks.memory import memory
from tests.benchmarks.models import of_models
from tests.benchmarks.panels import beyond_memory, factors, pooled
from tests.benchmarks.releases import job_cost, releases
from tests.benchmarks.sweeps import batch, many_jobs, overhead
from tests.benchmarks.training import training
from tests.benchmarks.trees import trees
from tests.markdown import table, update_rows, write_table

Result = Figure | Breakdown | Grid

BENCHMARKS: dict[str, Callable[[], Iterable[Result]]] = {
    "answers": answers,
    "default_run": default_run,
    "value": value,
    "training": training,
    "models": of_models,
    "memory": memory,
    "pooled": pooled,
    "factors": factors,
    "trees": trees,
    "beyond_memory": beyond_memory,
    "batch": batch,
    "overhead": overhead,
    "job_cost": job_cost,
    "many_jobs": many_jobs,
    "start_of_ranks": start_of_ranks,
    "much_to_compute": much_to_compute,
    "update_of_ranks": update_of_ranks,
}
README = Path(__file__).parent / "README.md"
_FIGURE_COLUMNS = "benchmark", "measured", "bound", ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, or all; 0 where every bound is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*BENCHMARKS, "releases"]))
    parser.add_argument("--against", metavar="COMMIT", help="releases: the commit to compare with")
    parser.add_argument("--write", action="store_true", help="write the results into the tables of the README")
    asked = parser.parse_args(arguments)
    known = dict(BENCHMARKS)
    if asked.against:
        known["releases"] = partial(releases, asked.against)
    if unknown := [name for name in asked.names if name not in known]:
        hint = "releases needs --against COMMIT" if unknown == ["releases"] else f"there are {', '.join(known)}"
        parser.error(f"no benchmark {', '.join(unknown)}; {hint}")
    found = [result for name in asked.names or known for result in known[name]()]
    show(found)
    if asked.write:
        write(found)
    return 0 if all(result.met for result in found if isinstance(result, Figure)) else 1


def show(results: Sequence[Result]) -> None:
    """Print the results: the figures as one table, then the others."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_console_table(_FIGURE_COLUMNS, [r.cells() for r in results if isinstance(r, Figure)]))
    for result in results:
        if isinstance(result, Breakdown):
            console.print(_console_table(result.header(), result.rows()))
        elif isinstance(result, Grid):
            console.print(_console_table(result.columns, result.rows))


def write(results: Sequence[Result], readme: Path = README) -> None:
    """Write the results into the tables of the README: figures row by row, the others whole."""
    figures = [result.cells() for result in results if isinstance(result, Figure)]
    update_rows(readme, "speed", _FIGURE_COLUMNS, figures)
    for result in results:
        if isinstance(result, Breakdown):
            write_table(readme, "step", table(result.header(), result.rows()))
        elif isinstance(result, Grid):
            columns = [column.replace("\n", ", ") for column in result.columns]
            write_table(readme, result.name, table(columns, result.rows))


def _console_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    found = Table(box=SIMPLE)
    for column in columns:
        found.add_column(column)
    for row in rows:
        found.add_row(*row)
    return found


if __name__ == "__main__":
    sys.exit(main())
