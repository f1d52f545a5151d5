"""Whether an earlier run can be continued."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stockml import models
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.tasks import run_metadata
from stockml.tasks.same_experiment import PLACES, DataState, changed_data, changed_settings, changed_weights

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.training.interface import TrainState


@contextlib.contextmanager
def held(config: Config) -> Iterator[None]:
    """Lock the run that the config resumes, if it resumes one. UserError where another process has it."""
    with contextlib.ExitStack() as stack:
        if (path := config.trainer.resume) is not None:
            stack.enter_context(RunFolder(Path(path)).held())
        yield


def resumable(path: Path, config: Config) -> RunFolder:
    """The folder of a run that can be continued; UserError where it is running, or its settings would change."""
    if RunFolder(path).is_unbegun:
        return RunFolder(path)
    folder = RunFolder.existing(path)
    if folder.status() == "running":
        raise UserError(f"trainer.resume={path}: that run is still running")
    facts = folder.read_json("config.json")
    if not isinstance(facts.get("config"), dict) or not isinstance(facts.get("data"), dict):
        raise UserError(f"{path / 'config.json'}: is not the config.json of a run; start a new run")
    is_sealed = run_metadata.saved_values(folder)["test"] == "sealed"
    unseals = config.task == "unseal"
    if is_sealed and config.test == "open" and not unseals:
        raise UserError(f"test=open: the run is sealed, and stays so until task=unseal run={path}; leave this out")
    may_change = _MAY_CHANGE if config.trainer.schedule == "cosine" else ("trainer.epochs", *_MAY_CHANGE)
    may_change = (*may_change, "data.end") if unseals else may_change  # bars that have come since are left out
    changed = [key for key in changed_settings(folder, config) if not key.startswith(may_change)]
    if changed:
        raise UserError(
            f"trainer.resume={path}: a run is continued with its own settings, but {', '.join(changed)} "
            f"differ{'s' if len(changed) == 1 else ''}; leave them as they were, or start a new run"
        )
    if reason := changed_weights(folder, config):
        raise UserError(f"trainer.resume={path}: {reason}; start a new run")
    if (
        folder.status() == "ok"
        and not unseals
        and config.trainer.epochs <= folder.read_json("metrics.json")["timing"]["epochs"]
    ):
        raise UserError(f"trainer.resume={path}: that run is finished; raise trainer.epochs to train it longer")
    return folder


def check_same_data(folder: RunFolder, data: Data) -> None:
    """UserError where the data are not those that the run began with."""
    if not folder.is_unbegun and (reason := changed_data(folder, DataState.of(data, folder))):
        raise UserError(f"trainer.resume={folder.path}: {reason}; start a new run")


def is_finished(state: TrainState, config: Config) -> bool:
    """Whether a model's training was over at this state."""
    stopping, epochs = replace(state.stopping, patience=config.trainer.patience), len(state.history)
    return epochs >= models.most_epochs(config) or stopping.is_over(epochs)


def nothing_left(
    folder: RunFolder, config: Config, states: Mapping[str, TrainState], names: Sequence[str]
) -> list[str]:
    """A line for the user where the run was finished and none of its models, by name, trains on, else no line."""
    done = all(name in states and is_finished(states[name], config) for name in names)
    if not (folder.path / "metrics.json").exists() or not done:
        return []
    early = any(len(states[name].history) < models.most_epochs(config) for name in names)
    why = ", stopped early by trainer.patience" if early else ""
    return [f"resumed     this run was finished already{why}: nothing is trained, and its results are computed again"]


def changes_of_batch(folder: RunFolder, config: Config, world_size: int) -> list[str]:
    """A line for the user where a run continued at another world size has another global batch, else no line."""
    facts = {} if folder.is_unbegun else folder.read_json("config.json")
    before, batch_before = facts.get("world_size", 1), facts.get("global_batch_size")
    batch = config.trainer.global_batch(world_size)
    if batch_before is None or batch == batch_before:
        return []
    return [
        f"resumed     at world size {world_size} (it was {before}) with a global batch of {batch} (it was "
        f"{batch_before}): its result differs from an uninterrupted run's; "
        f"trainer.global_batch_size={batch_before} keeps it"
    ]


# Settings that may change, a section or the beginning of a key; trainer.epochs too, unless the learning rate depends on
# it.
_MAY_CHANGE = (
    *PLACES,
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
