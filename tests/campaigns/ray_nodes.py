"""Sweeps on a Ray cluster of three nodes: the numbers of the basic launcher, whatever happens to a node.

    python tests/campaigns/ray_nodes.py [--jobs 40] [--epochs 20]

The nodes are raylets on this machine. The same sweep runs under the basic launcher; on the nodes; on the nodes as if
they did not see its folder; and on the nodes while one of them is killed. Every job must end with the same weights,
metrics and forecasts, bit for bit, `task=reproduce` must say so too, and no process may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from stockml.runs.folder import RunFolder
from tests.processes.test_job_pool import marked, wait_until
from tests.tasks.test_train import identical

RUN_PY = Path(__file__).parent.parent.parent / "run.py"
MARK = "STOCKML_TEST_MARK"


class Nodes:
    """A cluster of nodes with a core each on this machine, and a head without one; closing it ends them all."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self._own: dict[str, Any] = {"object_store_memory": 100_000_000, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **self._own})
        self._nodes: list[Any] = []
        for _ in range(count):
            self.add()
        self.address = str(self._cluster.address)

    def add(self) -> None:
        """Add a node."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, **self._own))

    def kill(self) -> None:
        """Kill the node that has been there for longest, as a machine that is switched off."""
        self._nodes.pop(0).kill_raylet(check_alive=False)

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()


def sweep(
    folder: Path, *settings: str, after: tuple[int, Callable[[], None]] = (0, lambda: None)
) -> subprocess.CompletedProcess[str]:
    """Run a sweep into a folder; once so many of its jobs are done, do something."""
    command = [sys.executable, str(RUN_PY), "-m", *settings, f"hydra.sweep.dir={folder}", "report=false"]
    with subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        wait_until(lambda: run.poll() is not None or len(done(folder)) >= after[0], seconds=3600)
        after[1]()
        out, err = run.communicate()
    return subprocess.CompletedProcess(command, run.returncode, out, err)


def done(folder: Path) -> list[str]:
    """The jobs that have ended well."""
    return sorted(path.parent.name for path in folder.glob("*/result.json") if RunFolder(path.parent).outcome() == "ok")


def differing(one: Path, other: Path) -> list[str]:
    """The jobs of a sweep that are not done in another one, or with other numbers."""
    names = set(done(other))
    return [name for name in done(one) if name not in names or not identical(one / name, other / name)]


def main(jobs: int, epochs: int) -> int:
    """Print what became of each sweep; 1 if anything was not as claimed."""
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[MARK] = name
        swept = ("stock=AAPL,JPM,TSLA,XOM", f"seed=range({jobs // 4})")
        settings = (*swept, "data.days=400", f"trainer.epochs={epochs}", "trainer.patience=null")

        def report(what: str, run: subprocess.CompletedProcess[str], began: float) -> None:
            nonlocal faults
            wrong = differing(folder / "basic", folder / what.replace(" ", "_"))
            ok = len(done(folder / what.replace(" ", "_")))
            print(f"{what:<24}{ok:>4} of {jobs} jobs done, {len(wrong)} differ, {time.monotonic() - began:.0f} s")
            faults += run.returncode != 0 or bool(wrong) or ok != jobs

        began = time.monotonic()
        report("basic", sweep(folder / "basic", *settings), began)
        with contextlib.closing(Nodes(3)) as nodes:
            cluster = ("hydra/launcher=ray", f"hydra.launcher.address={nodes.address}")
            for what, more, after in (
                ("ray", (), (0, lambda: None)),
                ("folder not shared", ("hydra.launcher.shared=false",), (0, lambda: None)),
                ("node killed", (), (jobs // 4, nodes.kill)),
                ("killed and not shared", ("hydra.launcher.shared=false",), (jobs // 4, nodes.kill)),
            ):
                began = time.monotonic()
                run = sweep(folder / what.replace(" ", "_"), *settings, *cluster, *more, after=after)
                report(what, run, began)
                print(run.stderr, end="")
            again = [sys.executable, str(RUN_PY), "task=reproduce", f"run={folder / 'ray'}", *cluster]
            said = subprocess.run(again, cwd=folder, capture_output=True, text=True, check=False)
            print(f"{'task=reproduce':<24}{said.stdout.splitlines()[-1]}{said.stderr}")
            faults += said.returncode != 0
        with contextlib.suppress(AssertionError):
            wait_until(lambda: marked(f"{MARK}={name}") == [os.getpid()] or not marked(f"{MARK}={name}"), seconds=10)
        left = [pid for pid in marked(f"{MARK}={name}") if pid != os.getpid()]
        print(f"{'left running':<24}{len(left)} processes")
    return 1 if faults or left else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40, help="a multiple of 4")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    sys.exit(main(asked.jobs, asked.epochs))
