"""What every trainer is given and what it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stockml.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stockml.data.batches import Batches


@dataclass(frozen=True)
class Samples:
    """The samples that a model is trained on, all of them on every rank."""

    batches: Batches
    train: Tensor
    """(N,) rows of the panel in which the train samples end."""
    validation: Tensor
    """(N,) the same for validation."""
    target_std: float
    """Standard deviation of the target on train, in its own units: what scaled losses are converted by."""


@dataclass(frozen=True)
class EpochStats:
    """The results of an epoch; losses in the target's own units (squared for mse and huber)."""

    epoch: int
    train_loss: float
    validation_loss: float
    best_epoch: int
    seconds: float
    communication_seconds: float = 0.0
    """Of the seconds: spent on communication between ranks, including the wait for slower ones."""
    lr: float | None = None
    """Learning rate of the last update; None for a model that is fitted whole."""


@dataclass
class TrainState:
    """The state of training after an epoch: all that is needed to continue it, bit for bit.

    It holds no random state: the order of an epoch's samples and its dropout follow from (seed, epoch, rank).
    """

    weights: Tensor
    best_weights: Tensor
    optimizer: dict[str, Any]
    """The optimizer's state; of a model that is fitted whole, the facts that its fit returned."""
    stopping: EarlyStopping
    history: list[EpochStats] = field(default_factory=list)
    other_state: Callable[[], dict[str, Any]] = dict
    """Gives the state of a model that is fitted whole, other than floating-point tensors, for a checkpoint."""

    def to_dict(self) -> dict[str, Any]:
        """The state as plain containers and tensors, for a checkpoint."""
        other_state = self.other_state()
        return {
            "weights": self.weights,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer,
            "stopping": asdict(self.stopping),
            "history": [asdict(epoch) for epoch in self.history],
            **({"other_state": other_state} if other_state else {}),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> TrainState:
        """The state from what `to_dict` gave."""
        return cls(
            state["weights"],
            state["best_weights"],
            state["optimizer"],
            EarlyStopping(**state["stopping"]),
            [EpochStats(**epoch) for epoch in state["history"]],
            functools.partial(dict, state.get("other_state", {})),
        )


Report = Callable[[int, float], bool]
"""Told of an epoch, counted from 1, and the best validation loss so far; returns whether training is to stop.

That loss, for it is what a trial is chosen by.
"""
AfterEpoch = Callable[[TrainState], None]


def do_nothing(_state: TrainState) -> None:
    """The default of what is called after each epoch."""


class ModelTrainer(Protocol):
    """Trains models: step by step (`engine.Trainer`) or at once (`whole_trainer.WholeTrainer`)."""

    @property
    def epochs(self) -> int:
        """The most epochs that training takes."""

    def fit(
        self,
        model: nn.Module,
        samples: Samples,
        after_epoch: AfterEpoch = do_nothing,
        resumed: TrainState | None = None,
    ) -> TrainState:
        """Train, and leave the best epoch's weights in the model; return the state after the last epoch.

        `after_epoch` is called with the state after each finished epoch; an exception that it raises ends training.
        With `resumed`, the state of an earlier training, that training is continued.
        """
