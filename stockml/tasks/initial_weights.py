"""trainer.init_from: the best weights of an earlier run, with which training starts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from stockml import models
from stockml.config.values import differences, plain, show
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.members import members
from stockml.tasks import run_metadata
from stockml.training import checkpoint

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class InitialWeights:
    """What training starts with."""

    members: Sequence[StateDict]
    """The weights of each member of an ensemble, or of the only model."""
    sha256: str
    """The hash of them all."""


def load(config: Config, data: Data, group: Group = SINGLE_PROCESS) -> InitialWeights | None:
    """The weights of `trainer.init_from`, read by rank 0 and the same on every rank; None without this setting.

    UserError where the model cannot go on from weights, or the run's model is another one than the config's.
    """
    trainer, name = config.trainer, config.model.name
    keys = [key for key in ("init_from", "warm_start") if getattr(trainer, key)]
    if keys and not models.can_continue(config.model):
        raise UserError(
            f"trainer.{keys[0]}: model={name} is computed from its data alone, from no weights; leave it out"
        )
    if trainer.init_from is None:
        return None
    if not group.is_main:
        state = checkpoint.load(io.BytesIO(group.broadcast_bytes(b"")))
    else:
        folder = RunFolder.existing(Path(trainer.init_from))
        state = _read(folder)
        _check_same_model(folder, state, config, data)
        state = {"state_dict": state["state_dict"]}
        group.broadcast_bytes(bytes(checkpoint.to_bytes(state)))
    weights = state["state_dict"]
    return InitialWeights(_members_of(weights, trainer.ensemble), checkpoint.content_hash(weights))


def _members_of(weights: StateDict, ensemble: int) -> list[StateDict]:
    """The weights of each member of an ensemble, or of the only model."""
    prefixes = [f"members.{number}." for number in range(ensemble)] if ensemble > 1 else [""]
    return [{n.removeprefix(own): w for n, w in weights.items() if n.startswith(own)} for own in prefixes]


def content_hash(folder: RunFolder) -> str:
    """The hash of the run's best weights, those of a walk-forward run's last fold. Raises UserError."""
    return checkpoint.content_hash(_read(folder)["state_dict"])


def _read(folder: RunFolder) -> dict[str, Any]:
    """The best.pt of a finished run, that of a walk-forward run's last fold. Raises UserError."""
    if folder.outcome() != "ok":
        raise UserError(f"{folder.path}: is not finished ({folder.ending}); no training can start with its weights")
    if kept := members(folder):
        raise UserError(f"{folder.path}: combines {len(kept)} models; name one of them: {kept[0].folder.path}")
    path = _path(folder)
    state = checkpoint.load_best(path)
    if missing := {"state_dict", "features", "window"} - state.keys():
        raise UserError(f"{path}: is no model's checkpoint (it lacks {', '.join(sorted(missing))})")
    return state


def _path(folder: RunFolder) -> Path:
    folds = folder.read_json("config.json")["data"].get("folds", [])
    return folder.path / (f"folds/{len(folds) - 1}" if folds else ".") / "best.pt"


def _check_same_model(folder: RunFolder, state: Mapping[str, Any], config: Config, data: Data) -> None:
    """UserError where the run's weights are not those of such a model; it names what differs."""
    own = run_metadata.saved_config(folder)
    features = (state["features"], list(data.panel.features))
    then = {"model.name": own.model.name, "trainer.ensemble": own.trainer.ensemble, "data.window": state["window"]}
    now = {
        "model.name": config.model.name,
        "trainer.ensemble": config.trainer.ensemble,
        "data.window": data.panel.window,
    }
    pairs = differences(then, now)
    if not pairs and features[0] == features[1]:
        weights = _members_of(state["state_dict"], config.trainer.ensemble)[0]
        try:
            models.build(config.model, data.panel.window, len(features[1])).load_state_dict(weights)
        except RuntimeError as error:  # torch's, of weights of other shapes
            pairs = differences({"model": plain(own.model)}, {"model": plain(config.model)})
            if not pairs:
                raise UserError(checkpoint.misfit(_path(folder), error)) from error
    changed = [f"{key}: {show(a)} there, {show(b)} here" for key, (a, b) in pairs.items()]
    if features[0] != features[1]:
        changed.append(f"features: {_described(features[0])} there, {_described(features[1])} here")
    if changed:
        raise UserError(
            f"trainer.init_from={folder.path}: its weights are of another model ({'; '.join(changed)}); take the same, "
            "or leave it out"
        )


def _described(names: list[str]) -> str:
    return show(names) if len(names) <= _MOST_NAMED else f"{len(names):,} features"


_MOST_NAMED = 12
