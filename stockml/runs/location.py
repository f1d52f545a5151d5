"""Where a run writes its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from stockml.runs.files import folder_errors
from stockml.runs.folder import RunFolder
from stockml.runs.names import safe_name


@dataclass(frozen=True)
class RunLocation:
    """Where a new run's folder is made: by default a new one in outputs/."""

    exact: Path | None = None
    """The folder itself."""
    job: Path | None = None
    """The folder itself, for a job of a sweep."""

    @property
    def verbose(self) -> bool:
        """Whether the run prints. For a job of a sweep, the sweep does."""
        return self.job is None

    def path(self, ticker: str) -> Path:
        """The folder that is to be made; it gets another suffix where its name is taken."""
        default = Path("outputs").absolute() / f"{safe_name(ticker)}_{datetime.now():%Y%m%d_%H%M%S}"
        return self.exact or self.job or default

    def create_folder(self, ticker: str, records: Mapping[str, str]) -> RunFolder:
        """Make a folder that no other run has, with the files of its `.hydra`, given as text by name, in it.

        A job's folder may exist, and gets no records here. Raises UserError if that is impossible.
        """
        if self.exact is not None:
            return RunFolder.at(self.exact, records)
        if self.job is not None:
            with folder_errors(self.job, "hydra.sweep.dir"):
                self.job.mkdir(parents=True, exist_ok=True)
            folder = RunFolder(self.job)
            folder.stays = True
            return folder
        path = self.path(ticker)
        return RunFolder.create(path.parent, path.name, records)


@dataclass(frozen=True)
class RememberedLocation(RunLocation):
    """Where a run writes; it keeps which folder was made, and says whether the run prints."""

    made: list[Path] = field(default_factory=list)
    quiet: bool = False

    @property
    def verbose(self) -> bool:
        """Whether the run prints."""
        return not self.quiet

    def create_folder(self, ticker: str, records: Mapping[str, str]) -> RunFolder:
        """Make the folder, and remember it."""
        folder = super().create_folder(ticker, records)
        self.made.append(folder.path)
        return folder


@dataclass(frozen=True)
class ExistingRun:
    """The folder of a run that is resumed."""

    folder: RunFolder
    verbose: bool = True
    """Whether the run prints."""

    def path(self, _ticker: str) -> Path:
        """The folder's path."""
        return self.folder.path

    def create_folder(self, _ticker: str, _records: Mapping[str, str]) -> RunFolder:
        """The folder, which exists."""
        return self.folder
