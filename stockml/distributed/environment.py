"""The environment variables that make a process a worker: torchrun's, SLURM's and our own. Imports no torch."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from stockml.errors import UserError

LISTENER = "STOCKML_LISTENER"
"""Descriptor of the socket on which rank 0 serves: the launcher has bound it, so that nobody else takes the port."""
LIFELINE = "STOCKML_LIFELINE"
"""Descriptor of the pipe that closes when the launcher is gone."""
CHANNEL = "STOCKML_CHANNEL"
"""Descriptor of the connection on which rank 0 asks, after each epoch, whether to stop."""
FAILURES = "STOCKML_FAILURES"
"""Folder into which a worker writes why it failed."""


@dataclass(frozen=True)
class WorkerEnvironment:
    """A worker's rank among the others, and the address where they meet."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    host: str
    port: int
    attempt: str = "0"
    """The number of the attempt, where torchrun has restarted the workers."""
    listener: int | None = None
    """The descriptor of the socket that rank 0 serves on."""
    agent_serves: bool = False
    """Whether torchrun's agent serves the store, and rank 0 is a client like the others."""

    def variables(self) -> dict[str, str]:
        """The environment variables, as torchrun sets them."""
        listener = {} if self.listener is None else {LISTENER: str(self.listener)}
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_RESTART_COUNT": self.attempt,
            **listener,
        }


def read(
    endpoint: tuple[str, int] | None = None, variables: Mapping[str, str] = os.environ
) -> WorkerEnvironment | None:
    """The environment of a worker; None where this process was not started as one. UserError where it is incomplete.

    `endpoint` is the address where the ranks meet if MASTER_ADDR and MASTER_PORT are not set.
    """
    address = {} if endpoint is None else {"MASTER_ADDR": endpoint[0], "MASTER_PORT": str(endpoint[1])}
    found = {**_slurm(variables), **address, **variables}
    if "RANK" not in found or "WORLD_SIZE" not in found:
        return None
    rank, world_size = _number(found, "RANK"), _number(found, "WORLD_SIZE")
    if rank >= world_size:
        raise UserError(f"RANK={rank}: must be below WORLD_SIZE={world_size}{_REMEDY}")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not found.get(name)]
    if missing:
        raise UserError(
            f"RANK and WORLD_SIZE are set, so this process is one of {world_size} workers, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not: give trainer.rdzv_endpoint=HOST:PORT{_REMEDY}"
        )
    return WorkerEnvironment(
        rank=rank,
        world_size=world_size,
        local_rank=_number(found, "LOCAL_RANK") if "LOCAL_RANK" in found else rank,
        local_world_size=_number(found, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in found else world_size,
        host=found["MASTER_ADDR"],
        port=_number(found, "MASTER_PORT"),
        attempt=found.get("TORCHELASTIC_RESTART_COUNT", "0"),
        listener=_number(found, LISTENER) if LISTENER in found else None,
        agent_serves=found.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def require_resolvable(host: str) -> None:
    """UserError where a host's name has no address here."""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(
            f"{host}: this name does not resolve here ({error.strerror}); check it, or give an address instead: "
            "trainer.rdzv_endpoint=ADDRESS:PORT"
        ) from error


_REMEDY = "; or unset RANK and WORLD_SIZE, and this process starts the workers itself"


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables[name]
    if not text.isdecimal():
        raise UserError(f"{name}={text!r}: must be a whole number{_REMEDY}")
    return int(text)


def _slurm(variables: Mapping[str, str]) -> dict[str, str]:
    """SLURM's variables under torchrun's names, in a task of `srun`; none in the batch script around it."""
    if "SLURM_PROCID" not in variables or "SLURM_NTASKS" not in variables:
        return {}
    if "SLURM_JOB_ID" in variables and "SLURM_STEP_ID" not in variables:
        return {}
    mapped = {"RANK": variables["SLURM_PROCID"], "WORLD_SIZE": variables["SLURM_NTASKS"]}
    if "SLURM_LOCALID" in variables:
        mapped["LOCAL_RANK"] = variables["SLURM_LOCALID"]
    tasks = re.match(r"\d+", variables.get("SLURM_STEP_TASKS_PER_NODE", variables.get("SLURM_TASKS_PER_NODE", "")))
    if tasks:
        mapped["LOCAL_WORLD_SIZE"] = tasks[0]
    nodes = variables.get("SLURM_STEP_NODELIST", variables.get("SLURM_JOB_NODELIST", ""))
    first = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,]*)", nodes)  # of node[01-04,7],other: node01
    if first:
        mapped["MASTER_ADDR"] = "".join(part or "" for part in first.groups())
        job = re.sub(r"\D", "", variables.get("SLURM_JOB_ID", "")) or "0"
        mapped["MASTER_PORT"] = str(20_000 + int(job) % 20_000)
    return mapped
