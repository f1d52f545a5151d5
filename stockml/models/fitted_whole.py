"""Models that are fitted whole: their weights are computed from all training samples at once, without steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batch, Batches
    from stockml.training.settings import TrainerConfig

CHUNK = 1024  # samples that are held as windows at a time


@dataclass(frozen=True)
class FitContext:
    """What a model is fitted by, beside its samples."""

    trainer: TrainerConfig
    seed: int
    threads: int
    all_reduce: Callable[[Tensor], None]
    """Puts the sum over all ranks into a tensor, in place."""
    report: Callable[[float, float], bool]
    """Reports the scaled losses on train and on validation after a round; returns whether training is over.

    Each round is an epoch of the run: a row of history.csv, a point of the curves. Called or not as the model likes;
    the exception that it raises where the run is interrupted must not be caught.
    """
    rounds_done: int = 0
    """Rounds that an interrupted fit has reported, whose state was loaded into the module."""


class FittedWhole(Protocol):
    """What a `torch.nn.Module` has whose `Family` is declared with `fitted_whole=True`.

    What belongs to its state and is no tensor of a fixed shape is given and taken by `get_extra_state` and
    `set_extra_state`, as a tensor of bytes: checkpoints hold nothing but tensors. A model that reports rounds has the
    most of them as its setting `rounds`, and a method `drop_rounds(n)`, which leaves out the last n and returns facts
    about the rest.
    """

    def fit_whole(
        self, train: SampleBatches, validation: SampleBatches, context: FitContext
    ) -> Mapping[str, float | int | str]:
        """Compute and set the model's weights; return facts about the fit, such as a chosen penalty.

        `train` and `validation` yield windows (B, T, F) and scaled targets (B,) in main memory, and can be iterated
        several times, or are read as arrays. Of several ranks each is given its own shard of the samples, and
        `context.all_reduce` must leave every rank with the same weights. Whatever is random must follow from
        `context.seed`, or be drawn from torch's generator, which is seeded before the model is built.
        """


@dataclass(frozen=True)
class SampleBatches:
    """The samples that end in `rows` (N,), as chunks of windows (B, T, F) and scaled targets (B,) in main memory."""

    batches: Batches
    rows: Tensor

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.rows.to(self.batches.storage_device).split(CHUNK):
            x, y = self.batches.gather(rows)
            yield x.cpu(), y.cpu()

    def of_last_days(self, days: int) -> SampleBatches:
        """The same samples with windows of their last days."""
        return dataclasses.replace(self, batches=self.batches.of_last_days(days))

    def inputs_of(self, part: slice) -> NDArray[Any]:
        """The inputs (B, T · F), in the order of `names`, of the samples in a slice."""
        windows = self.batches.windows(self.rows[part].to(self.batches.storage_device))
        inputs: NDArray[Any] = windows.flatten(1).cpu().numpy()
        return inputs

    def inputs(self) -> NDArray[Any]:
        """The inputs (N, T · F) of all samples."""
        samples, width = len(self.rows), self.batches.window * self.batches.width
        found = np.empty((samples, width), self.inputs_of(slice(0, 1)).dtype)
        for start in range(0, samples, CHUNK):
            found[start : start + CHUNK] = self.inputs_of(slice(start, start + CHUNK))
        return found

    def targets(self) -> NDArray[Any]:
        """The scaled targets (N,)."""
        targets: NDArray[Any] = self.batches.target[self.rows.to(self.batches.storage_device)].cpu().numpy()
        return targets

    def names(self) -> list[str]:
        """The names of the inputs: `close@-3`, and `close@0` for the window's last day."""
        return [f"{name}@{day}" for day in range(1 - self.batches.window, 1) for name in self.batches.features]
