"""What config.json says of a run."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config import saved

if TYPE_CHECKING:
    from stockml.config import Config
    from stockml.data import Data


def of(config: Config, data: Data, device: str | None, world_size: int = 1) -> dict[str, Any]:
    """What config.json says: the resolved config, and the facts that it does not fix (the device when it is known)."""
    packages = ("stockml", "torch", "hydra-core", "omegaconf", "numpy", "pandas")
    return {
        "config": saved(config),
        "data": {
            "origin": data.panel.origin,
            "fingerprint": data.fingerprint,
            "rows": len(data.panel.values),
            "samples": {name: len(rows) for name, rows in data.split.parts().items()},
            "purged": data.split.purged,
            "dropped": list(data.panel.dropped),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "git_commit": _git_commit(),
        "device": device,
        "world_size": world_size,
        "global_batch_size": config.trainer.global_batch(world_size),
        "platform": platform.platform(),
        "synthetic": data.panel.synthetic,
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_commit() -> str | None:
    """The commit of this code, marked where the code differs from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
