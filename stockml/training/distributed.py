"""One process's part in a training that several do together: which samples, which sums, and who writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Group:
    """The processes that train one model, seen from one of them. This one is alone: its share is the whole.

    A share is every w-th sample: none is on two ranks, none is left out, none comes twice.
    """

    rank = 0
    world_size = 1
    seconds = 0.0
    """Spent in communication, waiting for slower ranks included."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, prints and decides."""
        return self.rank == 0

    def share(self, samples: Tensor) -> Tensor:
        """This rank's share of what every rank holds."""
        return samples[self.rank :: self.world_size]

    def ends(self, samples: int, batch: int) -> list[int]:
        """How far this rank's share of so many samples reaches at the end of each global batch."""
        limits = (min(limit, samples) for limit in range(batch, samples + batch, batch))
        return [-(-(limit - self.rank) // self.world_size) for limit in limits]

    def add(self, tensor: Tensor) -> None:
        """Put the sum over all ranks into each rank's `tensor`."""

    def copy(self, tensor: Tensor) -> None:
        """Put what the leader's `tensor` holds into each rank's."""

    def gather(self, share: Tensor, total: int) -> Tensor:
        """The `total` numbers, in order, of which each rank brings its `share`."""
        if self.world_size == 1:
            return share
        whole = torch.zeros(total, dtype=share.dtype, device=share.device)
        self.share(whole).copy_(share)
        self.add(whole)  # to zeros: exact
        return whole

    def agree(self, decision: bool) -> bool:
        """What the leader has decided."""
        told = torch.tensor([decision], dtype=torch.uint8)
        self.copy(told)
        return bool(told)


ALONE = Group()
