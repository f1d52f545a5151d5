"""The locks that share out GPUs: real processes, one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stockml.errors import UserError
from stockml.training import hardware
from tests.conftest import ROOT
from tests.processes.test_job_pool import next_line

HOLDER = """
import sys
from pathlib import Path
from stockml.training import hardware

folder, count, *gpus = sys.argv[1:]
print("asking", file=sys.stderr, flush=True)
with hardware.holding(gpus, int(count), Path(folder)) as held:
    print(*held, "freed" if (Path(folder) / "killed").exists() else "free", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, count: int, *gpus: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A process that asks for `count` of the GPUs, prints those it gets, and holds them until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(count), *gpus],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stderr.readline() == "asking\n"
    return process


def test_a_gpu_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    first = holder(tmp_path, 1, "0", "1")
    assert next_line(first) == "0 free\n"
    with hardware.holding(["0", "1"], 1, tmp_path) as held:
        assert held == ["1"]
    waiting = holder(tmp_path, 1, "0")
    (tmp_path / "killed").touch()
    first.kill()
    first.communicate()
    assert waiting.communicate(timeout=60) == ("0 freed\n", "")


def test_jobs_that_need_several_gpus_never_block_each_other(tmp_path: Path) -> None:
    jobs = [holder(tmp_path, 2, *names, stdin=subprocess.DEVNULL) for names in (("0", "1"), ("1", "0"))]
    assert [job.communicate(timeout=60) for job in jobs] == [("0 1 free\n", ""), ("1 0 free\n", "")]


def test_more_gpus_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 GPUs are asked for, but there is 1;"), hardware.holding(["0"], 2, tmp_path):
        pass
