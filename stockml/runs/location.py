"""Where a run writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stockml.runs.folder import RunFolder, folder_errors
from stockml.runs.names import safe_name


@dataclass(frozen=True)
class RunLocation:
    """Where a run's folder is to go: `exact`ly there, or as a `job` of a sweep, else into outputs/."""

    exact: Path | None = None
    job: Path | None = None

    @property
    def verbose(self) -> bool:
        """Whether the run prints: a sweep's jobs do not, the sweep does."""
        return self.job is None

    def create_folder(self, ticker: str) -> RunFolder:
        """Make the folder, whose name nobody else can have; UserError where that is impossible."""
        if self.exact is not None:
            return RunFolder.at(self.exact)
        if self.job is not None:
            with folder_errors(self.job, "hydra.sweep.dir"):
                self.job.mkdir(parents=True, exist_ok=True)
            folder = RunFolder(self.job)
            folder.stays = True
            return folder
        return RunFolder.create(Path("outputs").absolute(), f"{safe_name(ticker)}_{datetime.now():%Y%m%d_%H%M%S}")


@dataclass(frozen=True)
class ExistingRun:
    """A place whose folder is there already: that of a run which goes on."""

    folder: RunFolder
    verbose: bool = True
    """Whether the run prints."""

    def create_folder(self, _ticker: str) -> RunFolder:
        """The folder."""
        return self.folder
