"""The command as it is typed: real processes, real signals."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from stockml import cli
from stockml.tasks import TASKS
from tests.campaigns._fault_commands import torn
from tests.conftest import LEDGER, RUN_PY, command, require_not_imported
from tests.tasks.test_train import identical


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--hydra-help"], 0),
        (["--cfg", "job"], 0),
        (["--cfg", "job", "stock=TSLA", "model=linear"], 0),
        (["stok=AAPL"], 2),
        (["stock=APPL", "model=mpl", "trainer.lr=x"], 2),
        (["-m", "stock=AAPL,APPL"], 2),
        (["--version"], 0),
    ],
)
def test_what_trains_nothing_imports_nothing_heavy(tmp_path: Path, arguments: list[str], status: int) -> None:
    require_not_imported({"torch", "pandas", "scipy", "matplotlib", "rich"}, *arguments, cwd=tmp_path, status=status)
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_import_the_compiler(tmp_path: Path) -> None:
    heavy = {"torch._dynamo", "torch._inductor", "sympy", "pandas"}
    require_not_imported(heavy, "+experiment=quick", "data.days=400", cwd=tmp_path)


def test_help_lists_the_groups_and_the_commonest_commands(tmp_path: Path) -> None:
    text = command("--help", cwd=tmp_path).stdout
    for wanted in (
        "stock: AAPL, AMZN, JNJ, JPM, MSFT, SP500, TSLA, XOM",
        "model: dlinear, elastic_net, extra_trees, gru, hist_gradient_boosting, lightgbm, linear, lstm, mlp, mlp_flat",
        "data: csv, npz, simulated",
        "trainer: ddp, single",
        "hardware: auto, cpu, cuda, mps",
        "experiment: all_stocks, debug_overfit, quick",
        "python run.py -m stock=",
        "trainer.resume=",
        "data=csv data.dir=",
    ):
        assert wanted in text


def test_the_composed_config_is_printed_as_it_will_be_used(tmp_path: Path) -> None:
    text = command("--cfg", "job", "stock=TSLA", "trainer.epochs=7", cwd=tmp_path).stdout
    printed: Any = OmegaConf.create(text)
    assert (printed["stock"]["ticker"], printed["trainer"]["epochs"]) == ("TSLA", 7)


def test_shell_completion_knows_the_choices(tmp_path: Path) -> None:
    env = {"COMP_LINE": "python run.py stock=A", "COMP_POINT": "21"}
    done = command("-sc", "query=bash", cwd=tmp_path, env=env)
    assert "stock=AAPL" in done.stdout and "stock=AMZN" in done.stdout


def test_a_sweep_trains_every_job_in_a_folder_of_its_own(tmp_path: Path) -> None:
    done = command("-m", "stock=AAPL,SP500", "+experiment=quick", "data.days=400", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"AAPL", "SP500"}
    assert all((sweep / name / "metrics.json").is_file() for name in ("AAPL", "SP500"))
    assert {path.name for path in tmp_path.iterdir()} == {"multirun", *LEDGER}


def test_one_failing_job_does_not_cost_the_others(tmp_path: Path) -> None:
    done = command("-m", "trainer.lr=1e30,1e-3", "trainer.optimizer=sgd", "data.days=400", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    statuses = [json.loads(path.read_text())["status"] for path in sorted(sweep.glob("*/result.json"))]
    assert sorted(statuses) == ["failed", "ok"]


SLOW = ("model=mlp_flat", "data.days=20000", "trainer.epochs=8", "trainer.patience=null")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert command(*SLOW, f"hydra.run.dir={folder / 'run'}", cwd=folder).returncode == 0
    return folder / "run"


def broken_by_an_interruption(*_: object) -> None:
    """What a library makes of Ctrl-C in its midst."""
    try:
        raise KeyboardInterrupt
    finally:
        getattr(None, "closed")()  # noqa: B009


def test_an_interruption_that_ends_as_another_error_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    task = dataclasses.replace(TASKS["doctor"], function=f"{__name__}:broken_by_an_interruption")
    assert cli.main(["task=doctor"], {**TASKS, "doctor": task}) == 130
    assert capsys.readouterr().err == "interrupted\n"


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("signum", "status", "workers"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 2)])
def test_an_interrupted_run_says_how_to_go_on_and_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Path, signum: signal.Signals, status: int, workers: int
) -> None:
    process = start(*SLOW, f"hardware.num_workers={workers}", "hydra.run.dir=run", cwd=tmp_path)
    until(process, "epoch 3/8")
    os.killpg(process.pid, signum)  # as a terminal does it: every process of the group
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "finishing the epoch and its checkpoint" in out
    remedy = re.search(r"trainer\.resume=(\S+)", err)
    assert remedy is not None and Path(remedy[1]) == tmp_path / "run"
    assert err.count("\n") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = command(f"trainer.resume={remedy[1]}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"resumed +[34] epochs are done already", done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {"run", *LEDGER}
    assert identical(tmp_path / "run", undisturbed)


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path) -> None:
    process = start(*SLOW[:2], "trainer.epochs=1000000", "trainer.patience=null", "data.days=100000", cwd=tmp_path)
    until(process, "epoch 1/")
    process.send_signal(signal.SIGINT)
    until(process, "interrupted: finishing")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err and "trainer.resume=" in err


def test_a_running_run_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = start(
        "data.days=400", "trainer.epochs=100000", "trainer.patience=null", "hydra.run.dir=run", cwd=tmp_path
    )
    try:
        until(process, "epoch 1/")
        assert cli.main([f"trainer.resume={tmp_path / 'run'}"]) == 2
        assert "still running" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()


def test_a_kill_at_any_moment_tears_no_file(tmp_path: Path) -> None:
    """A short sample of tests/campaigns/kills.py."""
    for number, seconds in enumerate((0.15, 0.4)):
        process = start(*SLOW, f"hydra.run.dir={number}", cwd=tmp_path)
        until(process, "model")
        time.sleep(seconds)
        process.kill()
        process.communicate()
        assert not torn(tmp_path / str(number))


def test_the_command_works_from_any_folder_and_installed_as_stockml(tmp_path: Path) -> None:
    process = start("+experiment=quick", "data.days=400", "report=false", cwd=tmp_path)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    installed = Path(sys.executable).with_name("stockml")
    if not installed.exists():
        pytest.skip("stockml is not installed as a command in this environment")
    again = subprocess.run(
        [installed, "+experiment=quick", "data.days=400"], cwd=tmp_path, capture_output=True, check=False
    )
    assert again.returncode == 0
    one, other = sorted((tmp_path / "outputs").iterdir())
    assert identical(one, other)


def test_output_to_a_reader_that_leaves_early_is_no_fault(tmp_path: Path) -> None:
    shell = f"{sys.executable} {RUN_PY} --cfg job | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "task: train\n"
    assert "Traceback" not in done.stderr
