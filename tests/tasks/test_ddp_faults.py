"""trainer=ddp under faults: real ranks that die, fail or hang in the middle of an epoch, and real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RUN_PY, command
from tests.tasks.conftest import gone, workers_of
from tests.tasks.test_train import identical
from tests.test_cli import until
from tests.wrong_input.inputs import mounted, run_py

pytestmark = pytest.mark.usefixtures("leaves_no_process")

SETTINGS = (
    "model=faulty", "trainer=ddp", "trainer.world_size=2", "hardware=cpu", "data.days=400", "trainer.epochs=4",
    "trainer.patience=null", "trainer.batch_size=16", "hydra.run.dir=run",
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = command(*SETTINGS, cwd=folder, env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 0, done.stderr
    return folder / "run"


def begin(folder: Path, env: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), *SETTINGS, *overrides],
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def result(folder: Path) -> tuple[str, str | None]:
    found = json.loads((folder / "run" / "result.json").read_text())
    return found["status"], found["error"]


MID_EPOCH_2 = 13  # 16 × 2 samples an update: 7 or 8 updates an epoch


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_with_a_line_and_the_run_can_be_continued(
    tmp_path: Path, env: dict[str, str], uninterrupted: Path, rank: int
) -> None:
    done = command(*SETTINGS, cwd=tmp_path, env={**env, "FAULT": f"kill {rank} {MID_EPOCH_2}"})
    assert done.returncode == 1
    assert re.fullmatch(rf".*run: rank {rank} was killed \(SIGKILL.*rank_{rank}\.log\n", done.stderr), done.stderr
    assert result(tmp_path) == ("failed", done.stderr.strip())
    if rank == 0:  # after the death of another, a restart is tested below
        again = command("trainer.resume=run", cwd=tmp_path, env=env)
        assert (again.returncode, again.stderr) == (0, "")
        assert "resumed     1 epochs are done already" in again.stdout
        assert identical(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    ("fault", "launcher"), [("kill 1 13", "local"), ("kill 0 1", "local"), ("kill 1 13", "torchrun")]
)
def test_with_restarts_the_result_is_that_of_an_uninterrupted_run(
    tmp_path: Path, env: dict[str, str], uninterrupted: Path, fault: str, launcher: str
) -> None:
    typed = (*SETTINGS, "trainer.max_restarts=1", f"trainer.launcher={launcher}")
    done = command(*typed, cwd=tmp_path, env={**env, "FAULT": fault})
    assert (done.returncode, done.stderr) == (0, "")
    assert "restart 1 of 1, from the last checkpoint: " in done.stdout
    assert identical(tmp_path / "run", uninterrupted)
    assert result(tmp_path) == ("ok", None)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("fail 1 13", r"run: rank 1: ValueError: what the model says; the traceback is in \S*/ranks/rank_1\.log"),
        ("fail 0 13", r"run: ValueError: what the model says; the traceback is in train\.log"),
        ("memory 1 13", r"run: rank 1: out of memory \(none left\); lower trainer\.batch_size, .*/rank_1\.log"),
    ],
)
def test_the_failing_rank_s_own_error_is_printed_in_a_line(
    tmp_path: Path, env: dict[str, str], fault: str, says: str
) -> None:
    done = command(*SETTINGS, cwd=tmp_path, env={**env, "FAULT": fault})
    assert done.returncode == 1
    assert re.fullmatch(f".*{says}\n", done.stderr), done.stderr
    log = tmp_path / "run" / (f"ranks/rank_{fault.split()[1]}.log" if "1 13" in fault else "train.log")
    assert "Traceback" in log.read_text()
    assert result(tmp_path)[0] == "failed"


@pytest.mark.parametrize(  # rank 0 serves the store
    ("fault", "rank", "launcher"), [("hang", 1, "local"), ("stop", 0, "local"), ("stop", 0, "torchrun")]
)
def test_a_rank_that_hangs_is_named(tmp_path: Path, env: dict[str, str], fault: str, rank: int, launcher: str) -> None:
    typed = (*SETTINGS, "trainer.timeout_seconds=2", f"trainer.launcher={launcher}")
    done = command(*typed, cwd=tmp_path, env={**env, "FAULT": f"{fault} {rank} 13"})
    assert done.returncode == 1
    assert re.fullmatch(rf".*: rank {rank} has not answered for 2 s; it hangs.*ranks\n", done.stderr), done.stderr


def test_ranks_that_the_network_parts_end_with_a_line(tmp_path: Path, env: dict[str, str]) -> None:
    own = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not shutil.which("ip") or subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no one have a network of their own")
    done = subprocess.run(
        [*own, sys.executable, str(RUN_PY), *SETTINGS, "trainer.timeout_seconds=2"],
        cwd=tmp_path,
        env={**os.environ, **env, "FAULT": "down 0 13"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r".*: rank [01] has not answered for 2 s; it hangs.*ranks\n", done.stderr), done.stderr
    assert result(tmp_path)[0] == "failed"


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_worker_and_can_be_continued(
    tmp_path: Path, env: dict[str, str], uninterrupted: Path, signum: signal.Signals, status: int
) -> None:
    process = begin(tmp_path, {**env, "SLOW": "0.1"})
    until(process, "epoch 2/")
    os.killpg(process.pid, signum)
    out, err = process.communicate(timeout=5)
    assert process.returncode == status
    assert gone(tmp_path, 0)
    assert "finishing the epoch and its checkpoint" in out
    assert re.fullmatch(r"interrupted; continue with: python run.py trainer.resume=\S+/run\n", err), err
    assert result(tmp_path)[0] == "interrupted"
    again = command("trainer.resume=run", cwd=tmp_path, env=env)
    assert (again.returncode, again.stderr) == (0, "")
    assert identical(tmp_path / "run", uninterrupted)


def test_an_epoch_that_does_not_end_does_not_keep_an_interrupted_run_alive(tmp_path: Path, env: dict[str, str]) -> None:
    process = begin(tmp_path, {**env, "SLOW": "30"})
    until(process, "model")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 143
    assert gone(tmp_path, 0)
    assert "continue with" in err


@pytest.mark.parametrize("launcher", ["local", "torchrun"])
def test_no_worker_outlives_a_launcher_that_is_killed(tmp_path: Path, env: dict[str, str], launcher: str) -> None:
    process = begin(tmp_path, {**env, "SLOW": "0.1"}, f"trainer.launcher={launcher}")
    until(process, "epoch 1/")
    workers = workers_of(tmp_path)
    assert len(workers) >= 2
    os.kill(max(workers), signal.SIGSTOP)  # a rank, which sees no end of its launcher
    process.kill()
    process.communicate()
    assert gone(tmp_path, 10)


def test_a_disk_that_fills_up_at_a_checkpoint_is_reported_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = "trainer=ddp trainer.world_size=2 hardware=cpu data.days=400 trainer.patience=null model.hidden_dim=900"
    done = run_py(f"{typed} hydra.run.dir=disk/run", mounted("size=220k"))
    assert done.returncode == 1
    assert re.fullmatch(
        r".*disk/run: cannot write to the run folder \(.*No space left.*trainer\.resume=.*\n", done.stderr
    ), done.stderr
    left = {Path(line).name for line in Path("left").read_text().splitlines()}
    assert {"last.pt", "config.yaml"} <= left
    assert not [name for name in left if name.endswith(".tmp")]
