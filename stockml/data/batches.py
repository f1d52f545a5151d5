"""Whole batches of windows, gathered by index from the panel on the device."""

from __future__ import annotations

import copy
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stockml.data.file_reader import FileReader

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.panel import Panel
    from stockml.data.scaler import Scaler

_LEAST_AHEAD = 3  # pieces of a file that are read while the one before them is in use
_SUMMARISED_AT_ONCE = 256  # windows
_MOST_SUMMARY_BYTES = 2**28
Batch = tuple["Tensor", "Tensor"]


class Batches:
    """The scaled panel as tensors; `gather` makes a batch from the rows in which its windows end."""

    def __init__(
        self, panel: Panel, scaler: Scaler, device: torch.device, dtype: torch.dtype, num_workers: int = 0
    ) -> None:
        self.device = device
        self.by_blocks = panel.mapped
        """Whether the values stay in their file, which is read fast only in blocks."""
        self.storage_device = torch.device("cpu") if num_workers or panel.mapped else device
        """Where the panel is: main memory for worker processes and for a mapped panel, else the device."""
        self.dtype = dtype
        values = torch.from_numpy(panel.values)
        self.values = values if panel.mapped else values.to(self.storage_device, dtype)
        self._scaling = _Scaling.of(panel, scaler) if panel.mapped else None
        self.target = torch.from_numpy(np.nan_to_num(scaler.transform_target(panel))).to(self.storage_device, dtype)
        self.window = panel.window
        self.features = panel.features
        self.width = len(panel.features)
        self._reach = 0 if panel.windowed else panel.window - 1
        """Rows of a window before its last."""
        by_row = not panel.windowed and self.storage_device.type != "cpu"  # MPS would copy all windows of a view
        self._days = torch.arange(panel.window, device=self.storage_device) if by_row else None
        """The rows of a window, where these are gathered one by one."""
        self._every_window = self._windows_of(self.values)
        self._reader = FileReader(panel, self._scaling.apply) if self._scaling is not None else None
        self._ahead = max(_LEAST_AHEAD, num_workers)
        # Over a copy: in a circle of references the workers' queues would be closed before the workers.
        self._workers = _Workers(copy.copy(self), num_workers) if num_workers and not panel.mapped else None

    def close(self) -> None:
        """End the worker processes, which ignore the signal that Python ends its children with."""
        if self._workers is not None:
            self._workers.close()

    def gather(self, rows: Tensor) -> Batch:
        """Windows (B, T, F) and scaled targets (B,) of the samples (B,) that end in `rows`."""
        return self.windows(rows), self.target.index_select(0, rows)

    def windows(self, rows: Tensor) -> Tensor:
        """Windows (B, T, F) of the samples (B,) that end in `rows`."""
        windows = self._cut(self._every_window, rows - self._reach)
        return windows if self._scaling is None else self._scaling.apply(windows, rows).to(self.dtype)

    def _windows_of(self, values: Tensor) -> Tensor:
        """(R - T + 1, T, F) the windows of rows (R, F), as a view; what `_cut` needs no view of as it is."""
        is_view = values.ndim == 2 and self._days is None
        return values.unfold(0, self.window, 1).transpose(1, 2) if is_view else values

    def _cut(self, every_window: Tensor, firsts: Tensor) -> Tensor:
        """The windows (B, T, F) that start in the rows `firsts` of what `_windows_of` was given."""
        if self._days is None:
            return every_window.index_select(0, firsts)
        index = (firsts.unsqueeze(1) + self._days).view(-1)
        return every_window.index_select(0, index).view(len(firsts), self.window, self.width)

    def of_last_days(self, days: int) -> Batches:
        """The same batches with windows of their last days; for `gather` and `windows`."""
        shorter = copy.copy(self)
        shorter.window = days
        if self.values.ndim == 3:
            shorter._every_window = self.values[:, -days:]
        else:
            shorter._reach, shorter._days = days - 1, None if self._days is None else self._days[:days]
            shorter._every_window = shorter._windows_of(self.values)
        return shorter

    def summarised(self, summary: Callable[[Tensor], Tensor], rows: Tensor) -> Batches | None:
        """Batches whose `gather`, `windows` and passes give `summary` (B, …) of the windows, for samples in `rows`.

        It is computed here, once; None where that does not pay: on a GPU, where the values are in a file or gathered by
        other processes, and where the summaries would take too much memory.
        """
        if self.device.type != "cpu" or self._reader is not None or self._workers is not None:
            return None
        first = summary(self.windows(rows[:1]))
        if len(self.values) * first.numel() * first.element_size() > _MOST_SUMMARY_BYTES:
            return None
        made = copy.copy(self)
        made._reach, made._every_window = 0, first.new_zeros(len(self.values), *first.shape[1:])
        for some in rows.split(_SUMMARISED_AT_ONCE):
            made._every_window.index_copy_(0, some, summary(self.windows(some)))
        return made

    def iter_batches(self, rows: Tensor, ends: Sequence[int], at_once: int = 1) -> Iterator[Batch]:
        """Batches of the samples in the order of `rows`, cut at the positions `ends`; a batch may be empty.

        Values that stay in their file are read `at_once` batches at a time.
        """
        if self._reader is not None:
            yield from map(self._to_device, self._read(self._reader, rows, ends, at_once))
        elif self._workers is not None:
            yield from map(self._to_device, self._workers.iter_batches(_Chunks(rows, ends)))
        else:
            targets = _Chunks(self.target.index_select(0, rows), ends)
            yield from zip(self._in_chunks(rows, ends), targets, strict=True)

    def iter_windows(self, rows: Tensor, ends: Sequence[int], at_once: int = 1) -> Iterator[Tensor]:
        """The windows of the batches that `iter_batches` yields, gathered in this process."""
        if self._reader is not None:
            return (self._to_device(batch)[0] for batch in self._read(self._reader, rows, ends, at_once))
        return (windows.to(self.device) for windows in self._in_chunks(rows, ends))

    def _in_chunks(self, rows: Tensor, ends: Sequence[int]) -> Iterator[Tensor]:
        return (self._cut(self._every_window, firsts) for firsts in _Chunks(rows - self._reach, ends))

    def _to_device(self, batch: Batch) -> Batch:
        x, y = batch
        return x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)

    def _read(self, reader: FileReader, rows: Tensor, ends: Sequence[int], at_once: int) -> Iterator[Batch]:
        edges = [0, *ends[at_once - 1 : -1 : at_once], ends[-1]]
        any_sample = torch.tensor([self._reach])  # is read where a rank has none of an update: a piece is never empty
        pieces = reader.pieces(
            (rows[start:end] if start < end else any_sample for start, end in itertools.pairwise(edges)), self._ahead
        )
        batches = iter(_Chunks(torch.arange(len(rows)), ends))
        for start, piece in zip(edges, pieces, strict=False):
            every_window, firsts = self._windows_of(piece.values), piece.positions - self._reach
            for numbers in itertools.islice(batches, at_once):
                x = self._cut(every_window, firsts[numbers - start])
                yield x.to(self.dtype), self.target.index_select(0, rows[numbers])


@dataclass(frozen=True)
class _Scaling:
    """`Scaler.transform` for some rows, or for the windows that end in them."""

    mean: Tensor
    """(K, F)"""
    std: Tensor
    starts: Tensor
    """(K,) the first row of each stock."""

    @classmethod
    def of(cls, panel: Panel, scaler: Scaler) -> _Scaling:
        mean, std = map(torch.from_numpy, scaler.moments(panel))
        return cls(mean, std, torch.tensor([rows.start for rows in panel.spans()]))

    def apply(self, values: Tensor, rows: Tensor) -> Tensor:
        """Scale rows (B, F), or windows (B, T, F), in place."""
        mean, std, scaled = self.mean, self.std, values
        if len(mean) > 1:
            whose = torch.searchsorted(self.starts, rows, right=True) - 1
            mean, std = mean[whose], std[whose]
            if values.ndim == 3:
                mean, std = mean.unsqueeze(1), std.unsqueeze(1)
        elif values.ndim == 3:  # as one long row each: days of a few values take three times as long
            scaled, days = values.flatten(1), values.shape[1]
            mean, std = mean.repeat(1, days), std.repeat(1, days)
        scaled.sub_(mean).div_(std)
        return values


@dataclass(frozen=True)
class _Chunks:
    """The rows of each batch; the sampler of a pass."""

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


class _Workers:
    """Processes that gather batches; they are started once, for all passes."""

    def __init__(self, batches: Batches, count: int) -> None:
        self._pass = _CurrentPass()
        self._loader: DataLoader[Batch] | None = DataLoader(
            _Gathered(batches),
            batch_size=None,
            sampler=self._pass,
            num_workers=count,
            persistent_workers=True,
            pin_memory=batches.device.type == "cuda",
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # the loader must not draw from the stream that dropout draws from
        )

    def iter_batches(self, chunks: _Chunks) -> Iterator[Batch]:
        """The batches of one pass; RuntimeError before the pass before it has ended."""
        if self._loader is None or self._pass.chunks is not None:
            raise RuntimeError("the workers are closed, or on another pass")
        self._pass.chunks = chunks
        try:
            yield from self._loader
        finally:
            self._pass.chunks = None

    def close(self) -> None:
        self._loader = None  # which ends them


class _CurrentPass(Sampler["Tensor"]):
    """The chunks of rows of the pass that the workers are on; the loader asks for them at each pass."""

    chunks: _Chunks | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.chunks or ())


def _ignore_signals(_worker: int) -> None:
    """A terminal or a scheduler signals every process; only the training process responds, and ends its workers."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
