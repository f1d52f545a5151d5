"""Makes the run folders that a release leaves behind, with that release's own code, for later releases to read.

    cd CHECKOUT    # of the release, in a folder whose path names no person: it is written into the run folders
    PYTHONPATH=. XDG_CACHE_HOME=/home/user/.cache python …/tests/releases/make.py FOLDER

FOLDER is then committed as tests/releases/<date of the release>/. Nothing in it may name a machine, a person or a path
of theirs; a test looks for that.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import torch

SETTINGS = ("report=false", "hardware=cpu", "data.days=120", "data.window=5", "model.hidden_dim=4", "trainer.epochs=3")
RUNS = {
    "single": (),
    "pooled": ("data.tickers=[AAPL,XOM]", "data.days=60"),
    "walk_forward": ("data.split=walk_forward", "data.folds=2"),
    "ensemble": ("trainer.ensemble=2",),
    "interrupted": (),
}
"""What is typed for each run, besides SETTINGS."""
SWEEP = ("-m", "seed=1,2")
SYNTHETIC_PLATFORM = "Linux-x86_64"


def rounding() -> str:
    """How this processor rounds the sums of a small network, as text: where it is another, so are the last digits."""
    rng = np.random.default_rng(0)
    x, hidden, out = (torch.tensor(rng.normal(size=size), dtype=torch.float32) for size in ((64, 5), (5, 4), (4, 1)))
    hidden.requires_grad_()
    loss = (torch.relu(x @ hidden) @ out).pow(2).mean()
    loss.backward()
    assert hidden.grad is not None
    return " ".join(f"{value.hex()}" for value in [loss.item(), *hidden.grad.flatten().tolist()])


def interrupt_at(epoch: int) -> None:
    """Let this process get a SIGINT when it writes the checkpoint of that epoch."""
    replace, seen = Path.replace, []

    def counting(self: Path, target: str | os.PathLike[str]) -> Path:
        result = replace(self, target)
        if Path(target).name == "last.pt":
            seen.append(target)
            if len(seen) == epoch:
                os.kill(os.getpid(), signal.SIGINT)
        return result

    Path.replace = counting  # type: ignore[method-assign, assignment]


def main(folder: Path) -> None:
    """Make them all, each in a process of its own."""
    for name, typed in {**RUNS, "sweep": SWEEP}.items():
        place = "sweep" if name == "sweep" else "run"
        child = os.fork()
        if not child:
            from stockml import cli

            platform.platform = lambda *_: SYNTHETIC_PLATFORM
            if name == "interrupted":
                interrupt_at(2)
            os._exit(cli.main([*typed[:1], *SETTINGS, *typed[1:], f"hydra.{place}.dir={name}"]))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == (130 if name == "interrupted" else 0), (name, status)
        shutil.move(name, folder / name)
    for lock in folder.glob("sweep/.[lc]*"):
        lock.unlink()
    (folder / "rounding.json").write_text(json.dumps({"rounding": rounding()}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
