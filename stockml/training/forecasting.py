"""Forecasts of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stockml.distributed.group import SINGLE_PROCESS
from stockml.training.sample_order import Blocks

if TYPE_CHECKING:
    from torch import Tensor, nn

    from stockml.data.batches import Batches
    from stockml.distributed.group import Group
    from stockml.training.hardware import Hardware

VALUES_AT_ONCE = 2**22  # inputs of one batch of forecasts: 16 MB in float32


def chunk_size(batches: Batches, most: int = 256) -> int:
    """How many windows a model is given at once."""
    return max(1, min(most, VALUES_AT_ONCE // (batches.window * batches.width)))


def forecast(
    model: nn.Module,
    batches: Batches,
    rows: Tensor,
    hardware: Hardware,
    chunk: int | None = None,
    group: Group = SINGLE_PROCESS,
) -> Tensor:
    """Scaled forecasts (N,), float64 in main memory, of the samples that end in `rows`; all of them on every rank.

    How many are computed at once follows from the window's size alone, so that no setting of training has an effect on
    them. It is always that many, so that a forecast is the same to the bit whatever samples come after it.
    """
    chunk = chunk or chunk_size(batches)
    model.eval()
    shard = group.shard(rows).to(batches.storage_device)
    # In one tensor from the start: small results kept between large windows would leave gaps that no window fits.
    forecasts = torch.empty(len(shard), dtype=hardware.dtype, device=hardware.device)
    with torch.inference_mode(), hardware.autocast_context():
        filled = torch.cat([shard, shard[-1:].expand(-len(shard) % chunk)])
        at_once = max(1, Blocks.of(batches, chunk).updates)
        windows = batches.iter_windows(filled, range(chunk, len(filled) + 1, chunk), at_once)
        for x, result in zip(windows, forecasts.split(chunk), strict=True):
            result.copy_(model(x)[: len(result)])
    return group.gather(forecasts.cpu().double(), len(rows))
