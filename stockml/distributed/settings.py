"""Settings of trainer=ddp. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stockml.config.schema import bounded
from stockml.training.settings import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class DDPConfig(TrainerConfig):
    """Several processes that train one model together."""

    world_size: int | Literal["auto"] = bounded(least=1)
    """Processes over all nodes; auto: one per GPU, else one per core, but no more than have a full batch each."""
    global_batch_size: int | None = bounded(least=1)
    """Samples per update over all processes, instead of batch_size."""
    launcher: Literal["local", "torchrun"]
    """What starts and supervises the workers on one machine; on several it is always torchrun."""
    nnodes: int = bounded(least=1)
    """Number of machines; the same command is typed on each, with its own `node_rank`."""
    node_rank: int = bounded(least=0)
    rdzv_endpoint: str | None
    """`host:port` on node 0, where the nodes meet."""
    max_restarts: int = bounded(least=0)
    """How often the workers are restarted from the last checkpoint after one of them has failed."""
    timeout_seconds: float = bounded(above=0)
    """How long ranks wait for one another before a missing one is taken to hang."""

    def global_batch(self, world_size: int) -> int:
        """Samples of one update, over all processes."""
        return self.global_batch_size or self.batch_size * world_size

    def endpoint(self) -> tuple[str, int] | None:
        """The host and port of `rdzv_endpoint`; None where it does not have that form."""
        host, colon, port = (self.rdzv_endpoint or "").strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")  # of an IPv6 address
        return (host, int(port)) if colon and host and port.isdecimal() and 0 < int(port) < 65536 else None

    def conflicts(self) -> Iterator[str]:
        """The rules between fields that are broken."""
        yield from super().conflicts()
        if self.rdzv_endpoint is not None and self.endpoint() is None:
            yield f"rdzv_endpoint: {self.rdzv_endpoint!r} is not of the form host:port"
        elif self.nnodes > 1 and self.rdzv_endpoint is None:
            yield "rdzv_endpoint: nodes must know where to meet, a free port of node 0: trainer.rdzv_endpoint=HOST:PORT"
        if self.node_rank >= self.nnodes:
            yield f"node_rank: {self.node_rank} is too high; {self.nnodes} nodes are numbered from 0 (trainer.nnodes)"
        if isinstance(self.world_size, int):
            if self.world_size % self.nnodes:
                yield f"world_size: {self.world_size} ranks cannot be shared evenly among {self.nnodes} nodes"
            if self.global_batch_size is not None and self.global_batch_size < self.world_size:
                yield (
                    f"global_batch_size: {self.global_batch_size} samples are too few for {self.world_size} ranks; "
                    "raise it, or lower trainer.world_size"
                )

    def conflicts_with(self, config: Any) -> Iterator[str]:
        """Broken rules between this section and the rest of the config."""
        if config.hardware.device == "mps":
            yield "trainer.name: ddp does not work on mps; take hardware=cpu, or trainer=single"


TRAINERS: dict[str, type[TrainerConfig]] = {"single": TrainerConfig, "ddp": DDPConfig}
"""Each trainer's settings, by the name that is typed."""
