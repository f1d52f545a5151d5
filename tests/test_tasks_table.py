"""One table of tasks serves the command line, the check of the config and the help."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stockml import cli
from stockml.tasks import TASKS, Task
from tests.conftest import ROOT, require_not_imported

OWN = """
from stockml.errors import UserError

def run(config, request):
    print("counting", config.stock.ticker, config.seed, len(request.records), request.place.exact)

def rules(config):
    if config.seed == 13:
        yield "seed=13: brings bad luck to task=count; take another"
"""

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=1", "report=false", "model=linear")


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Task]:
    """The table with a task from outside the package: one file, one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("counting", None)
    count = Task(
        name="count", summary="count something", function="counting:run", from_run=True, rules=("counting:rules",)
    )
    return {**TASKS, count.name: count}


def test_a_task_is_added_by_one_file_and_one_line(tasks: dict[str, Task], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["task=count", "stock=XOM", "hydra.run.dir=x"], tasks) == 0
    assert capsys.readouterr().out == f"counting XOM 42 3 {Path('x').absolute()}\n"
    assert cli.main(["task=count", "seed=13"], tasks) == 2
    assert capsys.readouterr().err == "seed=13: brings bad luck to task=count; take another\n"
    assert cli.main(["--help"], tasks) == 0
    assert re.search(r"^ +count +count something$", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["task=cuont"], tasks) == 2
    assert capsys.readouterr().err.endswith("doctor, features, fetch, count; did you mean count?\n")
    assert cli.main(["task=count"]) == 2


def test_a_task_of_a_run_has_its_saved_config_for_a_base(
    tasks: dict[str, Task], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*QUICK, "stock=TSLA", "seed=5", "hydra.run.dir=run"], tasks) == 0
    capsys.readouterr()
    assert cli.main(["task=count", "run=run", "seed=6"], tasks) == 0
    assert capsys.readouterr().out == "counting TSLA 6 3 None\n"


def test_the_help_lists_every_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for task in TASKS.values():
        assert re.search(rf"^ +{task.name} +{re.escape(task.summary)}$", text, re.MULTILINE)


def test_every_task_of_the_table_can_be_run_and_the_table_imports_none() -> None:
    heavy = {"torch", "pandas", "hydra", "stockml.tasks.train", "stockml.tasks.rules"}
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from stockml.tasks import TASKS\n"
    code += f"found = {heavy!r} & set(sys.modules)\nassert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(callable(task.run()) for task in TASKS.values())


@pytest.mark.parametrize("typed", [["task=fly"], ["task=report"], ["export.onnx=true"], ["run=x"], ["task=null"]])
def test_what_a_task_refuses_imports_nothing_heavy(tmp_path: Path, typed: list[str]) -> None:
    require_not_imported({"torch", "pandas"}, *typed, cwd=tmp_path, status=2)
