"""Does stockml work with each release of Hydra that it allows, and with the coming one?

    python -m tests.campaigns.hydra_versions [VERSION …] [--folder FOLDER]

Makes an environment for each version in FOLDER (a temporary one by default; one that is there is used again), and in
each a default run, a sweep and a reproduction of both. Prints a line a version, and ends with status 1 where one fails.
Installing takes minutes, and 2 GB a version.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.3.8", "1.4.0rc3")
SMALL = ("data.days=400", "data.window=10", "trainer.epochs=2", "report=false")
COMMANDS = (
    ("report=false", "hydra.run.dir=run"),
    ("-m", "stock=AAPL,TSLA", "seed=1,2", *SMALL, "hydra.sweep.dir=sweep", "hydra/launcher=joblib"),
    ("task=reproduce", "run=run", "report=false"),
    ("task=reproduce", "run=sweep", "report=false"),
    ("-cp", "run/.hydra", "-cn", "config", "trainer.epochs=1", "report=false"),
    ("--cfg", "job", "model=linear"),
)


def environment(version: str, folder: Path) -> Path:
    """The Python of an environment with stockml and that version of Hydra, made where it is not there."""
    python = folder / version / "bin" / "python"
    if not python.exists():
        venv.create(folder / version, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-e", str(ROOT), f"hydra-core=={version}"], check=True)
    return python


def problem(python: Path) -> str | None:
    """The first of the commands that fails, and what it says; None where none does."""
    with tempfile.TemporaryDirectory() as cwd:
        for command in COMMANDS:
            done = subprocess.run(
                [python, ROOT / "run.py", *command], cwd=cwd, capture_output=True, text=True, check=False
            )
            if done.returncode or done.stderr:
                return f"python run.py {' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-500:]}"
    return None


def main(versions: list[str], folder: Path) -> int:
    """Try each version; 0 where all of them work."""
    found = {}
    for version in versions:
        began = time.monotonic()
        found[version] = problem(environment(version, folder))
        print(f"hydra-core {version:<10} {found[version] or 'works'} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=list(VERSIONS))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(given.versions, given.folder or Path(temporary)))
