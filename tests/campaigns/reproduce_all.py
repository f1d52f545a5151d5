"""Reproduce every run and sweep of a folder, such as those that an earlier release made.

    python tests/campaigns/reproduce_all.py FOLDER

Runs `task=reproduce` on each run and each sweep below FOLDER (a sweep is reproduced as a whole) and prints a line for
each: `identical`, or what the command said. The new runs go into a temporary folder, and FOLDER stays as it is. At the
end it names those that are not identical; the exit status is 1 if there are any, or if FOLDER has no run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.runs.sweep_folder import SweepFolder
from tests.markdown import ROOT


def runs_and_sweeps(folder: Path) -> Iterator[Path]:
    """The runs and sweeps in a folder and below it; what lies within a run or a sweep is not searched."""
    if SweepFolder.is_one(folder) or (folder / "result.json").is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from runs_and_sweeps(path)


def reproduce(path: Path, scratch: Path) -> list[str]:
    """What `task=reproduce` says against the run or sweep, a line each; nothing where it is identical."""
    typed = ["task=reproduce", f"run={quoted(path)}", "report=false"]
    if not SweepFolder.is_one(path):
        typed.append(f"hydra.run.dir={quoted(scratch / 'run')}")
    command = [sys.executable, str(ROOT / "run.py"), *typed]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode == 0 and "reproduced: identical" in done.stdout:
        return []
    return done.stderr.splitlines() or [f"ended with status {done.returncode}"]


def quoted(path: Path) -> str:
    """A path as Hydra reads it, whatever characters it has."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce all of them; 1 where one is not identical, or there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder.absolute()
    if not folder.is_dir():
        parser.error(f"{folder}: no such folder")
    different, count = [], 0
    for path in runs_and_sweeps(folder):
        count += 1
        name = str(path.relative_to(folder))
        with tempfile.TemporaryDirectory() as scratch:
            lines = reproduce(path, Path(scratch))
        print(f"{name:<24} {'; '.join(lines) or 'identical'}", flush=True)
        different += [name] if lines else []
    print(f"{count - len(different)} of {count} identical")
    if different:
        print(f"not identical: {', '.join(different)}")
    return 1 if different or not count else 0


if __name__ == "__main__":
    sys.exit(main())
