"""Every hostile folder and file of tests/hostile, met by every task and both launchers; an hour.

    python tests/campaigns/hostile.py [WORDS of the rows' names, default all]

No command may execute, write or read what the files ask for, drive the terminal, call itself faulty, or take longer
than a minute.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.hostile.inputs import AGAIN, NPZ, ROWS, Row
from tests.hostile.test_hostile import make
from tests.hostile.witnesses import SECRET, Witness, listening

BARS = "data=csv stock.ticker=AAPL data.path=COPY/bars.csv"
COMMANDS = (
    AGAIN,
    f"-m {AGAIN} seed=1,2 hydra/launcher=joblib hydra.launcher.n_jobs=2",
    "-m model=linear data.days=300 data.window=10 trainer.epochs=1 seed=1,2 report=false hydra.sweep.dir=COPY/sweep",
    "trainer.resume=COPY/run trainer.epochs=2",
    *(f"task={task} run=COPY/run" for task in ("predict", "evaluate", "reproduce", "report", "audit", "explain")),
    *(f"task={task} run=COPY/run" for task in ("update", "unseal", "looks", "doctor", "features")),
    *(f"task={task} run=COPY/run data.seed=5" for task in ("predict", "evaluate")),
    *(f"task={task} run=COPY/sweep" for task in ("reproduce", "report", "unseal")),
    *(f"task=placebo run=COPY/{of} placebo.copies=1" for of in ("run", "sweep")),
    "task=combine runs=[COPY/run,COPY/sweep]",
    f"task=doctor {BARS}",
    f"task=features {BARS}",
    f"{BARS} report=false trainer.epochs=1",
    NPZ,
)


def met(row: Row, typed: str, made: Path, address: str, heard: list[bytes]) -> str:
    """What is wrong with how a command meets a row; empty where nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        witness, copy = Witness(root, address, heard), shutil.copytree(made, root / "copy")
        row.spoil(copy, witness)
        try:
            witness.run(shlex.split(typed.replace("COPY", str(copy))))
            witness.check()
        except AssertionError as error:
            return f"{error or 'something was written'}"
        return witness.out.strip().splitlines()[-1] if "a fault of stockml's own" in witness.out else ""


def main() -> int:
    """Run all of it; 1 where something is wrong."""
    os.environ.update(SECRET=SECRET)
    rows = [row for row in ROWS if not sys.argv[1:] or any(word in row.name for word in sys.argv[1:])]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, listening() as (address, heard):
        made = make(Path(folder))
        for row in rows:
            for typed in dict.fromkeys((row.typed, *COMMANDS)):
                if fault := met(row, typed, made, address, heard):
                    wrong += 1
                    print(f"{row.name}: {typed}: {fault[:1000]}", flush=True)
            print(f"{row.name}: {len(COMMANDS)} commands", flush=True)
    print(f"{len(rows)} rows: {wrong or 'none'} of {len(rows) * len(COMMANDS):,} commands wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
