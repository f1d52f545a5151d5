"""Two ranks, killed at random moments or started and stopped many times: all recover, none hangs, none is left behind.

    python tests/campaigns/ranks.py kills [RUNS, default 20]
    python tests/campaigns/ranks.py cycles [RUNS, default 300]

`kills`: one rank of each run is killed (-9) at a random moment, also right after its start. With
trainer.max_restarts=3, the run must finish by itself with exactly the result of an undisturbed run. `cycles`: runs one
after the other without any disturbance; each must end within a minute.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from stockml.training import checkpoint
from tests.tasks.conftest import workers_of
from tests.tasks.test_train import identical

RUN_PY = Path(__file__).parents[2] / "run.py"
SETTINGS = ("trainer=ddp", "trainer.world_size=2", "hardware=cpu", "trainer.patience=null", "hydra.run.dir=run")
KILLED = ("data.days=2520", "trainer.epochs=40", "trainer.max_restarts=3")
CLEAN = ("data.days=300", "trainer.epochs=1")


def start(folder: Path, *typed: str) -> subprocess.Popen[str]:
    """A run in `<folder>/run`."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), *SETTINGS, *typed],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(folder: Path, process: subprocess.Popen[str]) -> str:
    """How a run ended."""
    try:
        _, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hung"
    if workers_of(folder):
        return "left a worker behind"
    if process.returncode:
        print(err)
        return "failed"
    return "ended well"


def killed(folder: Path, undisturbed: Path) -> str:
    """How a run ended after one of its ranks was killed; `too late to kill` if it had ended before."""
    process = start(folder, *KILLED)
    while not (ranks := workers_of(folder)) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 3))
    ranks = workers_of(folder)
    if not ranks:
        process.communicate()
        return "too late to kill"
    os.kill(random.choice(ranks), signal.SIGKILL)
    found = outcome(folder, process)
    if found != "ended well":
        return found
    for name in ("last.pt", "previous.pt", "best.pt"):
        checkpoint.load(folder / "run" / name)  # raises if it is damaged
    return "recovered" if identical(folder / "run", undisturbed) else "another result"


def main(what: str, runs: int) -> int:
    """Print how the runs ended; 1 if one did not end as it should."""
    random.seed(0)
    outcomes: Counter[str] = Counter()
    wanted = {"kills": "recovered", "cycles": "ended well"}[what]
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        if what == "kills":
            assert outcome(parent / "undisturbed", start(parent / "undisturbed", *KILLED)) == "ended well"
        number = 0
        while outcomes.total() - outcomes["too late to kill"] < runs:
            number += 1
            folder = parent / str(number)
            if what == "kills":
                outcomes[killed(folder, parent / "undisturbed" / "run")] += 1
            else:
                outcomes[outcome(folder, start(folder, *CLEAN))] += 1
    for found, count in outcomes.most_common():
        print(f"{count:>5}  {found}")
    return 0 if set(outcomes) <= {wanted, "too late to kill"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else {"kills": 20, "cycles": 300}[sys.argv[1]]))
