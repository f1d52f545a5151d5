"""`python run.py …`, forked from a process that has imported torch already: importing it takes longer than a short run.

Run as a script, this is that process: it reads requests, a line of JSON each, and answers each with the status of the
command, which has run as a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUN_PY = ROOT / "run.py"
SECONDS = 300
"""A command that takes longer is killed: it hangs."""


class Forker:
    """The process that commands are forked from, which has imported these modules besides."""

    def __init__(self, *modules: str) -> None:
        program = [sys.executable, __file__, *modules]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.peak_bytes = 0
        """The most memory that a process of the last command has used."""
        atexit.register(self._process.communicate)

    def run(self, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """`python run.py …` in that folder, and in the environment of this process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder) / name for name in ("out", "err")]
            asked = {"arguments": arguments, "cwd": str(cwd), "env": dict(os.environ), "outputs": [*map(str, outputs)]}
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            status, kilobytes = map(int, self._process.stdout.readline().split())
            self.peak_bytes = 1024 * kilobytes
            return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in outputs))


def _forked() -> bool:
    """Answer requests; True in the process of each, where everything is as it was asked for, and False at the end."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asked = json.loads(line)
            for descriptor, path in enumerate((os.devnull, *asked["outputs"])):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["env"])
            sys.argv = [str(RUN_PY), *asked["arguments"]]
            signal.alarm(SECONDS)
            return True
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_maxrss, flush=True)
    return False


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for name in ("stockml.compose", *(f"stockml.tasks.{n}" for n in ("train", "sweep", "reproduce")), *sys.argv[1:]):
        importlib.import_module(name)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("arch.bootstrap")  # which every sweep would import for its joint tests
    if _forked():
        runpy.run_path(str(RUN_PY), run_name="__main__")
