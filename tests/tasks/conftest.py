"""A model that meets with faults, installed as a package; and the processes that a test must not leave behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import command

# A family without its model, which a launcher need not import.
FAMILY = """
from dataclasses import dataclass
from stockml.models import Family

@dataclass(frozen=True, kw_only=True)
class Config:
    name: str

FAMILY = Family(Config, "faulty_model:Model")
"""

# A model that meets with a fault: FAULT="<kind> <rank> <call>", in that call of its forward pass in training; once for
# each file FAULT_ONCE, so that a rank that has been started anew is spared.
MODEL = """
import os, signal, time
from pathlib import Path
from torch import nn

class Model(nn.Module):
    def __init__(self, config, window, features):
        super().__init__()
        self.dropout, self.output, self.calls = nn.Dropout(0.1), nn.Linear(features, 1), 0
    def forward(self, x):
        kind, rank, call = os.environ.get("FAULT", "none 0 0").split()
        self.calls += self.training
        if self.training and rank == os.environ.get("RANK") and self.calls == int(call):
            once = Path(os.environ["FAULT_ONCE"])
            if not once.exists():
                once.touch()
                if kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "fail":
                    raise ValueError("what the model says")
                if kind == "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                if kind == "down":
                    os.system("ip link set lo down")
                if kind == "hang":
                    time.sleep(10000)
                if kind == "memory":
                    raise MemoryError("none left")
        if "SLOW" in os.environ and self.training:
            time.sleep(float(os.environ["SLOW"]))
        return self.output(self.dropout(x).mean(1)).squeeze(-1)
"""


QUICK_RANKS = ("trainer=ddp", "hardware=cpu", "+experiment=quick", "data.days=400")


@pytest.fixture(scope="session")
def typed_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder in which a quick run of two ranks was typed, without a place of its own, and how it ended."""
    folder = tmp_path_factory.mktemp("two ranks")
    done = command(*QUICK_RANKS, "trainer.world_size=2", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done


@pytest.fixture(scope="session")
def two_ranks(typed_ranks: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """Its run folder."""
    (folder,) = (typed_ranks[0] / "outputs").iterdir()
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the faulty model as an installed package."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "faulty_model-1.0.dist-info"
    info.mkdir()
    (folder / "faulty_family.py").write_text(FAMILY)
    (folder / "faulty_model.py").write_text(MODEL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty_model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stockml.models]\nfaulty = faulty_family:FAMILY\n")
    return folder


@pytest.fixture
def env(site: Path, tmp_path: Path) -> dict[str, str]:
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "FAULT_ONCE": str(tmp_path / "fault has been")}


@pytest.fixture
def leaves_no_process(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a worker behind."""
    yield
    assert workers_of(tmp_path) == []


def workers_of(folder: Path) -> list[int]:
    """The processes, zombies aside, whose command line names something in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
            if any(str(folder).encode() in word for word in words) and process.stat().st_uid == os.getuid():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def gone(folder: Path, seconds: float) -> bool:
    """Whether within so many seconds no worker of the folder is left."""
    deadline = time.monotonic() + seconds
    while workers_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
