"""The device, the number format and the threads that training uses."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout

from stockml.errors import UserError
from stockml.processes import machine

if TYPE_CHECKING:
    from stockml.training.settings import HardwareConfig

# Multiplications in a training step above which more than one thread pays: to start a thread and to wait for it costs
# some ten microseconds, about as long as one core takes for this many.
LARGE_STEP = 50_000_000


@dataclass(frozen=True)
class Hardware:
    """The device and the number format of the computation."""

    device: torch.device
    dtype: torch.dtype
    """Of parameters and panel."""
    autocast: bool
    """Whether layers compute in bfloat16."""

    def autocast_context(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a model is called."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()


def choose(config: HardwareConfig, local_rank: int | None = None) -> Hardware:
    """The hardware that the config asks for, one GPU per rank; UserError where this machine does not have it.

    `local_rank` is the number of the rank on this machine; None for a process that trains alone.
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
    """Set all of torch's global state, so that nothing is left of an earlier run; return the number of threads."""
    threads = thread_count(config, step_multiplications, local_world_size)
    torch.set_num_threads(threads)
    if config.deterministic:
        os.environ.setdefault(_WORKSPACE, ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != config.deterministic:  # the call imports the compiler
        torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = False
    return threads


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """A context for code that calls `set_up` and draws random numbers: it restores torch's global state at its end."""
    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(_WORKSPACE)
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            if torch.get_deterministic_debug_mode() != deterministic:  # the call imports the compiler
                torch.set_deterministic_debug_mode(deterministic)
            torch.backends.cudnn.benchmark = benchmark
            if workspace is None:
                os.environ.pop(_WORKSPACE, None)


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def thread_count(config: HardwareConfig, step_multiplications: int, local_world_size: int = 1) -> int:
    """The number of threads of one process for training steps of this size; the ranks on one machine share its cores.

    It does not depend on what else is running, so that a job of a sweep has the numbers of the same run made alone.
    """
    if config.threads != "auto":
        return config.threads
    return 1 if step_multiplications < LARGE_STEP else max(1, machine.cores() // local_world_size)


def gpus() -> list[str]:
    """The GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES; does not initialise CUDA."""
    if torch.version.cuda is None:
        return []
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or a forked job could not use CUDA
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(torch.cuda.device_count())]
    return names if visible is None else visible.split(",")[: len(names)]


@contextlib.contextmanager
def holding(gpus: Sequence[str], count: int, folder: Path) -> Iterator[list[str]]:
    """Wait for `count` GPUs that no other job holds, and hold them by file locks, which end with their process."""
    if count > len(gpus):
        there = "there is 1" if len(gpus) == 1 else f"there are {len(gpus)}"
        raise UserError(f"{count} GPUs are asked for, but {there}; lower trainer.world_size")
    while True:
        with contextlib.ExitStack() as stack:
            held = []
            for name in gpus:
                with contextlib.suppress(Timeout):
                    stack.enter_context(FileLock(folder / f"stockml-gpu-{name}.lock", mode=0o666).acquire(timeout=0))
                    held.append(name)
                if len(held) == count:
                    yield held
                    return
        time.sleep(random.uniform(0.1, 0.5))  # so that two jobs that need several do not block each other for ever


def describe(hardware: Hardware, threads: int) -> str:
    """A description of the hardware for the user."""
    if hardware.device.type == "cuda":
        return f"{torch.cuda.get_device_name(hardware.device)} (cuda)"
    return "mps" if hardware.device.type == "mps" else f"cpu ({threads} thread{'s' if threads > 1 else ''})"
