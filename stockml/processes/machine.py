"""The cores, memory, GPUs and network interfaces of this machine, without importing torch."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import socket
import struct
from pathlib import Path


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> float:
    """Bytes of memory that this process may still take: of the machine, or of its container; inf where unknown."""
    found = [float("inf")]
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        found.append(1024 * float(text.partition("MemAvailable:")[2].split()[0]))
    for limit in _CGROUP_LIMITS:  # "max", which is no number, where there is none
        with contextlib.suppress(OSError, ValueError):
            found.append(float(Path(limit).read_text(encoding="utf-8")))
    return min(found)


_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def gpus() -> int:
    """The number of CUDA GPUs that torch would see, from the driver, which respects CUDA_VISIBLE_DEVICES."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if not _torch_is_built_for_cuda() or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def interface_towards(host: str) -> str | None:
    """The network interface over which this machine reaches a host, itself included; None where that is unknown."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            route.connect((host, 9))  # a datagram socket sends nothing when it connects
            address = route.getsockname()[0]
            for _, name in socket.if_nameindex():
                if _address_of(name, route) == address:
                    return name
    except OSError:
        return None
    return None


def _address_of(interface: str, any_socket: socket.socket) -> str | None:
    """An interface's IPv4 address, on Linux."""
    import fcntl

    try:
        answer = fcntl.ioctl(any_socket, 0x8915, struct.pack("256s", interface.encode()[:15]))  # SIOCGIFADDR
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])


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
