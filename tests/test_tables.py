"""Tables of figures: each is written between its marks in a README, by the command that measures it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.benchmarks import run
from tests.benchmarks.measuring import Breakdown, Figure, Grid
from tests.campaigns import (
    audits,
    economic,
    example_run,
    factors,
    feature_sets,
    intervals,
    looks,
    model_zoo,
    placebo,
    significance,
    verdicts,
)
from tests.markdown import readmes, table, update_rows, write_table, written_table

WRITTEN = {
    (run.README, "speed"),
    (run.README, "step"),
    (run.README, "models"),
    (significance.README, "significance"),
    *((verdicts.README, name) for name in ("verdicts", "sizes", "power")),
    (audits.README, "audits"),
    *((factors.README, name) for name in factors.TABLES),
    *((feature_sets.README, name) for name in feature_sets.TABLES),
    (example_run.README, "run"),
    (looks.README, "looks"),
    (placebo.README, "placebo"),
    *((economic.PAGE, f"economic_{what}") for what in ("null", "stocks")),
    *((intervals.PAGE, f"intervals_{what}") for what in ("simulated", "stocks")),
    *((path, name) for name, path in model_zoo.READMES.items()),
}
"""Every table that a command writes."""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(
        "before\n\n<!-- table:one -->\n| a | b |\n| --- | --- |\n| x | 1 |\n| y | 2 |\n<!-- /table -->\nafter\n"
    )
    return path


def test_a_table_is_replaced_and_nothing_else(readme: Path) -> None:
    write_table(readme, "one", table(["c"], [["z"]]))
    assert readme.read_text() == "before\n\n<!-- table:one -->\n| c |\n| --- |\n| z |\n<!-- /table -->\nafter\n"
    write_table(readme, "one", "again")
    assert written_table(readme, "one") == "again"


def test_rows_are_replaced_by_their_first_cell_and_others_stay(readme: Path) -> None:
    update_rows(readme, "one", ["a", "b"], [["y", 3], ["z", 4]])
    assert written_table(readme, "one") == table(["a", "b"], [["x", 1], ["y", 3], ["z", 4]])


@pytest.mark.parametrize("name", ["two", "twice"])
def test_a_table_without_marks_of_its_own_is_refused(readme: Path, name: str) -> None:
    readme.write_text(
        readme.read_text() + "<!-- table:twice -->\n<!-- /table -->\n<!-- table:twice -->\n<!-- /table -->\n"
    )
    with pytest.raises(ValueError, match=name):
        write_table(readme, name, "x")


def test_every_table_in_a_readme_is_written_by_a_command() -> None:
    found = set()
    for path in readmes():
        found |= {(path, name) for name in re.findall(r"<!-- table:([a-z_]+) -->", path.read_text(encoding="utf-8"))}
    assert found == WRITTEN
    assert all(written_table(path, name).strip() for path, name in found)


def test_benchmarks_write_figures_row_by_row_and_other_tables_whole(tmp_path: Path) -> None:
    readme = Path(shutil.copy(run.README, tmp_path))
    rows = written_table(readme, "speed").splitlines()
    name = rows[2].split(" | ")[0].strip("| ")
    results: list[run.Result] = [
        Figure(name, 7.0, "s", most=8.0),
        Figure("something else", 2, "models"),
        Breakdown("a training step", "µs", {"forward": 3.0, "rest": 1.0}),
        Grid("models", ["model", "samples/s\nbatch 64"], [["`mlp`", "12"]]),
    ]
    run.write(results, readme)
    expected = [f"| {name} | 7.00 s | ≤ 8 s | met |", *rows[3:], "| something else | 2 models |  |  |"]
    assert written_table(readme, "speed").splitlines()[2:] == expected
    assert "| forward | 3.0 | 75% |" in written_table(readme, "step")
    assert written_table(readme, "models") == table(["model", "samples/s, batch 64"], [["`mlp`", "12"]])


def test_the_example_run_is_shortened_but_keeps_what_it_shows() -> None:
    epochs = [f"epoch {n}/4  train 1" for n in range(1, 5)]
    scores = [line for name in ("model", "zero", "train_mean", "ridge *") for line in (f" {name} validation", "  test")]
    shown = example_run.shortened("\n".join(["data  AAPL", *epochs, *scores, "verdict"])).splitlines()
    assert shown == ["data  AAPL", epochs[0], "…", epochs[3], *scores[:2], "…", *scores[-2:], "verdict"]
