"""Where a run writes its folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stockml.runs.folder import RunFolder, folder_errors
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

    def create_folder(self, ticker: str) -> RunFolder:
        """Make a folder that no other run has. Raises UserError if that is impossible."""
        if self.exact is not None:
            return RunFolder.at(self.exact)
        if self.job is not None:
            with folder_errors(self.job, "hydra.sweep.dir"):
                self.job.mkdir(parents=True, exist_ok=True)
            folder = RunFolder(self.job)
            folder.stays = True
            return folder
        path = self.path(ticker)
        return RunFolder.create(path.parent, path.name)


@dataclass(frozen=True)
class ExistingRun:
    """The folder of a run that is resumed."""

    folder: RunFolder
    verbose: bool = True
    """Whether the run prints."""

    def path(self, _ticker: str) -> Path:
        """The folder's path."""
        return self.folder.path

    def create_folder(self, _ticker: str) -> RunFolder:
        """The folder, which exists."""
        return self.folder
