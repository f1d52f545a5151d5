"""Jobs on the nodes of a Ray cluster: the pool itself, and a short sample of `tests/campaigns/ray_nodes.py`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, command, random_bars, write_bars
from tests.processes.test_job_pool import marked, needs_proc, wait_until
from tests.tasks.sweeps import ENDLESS, running, statuses, wait_for_checkpoint
from tests.tasks.test_train import identical

pytest.importorskip("ray")

CLUSTER = """
import contextlib, sys
from tests.campaigns.ray_nodes import Nodes

with contextlib.closing(Nodes(1)) as nodes:
    print(nodes.address, flush=True)
    if sys.stdin.readline():
        nodes.kill()
        nodes.add()
        sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[subprocess.Popen[str]]:
    """A cluster of a node with a core: it prints its address; for a line, another node takes the place of that one."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate()


@pytest.fixture(scope="module")
def address(cluster: subprocess.Popen[str]) -> str:
    assert cluster.stdout is not None
    return cluster.stdout.readline().strip()


CALLS = """
import signal, sys
from functools import partial
from pathlib import Path

import numpy as np

from stockml.processes import job_pool, ray_pool
from stockml.processes.settings import RayConfig
from stockml.processes.parent import ask
from tests.processes.test_job_pool import calls, die, speak


def write(_: Path, folder: Path) -> str:
    print((folder / "job" / "earlier").read_text())
    (folder / "job" / "earlier").replace(folder / "job" / "later")
    return folder.name[:12]


folder = Path(sys.argv[2])
large = np.arange(50_000.0)
runs = [partial(ask, "a"), speak, partial(die, signal.SIGKILL), *[partial(np.sum, large)] * 2, speak]
config = RayConfig(address=sys.argv[1], n_jobs=-1, memory_gb=None, shared=False, retries=1, wait_seconds=60)
with ray_pool.connected(config) as pool:
    given = calls(folder, *runs, cores=[1] * 5 + [64])
    (folder / "job").mkdir()
    (folder / "job" / "earlier").write_text("as it was")
    given.append(job_pool.Call(partial(partial, write, folder), folder / "job" / "train.log", folder=folder))
    events = job_pool.run_each(given, cores=99, at_once=2, answer=lambda index, question: question * 2, pool=pool)
    for index, ended in sorted((event[0], event[1]) for event in events if event and event[1]):
        print(index, ended.value, ended.error)
    assert len(pool._arrays) == 1
print(sorted(path.name for path in (folder / "job").iterdir()), (folder / "job" / "train.log").read_text(), end="")
print((folder / "1.log").read_text(), end="")
"""


def test_calls_end_on_nodes_as_they_do_here(address: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALLS, address, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *ends, too_large, elsewhere, brought_home, said, by_a_program, complaint = done.stdout.splitlines()
    assert ends == [
        "0 aa None",
        "1 None None",
        "2 None killed (SIGKILL), perhaps because memory ran out",
        "3 1249975000.0 None",
        "4 1249975000.0 None",
    ]
    assert too_large.startswith("5 None wants 64 CPUs, and no node of the Ray cluster has as much (0 CPUs; 1 CPUs)")
    assert elsewhere == "6 stockml-job- None" and brought_home == "['later', 'train.log'] as it was"
    assert {said, by_a_program, complaint} == {"python's own", "a program's", "complaint"}


def test_a_job_too_large_for_every_node_is_refused_before_a_sweep_begins(address: str, tmp_path: Path) -> None:
    launcher = ("hydra/launcher=ray", f"hydra.launcher.address={address}")
    done = command("-m", "seed=1,2", "hardware.threads=1,64", *launcher, cwd=tmp_path)
    too_large = (
        "AAPL-seed_1-threads_64, AAPL-seed_2-threads_64: wants 64 CPUs, and no node of the Ray cluster has as much"
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(too_large) and not list(tmp_path.iterdir())


def test_a_job_whose_node_dies_has_the_numbers_of_the_same_run_alone(
    cluster: subprocess.Popen[str], address: str, run: Run, tmp_path: Path
) -> None:
    def kill_its_node() -> None:
        wait_until(lambda: list(tmp_path.glob("s/*/last.pt")))
        shutil.rmtree(tmp_path / "bars")  # a node has been given what it needs of them
        assert cluster.stdin is not None
        cluster.stdin.write("\n")
        cluster.stdin.flush()

    write_bars(random_bars(), tmp_path / "bars")
    bars = ("data=csv", f"data.dir={tmp_path}/bars", "stock.ticker=TEST")
    settings = (*bars, "trainer.epochs=800", "trainer.patience=null", "seed=1")
    killer = threading.Thread(target=kill_its_node)
    killer.start()
    launcher = ("hydra/launcher=ray", f"hydra.launcher.address={address}", "hydra.sweep.dir=s")
    done = command("-m", *settings, *launcher, cwd=tmp_path)
    killer.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "s" / "TEST" / "train.log").read_text().count("resumed ") == 1
    write_bars(random_bars(), tmp_path / "bars")
    run("alone", *settings)
    assert identical(tmp_path / "alone", tmp_path / "s" / "TEST")


@needs_proc
def test_ctrl_c_ends_the_jobs_and_the_cluster_that_was_started_for_them(tmp_path: Path) -> None:
    typed = ("-m", "seed=1,2", *ENDLESS, "hydra/launcher=ray", "hydra.launcher.n_jobs=1")
    with running(*typed, cwd=tmp_path) as (process, mark):
        folder = wait_for_checkpoint(tmp_path, "AAPL-seed_1").parent
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, err = process.communicate(timeout=30)
        wait_until(lambda: not marked(mark), seconds=10)
    assert process.returncode == 130
    assert list(statuses(folder).values()) == ["interrupted", "waiting"]
    assert not list(folder.glob(".seen-*"))
    assert err.count("\n") == 1
    assert err.rstrip().endswith(f"continue with: python run.py {shlex.join(typed)} hydra.sweep.dir={folder}")
