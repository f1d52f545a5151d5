"""A limit on memory matters only where it decides whether a panel is read from its file: that changes the shuffling."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from stockml import cli, compose
from stockml.data import dataset
from stockml.tasks.same_experiment import DataState
from tests.conftest import Run

POOLED = ("hardware=cpu", "data.tickers=[AAPL,XOM]", "data.days=200", "data.window=5", "trainer.epochs=2")
IN_FILE, IN_MEMORY = "data.memory_limit=0", "data.memory_limit=1"


def test_whether_a_panel_is_read_from_its_file_changes_the_numbers_and_nothing_else_about_the_limit_does(
    run: Run,
) -> None:
    in_memory = run("memory", *POOLED, IN_MEMORY)
    assert run("large limit", *POOLED, "data.memory_limit=3") == in_memory
    assert run("file", *POOLED, IN_FILE) != in_memory


@pytest.mark.parametrize(("made", "asked", "held"), [(IN_MEMORY, IN_FILE, "memory"), (IN_FILE, IN_MEMORY, "file")])
def test_a_limit_that_would_change_the_numbers_is_refused_in_a_line(
    run: Run, made: str, asked: str, held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", *POOLED, made)
    folder = tmp_path / "run"
    capsys.readouterr()
    assert cli.main([f"trainer.resume={folder}", "trainer.epochs=3", "report=false", asked]) == 2
    assert re.fullmatch(
        rf"trainer\.resume=.*run: the panel was .*{held} \({made}\.0\), .*; start a new run\n", capsys.readouterr().err
    )
    again = f"hydra.run.dir={tmp_path / 'again'}"
    assert cli.main(["task=reproduce", f"run={folder}", "report=false", again, asked]) == 1
    assert re.fullmatch(
        rf".*run: the panel was .*{held} \({made}\.0\), .*; nothing was trained\n", capsys.readouterr().err
    )


def test_a_limit_that_changes_no_number_is_free_to_change(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", *POOLED, IN_MEMORY)
    folder, cache = tmp_path / "run", f"data.panel_cache={tmp_path / 'cache'}"
    arguments = ["report=false", "data.memory_limit=3", cache, f"hydra.run.dir={tmp_path / 'again'}"]
    assert cli.main(["task=reproduce", f"run={folder}", *arguments]) == 0
    assert "reproduced: identical" in capsys.readouterr().out
    assert cli.main([f"trainer.resume={folder}", "trainer.epochs=3", *arguments[:-1]]) == 0


def test_arrays_and_pooled_panels_can_be_large_and_one_stock_s_bars_cannot(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"X_train": (50, 4, 2), "y_train": (50,), "X_test": (10, 4, 2), "y_test": (10,)}
    np.savez(tmp_path / "a.npz", **{name: rng.normal(size=shape) for name, shape in arrays.items()})  # type: ignore[arg-type]

    def state(*overrides: str) -> DataState:
        return DataState.of(dataset.prepare(compose.compose(*overrides)))

    for limit, mapped in ((IN_FILE, True), (IN_MEMORY, False)):
        npz = state("data=npz", f"data.path={tmp_path / 'a.npz'}", limit)
        assert (npz.mapped, npz.large_bytes) == (mapped, 60 * 4 * 2 * 4)
        pooled = state(*POOLED, limit)
        assert (pooled.mapped, pooled.large_bytes) == (mapped, 2 * 199 * 5 * 4)
        bars = state("data.days=200", "data.window=5", limit)
        assert (bars.mapped, bars.large_bytes) == (False, 0)
