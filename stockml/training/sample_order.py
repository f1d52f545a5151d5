"""The order of an epoch's samples, and how it is divided into updates and among ranks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stockml.training.random_streams import ORDER, stream_seed

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.batches import Batches
    from stockml.distributed.group import Group

_BLOCK_BYTES, _BLOCK_SAMPLES, _BLOCKS_MIXED = 2**21, 2**14, 48


@dataclass(frozen=True)
class Blocks:
    """How samples are shuffled that are read from a file: blocks in random order, several of them mixed at a time."""

    samples: int
    """Samples of a block: neighbours in the file."""
    updates: int
    """Updates whose samples are mixed with one another, and read at once."""
    batch: int

    @classmethod
    def of(cls, batches: Batches, batch: int) -> Blocks:
        """Blocks of two megabytes, or 16,384 samples; 48 of them are mixed, or as many as one update needs."""
        bytes_per_sample = batches.values[0].numel() * batches.values.element_size()
        samples = max(1, min(_BLOCK_SAMPLES, _BLOCK_BYTES // bytes_per_sample))
        return cls(samples, max(1, samples * _BLOCKS_MIXED // batch), batch)

    @property
    def mixed(self) -> int:
        """Samples that are mixed with one another."""
        return self.updates * self.batch

    def __str__(self) -> str:
        return f"blocks of {self.samples:,} neighbours in random order, {self.mixed:,} samples mixed at a time"


@dataclass(frozen=True)
class Updates:
    """How an epoch of N samples is divided into U updates, and this rank's shard of each."""

    ends: list[int]
    """(U,) position in this rank's shard at which each update's samples end."""
    sizes: Tensor
    """(U,) samples of each update over all ranks, float64."""
    weights: list[float]
    """(U,) fraction of each update's samples that are on this rank."""

    @classmethod
    def of(cls, samples: int, batch: int, group: Group) -> Updates:
        """Updates of `batch` samples over all ranks, the last one with what remains."""
        ends = group.shard_ends(samples, batch)
        sizes = [min(batch, samples - start) for start in range(0, samples, batch)]
        own = [end - start for start, end in itertools.pairwise([0, *ends])]
        weights = [mine / size for mine, size in zip(own, sizes, strict=True)]
        return cls(ends, torch.tensor(sizes, dtype=torch.float64), weights)


def epoch_order(train: Tensor, seed: int, epoch: int, shuffle: bool, blocks: Blocks | None = None) -> Tensor:
    """The epoch's order of the samples (N,), the same on every rank: it follows from (seed, epoch)."""
    if not shuffle:
        return train
    generator = torch.Generator().manual_seed(stream_seed(ORDER, seed, epoch))
    if blocks is None:
        return train[torch.randperm(len(train), generator=generator)]
    pieces = train.split(blocks.samples)
    order = torch.cat([pieces[number] for number in torch.randperm(len(pieces), generator=generator).tolist()])
    for mixed in order.split(blocks.mixed):
        mixed.copy_(mixed[torch.randperm(len(mixed), generator=generator)])
    return order
