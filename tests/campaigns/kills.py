"""kill -9 at random moments of short runs: no checkpoint is ever torn, and every run can go on.

    python tests/campaigns/kills.py [runs, default 200]

Every run is killed after a random time; then last.pt and best.pt, where they exist, must load with their checksum, and
trainer.resume must bring every tenth run to its end, where it had come as far as saving its config.

Figures: 200 runs killed up to 1.5 s after training had begun: none torn, each tenth one brought to its end.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from stockml.errors import UserError
from stockml.training import checkpoint

RUN_PY = Path(__file__).parent.parent.parent / "run.py"
SETTINGS = ("data.days=400", "trainer.epochs=300", "trainer.patience=null", "hydra.run.dir=run")


def start(folder: Path) -> subprocess.Popen[str]:
    """A short run in `<folder>/run`, when it has begun to train."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(RUN_PY), *SETTINGS], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("model"):
        assert process.poll() is None, process.communicate()
    return process


def kill_and_check(folder: Path, seconds: float) -> str:
    """Kill a run so long after training has begun; `torn` where a checkpoint does not load, else what was found."""
    process = start(folder)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    found = [name for name in ("last.pt", "best.pt") if (folder / "run" / name).exists()]
    for name in found:
        try:
            checkpoint.load(folder / "run" / name)
        except UserError as error:
            print(error)
            return "torn"
    return " and ".join(found) or "no checkpoint yet"


def fault_of_going_on(folder: Path) -> str:
    """What `trainer.resume` said against continuing the killed run; empty where it did."""
    command = [sys.executable, str(RUN_PY), "trainer.resume=run", "trainer.epochs=301"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return f"status {done.returncode}: {done.stderr}" if done.returncode else ""


def main(runs: int) -> int:
    """Print how the runs were found; 1 where one was torn or could not go on."""
    random.seed(0)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for number in range(runs):
            folder = Path(name) / str(number)
            outcome = kill_and_check(folder, random.uniform(0, 1.5))
            saved = (folder / "run" / ".hydra" / "config.yaml").exists()
            if number % 10 == 0 and saved and (fault := fault_of_going_on(folder)):
                outcome = "could not go on"
                print(fault)
            outcomes[outcome] += 1
    for outcome, count in outcomes.most_common():
        print(f"{count:>5}  {outcome}")
    return 1 if outcomes["torn"] or outcomes["could not go on"] else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
