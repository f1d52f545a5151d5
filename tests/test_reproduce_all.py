"""`tests/campaigns/reproduce_all.py` reproduces every run and sweep of a folder, and names those that differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaigns import reproduce_all
from tests.conftest import Run, command

SMALL = ("data.days=300", "data.window=5", "trainer.epochs=1")


def test_runs_that_are_not_identical_are_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("kept/same", *SMALL)
    run("kept/another, changed", *SMALL)
    done = command("-m", "seed=1,2", *SMALL, "hydra.sweep.dir=kept/sweeps/two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "kept" / "another, changed" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["mse"] *= 2
    path.write_text(json.dumps(metrics))
    assert reproduce_all.main([str(tmp_path / "kept")]) == 1
    another, same, sweep, count, names = capsys.readouterr().out.splitlines()[-5:]
    assert another.startswith("another, changed") and "test.mse" in another
    assert same.split() == ["same", "identical"] and sweep.split() == ["sweeps/two", "identical"]
    assert count == "2 of 3 identical" and names == "not identical: another, changed"


def test_a_folder_without_runs_is_no_success(tmp_path: Path) -> None:
    assert reproduce_all.main([str(tmp_path)]) == 1
