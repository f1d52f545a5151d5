"""Every hostile folder and file of tests/hostile, met by every task and both launchers; an hour or two.

    python tests/campaigns/hostile.py RESULTS.jsonl [WORDS of the rows' names, default all]

No command may execute, write or read what the files ask for, drive the terminal, call itself faulty, use more than
4 GiB or take longer than a minute. A command that names nothing of what a row changes cannot meet it, and is not run.
Each result is written to RESULTS.jsonl; started again, it runs what is not there, and what was wrong.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import stockml
from tests import conftest
from tests.forking import Forker
from tests.hostile.inputs import AGAIN, NPZ, ROWS, Row
from tests.hostile.test_hostile import make
from tests.hostile.witnesses import Witness, listening

BARS = "data=csv stock.ticker=AAPL data.path=COPY/bars.csv"
JOBLIB = "hydra/launcher=joblib hydra.launcher.n_jobs=2"
COMMANDS = (
    AGAIN,
    f"-m {AGAIN.replace(' hydra.run.dir=again', '')} seed=1,2",
    f"-m {AGAIN.replace(' hydra.run.dir=again', '')} seed=1,2 {JOBLIB}",
    "-m model=linear data.days=300 data.window=10 trainer.epochs=1 seed=1,2 report=false hydra.sweep.dir=COPY/sweep",
    "trainer.resume=COPY/run trainer.epochs=2 report=false",
    *(f"task={task} run=COPY/run report=false" for task in ("predict", "evaluate", "reproduce", "audit", "explain")),
    *(f"task={task} run=COPY/run" for task in ("report", "update", "unseal", "looks", "doctor", "features")),
    *(f"task={task} run=COPY/run data.seed=5 report=false" for task in ("predict", "evaluate")),
    *(f"task={task} run=COPY/sweep" for task in ("reproduce", "report", "unseal")),
    *(f"task=placebo run=COPY/{of} placebo.copies=1 report=false" for of in ("run", "sweep")),
    "task=combine runs=[COPY/run,COPY/sweep] report=false",
    f"task=doctor {BARS} report=false",
    f"task=features {BARS} report=false",
    f"{BARS} report=false trainer.epochs=1",
    NPZ,
)
PARTS = re.compile(r"COPY/([\w.]+)")


def met(row: Row, typed: str, made: Path, address: str, heard: list[bytes]) -> str | None:
    """What is wrong with how a command meets a row; empty where nothing is, None where it does not meet it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        witness, copy = Witness(root, address, heard), shutil.copytree(made, root / "copy")
        before = parts(copy)
        row.spoil(copy, witness)
        after = parts(copy)
        changed = {name.removesuffix(".away") for name in after if before.get(name) != after[name]}
        if typed != row.typed and not changed & {*PARTS.findall(typed), "looks.jsonl"}:
            return None
        os.environ.update(witness.environment())
        try:
            witness.run(shlex.split(typed.replace("COPY", str(copy))))
            witness.check()
        except AssertionError as error:
            return f"{error or 'something was written'}"
        return witness.out.strip().splitlines()[-1] if "a fault of stockml's own" in witness.out else ""


def parts(copy: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The files within each run, sweep and file of a folder."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for path in sorted(copy.rglob("*")):
        of = path.lstat()
        found.setdefault(path.relative_to(copy).parts[0], []).append((str(path), of.st_ino, of.st_mtime_ns))
    return found


def main() -> int:
    """Run all of it; 1 where something is wrong."""
    results = Path(sys.argv[1])
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row, typed): fault for row, typed, fault in lines}
    rows = [row for row in ROWS if not sys.argv[2:] or any(word in row.name for word in sys.argv[2:])]
    modules = [of.name for of in pkgutil.walk_packages(stockml.__path__, "stockml.") if "ray" not in of.name]
    forker = Forker(*modules, "matplotlib.pyplot", "sklearn.linear_model", "pandas", "scipy.stats", "pyarrow.parquet")
    conftest.forker = lambda: forker  # type: ignore[assignment]  # a function for a cached one
    with tempfile.TemporaryDirectory() as folder, listening() as (address, heard), results.open("a") as file:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        made = make(Path(folder) / "made")
        for row, typed in [(of, typed) for of in rows for typed in dict.fromkeys((of.typed, *COMMANDS))]:
            if done.get((row.name, typed), "not run"):
                done[row.name, typed] = fault = met(row, typed, made, address, heard)
                heard.clear()
                print(json.dumps([row.name, typed, fault and fault[:2000]]), file=file, flush=True)
                if fault:
                    print(f"{row.name}: {typed}: {fault[:1000]}", flush=True)
    found = [fault for (name, _), fault in done.items() if name in {row.name for row in rows}]
    wrong = sum(map(bool, found))
    print(f"{len(rows)} rows: {wrong or 'none'} of {sum(f is not None for f in found):,} commands wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
