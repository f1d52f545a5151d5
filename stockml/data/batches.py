"""Whole batches of windows, gathered by index from the panel on the device."""

from __future__ import annotations

import copy
import itertools
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from stockml.data.file_reader import Reader

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.panel import Panel
    from stockml.data.scaler import Scaler

_LEAST_AHEAD = 3  # pieces of a file that are read while the one before them is trained on
Batch = tuple["Tensor", "Tensor"]


class Batches:
    """The scaled panel as tensors; a batch is what `gather` finds for the rows that its windows end in."""

    def __init__(
        self, panel: Panel, scaler: Scaler, device: torch.device, dtype: torch.dtype, num_workers: int = 0
    ) -> None:
        self.device = device
        self.by_blocks = panel.mapped
        """Whether the values stay in their file, which is read fast only where it is read by blocks."""
        self.storage_device = torch.device("cpu") if num_workers or panel.mapped else device
        """Where the panel lies: background processes gather in main memory, and so does what is read from a file."""
        self.dtype = dtype
        values = torch.from_numpy(panel.values)
        self.values = values if panel.mapped else values.to(self.storage_device, dtype)
        self._scaling = _Scaling.of(panel, scaler) if panel.mapped else None
        self.target = torch.from_numpy(np.nan_to_num(scaler.transform_target(panel))).to(self.storage_device, dtype)
        self.window = panel.window
        self.width = len(panel.features)
        self._offsets = None if panel.windowed else torch.arange(1 - panel.window, 1, device=self.storage_device)
        self._loader: DataLoader[Batch] | None = None
        self._reader = Reader(panel, self._scaling.apply) if self._scaling is not None else None
        self._ahead = max(_LEAST_AHEAD, num_workers)
        if (
            num_workers and not panel.mapped
        ):  # over a copy: in a circle of references the workers' queues would be closed before the workers
            self._loader = _loader(copy.copy(self), num_workers)

    def gather(self, rows: Tensor) -> Batch:
        """Windows (B, T, F) and scaled targets (B,) of the samples (B,) that end in `rows`."""
        return self.windows(rows), self.target.index_select(0, rows)

    def windows(self, rows: Tensor) -> Tensor:
        """Windows (B, T, F) of the samples (B,) that end in `rows`."""
        windows = self._cut(self.values, rows)
        return windows if self._scaling is None else self._scaling.apply(windows, rows).to(self.dtype)

    def _cut(self, values: Tensor, ends: Tensor) -> Tensor:
        if self._offsets is None:
            return values.index_select(0, ends)
        index = (ends.unsqueeze(1) + self._offsets).view(-1)
        return values.index_select(0, index).view(len(ends), self.window, self.width)

    def iter_batches(self, rows: Tensor, ends: Sequence[int], at_once: int = 1) -> Iterator[Batch]:
        """Batches of the samples in the order of `rows`, each up to one of the positions `ends`; one may be empty.

        Of values that stay in their file, so many batches are read at once.
        """
        if self._reader is not None:
            yield from map(self._moved, self._read(self._reader, rows, ends, at_once))
        elif self._loader is None:
            yield from map(self.gather, _Chunks(rows, ends))
        else:
            sampler: Any = self._loader.sampler
            sampler.rows, sampler.ends = rows, ends
            yield from map(self._moved, self._loader)

    def iter_windows(self, rows: Tensor, ends: Sequence[int], at_once: int = 1) -> Iterator[Tensor]:
        """The windows of the batches that `iter_batches` gives, in this process."""
        if self._reader is not None:
            return (self._moved(batch)[0] for batch in self._read(self._reader, rows, ends, at_once))
        return (self.windows(part).to(self.device) for part in _Chunks(rows, ends))

    def _moved(self, batch: Batch) -> Batch:
        x, y = batch
        return x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)

    def _read(self, reader: Reader, rows: Tensor, ends: Sequence[int], at_once: int) -> Iterator[Batch]:
        edges = [0, *ends[at_once - 1 : -1 : at_once], ends[-1]]
        pieces = reader.pieces((rows[start:end] for start, end in itertools.pairwise(edges)), self._ahead)
        batches = iter(_Chunks(torch.arange(len(rows)), ends))
        for start, piece in zip(edges, pieces, strict=False):
            for numbers in itertools.islice(batches, at_once):
                x = self._cut(piece.values, piece.positions[numbers - start])
                yield x.to(self.dtype), self.target.index_select(0, rows[numbers])


@dataclass(frozen=True)
class _Scaling:
    """What `Scaler.transform` does, for some of the rows, or for the windows that end in them."""

    mean: Tensor
    """(K, F)"""
    std: Tensor
    starts: Tensor
    """(K,) the row with which each stock begins."""

    @classmethod
    def of(cls, panel: Panel, scaler: Scaler) -> _Scaling:
        mean, std = map(torch.from_numpy, scaler.moments(panel))
        return cls(mean, std, torch.tensor([rows.start for rows in panel.spans()]))

    def apply(self, values: Tensor, rows: Tensor) -> Tensor:
        """Scale rows (B, F), or windows (B, T, F), in place."""
        mean, std = self.mean, self.std
        if len(mean) > 1:
            whose = torch.searchsorted(self.starts, rows, right=True) - 1
            mean, std = mean[whose], std[whose]
        if values.ndim == 3:
            mean, std = mean.unsqueeze(1), std.unsqueeze(1)
        return values.sub_(mean).div_(std)


@dataclass
class _Chunks:
    """Rows by the batch, cut off as they are asked for; as a sampler it is given others for each pass."""

    rows: Tensor
    ends: Sequence[int]

    def __iter__(self) -> Iterator[Tensor]:
        return (self.rows[start:end] for start, end in itertools.pairwise([0, *self.ends]))

    def __len__(self) -> int:
        return len(self.ends)


class _Gathered(Dataset[Batch]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, rows: Tensor) -> Batch:
        return self._batches.gather(rows)


def _loader(batches: Batches, num_workers: int) -> DataLoader[Batch]:
    return DataLoader(
        _Gathered(batches),
        batch_size=None,
        sampler=_Chunks(torch.empty(0, dtype=torch.int64), []),
        num_workers=num_workers,
        persistent_workers=True,
        pin_memory=batches.device.type == "cuda",
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # its own: the loader must not draw from the stream that dropout draws from
    )


def _ignore_signals(_worker: int) -> None:
    """A terminal or a scheduler signals every process; the training process alone answers, and ends its workers."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
