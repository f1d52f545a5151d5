"""Sweeps to start, to wait for and to read."""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RUN_PY
from tests.processes.test_job_pool import wait_until

SEVEN = ("AAPL", "AMZN", "JNJ", "JPM", "MSFT", "TSLA", "XOM")
BATCH = ("-m", f"stock={','.join(SEVEN)}")
LAUNCHERS = {"basic": (), "joblib": ("hydra/launcher=joblib",)}
ENDLESS = ("data.days=400", "trainer.patience=null", "trainer.epochs=1000000")

both_launchers = pytest.mark.parametrize("launcher", LAUNCHERS)


def only_sweep(cwd: Path) -> Path:
    (folder,) = (cwd / "multirun").iterdir()
    return folder


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """summary.csv, by job."""
    with (folder / "summary.csv").open() as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def statuses(folder: Path) -> dict[str, str]:
    return {job: row["status"] for job, row in rows(folder).items()}


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file with its time and content; the sweep's locks, which hold nothing, left out."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files if path.stat().st_size}


@contextlib.contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sweep under way, and the mark that its processes carry; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, str(RUN_PY), *arguments],
        cwd=cwd,
        env={**os.environ, "STOCKML_TEST_MARK": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, f"STOCKML_TEST_MARK={cwd}"
    finally:
        process.kill()
        process.communicate()


def wait_for_checkpoint(cwd: Path, job: str) -> Path:
    """Wait until a job of the only sweep has finished an epoch; its folder."""
    wait_until(lambda: list(cwd.glob(f"multirun/*/{job}/last.pt")))
    return only_sweep(cwd) / job
