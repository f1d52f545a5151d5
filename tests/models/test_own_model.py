"""The README's example of a package that adds a model: written out as it stands there, installed, and used."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stockml import cli, compose
from tests.conftest import command
from tests.markdown import ROOT, files_shown, install

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The example's files, by path."""
    return files_shown(ROOT / "stockml" / "models" / "README.md", "A model of your own")


@pytest.fixture(scope="module")
def typed(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """Types a command, in a folder of the module's own, where the example is installed."""
    folder = tmp_path_factory.mktemp("own model")
    site = install(files, folder, "attention_pool")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]

    def typed(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return command(*arguments, cwd=folder, env={"PYTHONPATH": os.pathsep.join(paths), **env})

    return typed


@pytest.fixture(scope="module")
def trained(typed: Typed) -> Path:
    """The folder of a run of it with a setting changed."""
    run = ("model=attention_pool", "model.hidden_dim=3", "trainer.epochs=1", "data.days=400", "hydra.run.dir=run")
    done = typed(*run)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"attention_pool, {(5 + 1) * 3 + (3 + 1) + (5 + 1)} parameters" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("run folder")]
    return Path(line.split(maxsplit=2)[2])


def test_the_example_is_two_files_in_under_thirty_lines(files: dict[str, str]) -> None:
    assert list(files) == ["attention_pool/pyproject.toml", "attention_pool/attention_pool.py"]
    assert sum(1 + len(text.splitlines()) for text in files.values()) < 30


def test_a_run_of_it_has_the_files_of_every_run(trained: Path) -> None:
    assert (trained / "best.pt").is_file()
    assert json.loads((trained / "metrics.json").read_text())["test"]["mse"] > 0
    assert json.loads((trained / "config.json").read_text())["config"]["model"]["hidden_dim"] == 3


def test_a_run_of_it_forecasts(typed: Typed, trained: Path) -> None:
    done = typed("task=predict", "run=run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (trained / "forecasts.csv").is_file()


def test_its_settings_are_checked_and_have_the_dataclass_s_defaults(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(trained.parent / "site")
    assert dataclasses.asdict(compose.compose("model=attention_pool").model) == {
        "name": "attention_pool",
        "hidden_dim": 16,
    }
    assert compose.compose("model=attention_pool").trainer.lr == 1e-3
    assert cli.main(["model=attention_pool", "model.hidden_dim=0"]) == 2
    assert capsys.readouterr().err == "model.hidden_dim=0: must be a whole number ≥ 1\n"


def test_it_is_listed(typed: Typed) -> None:
    text = typed("--help", "model=attention_pool").stdout
    assert "model: attention_pool, dlinear, " in text and "hidden_dim: 16" in text
    line = "python run.py model=att"
    assert "model=attention_pool" in typed("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))).stdout
