"""Settings of hydra/launcher=ray. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockml.config.schema import bounded


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Jobs as tasks of a Ray cluster."""

    address: str | None
    """`host:port` of a cluster, or auto: the one that this machine belongs to; null: one is started here."""
    n_jobs: int = bounded(least=-1)
    """Jobs that are handed to the cluster at once; -1: as many as its cores and GPUs have room for."""
    memory_gb: float | None = bounded(above=0)
    """Memory that each job reserves on its node."""
    shared: bool | Literal["auto"]
    """Whether the nodes see the sweep's folder; where they do not, a job's folder is copied when it has ended."""
    retries: int = bounded(least=0)
    """How often a job whose node died is given to another one."""
    wait_seconds: float = bounded(above=0)
    """How long a cluster has to answer."""

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        if self.address not in (None, "auto") and not re.fullmatch(r"[^/\s]+:\d+", str(self.address)):
            yield f"address: {self.address!r} must be auto or of the form host:port, that of the cluster's head node"
