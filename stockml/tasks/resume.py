"""Whether an earlier run can go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stockml.config.root import INSTALLATION_KEYS, saved
from stockml.config.values import differences
from stockml.errors import UserError
from stockml.runs.folder import RunFolder

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data


def resumable(path: Path, config: Config) -> RunFolder:
    """The folder of a run that can go on; UserError where it is running, or would go on with other settings."""
    folder = RunFolder.existing(path)
    if folder.status() == "running":
        raise UserError(f"trainer.resume={path}: that run is still running")
    facts = folder.read_json("config.json")
    if not isinstance(facts.get("config"), dict) or not isinstance(facts.get("data"), dict):
        raise UserError(f"{path / 'config.json'}: is not a run's; start a new run")
    may_change = _MAY_CHANGE if config.trainer.schedule == "cosine" else ("trainer.epochs", *_MAY_CHANGE)
    changed = [key for key in differences(facts["config"], saved(config)) if not key.startswith(may_change)]
    if changed:
        raise UserError(
            f"trainer.resume={path}: a run goes on with its own settings, but {', '.join(changed)} "
            f"differ{'s' if len(changed) == 1 else ''}; leave them as they were, or start a new run"
        )
    if folder.status() == "ok" and config.trainer.epochs <= folder.read_json("metrics.json")["timing"]["epochs"]:
        raise UserError(f"trainer.resume={path}: that run is finished; raise trainer.epochs to train it longer")
    return folder


def check_same_data(folder: RunFolder, data: Data) -> None:
    """UserError where the data are not those that the run has begun with."""
    if folder.read_json("config.json")["data"]["fingerprint"] != data.fingerprint:
        raise UserError(f"trainer.resume={folder.path}: the data have changed ({data.panel.origin}); start a new run")


def changes_of_batch(folder: RunFolder, config: Config, world_size: int) -> list[str]:
    """What a run that goes on at another world size does otherwise than before, a line or none."""
    facts = folder.read_json("config.json")
    before, batch_before = facts.get("world_size", 1), facts.get("global_batch_size")
    batch = config.trainer.global_batch(world_size)
    if batch_before is None or batch == batch_before:
        return []
    return [
        f"resumed     at world size {world_size} (it was {before}) with a global batch of {batch} (it was "
        f"{batch_before}): not the course of an undisturbed run; trainer.global_batch_size={batch_before} keeps it"
    ]


# What may be otherwise than it was, a section or the beginning of a key; trainer.epochs too, unless the learning rate
# falls over all of them.
_MAY_CHANGE = (
    *INSTALLATION_KEYS,
    "trainer.patience",
    "hardware.",
    "trainer.name",
    "trainer.world_size",
    "trainer.global_batch_size",
    "trainer.launcher",
    "trainer.nnodes",
    "trainer.node_rank",
    "trainer.rdzv_endpoint",
    "trainer.max_restarts",
    "trainer.timeout_seconds",
)
