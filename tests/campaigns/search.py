"""Searches: what pruning saves, that nobody waits, and that trials are counted right however often they are killed.

    python tests/campaigns/search.py [pruning|barrier|kills|shared …] [--folder search_campaign] [--seeds 10]

pruning: on 12 parameters over the simulator, the share of the epochs of a search without pruning after which one with
hyperband has reached its best validation loss; median over the seeds, at most 0.5. barrier: with one long job, the time
that the other places are idle, at most 5 %. kills: 20 kills at random moments, of the search or of one of its jobs: all
trials are there, none twice. shared: two searches on one storage have their trials together. An hour on two cores; what
is done already, in results.json of the folder, is not run again. The exit status is 1 where one of these does not hold.

pruning was 0.37 (0.17 to 0.83, and one of ten never), with the same draws and training, but all trials in one process,
which takes three minutes. barrier was 3.3 % with jobs of two seconds, 6 % with jobs of one: 50 ms a job.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.reporting import search_file, summary
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder

RUN_PY = Path(__file__).parents[2] / "run.py"
COMMON = (
    "-m",
    "hydra/sweeper=optuna",
    "data.days=1500",
    "data.signal=strong",
    "trainer.patience=null",
    "report=false",
    "intervals=[]",
)
TWELVE = (
    "model.hidden_dim=choice(8,16,32,64,128)",
    "model.dropout=interval(0.0,0.6)",
    "trainer.lr=tag(log,interval(1e-5,1e-1))",
    "trainer.batch_size=choice(32,64,128,256)",
    "trainer.weight_decay=tag(log,interval(1e-6,1e-1))",
    "trainer.optimizer=choice(adam,adamw,sgd)",
    "trainer.schedule=choice(constant,cosine,plateau)",
    "trainer.warmup_epochs=interval(0.0,3.0)",
    "trainer.grad_clip_norm=tag(log,interval(0.1,10.0))",
    "trainer.shuffle=choice(true,false)",
    "data.transform=choice(returns,levels)",
    "data.window=int(interval(5,30))",
)
EPOCHS = 27


def command(folder: Path, *typed: str) -> list[str]:
    """The command of a search into a folder."""
    return [sys.executable, str(RUN_PY), *COMMON, f"hydra.sweep.dir={folder}", *typed]


def run(folder: Path, *typed: str) -> None:
    """Run a search to its end."""
    subprocess.run(command(folder, *typed), check=True, stdout=subprocess.DEVNULL)


def trials(folder: Path) -> list[dict[str, Any]]:
    """The trials of the search in a folder that are no repetitions."""
    found = search_file.read(SweepFolder(folder)).get("trials", [])
    return [trial for trial in found if not trial["is_repeated"]]


def epochs_until(folder: Path, loss: float) -> int | None:
    """How many epochs a search had spent on its trials when the first was as good; None where none was."""
    rows = {row["job"]: row for row in summary.read(SweepFolder(folder))}
    spent = 0
    for trial in trials(folder):
        spent += int(rows[trial["job"]]["epochs"])
        if trial["state"] == "complete" and trial["values"][0] <= loss:
            return spent
    return None


def pruning(folder: Path, seed: int, n_trials: int = 40) -> float:
    """The share of an unpruned search's epochs that one with hyperband takes to be as good; 9 where it never is."""
    typed = (*TWELVE, f"trainer.epochs={EPOCHS}", f"hydra.sweeper.sampler.seed={1000 * seed}", f"data.seed={seed}")
    run(folder / f"unpruned_{seed}", *typed, f"hydra.sweeper.n_trials={n_trials}")
    best = min(trial["values"][0] for trial in trials(folder / f"unpruned_{seed}"))
    run(
        folder / f"hyperband_{seed}",
        *typed,
        f"hydra.sweeper.n_trials={2 * n_trials}",
        "hydra/sweeper/pruner=hyperband",
    )
    spent = epochs_until(folder / f"hyperband_{seed}", best)
    return 9.0 if spent is None else spent / (EPOCHS * n_trials)


def barrier(folder: Path, jobs: int = 12, long: int = 8000, short: int = 800) -> float:
    """The share of the time that one of two places has no job, of two seconds each, while the other has a long one."""
    epochs = ",".join(map(str, [long, *range(short, short + jobs)]))
    typed = (f"trainer.epochs=choice({epochs})", f"hydra.sweeper.n_trials={jobs + 1}", "hydra/sweeper/sampler=grid")
    run(folder / "barrier", *typed, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hardware.threads=1")
    spans: list[tuple[float, float]] = []
    for path in (folder / "barrier").glob("*/result.json"):
        result = json.loads(path.read_text())
        started = datetime.datetime.fromisoformat(result["started"]).timestamp()
        spans.append((started, started + result["seconds"]))
    first, *others = sorted(spans, key=lambda span: span[0] - span[1])
    others = sorted(span for span in others if span[1] <= first[1])
    assert len(others) > 3, "the long job was too short"
    idle = sum(max(0.0, later[0] - earlier[1]) for earlier, later in itertools.pairwise(others))
    return idle / (others[-1][1] - others[0][0])


def kills(folder: Path, count: int = 20, n_trials: int = 30, seed: int = 0) -> list[str]:
    """What is wrong with a search that was killed so often, it or one of its jobs in turn; a line each."""
    chance, sweep = random.Random(seed), folder / "kills"
    typed = [
        "model.dropout=interval(0.0,0.5)",
        "trainer.epochs=60",
        f"hydra.sweeper.n_trials={n_trials}",
        "hydra.sweeper.max_failure_rate=1",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ]
    process = subprocess.Popen(command(sweep, *typed), stdout=subprocess.DEVNULL)
    done = 0
    while done < count and process.poll() is None:
        while not _running(sweep) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 2))
        kills_search = chance.random() < 0.5
        victims = [process.pid] if kills_search else _running(sweep)
        try:
            os.kill(chance.choice(victims), signal.SIGKILL)
        except (IndexError, ProcessLookupError):  # it has ended in the meantime
            continue
        done += 1
        if kills_search:
            process.wait()
            process = subprocess.Popen(command(sweep, *typed), stdout=subprocess.DEVNULL)
    faults = [] if process.wait() == 0 else [f"status {process.returncode}"]
    return [*faults, *([] if done == count else [f"{done} kills"]), *faults_of([sweep], n_trials)]


def _running(sweep: Path) -> list[int]:
    """The process ids of the jobs that run."""
    return [
        json.loads(path.read_text())["pid"]
        for path in sweep.glob("*/result.json")
        if RunFolder(path.parent).outcome() == "running"
    ]


def shared(folder: Path, n_trials: int = 30) -> list[str]:
    """What is wrong with two searches on one storage; a line each."""
    typed = ("model.dropout=interval(0.0,0.5)", "trainer.epochs=10", f"hydra.sweeper.n_trials={n_trials}")
    storage = f"hydra.sweeper.storage=sqlite:///{folder / 'shared.db'}"
    sweeps = [folder / "shared_a", folder / "shared_b"]
    processes = [subprocess.Popen(command(sweep, *typed, storage), stdout=subprocess.DEVNULL) for sweep in sweeps]
    faults = [f"status {process.returncode}" for process in processes if process.wait() != 0]
    alone = [f"{sweep.name} ran no trial" for sweep in sweeps if not list(sweep.glob("*/result.json"))]
    return [*faults, *alone, *faults_of(sweeps, n_trials)]


def faults_of(sweeps: Sequence[Path], n_trials: int) -> list[str]:
    """What is wrong with the trials of a study, given the folders of its searches; a line each."""
    ended = max((trials(sweep) for sweep in sweeps), key=lambda of: sum(t["state"] == "complete" for t in of))
    complete = [trial for trial in ended if trial["state"] == "complete"]
    jobs = [path.parent for sweep in sweeps for path in sweep.glob("*/metrics.json")]
    losses = {job.name: json.loads((job / "metrics.json").read_text())["validation_loss"] for job in jobs}
    faults = [] if len(complete) == n_trials else [f"{len(complete)} complete trials, not {n_trials}"]
    faults += [] if len(jobs) == n_trials else [f"{len(jobs)} finished jobs, not {n_trials}"]
    faults += ["a trial was drawn twice"] * (len({str(trial["params"]) for trial in ended}) < len(ended))
    faults += ["a trial is still running"] * any(trial["state"] in ("running", "waiting") for trial in ended)
    return faults + [f"{t['job']}: another value" for t in complete if losses.get(t["job"]) != t["values"][0]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each figure; 1 where one is not as it must be."""
    parser = argparse.ArgumentParser(description="Searches: pruning, no barrier, kills, shared storage.")
    parser.add_argument("parts", nargs="*", default=["pruning", "barrier", "kills", "shared"])
    parser.add_argument("--folder", type=Path, default=Path("search_campaign"))
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args(arguments)
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"

    def remembered(name: str, measure: Callable[[], Any]) -> Any:
        known = json.loads(path.read_text()) if path.exists() else {}
        if name not in known:
            known[name] = measure()
            path.write_text(json.dumps(known, indent=2))
        print(f"{name:<12} {known[name]}", flush=True)
        return known[name]

    fine = True
    if "pruning" in args.parts:
        shares = [remembered(f"pruning {n}", functools.partial(pruning, folder, n)) for n in range(args.seeds)]
        median = statistics.median(shares)
        print(f"pruning      reaches the best loss with {median:.2f} of the epochs (median of {len(shares)}), ≤ 0.5")
        fine &= median <= 0.5
    if "barrier" in args.parts:
        fine &= remembered("barrier", lambda: barrier(folder)) <= 0.05
    for name, part in (("kills", kills), ("shared", shared)):
        if name in args.parts:
            fine &= remembered(name, functools.partial(part, folder)) == []
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
