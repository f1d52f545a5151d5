"""trainer=ddp started by torchrun or srun, and over several nodes: the same result."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LEDGER, RUN_PY, command
from tests.tasks.conftest import QUICK_RANKS, gone
from tests.tasks.test_train import identical
from tests.test_cli import until

pytestmark = pytest.mark.usefixtures("leaves_no_process")

LONG = ("model=faulty", "trainer=ddp", "hardware=cpu", "data.days=400", "trainer.epochs=6", "trainer.patience=null")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def begin(
    folder: Path, *arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Status, output and errors of each."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=60)
            found.append((process.returncode, out, err))
    finally:
        for process in processes[len(found) :]:  # one has not ended in time
            process.kill()
            print(found, process.communicate())
    return found


def node(rank: int, port: int, host: str = "localhost") -> tuple[str, ...]:
    endpoint = f"trainer.rdzv_endpoint={host}:{port}"
    return ("trainer.world_size=2", "trainer.nnodes=2", f"trainer.node_rank={rank}", endpoint, "hydra.run.dir=run")


def test_torchrun_as_launcher(tmp_path: Path, two_ranks: Path) -> None:
    done = command(*QUICK_RANKS, "trainer.world_size=2", "trainer.launcher=torchrun", "hydra.run.dir=run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert identical(tmp_path / "run", two_ranks)


def test_torchrun_of_the_user_s_own(tmp_path: Path, two_ranks: Path) -> None:
    arguments = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(RUN_PY), *QUICK_RANKS)
    ((status, out, err),) = ended(begin(tmp_path, *arguments, "hydra.run.dir=run"))
    assert status == 0, err
    assert out.count("epoch 3/3") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run", *LEDGER}
    assert {path.name for path in (tmp_path / "run" / ".hydra").iterdir()} == {
        "config.yaml",
        "overrides.yaml",
        "hydra.yaml",
    }
    assert identical(tmp_path / "run", two_ranks)


def test_the_error_of_a_worker_of_a_user_s_own_torchrun_is_printed_once(tmp_path: Path, env: dict[str, str]) -> None:
    arguments = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(RUN_PY), *LONG)
    ((status, _, err),) = ended(begin(tmp_path, *arguments, "hydra.run.dir=run", env={**env, "FAULT": "fail 1 5"}))
    assert status == 1
    assert err.count("ValueError: what the model says\n") == 1  # the traceback
    assert err.count("/run: rank 1: ValueError: what the model says; the traceback is in its output\n") == 1


def test_slurm_s_tasks(tmp_path: Path, two_ranks: Path) -> None:
    met = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost"}
    tasks = [
        begin(
            tmp_path,
            str(RUN_PY),
            *QUICK_RANKS,
            "hydra.run.dir=run",
            f"trainer.rdzv_endpoint=localhost:{port}",
            env={**met, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for port in [free_port()]
        for rank in range(2)
    ]
    (first, out, err), (second, silence, _) = ended(*tasks)
    assert (first, second, silence) == (0, 0, ""), err
    assert "epoch 3/3" in out
    assert identical(tmp_path / "run", two_ranks)


def test_variables_left_in_a_shell(tmp_path: Path, two_ranks: Path) -> None:
    stale = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    single = [setting for setting in QUICK_RANKS if setting != "trainer=ddp"]
    assert command(*single, "hydra.run.dir=single", cwd=tmp_path, env=stale).returncode == 0
    refused = command(*QUICK_RANKS, "trainer.world_size=2", "hydra.run.dir=refused", cwd=tmp_path, env=stale)
    assert refused.returncode == 2
    assert re.fullmatch(r"RANK and WORLD_SIZE are set, .*; or unset RANK and WORLD_SIZE, .*\n", refused.stderr)
    rank_alone = command(
        *QUICK_RANKS,
        "trainer.world_size=2",
        "hydra.run.dir=alone",
        cwd=tmp_path,
        env={"RANK": "1", "MASTER_PORT": "29500"},
    )
    assert rank_alone.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"single", "alone", *LEDGER}
    assert identical(tmp_path / "alone", two_ranks)


def test_taken_ports_do_not_matter(tmp_path: Path) -> None:
    with socket.create_server(("", 29500)), socket.create_server(("", 12355)):
        pair = [
            begin(tmp_path, str(RUN_PY), *QUICK_RANKS, "trainer.world_size=2", f"hydra.run.dir={name}")
            for name in ("a", "b")
        ]
        assert [status for status, _, _ in ended(*pair)] == [0, 0]
    assert identical(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("launcher", ["local", "torchrun"])
def test_two_nodes_are_run_by_torchrun_whatever_the_launcher(tmp_path: Path, two_ranks: Path, launcher: str) -> None:
    port = free_port()
    nodes = [
        begin(tmp_path, str(RUN_PY), *QUICK_RANKS, *node(rank, port), f"trainer.launcher={launcher}")
        for rank in range(2)
    ]
    (first, _, err), (second, out, _) = ended(*nodes)
    assert (first, second) == (0, 0), err
    assert re.fullmatch(r"node 1: 1 of 2 ranks, .*\n", out)
    assert {path.name for path in tmp_path.iterdir()} == {"run", *LEDGER}
    assert (tmp_path / "run" / "ranks" / "torchrun.log").is_file()
    assert identical(tmp_path / "run", two_ranks)


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Two machines, as far as their networks go: two namespaces and a cable between them, 10.77.0.1 and 10.77.0.2."""
    names = [f"stockml{os.getpid()}{side}" for side in "ab"]
    script = [f"ip netns add {name}" for name in names]
    script += [f"ip link add {names[0]} netns {names[0]} type veth peer name {names[1]} netns {names[1]}"]
    for number, name in enumerate(names, 1):
        script += [f"ip -n {name} addr add 10.77.0.{number}/24 dev {name}", f"ip -n {name} link set {name} up"]
        script += [f"ip -n {name} link set lo up"]
    try:
        for line in script:
            if not shutil.which("ip") or subprocess.run(line.split(), check=False, capture_output=True).returncode:
                pytest.skip("this machine lets no one make network namespaces")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_two_nodes_with_networks_of_their_own(tmp_path: Path, two_ranks: Path, namespaces: list[str]) -> None:
    nodes = [
        begin(
            tmp_path, str(RUN_PY), *QUICK_RANKS, *node(rank, 29500, "10.77.0.1"), prefix=("ip", "netns", "exec", name)
        )
        for rank, name in enumerate(namespaces)
    ]
    (first, _, err), (second, _, why) = ended(*nodes)
    assert (first, second) == (0, 0), err + why
    assert identical(tmp_path / "run", two_ranks)


def test_a_node_with_other_settings_or_data_is_refused_by_name(tmp_path: Path) -> None:
    for number, (change, says) in enumerate(
        (("trainer.lr=0.5", "its config differs from rank 0's in trainer.lr"), ("data.seed=5", "its config differs"))
    ):
        port = free_port()
        place = [*node(0, port)[:-1], f"hydra.run.dir=run{number}"]
        one = begin(tmp_path, str(RUN_PY), *QUICK_RANKS, *place)
        other = begin(tmp_path, str(RUN_PY), *QUICK_RANKS, *node(1, port), change)
        (first, _, err), (second, _, why) = ended(one, other)
        assert (first, second) == (1, 2)
        assert why.startswith(f"rank 1: {says}") and why.count("\n") == 1
        assert f"rank 1: {says}" in err and err.count("\n") == 1


def test_a_node_that_does_not_come_is_named(tmp_path: Path) -> None:
    done = command(*QUICK_RANKS, *node(0, free_port()), "trainer.timeout_seconds=1", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"localhost:\d+: node 1 has not come within 1 s \(trainer.timeout_seconds\)", done.stderr)
    assert done.stderr.count("\n") == 1
    done = command(*QUICK_RANKS, *node(1, free_port()), "trainer.timeout_seconds=1", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"localhost:\d+: no answer within 1 s .*: is node 0 running, .*firewall", done.stderr)


def test_a_place_where_nodes_cannot_meet_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as server:
        taken = server.getsockname()[1]
        done = command(*QUICK_RANKS, *node(0, taken), cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(rf"trainer.rdzv_endpoint: port {taken} cannot be listened on .*\n", done.stderr)
    done = command(*QUICK_RANKS, *node(0, 29500, "no-such-host.invalid"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("no-such-host.invalid: this name does not resolve here")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def uninterrupted(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    typed = (*LONG, "trainer.world_size=2", "hydra.run.dir=run")
    assert command(*typed, cwd=folder, env={"PYTHONPATH": os.pathsep.join(paths)}).returncode == 0
    return folder / "run"


@pytest.mark.parametrize("killed", [0, 1])
def test_a_node_that_is_killed_can_be_started_again(
    tmp_path: Path, env: dict[str, str], uninterrupted: Path, killed: int
) -> None:
    port, slow = free_port(), {**env, "SLOW": "0.1"}
    typed = [(*LONG, "trainer.max_restarts=3", *node(rank, port)) for rank in range(2)]
    nodes = [begin(tmp_path, str(RUN_PY), *typed[rank], env=slow) for rank in range(2)]
    until(nodes[0], "epoch 2/")
    nodes[killed].kill()
    nodes[killed].communicate()
    if killed == 0:  # its folder is there: the run goes on in it
        assert gone(tmp_path, 5)
        again = (*[s for s in typed[0] if not s.startswith("hydra.run.dir")], "trainer.resume=run")
    else:
        again = typed[1]
    nodes[killed] = begin(tmp_path, str(RUN_PY), *again, env=env)
    (first, _, err), (second, _, why) = ended(*nodes)
    assert (first, second) == (0, 0), err + why
    assert identical(tmp_path / "run", uninterrupted)
