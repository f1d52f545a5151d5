"""Settings of the trackers. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.config.schema import bounded
from stockml.trackers import TRACKERS


@dataclass(frozen=True, kw_only=True)
class _TrackerSettings:
    """Where a run is logged besides its own folder: a switch for each tracker of the register, and how."""

    uri: str
    """MLflow's tracking URI: a server, or a database such as sqlite:///FILE."""
    experiment: str
    """Name of MLflow's experiment."""
    wait_seconds: float = bounded(least=0)
    """The longest that a run which has ended waits for its trackers to finish."""

    def names(self) -> list[str]:
        """The trackers that are switched on."""
        return [name for name in TRACKERS if getattr(self, name, False)]

    def with_absolute_path(self) -> TrackerConfig:
        """The settings with an absolute path of the database file, to mean the same from every folder."""
        file = re.fullmatch("sqlite:///(.+)", self.uri)
        return dataclasses.replace(self, uri=f"sqlite:///{Path(file[1]).expanduser().absolute()}") if file else self

    def conflicts(self) -> Iterator[str]:
        """Rules across fields that are broken."""
        if "mlflow" not in self.names():
            return
        if not re.match(r"[a-z][a-z0-9+.-]*:/|databricks", self.uri):
            yield f"uri: {self.uri!r} is not a tracking URI of MLflow; write http://HOST:PORT, or sqlite:///FILE"
        elif re.match(r"[^/]*//[^/@]*:[^/]*@", self.uri):
            yield (
                "uri: contains a password, which logs would show; set it in the environment: "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, PGPASSWORD for PostgreSQL"
            )
        if not self.experiment.strip():
            yield "experiment: must not be empty"


if TYPE_CHECKING:
    TrackerConfig = _TrackerSettings
else:
    TrackerConfig = dataclasses.make_dataclass(
        "TrackerConfig",
        [(name, bool, dataclasses.field(default=False)) for name in TRACKERS],
        bases=(_TrackerSettings,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": _TrackerSettings.__doc__, "__module__": __name__},
    )
