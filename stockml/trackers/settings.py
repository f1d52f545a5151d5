"""Settings of the trackers. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stockml.config.schema import bounded


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Where a run is followed, besides in its own folder."""

    csv: bool
    """Whether in the run folder's scalars.csv, a row a figure."""
    tensorboard: bool
    """Whether in event files, in the folder `tensorboard` of the run folder."""
    mlflow: bool
    uri: str
    """Where MLflow keeps its runs: a server, or a database such as sqlite:///FILE."""
    experiment: str
    """What MLflow calls that which the runs belong to."""
    wait_seconds: float = bounded(least=0)
    """How long a run that has ended waits for what is still to be sent."""

    def names(self) -> list[str]:
        """The trackers that are asked for, as they are typed."""
        return [name for name in ("csv", "tensorboard", "mlflow") if getattr(self, name)]

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if not self.mlflow:
            return
        if not re.match(r"[a-z][a-z0-9+.-]*:/|databricks", self.uri):
            yield f"uri: {self.uri!r} is no address of MLflow's; write http://HOST:PORT, or sqlite:///FILE"
        elif re.match(r"[^/]*//[^/@]*:[^/]*@", self.uri):
            yield (
                "uri: holds a password, which run folders would show; leave it to the environment: "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, PGPASSWORD for PostgreSQL"
            )
        if not self.experiment.strip():
            yield "experiment: must not be empty"
