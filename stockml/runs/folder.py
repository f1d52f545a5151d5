"""Run folders: made exclusively, written atomically, read back."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from stockml.errors import UserError
from stockml.runs.names import fold_and_member, numbered_names
from stockml.runs.old_releases import check_format

# What a run writes, all but its log; of `.hydra/` what makes it one that can be resumed.
_WRITTEN_BY_A_RUN = (
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
    "report.html",
    "scalars.csv",
    "tracker.json",
    "mlflow.json",
    "result.json",
    ".hydra/config.yaml",
)


class Folder:
    """A folder in which every file is written under a temporary name, flushed, and renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: set[Path] = set()

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to; it takes its name, in place of an older one, only when it is whole and on the disk."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self.written.add(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with self.writing(name) as file:
            file.write(text.encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write JSON; a NaN in it is a fault of ours and raises ValueError."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_csv(
        self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, synthetic: bool = False
    ) -> None:
        """Write a table, row by row; of simulated data with a last column that says so."""
        mark = (["synthetic"], ["true"]) if synthetic else ([], [])
        with self.writing(name) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*header, *mark[0]])
            writer.writerows([*row, *mark[1]] for row in rows)
            text.detach()  # flushes, and leaves the file open

    def read_json(self, name: str) -> dict[str, Any]:
        """Read JSON back; UserError where it is missing or broken."""
        path = self.path / name
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}: is no JSON object")
        check_format(path, value)
        return value


class RunFolder(Folder):
    """One run's folder."""

    stays = False
    """Whether it is left behind however the run ends: as the record of a sweep's job."""
    log_name = "train.log"
    writer = ""
    """Before what is told of a failure: which of several processes tells it."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … where the name is taken."""
        return cls(new_folder(parent, name, "hydra.run.dir"))

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """Make the folder `path` itself; UserError where it already holds a run."""
        with folder_errors(path, "hydra.run.dir"):
            path.mkdir(parents=True, exist_ok=True)
            try:
                (path / ".hydra").mkdir()  # the claim: of two runs given one folder, one gets it
            except OSError as error:
                if not isinstance(error, FileExistsError):
                    with contextlib.suppress(OSError):
                        path.rmdir()
                    raise
                raise UserError(
                    f"{path}: already holds a run; choose another hydra.run.dir, or continue it: trainer.resume={path}"
                ) from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of an earlier run; UserError where there is none."""
        if not (path / "config.json").is_file():
            raise UserError(f"{path}: holds no run (there is no config.json); name a folder under outputs/")
        return cls(path)

    def within(self, name: str) -> RunFolder:
        """The folder of a part of the run, which need not be there yet."""
        part = RunFolder(self.path / name)
        part.written = self.written
        return part

    def histories(self) -> dict[str, dict[str, int]]:
        """The run's history.csv, or those of its folds and members, by their names in the folder: which part it is."""
        names = [path.relative_to(self.path).as_posix() for path in self.path.glob("**/history.csv")]
        found = {name: fold_and_member(name) for name in names}
        return dict(sorted(found.items(), key=lambda item: list(item[1].values())))

    @property
    def can_go_on(self) -> bool:
        """Whether an epoch was finished, so that there is a checkpoint to go on from."""
        return any(self.path.rglob("last.pt"))

    def discard(self) -> None:
        """Remove what has been written through this object, and the folder if that empties it; of a job, nothing."""
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
        """The run's log, to be written to after what it holds already."""
        path = self.path / "train.log"
        self.written.add(path)
        return path.open("a", encoding="utf-8")

    def write_records(self, records: Mapping[str, str], *, resumed: bool) -> None:
        """Write the texts of `.hydra/`, by name; a run that goes on keeps the command that it began with."""
        for name, text in records.items():
            if not resumed or name == "config.yaml":
                self.write_text(f".hydra/{name}", text)

    def make_logs_of_ranks(self, names: Iterable[str]) -> None:
        """Make the logs that workers write to, where they are not there from before."""
        (self.path / "ranks").mkdir(exist_ok=True)
        for path in (self.path / "ranks" / f"{name}.log" for name in names):
            if not path.exists():
                path.touch()
                self.written.add(path)

    def keep(self, name: str, older: str) -> None:
        """Let the file `name`, where there is one, be found as `older` too when `name` is written anew."""
        path = self.path / name
        link = path.with_name(f".{older}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            try:
                os.link(path, link)
                link.replace(path.with_name(older))
                link.unlink(missing_ok=True)  # it stays where the two were one file already
            except OSError as error:
                if isinstance(error, FileNotFoundError) or error.errno == errno.ENOSPC:
                    raise
                path.replace(path.with_name(older))  # a disk without links
            self.written.add(path.with_name(older))

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed had begun to write."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an earlier attempt at this run wrote, all but its log."""
        for name in _WRITTEN_BY_A_RUN:
            (self.path / name).unlink(missing_ok=True)
        for name in ("folds", "members", "plots", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def record(self, status: str, started: float, error: str | None, *, synthetic: bool) -> None:
        """Write result.json: how the run stands, from the time `started` (seconds since the epoch)."""
        now = time.time()
        self.write_json(
            "result.json",
            {
                "status": status,
                "pid": os.getpid(),
                "started": datetime.fromtimestamp(started).astimezone().isoformat(),
                "seconds": None if status == "running" else round(now - started, 3),
                "error": error,
                "synthetic": synthetic,
            },
        )

    def status(self) -> str:
        """How the run stands: running, ok, failed, interrupted or, where its process is gone, killed."""
        result = self.read_json("result.json")
        status = str(result.get("status"))
        return "killed" if status == "running" and not _alive(result.get("pid")) else status

    def outcome(self) -> str | None:
        """As `status`; None where the run has not begun, or left no result that can be read."""
        try:
            return self.status()
        except UserError:
            return None


class WorkerRun(RunFolder):
    """A run's folder to the worker that writes there; its launcher keeps the record of how the run stands."""

    def record(self, status: str, started: float, error: str | None, *, synthetic: bool) -> None:
        """Leave it to the launcher."""


class NullRun(WorkerRun):
    """A run's folder to a worker that writes nothing but a log of its own, and not even that where `log` is None."""

    def __init__(self, path: Path, rank: int, log: Path | None = None) -> None:
        super().__init__(path)
        self.writer = f"rank {rank}: "
        self.log_name = str(log or "its output")
        self._log = log

    def log(self) -> TextIO:
        """The rank's own log."""
        return (self._log or Path(os.devnull)).open("a", encoding="utf-8")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:  # noqa: ARG002  (as every folder has it)
        """A file that nobody will read."""
        yield io.BytesIO()

    def keep(self, name: str, older: str) -> None:
        """Keep nothing."""

    def within(self, name: str) -> RunFolder:  # noqa: ARG002
        """Itself: nothing is written here either."""
        return self


def new_folder(parent: Path, name: str, key: str) -> Path:
    """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … where the name is taken; `key` is its setting."""
    with folder_errors(parent, key):
        parent.mkdir(parents=True, exist_ok=True)
        for own in numbered_names(name):
            path = parent / own
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    raise AssertionError("unreachable")


@contextlib.contextmanager
def folder_errors(path: Path, key: str) -> Iterator[None]:
    """Turn an OSError about a folder into a UserError that names the setting `key`."""
    try:
        yield
    except OSError as error:
        what = "run folder" if key == "hydra.run.dir" else "sweep's folder"
        raise UserError(
            f"{path}: cannot make a {what} here ({error.strerror}); choose another with {key}=FOLDER"
        ) from error


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # where there is a /proc: dead, but of a parent that does not ask after it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
