"""Sweep folders: a run folder for each job, what was swept, and the summary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stockml.errors import UserError
from stockml.runs.folder import Folder, RunFolder, folder_errors, new_folder


class SweepFolder(Folder):
    """A sweep's folder: a run folder a job, what was swept, and the summary."""

    @classmethod
    def create(cls, path: Path) -> SweepFolder:
        """Make the folder, with a suffix `_2`, `_3`, … where the name is taken."""
        return cls(new_folder(path.parent, path.name, "hydra.sweep.dir"))

    @classmethod
    def at(cls, path: Path) -> SweepFolder:
        """The folder `path`, made or continued; UserError where it holds a run instead."""
        if (path / "config.json").exists():
            raise UserError(f"{path}: already holds a run, no sweep; choose another hydra.sweep.dir")
        with folder_errors(path, "hydra.sweep.dir"):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether `path` holds a sweep."""
        return (path / _PLAN).is_file()

    @classmethod
    def existing(cls, path: Path) -> SweepFolder:
        """The folder of an earlier sweep; UserError where there is none."""
        if not cls.is_one(path):
            raise UserError(f"{path}: holds no sweep (there is no {_PLAN}); name a folder under multirun/")
        return cls(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from running this sweep; UserError where one is doing so."""
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
        """Held while a file of the sweep's own is read and written anew."""
        return FileLock(self.path / ".changing")

    def plan(self, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add jobs, by name, with the value of each key that was swept, to those that are planned."""
        with self.changing(), folder_errors(self.path, "hydra.sweep.dir"):
            planned = self.jobs() if self.is_one(self.path) else {}
            self.write_json(_PLAN, {"jobs": {**planned, **jobs}})

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What was swept, by job, in the order of planning."""
        jobs = self.read_json(_PLAN).get("jobs")
        if not isinstance(jobs, dict):
            raise UserError(f"{self.path / _PLAN}: tells of no jobs; sweep anew")
        return jobs

    def job(self, name: str) -> RunFolder:
        """A job's folder, which need not be there yet."""
        return RunFolder(self.path / name)


_PLAN = "sweep.json"
