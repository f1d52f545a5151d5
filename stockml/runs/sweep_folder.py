"""Sweep folders on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stockml.errors import UserError
from stockml.runs import plain_files
from stockml.runs.files import Folder, folder_errors, new_folder
from stockml.runs.folder import RunFolder
from stockml.runs.names import safe_name


class SweepFolder(Folder):
    """The folder of a sweep: a run folder for each job, the plan of what is swept, and the summary."""

    @classmethod
    def create(cls, path: Path) -> SweepFolder:
        """Make the folder, with a suffix `_2`, `_3`, … if the name is taken."""
        return cls(new_folder(path.parent, path.name, "hydra.sweep.dir"))

    @classmethod
    def at(cls, path: Path) -> SweepFolder:
        """The folder `path`, made if it does not exist. Raises UserError if it holds a run instead."""
        if (path / "config.json").exists():
            raise UserError(f"{path}: already holds a run, no sweep; choose another hydra.sweep.dir")
        with folder_errors(path, "hydra.sweep.dir"):
            path.mkdir(parents=True, exist_ok=True)
        plain_files.require_own_files(path)
        return cls(path)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether `path` holds a sweep."""
        return (path / _PLAN).is_file()

    @classmethod
    def existing(cls, path: Path) -> SweepFolder:
        """The folder of an earlier sweep. Raises UserError if there is none, or a link leads out of it."""
        if not cls.is_one(path):
            raise UserError(f"{path}: holds no sweep (there is no {_PLAN}); name a folder under multirun/")
        plain_files.require_own_files(path)
        return cls(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the sweep against other processes that would run it. Raises UserError if one is running it."""
        lock = FileLock(self.path / ".lock")
        with folder_errors(self.path, "hydra.sweep.dir"):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise UserError(f"{self.path}: this sweep is still running; wait for it, or end it first") from None
        try:
            yield
        finally:
            lock.release()

    def changing(self) -> FileLock:
        """The lock to hold while one of the sweep's own files is read and written again."""
        return FileLock(self.path / ".changing")

    def plan(self, jobs: Mapping[str, Mapping[str, Any]], arguments: Sequence[str] | None = None) -> None:
        """Add jobs to the plan: for each name the swept keys and their values; and what was typed, if it is given."""
        with self.changing(), folder_errors(self.path, "hydra.sweep.dir"):
            planned, kept = (self.jobs(), self.arguments()) if self.is_one(self.path) else ({}, None)
            typed = kept if arguments is None else list(arguments)
            self.write_json(_PLAN, {"jobs": {**planned, **jobs}, **({} if typed is None else {"arguments": typed})})

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The plan: job name → swept keys and their values, in the order of planning."""
        jobs = self.read_json(_PLAN).get("jobs")
        if not isinstance(jobs, dict) or not all(isinstance(swept, dict) for swept in jobs.values()):
            raise UserError(f"{self.path / _PLAN}: lists no jobs; start the sweep in another folder")
        for name in jobs:
            if name != safe_name(name) or plain_files.inside(self.path, name).name != name:
                raise UserError(f"{self.path / _PLAN}: {name!r} is no name of a job; restore the file")
        return jobs

    def arguments(self) -> list[str] | None:
        """What was typed to run the sweep, without its folder; None where an earlier release has run it."""
        found = self.read_json(_PLAN).get("arguments")
        return None if found is None else [str(argument) for argument in found]

    def job(self, name: str) -> RunFolder:
        """The run folder of a job, which may not exist yet."""
        return RunFolder(self.path / name)


_PLAN = "sweep.json"
