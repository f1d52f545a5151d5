"""The device, its number format and its threads."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stockml.errors import UserError
from stockml.training.machine import cores

if TYPE_CHECKING:
    from stockml.config import HardwareConfig

# Multiplications in a training step above which more than one thread pays. A thread's start and its wait for the
# others cost some ten microseconds, about what one core takes for this many.
_SMALL_STEP = 50_000_000


@dataclass(frozen=True)
class Hardware:
    """What the numbers are computed on and in."""

    device: torch.device
    dtype: torch.dtype
    """Of parameters and panel."""
    autocast: bool
    """Whether layers compute in bfloat16."""

    def computing(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a model is called."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()


def choose(config: HardwareConfig, local_rank: int | None = None) -> Hardware:
    """The hardware that the config asks for, one of its GPUs to each rank; UserError where this machine has none such.

    `local_rank` numbers the ranks on this machine; it is None for a process that trains alone.
    """
    name = config.device
    if name == "auto":
        mps = local_rank is None and torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        if (name == "mps" and config.precision == "fp64") or (name != "cuda" and config.precision == "bf16"):
            name = "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else "; this torch is a CPU-only build"
        raise UserError(f"hardware.device=cuda: no CUDA GPU is visible here{built}; take hardware=cpu or hardware=auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("hardware.device=mps: no Apple GPU is usable here; take hardware=cpu or hardware=auto")
    if config.precision == "bf16" and name != "cuda":
        raise UserError("hardware.precision=bf16: needs a CUDA GPU and none is visible here; take fp32")
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    device = torch.device(name)
    if name == "cuda" and local_rank is not None:
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"LOCAL_RANK={local_rank}: this machine has {torch.cuda.device_count()} GPUs, and each rank needs one "
                "of its own; take a lower trainer.world_size, or hardware=cpu"
            )
        device = torch.device(name, local_rank)
        torch.cuda.set_device(device)
    return Hardware(device, dtype, config.precision == "bf16")


def set_up(config: HardwareConfig, step_multiplications: int, local_world_size: int = 1) -> int:
    """Set torch's global state, all of it, so that nothing carries over from an earlier run; the thread count.

    The ranks on one machine share its cores.
    """
    own = 1 if step_multiplications < _SMALL_STEP else max(1, cores() // local_world_size)
    threads = own if config.threads == "auto" else config.threads
    torch.set_num_threads(threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != config.deterministic:  # the call imports the compiler
        torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = False
    return threads


def describe(hardware: Hardware, threads: int) -> str:
    """The hardware in words."""
    if hardware.device.type == "cuda":
        return f"{torch.cuda.get_device_name(hardware.device)} (cuda)"
    return "mps" if hardware.device.type == "mps" else f"cpu ({threads} thread{'s' if threads > 1 else ''})"
