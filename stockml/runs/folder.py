"""Run folders: created exclusively, written atomically, read back."""

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

from stockml.config.printable import csv_cell
from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.names import fold_and_member, numbered_names
from stockml.runs.old_releases import check_format

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
    "report.html",
    "scalars.csv",
    "tracker.json",
    "mlflow.json",
    "result.json",
    ".hydra/config.yaml",
)
"""What a run writes, except its log. Without .hydra/config.yaml it cannot be resumed."""

_FOLDERS_OF_A_RUN = ("folds", "members", "plots", "tensorboard")


class Folder:
    """A folder whose files are written under a temporary name, flushed and renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: set[Path] = set()

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to. It replaces an older one of that name once it is complete and on the disk."""
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
        """Write JSON. Raises ValueError for a NaN, which is a bug of the caller."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_csv(
        self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, synthetic: bool = False
    ) -> None:
        """Write a table row by row. With `synthetic` it gets a last column that says so."""
        mark = (["synthetic"], ["true"]) if synthetic else ([], [])
        with self.writing(name) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(map(csv_cell, [*header, *mark[0]]))
            writer.writerows(
                [*(csv_cell(cell) if isinstance(cell, str) else cell for cell in row), *mark[1]] for row in rows
            )
            text.detach()  # flushes, and leaves the file open

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object. Raises UserError if it is missing, broken, or of a later release."""
        path = self.path / name
        try:
            value = json.loads(plain_files.read(path, plain_files.MOST_JSON_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}: is not a JSON object")
        check_format(path, value)
        return value


class RunFolder(Folder):
    """The folder of one run."""

    stays = False
    """Whether the folder is kept however the run ends: in a sweep it records how the job ended."""
    log_name = "train.log"
    writer = ""
    """Prefix of an error message: which of several processes reports it."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … if the name is taken."""
        return cls(new_folder(parent, name, "hydra.run.dir"))

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """Make the folder `path` itself. Raises UserError if it already holds a run."""
        with folder_errors(path, "hydra.run.dir"):
            path.mkdir(parents=True, exist_ok=True)
            try:
                (path / ".hydra").mkdir()  # atomic: of two runs given one folder, one gets it
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
        """The folder of an earlier run. Raises UserError if there is none, or a link leads out of it."""
        if not (path / "config.json").is_file():
            raise UserError(f"{path}: holds no run (there is no config.json); name a folder under outputs/")
        plain_files.require_own_files(path)
        return cls(path)

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
            if not resumed or name == "config.yaml":
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
        link = path.with_name(f".{older}.{os.getpid()}.tmp")
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
        """Remove the temporary files of a process that was killed."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an earlier attempt at this run wrote, except its log."""
        for name in _FILES_OF_A_RUN:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS_OF_A_RUN:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def record(self, status: str, started: float, error: str | None, *, synthetic: bool) -> None:
        """Write result.json: the status of the run that began at `started` (seconds since 1970)."""
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
        """The run's status: running, ok, failed, interrupted, pruned or, if its process is gone, killed."""
        result = self.read_json("result.json")
        status = str(result.get("status"))
        return "killed" if status == "running" and not _is_alive(result.get("pid")) else status

    def outcome(self) -> str | None:
        """The run's status; None if it has not begun, or left no readable result."""
        try:
            return self.status()
        except UserError:
            return None


class WorkerRun(RunFolder):
    """The run folder of a worker process that writes there. Its launcher records the status."""

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


def new_folder(parent: Path, name: str, key: str) -> Path:
    """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … if the name is taken; `key` is the setting that names it."""
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
        what = "run folder" if key == "hydra.run.dir" else "sweep folder"
        raise UserError(
            f"{path}: cannot make a {what} here ({error.strerror}); choose another with {key}=FOLDER"
        ) from error


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid < 1 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # with a /proc: a zombie, whose parent has not waited for it, is dead
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
