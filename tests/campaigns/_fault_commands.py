"""Commands that campaigns kill or let run into a full disk: what is typed, what goes on, and how it must end."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.errors import UserError
from stockml.runs import looks
from stockml.runs.comparison import different_numbers
from stockml.training import checkpoint

RUN_PY = Path(__file__).parents[2] / "run.py"
MINUTE = 60.0


@dataclass(frozen=True)
class Command:
    """A command that is killed, or runs into a full disk."""

    name: str
    typed: str
    weight: int
    """Its share of the kills."""
    made: str = "new"
    """The folder whose files are compared with those of an undisturbed command."""
    resumed: bool = False
    """Whether `trainer.resume` goes on with it; else the same command does."""


_SMALL = "data.window=10 model.hidden_dim=8 trainer.patience=null intervals=[] hydra.run.dir=new"
_TRAIN = f"data.days=400 trainer.epochs=4 {_SMALL}"
_PLAIN = f"{_TRAIN} report=false"
_POOL = f"data=csv data.dir=pool data.tickers=all data.panel_cache=panels trainer.epochs=2 {_SMALL} report=false"
_SWEEP = f"-m seed=1,2,3 {_TRAIN.replace('hydra.run.dir=new', 'hydra.sweep.dir=new')}"

COMMANDS = (
    Command("train", _TRAIN, 60, resumed=True),
    Command("walk_forward", f"{_PLAIN} data.split=walk_forward data.folds=3", 40, resumed=True),
    Command("ensemble", f"{_PLAIN} trainer.ensemble=3", 40, resumed=True),
    Command("pool", _POOL, 40, resumed=True),
    Command("mapped", f"{_POOL} data.memory_limit=0", 40, resumed=True),
    Command("sweep", _SWEEP, 40),
    Command("sweep_joblib", f"{_SWEEP} hydra/launcher=joblib hydra.launcher.n_jobs=2", 40),
    Command(
        "search",
        f"{_SWEEP.replace('seed=1,2,3', 'hydra/sweeper=optuna hydra/sweeper/pruner=median hydra.sweeper.n_trials=4')} "
        "hydra.sweeper.sampler.seed=1 '+hydra.sweeper.params={trainer.lr: \"interval(0.001, 0.01)\"}'",
        30,
    ),
    Command("update", "task=update run=run hydra.run.dir=new", 40),
    Command("report", "task=report run=run", 30, "run"),
    Command("report_sweep", "task=report run=sweep", 20, "sweep"),
    Command("predict", "task=predict run=run data.end=null", 30, "run"),
    Command("evaluate", "task=evaluate run=run data.path=bars/OTHER.csv stock.ticker=OTHER", 20, "run"),
    Command("explain", "task=explain run=run explain.repeats=2", 30, "run"),
    Command("combine", "task=combine runs=[run,run_2] hydra.run.dir=new", 30),
    Command("placebo", "task=placebo run=run placebo.copies=2", 30, "run"),
    Command("reproduce", "task=reproduce run=run hydra.run.dir=new", 20),
    Command("features", "task=features run=run export.features=new/table.csv", 10),
    Command("ddp", f"{_PLAIN} trainer=ddp trainer.world_size=2", 40, resumed=True),
)


def bars(seed: int, days: int = 420) -> pd.DataFrame:
    """Daily bars of a random walk."""
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * draw.standard_normal(days)))
    frame = pd.DataFrame({"Date": pd.bdate_range("2020-01-01", periods=days), "Open": close, "Close": close})
    frame["High"], frame["Low"] = 1.005 * close, 0.995 * close
    frame["Volume"] = draw.integers(10_000, 90_000, days)
    return frame


class Forker:
    """Commands forked from this process, which has imported what they need. It becomes the parent of their orphans."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        for task in (RUN_PY.parent / "stockml" / "tasks").glob("[a-z]*.py"):
            if task.stem not in ("export", "onnx_trees", "worker"):
                importlib.import_module(f"stockml.tasks.{task.stem}")
        for name in ("compose.launcher", "compose.search", "reporting.run_page", "reporting.sweep_page"):
            importlib.import_module(f"stockml.{name}")
        for name in ("arch.bootstrap", "optuna", "rich.console", "torch.utils.serialization", "numpy.ma"):
            importlib.import_module(name)
        self.cpu_seconds = 0.0
        """Of the last command that ended."""
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER

    def start(self, typed: str, folder: Path) -> int:
        """Start `python run.py …` in a folder; the number of its process."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        try:
            os.setpgid(0, 0)
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
            os.chdir(folder)
            for descriptor, name in enumerate((Path(os.devnull), self._logs / "out.txt", self._logs / "err.txt")):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
            os.environ.update(
                TMPDIR=str(folder / "tmp"), XDG_CACHE_HOME=str(folder / "cache"), PYTHONPATH=str(RUN_PY.parent)
            )
            tempfile.tempdir = None
            sys.argv = [str(RUN_PY), *shlex.split(typed)]
            from stockml.cli import program

            program()
        finally:
            os._exit(99)

    def wait(self, child: int, seconds: float = 5 * MINUTE, until: float | None = None) -> int | None:
        """The status of a command; None where it was killed, since it did not end, or has used `until` CPU seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status, used = os.wait4(child, os.WNOHANG)
            if pid:
                self.cpu_seconds = used.ru_utime + used.ru_stime
                return os.waitstatus_to_exitcode(status)
            if until is not None and cpu_seconds(child) >= until:
                return None
            time.sleep(0.002 if until is not None else 0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def run(self, typed: str, folder: Path) -> tuple[int | None, str]:
        """The status of a command and what it printed on stderr."""
        status = self.wait(self.start(typed, folder))
        return status, self.said()

    def said(self) -> str:
        """What the last command printed on stderr."""
        return (self._logs / "err.txt").read_text(errors="replace")

    def orphans(self, seconds: float = 5) -> list[str]:
        """The command lines of processes that outlive what started them; they are killed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return []
            time.sleep(0.02)
        own, found = str(os.getpid()), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (path / "stat").read_text().rpartition(")")[2].split()[1] == own:
                    found.append((path / "cmdline").read_text().replace("\0", " ")[:200])
                    os.kill(int(path.name), signal.SIGKILL)
            except (OSError, IndexError):
                pass
        return found


def cpu_seconds(process: int) -> float:
    """What a process and its children have used of the CPU: how far it is, however busy the machine is."""
    try:
        times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + sum(cpu_seconds(int(child)) for child in children)


def prepared(folder: Path, forker: Forker) -> Path:
    """A folder with bars, finished runs and a sweep, made once."""
    base = folder / "base"
    if (folder / "made").exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    for name, files in {"bars": ("T", "OTHER"), "pool": ("A", "B", "C")}.items():
        (base / name).mkdir(parents=True)
        for seed, ticker in enumerate(files):
            bars(seed).to_csv(base / name / f"{ticker}.csv", index=False)
    (base / "tmp").mkdir()
    run = f"data=csv data.path=bars/T.csv stock.ticker=T data.end=2021-05-31 trainer.epochs=2 {_SMALL}"
    for typed in (
        run.replace("dir=new", "dir=run"),
        f"{run.replace('dir=new', 'dir=run_2')} seed=7",
        _SWEEP.replace("dir=new", "dir=sweep"),
    ):
        status, said = forker.run(f"{typed} looks=off", base)
        assert status == 0, said
    (folder / "made").touch()
    return base


def fresh(base: Path, folder: Path) -> Path:
    """The base, copied for one trial."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(base, folder))


def go_on(command: Command, folder: Path, forker: Forker) -> tuple[str, str]:
    """Go on with a disturbed command until it is done: how, and what is wrong with that, empty where nothing is."""
    made = folder / command.made
    typed = command.typed
    if command.resumed and (made / ".hydra" / "config.yaml").exists():
        typed = "trainer.resume=new"
    status, said = forker.run(typed, folder)
    if status == 2 and "or continue it: trainer.resume=" in said:
        typed = "trainer.resume=new"
        status, said = forker.run(typed, folder)
    how = "went on by resume" if typed == "trainer.resume=new" else "went on by the same command"
    if status == 2 and ("is finished; raise trainer.epochs" in said or _is_finished(made, said)):
        return "was finished", ""
    return how, "" if status == 0 else f"{typed}: status {status}: {said[-600:]}"


def _is_finished(made: Path, said: str) -> bool:
    return "already holds a run" in said and '"status": "ok"' in (made / "result.json").read_text()


def numbers(folder: Path, made: str) -> dict[str, Any]:
    """What must not depend on kills: by file, the numbers of metrics.json, and the bytes of tables."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in (folder / made).rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name == "metrics.json":
            found[name] = json.loads(path.read_text())
        elif path.name == "summary.csv":
            frame = pd.read_csv(path)
            found[name] = frame.drop(columns=["seconds", "look", "skill_corrected"], errors="ignore").to_csv()
        elif path.suffix in (".csv", ".parquet") and path.name not in ("history.csv", "scalars.csv"):
            found[name] = path.read_bytes()
        elif path.suffix in (".html", ".pt") and path.name != "previous.pt":
            found[name] = ""
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What of a command that was disturbed differs from one that was not."""
    faults = [f"{name} is missing" for name in expected.keys() - found.keys() if not name.endswith(".html")]
    for name in expected.keys() & found.keys():
        then, now = expected[name], found[name]
        if isinstance(then, dict):
            faults += [f"{name}: {key} {values}" for key, values in list(different_numbers(then, now).items())[:3]]
        elif then != now:
            faults.append(f"{name} has another content")
    return faults


def torn(folder: Path) -> list[str]:
    """The files under their final names that are not whole."""
    faults = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name.endswith((".tmp", ".lock", ".log")) or "/tmp/" in path.as_posix().removeprefix(str(folder)):
            continue
        try:
            why = _fault(path)
        except (ValueError, OSError, UserError, yaml.YAMLError, sqlite3.Error) as error:
            why = f"{type(error).__name__}: {error}"
        if why:
            faults.append(f"{path.relative_to(folder)} is torn: {why}"[:300])
    return faults


def _fault(path: Path) -> str:
    kind = path.suffix
    if kind == ".json":
        json.loads(path.read_bytes())
    elif kind == ".jsonl":
        ledger = looks.read(path)
        return "; ".join(ledger.faults) or ("its last line is cut" if ledger.is_cut else "")
    elif kind == ".csv":
        text = path.read_text()
        return "" if text.endswith("\n") and len({line.count(",") for line in text.splitlines()}) == 1 else "is cut"
    elif kind == ".pt":
        checkpoint.load(path)
    elif kind in (".yaml", ".yml"):
        return "" if path.stat().st_size and isinstance(yaml.safe_load(path.read_text()), (dict, list)) else "is empty"
    elif kind == ".html":
        return "" if path.read_text().rstrip().endswith("</html>") else "does not end"
    elif kind == ".svg":
        return "" if path.read_text().rstrip().endswith("</svg>") else "does not end"
    elif kind == ".png":
        return "" if path.read_bytes().endswith(b"IEND\xaeB`\x82") else "does not end"
    elif kind == ".db":
        with sqlite3.connect(path) as database:
            return "" if database.execute("pragma integrity_check").fetchone()[0] == "ok" else "is damaged"
    return ""


def leftovers(folder: Path) -> list[str]:
    """Temporary files that nobody uses any more."""
    found = [path for path in folder.rglob("*") if path.name.endswith((".tmp", "-journal", "-wal"))]
    found += (folder / "tmp").iterdir()
    return sorted(str(path.relative_to(folder)) for path in found)


def only(words: list[str]) -> Iterator[Command]:
    """The commands with these names, all of them where there is none."""
    yield from (command for command in COMMANDS if not words or command.name in words)


def in_own_mounts() -> None:
    """Start this script again where what it mounts is seen by nobody else, and goes with it."""
    if os.environ.get("STOCKML_OWN_MOUNTS") is None:
        os.environ["STOCKML_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def mount(folder: Path, options: str) -> None:
    """Mount a tmpfs, or change how much it takes."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def steps(sizes: list[int], most: int) -> list[int]:
    """Free kilobytes at which each write in turn meets the end of the disk: before each file, and in its midst."""
    at = [0]
    for size in sizes:
        pages = -(-size // 4096) * 4
        at += [at[-1] + pages // 2, at[-1] + pages] if pages > 4 else [at[-1] + pages]
    every = sorted({*at, *itertools.takewhile(lambda k: k < min(160, at[-1]), itertools.count(4, 4))})
    return every if len(every) <= most else [every[i] for i in np.linspace(0, len(every) - 1, most).astype(int)]
