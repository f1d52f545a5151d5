"""The number of processes that train together: as asked for, if this machine and the data allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from stockml.distributed.settings import DDPConfig
from stockml.errors import UserError
from stockml.processes import machine

if TYPE_CHECKING:
    from stockml.config.root import Config


def world_size(config: Config, samples: int) -> int:
    """The number of ranks over all nodes, for so many train samples. UserError where the setting is impossible."""
    trainer = cast("DDPConfig", config.trainer)
    gpus = machine.gpus() if config.hardware.device in ("auto", "cuda") else 0
    if trainer.world_size == "auto":
        return _auto(config, trainer, samples, gpus)
    here = trainer.world_size // trainer.nnodes
    if config.hardware.device == "cuda" and gpus == 0:
        raise UserError("hardware.device=cuda: no CUDA GPU is visible here; take hardware=cpu or hardware=auto")
    if gpus and here > gpus:
        raise UserError(
            f"trainer.world_size={trainer.world_size}: needs {here} GPUs here, one per rank, but there "
            f"{'is' if gpus == 1 else 'are'} {gpus}; take trainer.world_size={gpus * trainer.nnodes}, or hardware=cpu"
        )
    require_samples(trainer.world_size, samples)
    return trainer.world_size


def here(config: Config) -> int:
    """The number of ranks on this machine that the config asks for; for world_size=auto, the most there may be."""
    trainer = config.trainer
    if not isinstance(trainer, DDPConfig):
        return 1
    return machine.cores() if trainer.world_size == "auto" else trainer.world_size // trainer.nnodes


def require_samples(world_size: int, samples: int) -> None:
    """UserError where there are more ranks than samples to train on."""
    if world_size > samples:
        raise UserError(
            f"trainer.world_size={world_size}: more ranks than the {samples:,} samples of train; "
            f"take trainer.world_size=auto, or at most {samples}"
        )


def _auto(config: Config, trainer: DDPConfig, samples: int, gpus: int) -> int:
    """One rank per GPU, else per core, but no more than have a full batch each."""
    threads = config.hardware.threads
    here = gpus or max(1, machine.cores() // (threads if isinstance(threads, int) else 1))
    if trainer.global_batch_size is None:
        most = samples // trainer.batch_size
    else:
        most = min(samples, trainer.global_batch_size)
    return max(1, min(here, most // trainer.nnodes)) * trainer.nnodes
