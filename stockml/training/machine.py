"""What this machine has, told without importing torch."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
from pathlib import Path


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """CUDA GPUs that torch would see: asked of the driver, which knows of CUDA_VISIBLE_DEVICES."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if not _torch_is_built_for_cuda() or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def loopback() -> str | None:
    """The network interface that leads nowhere but here: `lo`, on some systems `lo0`."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), None)


def _torch_is_built_for_cuda() -> bool:
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return False
    spec = importlib.util.spec_from_file_location("_torch_version", Path(torch.origin).with_name("version.py"))
    if spec is None or spec.loader is None:
        return False
    version = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(version)
    return getattr(version, "cuda", None) is not None
