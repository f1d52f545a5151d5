"""kill -9 at random moments of short runs: no checkpoint is ever damaged, and every run can be continued.

    python tests/campaigns/kills.py [RUNS, default 200]

Each run is killed at a random time, up to 1.5 s after its training has begun. Then last.pt and best.pt must load, where
they exist, and trainer.resume must finish every tenth run that had saved its config.
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
    """Start a short run in `<folder>/run`, and wait until it trains."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(RUN_PY), *SETTINGS], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("model"):
        assert process.poll() is None, process.communicate()
    return process


def kill_and_check(folder: Path, seconds: float) -> str:
    """Kill a run some seconds after its training has begun: `damaged` if a checkpoint does not load, or its files."""
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
            return "damaged"
    return " and ".join(found) or "no checkpoint yet"


def resume_error(folder: Path) -> str:
    """Why `trainer.resume` could not continue the killed run; empty if it did."""
    command = [sys.executable, str(RUN_PY), "trainer.resume=run", "trainer.epochs=301"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return f"status {done.returncode}: {done.stderr}" if done.returncode else ""


def main(runs: int) -> int:
    """Print what became of the runs; 1 if one was damaged or could not be continued."""
    random.seed(0)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for number in range(runs):
            folder = Path(name) / str(number)
            outcome = kill_and_check(folder, random.uniform(0, 1.5))
            saved = (folder / "run" / ".hydra" / "config.yaml").exists()
            if number % 10 == 0 and saved and (error := resume_error(folder)):
                outcome = "could not be continued"
                print(error)
            outcomes[outcome] += 1
    for outcome, count in outcomes.most_common():
        print(f"{count:>5}  {outcome}")
    return 1 if outcomes["damaged"] or outcomes["could not be continued"] else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
