"""Does stockml work with the lowest and the newest versions of what it needs?

    python -m tests.campaigns.versions PYTHON … [--folder FOLDER] [--torch VERSION]

PYTHON are interpreters, the oldest first, such as python3.11 and python3.13. uv (which must be installed) makes an
environment of the newest versions for each, and for the first, since new interpreters lack old builds, one of the
lowest that pyproject.toml allows, in FOLDER (a temporary one by default; an environment that is there is used again).
With `--torch`, it is that version everywhere, for a machine that cannot get others. In each environment: a default run,
a sweep, ranks, a search, trees, their reproductions, forecasts and reports. Prints a line an environment, and ends with
status 1 where one fails. Installing takes a minute, and 6 GB where torch comes with CUDA.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = "report,parquet,calendar,optuna,sweeps,trees,tensorboard,explain,onnx,indicators,slurm"
SMALL = ("data.days=400", "data.window=10", "trainer.epochs=2")
COMMANDS = (
    ("hydra.run.dir=run",),
    ("-m", "stock=AAPL,TSLA", "seed=1,2", *SMALL, "hydra.sweep.dir=sweep", "hydra/launcher=joblib"),
    ("trainer=ddp", "trainer.world_size=2", *SMALL, "report=false", "hydra.run.dir=ranks"),
    ("+experiment=tune_mlp", "stock=AAPL", *SMALL, "hydra.sweep.dir=search"),
    ("features=alpha158", "model=lightgbm", "data.days=600", "data.window=10", "hydra.run.dir=trees"),
    ("task=report", "run=sweep"),
    ("task=predict", "run=trees", "export.onnx=true"),
    ("task=explain", "run=run"),
    ("task=reproduce", "run=run", "report=false"),
    ("task=reproduce", "run=sweep"),
)
IN_OUR_CODE = ("-W", "error::DeprecationWarning:stockml", "-W", "error::FutureWarning:stockml")


def environment(interpreter: str, resolution: str, folder: Path, torch: str | None) -> Path:
    """The Python of an environment with stockml and its extras in these versions, made where it is not there."""
    path = folder / f"{Path(interpreter).name}-{resolution}"
    python = path / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", interpreter, path], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(python)]
        if torch is not None:  # first: what depends on torch must not choose another build
            subprocess.run([*install, f"torch=={torch}"], check=True)
        subprocess.run([*install, "--resolution", resolution, "-e", f"{ROOT}[{EXTRAS}]"], check=True)
    return python


def problem(python: Path) -> str | None:
    """The first of the commands that fails, and what it says; None where all work."""
    with tempfile.TemporaryDirectory() as cwd:
        for command in COMMANDS:
            call = [python, *IN_OUR_CODE, ROOT / "run.py", *command]
            done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"python run.py {' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-500:]}"
    return None


def main(interpreters: list[str], folder: Path, torch: str | None) -> int:
    """Try each environment; 0 where all of them work."""
    found = list[str | None]()
    for interpreter, resolution in [(interpreters[0], "lowest-direct"), *((each, "highest") for each in interpreters)]:
        began = time.monotonic()
        found.append(problem(environment(interpreter, resolution, folder, torch)))
        seconds = time.monotonic() - began
        print(f"{interpreter} {resolution:<14} {found[-1] or 'works'} ({seconds:.0f} s)", flush=True)
    return 1 if any(found) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreters", nargs="+")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--torch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(given.interpreters, given.folder or Path(temporary), given.torch))
