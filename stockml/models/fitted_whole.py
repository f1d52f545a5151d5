"""Models that are fitted whole: their weights are computed at once, from all training samples, without steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batch, Batches

CHUNK = 1024  # samples that are held as windows at a time


class FittedWhole(Protocol):
    """What a `torch.nn.Module` has whose `Family` is declared with `fitted_whole=True`."""

    def fit_whole(
        self, train: Iterable[Batch], validation: Iterable[Batch], all_reduce: Callable[[Tensor], None]
    ) -> Mapping[str, float | int | str]:
        """Compute and set the model's weights; return facts about the fit, such as a chosen penalty.

        `train` and `validation` yield windows (B, T, F) and scaled targets (B,) in main memory, and can be iterated
        several times. Of several ranks each is given its own shard of the samples: `all_reduce` puts the sum over all
        ranks into a tensor, in place. It must leave every rank with the same weights. Whatever is random must be drawn
        from torch's generator, which is seeded before the model is built.
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
