"""Run folders: created exclusively, written atomically, read back."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

from filelock import FileLock, Timeout

from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.files import Folder, folder_errors
from stockml.runs.names import fold_and_member, numbered_names
from stockml.runs.temporary import is_alive, process_start, remove, remove_leftovers, temporary

_FILES_OF_A_RUN = (
    "best.pt",
    "last.pt",
    "previous.pt",
    "config.json",
    "metrics.json",
    "norm_stats.json",
    "history.csv",
    "predictions.csv",
    "baselines.csv",
    "folds.csv",
    "stocks.csv",
    "members.csv",
    "report.html",
    "scalars.csv",
    "tracker.json",
    "mlflow.json",
    "result.json",
    ".hydra/config.yaml",
)
"""What a run writes, except its log. Without .hydra/config.yaml it cannot be resumed."""

_FOLDERS_OF_A_RUN = ("folds", "members", "plots", "runs", "tensorboard")


class RunFolder(Folder):
    """The folder of one run."""

    stays = False
    """Whether the folder is kept however the run ends: in a sweep it records how the job ended."""
    log_name = "train.log"
    writer = ""
    """Prefix of an error message: which of several processes reports it."""

    @classmethod
    def create(cls, parent: Path, name: str, records: Mapping[str, str]) -> RunFolder:
        """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … if the name is taken; it appears with its records."""
        with folder_errors(parent, "hydra.run.dir"):
            parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(parent.glob(".*.tmp"))
            for own in numbered_names(name):
                if (parent / own).exists():
                    continue
                with contextlib.suppress(FileExistsError):
                    return cls._prepared(parent / own, records)
        raise AssertionError("unreachable")

    @classmethod
    def at(cls, path: Path, records: Mapping[str, str]) -> RunFolder:
        """Make the folder `path` itself; it appears with its records. Raises UserError if it already holds a run."""
        with folder_errors(path, "hydra.run.dir"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return cls._prepared(path, records)
            except FileExistsError:
                if not path.is_dir():
                    raise
                remove_leftovers(path.rglob(".*.tmp"))
                resumed = "" if (path / "runs").is_dir() else f", or continue it: trainer.resume={path}"
                raise UserError(f"{path}: already holds a run; choose another hydra.run.dir{resumed}") from None

    @classmethod
    def _prepared(cls, path: Path, records: Mapping[str, str]) -> RunFolder:
        """Make a run folder, or only `.hydra` in a folder that exists; FileExistsError where another run has it."""
        folder = cls(path)
        whole = path / ".hydra" if path.is_dir() else path
        prepared = temporary(whole)
        prepared.mkdir()
        try:
            within = prepared if whole.name == ".hydra" else prepared / ".hydra"
            within.mkdir(exist_ok=True)
            for name, text in records.items():
                Folder(within).write_text(name, text)
            try:
                prepared.rename(whole)  # atomic: of two runs given one folder, one gets it
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise FileExistsError(error.errno, error.strerror, str(path)) from error
                raise
        except BaseException:
            remove(prepared)
            raise
        folder.written |= {path / ".hydra" / name for name in records}
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of an earlier run, without what a killed process has left there.

        Raises UserError if there is none, or a link leads out of it.
        """
        if not (path / "config.json").is_file():
            if cls(path).is_unbegun:
                raise UserError(f"{path}: was killed before it began to train; start it: trainer.resume={path}")
            raise UserError(f"{path}: holds no run (there is no config.json); name a folder under outputs/")
        plain_files.require_own_files(path)
        remove_leftovers(path.rglob(".*.tmp"))
        return cls(path)

    @property
    def is_unbegun(self) -> bool:
        """Whether the run was killed before there was more of it than its records."""
        return (self.path / ".hydra" / "config.yaml").is_file() and not (self.path / "config.json").exists()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the run against other processes; UserError where one has it. Where locks are impossible, there is none.

        Within the context, a folder that is removed is not made again by what is written.
        """
        own, lock = self.path.resolve(), FileLock(self.path / ".lock")
        if own in _HELD:
            yield
            return
        try:
            lock.acquire(timeout=0)
            self.written.add(self.path / ".lock")
        except Timeout:
            raise UserError(f"{self.path}: that run is still running; wait for it, or end it first") from None
        except (OSError, NotImplementedError):
            pass
        _HELD.add(own)
        try:
            yield
        finally:
            _HELD.discard(own)
            lock.release()

    def _make_parents(self, path: Path) -> None:
        if self.path.resolve() in _HELD and not self.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        super()._make_parents(path)

    def missing(self) -> list[str]:
        """The files that were written through this object and are there no more."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.written if not path.exists())

    def within(self, name: str) -> RunFolder:
        """The folder of one of the run's models, such as `folds/0`, which may not exist yet."""
        inner = RunFolder(self.path / name)
        inner.written = self.written
        return inner

    def histories(self) -> dict[str, dict[str, int]]:
        """Path in the folder of each history.csv → the fold and member it is of; sorted by these."""
        names = [path.relative_to(self.path).as_posix() for path in self.path.glob("**/history.csv")]
        found = {name: fold_and_member(name) for name in names}
        return dict(sorted(found.items(), key=lambda item: list(item[1].values())))

    @property
    def has_checkpoint(self) -> bool:
        """Whether an epoch was finished, so that the run can be resumed."""
        return any(self.path.rglob("last.pt"))

    def discard(self) -> None:
        """Remove the files written through this object, and the folder if it is empty then. A job's folder stays."""
        if self.stays:
            return
        for path in self.written:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        made = {self.path / ".hydra", *(folder for path in self.written for folder in path.parents)}
        for folder in sorted((f for f in made if self.path in f.parents), reverse=True):  # the inner ones first
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def log(self) -> TextIO:
        """The run's log, opened to append to it."""
        path = self.path / "train.log"
        self.written.add(path)
        return path.open("a", encoding="utf-8", errors="replace")

    def write_records(self, records: Mapping[str, str], *, resumed: bool) -> None:
        """Write the files of `.hydra/`, given as text by name. A resumed run keeps the command that it began with."""
        for name, text in records.items():
            if self.path / ".hydra" / name not in self.written and (not resumed or name == "config.yaml"):
                self.write_text(f".hydra/{name}", text)

    def make_logs_of_ranks(self, names: Iterable[str]) -> None:
        """Make the logs that workers append to, if they do not exist."""
        (self.path / "ranks").mkdir(exist_ok=True)
        for path in (self.path / "ranks" / f"{name}.log" for name in names):
            if not path.exists():
                path.touch()
                self.written.add(path)

    def keep(self, name: str, older: str) -> None:
        """Keep the file `name`, if there is one, under the name `older` too, before `name` is written again."""
        path = self.path / name
        link = temporary(path.with_name(older))
        with contextlib.suppress(FileNotFoundError):
            try:
                os.link(path, link)
                link.replace(path.with_name(older))
                link.unlink(missing_ok=True)  # still there if both names were one file already
            except OSError as error:
                if isinstance(error, FileNotFoundError) or error.errno == errno.ENOSPC:
                    raise
                path.replace(path.with_name(older))  # a file system without hard links
            self.written.add(path.with_name(older))

    def remove_leftovers(self) -> None:
        """Remove all temporary files: of a run that nobody else has."""
        for path in list(self.path.rglob(".*.tmp")):
            remove(path)

    def clear(self) -> None:
        """Remove what an earlier attempt at this run wrote, except its log."""
        self.remove_leftovers()
        for name in _FILES_OF_A_RUN:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS_OF_A_RUN:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def clear_attempt(self, config: str) -> None:
        """Make room where an earlier attempt at the run of this config.yaml did not come to its end."""
        records = self.path / ".hydra"
        with contextlib.suppress(OSError):
            if (records / "config.yaml").read_text() == config and self.outcome() not in ("ok", "running"):
                self.clear()
                shutil.rmtree(records)

    def record(self, status: str, started: float, error: str | None, *, synthetic: bool) -> None:
        """Write result.json: the status of the run that began at `started` (seconds since 1970)."""
        now = time.time()
        self.write_json(
            "result.json",
            {
                "status": status,
                "pid": os.getpid(),
                "process_start": process_start(os.getpid()),
                "started": datetime.fromtimestamp(started).astimezone().isoformat(),
                "seconds": None
                if status == "running"
                else max(0.0, round(now - started, 3)),  # a clock may be set back
                "error": error,
                "synthetic": synthetic,
            },
        )

    def status(self) -> str:
        """The run's status: running, ok, failed, interrupted, pruned or, if its process is gone, killed."""
        result = self.read_json("result.json")
        status = str(result.get("status"))
        is_there = is_alive(result.get("pid"), result.get("process_start"))
        return "killed" if status == "running" and not is_there else status

    def outcome(self) -> str | None:
        """The run's status; None if it has not begun, or left no readable result."""
        try:
            return self.status()
        except UserError:
            return None

    @property
    def ending(self) -> str:
        """How the run ended, for a message: its status, or that none can be read."""
        return self.outcome() or "result.json is missing or damaged"


class WorkerRun(RunFolder):
    """The run folder of a worker process that writes there. Its launcher holds it, and records the status."""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Do nothing: the launcher does it."""
        yield

    def record(self, status: str, started: float, error: str | None, *, synthetic: bool) -> None:
        """Do nothing: the launcher does it."""


class NullRun(WorkerRun):
    """The run folder of a worker process that writes only a log of its own, or nothing at all if `log` is None."""

    def __init__(self, path: Path, rank: int, log: Path | None = None) -> None:
        super().__init__(path)
        self.writer = f"rank {rank}: "
        self.log_name = str(log or "its output")
        self._log = log

    def log(self) -> TextIO:
        """The log of this rank."""
        return (self._log or Path(os.devnull)).open("a", encoding="utf-8")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:  # noqa: ARG002  (the parameters of Folder)
        """A file that is thrown away."""
        yield io.BytesIO()

    def keep(self, name: str, older: str) -> None:
        """Do nothing."""

    def within(self, name: str) -> RunFolder:  # noqa: ARG002
        """This folder: nothing is written to its inner ones either."""
        return self


_HELD: set[Path] = set()
"""The run folders that this process has locked."""
