"""Every file of run and sweep folders damaged in many ways, met by every task that reads it; an hour.

    python tests/campaigns/damaged.py RESULTS.jsonl [WORDS of what is damaged, default all]

Each command must end with status 0, 1 or 2 within a minute and a half, in a line that names the file if it is refused,
without a traceback or a fault of its own. Each result is written to RESULTS.jsonl; started again, it runs what is not
there, and what was wrong.
"""

from __future__ import annotations

import atexit
import json
import os
import pkgutil
import random
import shlex
import shutil
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import stockml
from stockml import cli
from tests.hostile.damages import COMMANDS, MADE, QUICK, damages, files

_SECONDS = 90
_FOUND = ("are not those of its predictions", "jobs are not done", "jobs differ", "not reproduced")
"""What is said with status 1 where a task has found what it looks for."""


def run(typed: str, cwd: Path, reads: Path | None = None) -> tuple[int, str]:
    """Run a command in a process of its own; its status and what it printed. `reads` gets the files that it opens."""
    out = cwd / "out"
    child = os.fork()
    if not child:
        signal.alarm(_SECONDS)
        os.chdir(cwd)
        os.environ["HYDRA_FULL_ERROR"] = "0"
        for descriptor, path in ((0, os.devnull), (1, out), (2, out)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
        if reads is not None:
            to = os.open(reads, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            sys.addaudithook(lambda event, of: _record(to, of[0]) if event in ("open", "sqlite3.connect") else None)
        atexit._clear()  # the parent's folders stay
        sys.argv = ["run.py", *shlex.split(typed)]
        cli.program()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, out.read_text(errors="replace")


def _record(to: int, path: Any) -> None:
    if isinstance(path, str | bytes):
        os.write(to, os.fsencode(os.path.realpath(os.fsdecode(path).removeprefix("file:").partition("?")[0])) + b"\n")


def wrong(status: int, out: str, name: str, before: int) -> str:
    """What is wrong with the end of a command; empty where nothing is."""
    last = "\n".join(out.strip().splitlines()[-3:])[-600:]
    if status not in (0, 1, 2) or "stockml's own" in out or "Traceback" in out:
        return f"status {status}: {last}"
    if status and not before and Path(name).name not in last and Path(name).parent.name not in last:
        return f"status {status}, does not name the file: {last}"
    is_found = any(text in out for text in _FOUND)
    return f"status 1: {last}" if status == 1 and before != 1 and not is_found else ""


def main() -> int:
    """Run all of it; 1 where something is wrong."""
    results, words = Path(sys.argv[1]).absolute(), sys.argv[2:]
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {tuple(key): fault for *key, fault in lines}
    for name in [of.name for of in pkgutil.walk_packages(stockml.__path__, "stockml.") if "ray" not in of.name]:
        import_module(name)
    with tempfile.TemporaryDirectory() as folder, results.open("a") as file:
        made, copy = (Path(folder).resolve() / name for name in ("made", "copy"))
        made.mkdir()
        for typed in MADE.values():
            assert run(f"{typed} {QUICK}", made)[0] == 0, (made / "out").read_text()
        trials = []
        for of, typed in ((of, typed) for of, commands in COMMANDS.items() for typed in commands):
            command = typed.replace("MAKE", f"{MADE[of]} {QUICK}").replace("F", of)
            shutil.copytree(made, copy)
            before, _ = run(command, copy, copy / "reads")
            read = set((copy / "reads").read_text().splitlines())
            names = [name for name in files(made / of) if str(copy / of / name) in read]
            every = ((name, *damage) for name in names for damage in damages((made / of / name).read_bytes(), name))
            trials += [((of, name, kind, command), damaged, before) for name, kind, damaged in every]
            shutil.rmtree(copy)
        random.Random(0).shuffle(trials)  # what was run when it is stopped is a sample of all
        print(f"{len(trials):,} commands", flush=True)
        for key, damaged, before in trials:
            if not done.get(key, "not run") or not all(word in " ".join(key) for word in words):
                continue
            shutil.copytree(made, copy)
            (copy / "out").unlink()
            (copy / key[0] / key[1]).write_bytes(damaged)
            done[key] = fault = wrong(*run(key[3], copy), key[1], before)
            shutil.rmtree(copy)
            print(json.dumps([*key, fault]), file=file, flush=True)
            if fault:
                print(*key, fault, "", sep="\n", flush=True)
    found = [fault for key, fault in done.items() if all(word in " ".join(key) for word in words)]
    print(f"{sum(map(bool, found)) or 'none'} of {len(found):,} commands wrong")
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main())
