"""No locale, terminal, pipe or full disk behind the output ends a run: real processes, with real streams."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT, RUN_PY, command
from tests.tasks.conftest import QUICK_RANKS

QUICK = ("data.days=400", "data.window=10", "+experiment=quick", "hardware=cpu", "model=linear", "report=false")
ENVIRONMENTS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "narrow": {"COLUMNS": "20"},
}


def shell(
    script: str, *typed: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in which "$@" is `python run.py …`."""
    arguments = ["sh", "-c", script, "sh", sys.executable, str(RUN_PY), *typed]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(arguments, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=300)


def require_done(folder: Path) -> None:
    """The run has ended well, and all that it prints is in its log."""
    assert json.loads((folder / "result.json").read_text())["status"] == "ok"
    assert (folder / "predictions.csv").exists() and (folder / "metrics.json").exists()
    assert f"run folder  {folder}" in (folder / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_run_prints_in_any_locale(environment: str, tmp_path: Path) -> None:
    done = shell('"$@" >output', *QUICK, "hydra.run.dir=run", cwd=tmp_path, env=ENVIRONMENTS[environment])
    assert (done.returncode, done.stderr) == (0, "")
    require_done(tmp_path / "run")


@pytest.mark.parametrize("environment", ["ascii", "C"])
def test_a_sweep_and_ranks_print_in_any_locale(environment: str, tmp_path: Path) -> None:
    env = ENVIRONMENTS[environment]
    done = command("-m", "seed=1,2", *QUICK, "hydra.sweep.dir=sweep", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    for job in ("AAPL-seed_1", "AAPL-seed_2"):
        require_done(tmp_path / "sweep" / job)
    done = command(*QUICK_RANKS, "trainer.world_size=2", "hydra.run.dir=ranks", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    require_done(tmp_path / "ranks")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_a_run_does_without_output(closed: str, tmp_path: Path) -> None:
    assert shell(f'"$@" {closed}', *QUICK, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    require_done(tmp_path / "run")


@pytest.mark.parametrize("kind", ["run", "sweep", "ranks"])
def test_a_reader_that_goes_away_ends_no_run(kind: str, tmp_path: Path) -> None:
    typed, folders = {
        "run": ((*QUICK, "hydra.run.dir=run"), ["run"]),
        "sweep": (("-m", "seed=1,2", *QUICK, "hydra.sweep.dir=s"), ["s/AAPL-seed_1", "s/AAPL-seed_2"]),
        "ranks": ((*QUICK_RANKS, "trainer.world_size=2", "report=false", "hydra.run.dir=ranks"), ["ranks"]),
    }[kind]
    done = shell('{ "$@"; echo "status $?" >&2; } | head -n 1', *typed, cwd=tmp_path)
    assert (done.stdout.count("\n"), done.stderr) == (1, "status 0\n")
    for folder in folders:
        require_done(tmp_path / folder)


def test_a_command_whose_purpose_is_its_output_says_that_nobody_read_it(tmp_path: Path) -> None:
    for flags in (["--help"], ["--cfg", "job"]):
        # The reader is gone before anything is printed.
        done = shell('{ sleep 0.2; "$@"; echo "status $?" >&2; } | true', *flags, cwd=tmp_path)
        assert done.stderr == "status 141\n"
        assert shell('"$@" >/dev/full', *flags, cwd=tmp_path).returncode == 1


def test_what_an_encoding_lacks_is_a_question_mark(tmp_path: Path) -> None:
    program = "from stockml.processes import streams; streams.make_robust(); print('a − b')"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a ? b\n", "")


def on_a_terminal(columns: int, *typed: str, cwd: Path) -> tuple[int, str]:
    """The status of `python run.py …` on a terminal of so many columns, and all that it was sent."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, str(RUN_PY), *typed],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        sent = b""
        with contextlib.suppress(OSError):  # Linux's answer where nobody has the terminal open any more
            while found := os.read(ours, 2**16):
                sent += found
    os.close(ours)
    return process.returncode, sent.decode()


def test_what_is_drawn_anew_fits_a_narrow_terminal(tmp_path: Path) -> None:
    status, sent = on_a_terminal(20, "-m", "seed=1,2", *QUICK, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert status == 0 and "summary     " in sent
    drawn = [line for line in re.findall(r"\x1b\[K([^\r\n]*)\r(?!\n)", sent) if line]
    assert drawn and max(map(len, drawn)) < 20
    for job in ("AAPL-seed_1", "AAPL-seed_2"):
        require_done(tmp_path / "sweep" / job)
