"""Windows from a file that does not fit into memory: read piece by piece, the next ones in the background."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.data.panel import Panel

_GAP_BYTES = 2**18  # a smaller gap between two rows is read along with them instead of skipped


@dataclass(frozen=True)
class Piece:
    """Rows of a panel in memory."""

    memory: Tensor
    """The allocated memory, whose first rows are the values."""
    values: Tensor
    """Scaled rows of the panel's values."""
    positions: Tensor
    """(N,) the position among them in which each sample's window ends."""


class FileReader:
    """Reads the windows of samples from a mapped panel's file and scales them with `scale(values, rows)`."""

    def __init__(self, panel: Panel, scale: Callable[[Tensor, Tensor], Tensor]) -> None:
        mapped: Any = panel.values
        self._scale = scale
        self._spare: list[Tensor] = []  # memory for reuse: allocating it costs as much as reading
        self._path = Path(mapped.filename)
        self._row = panel.values.shape[1:]
        self._row_bytes = math.prod(self._row) * panel.values.itemsize
        self._reach = 0 if panel.windowed else panel.window - 1

    def pieces(self, each: Iterable[Tensor], ahead: int) -> Iterator[Piece]:
        """A piece for each tensor of rows (N,) in which samples end; `ahead` of them are read in the background."""
        with self._path.open("rb") as file, ThreadPoolExecutor(ahead, "stockml-reader") as threads:
            begun: deque[Future[Piece]] = deque()
            try:
                for rows in each:
                    begun.append(threads.submit(self._piece, file.fileno(), rows))
                    if len(begun) > ahead:
                        yield from self._lend(begun.popleft().result())
                while begun:
                    yield from self._lend(begun.popleft().result())
            finally:
                for future in begun:
                    future.cancel()

    def _piece(self, file: int, rows: Tensor) -> Piece:
        """The rows of the windows of the samples that end in `rows`, read in the order of the file."""
        samples = rows.numpy()
        ordered = np.sort(samples)
        breaks = np.flatnonzero(np.diff(ordered) > self._reach + _GAP_BYTES // self._row_bytes)
        firsts = ordered[np.append(0, breaks + 1)] - self._reach
        counts = ordered[np.append(breaks, len(ordered) - 1)] + 1 - firsts
        places = np.append(0, counts.cumsum())
        memory = self._memory(int(places[-1]))
        values = memory[: int(places[-1])]
        raw = values.numpy().reshape(-1).view(np.uint8).data
        if hasattr(os, "posix_fadvise"):  # all at once, so that the disk can choose the order
            for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
                start, size = first * self._row_bytes, count * self._row_bytes
                os.posix_fadvise(file, start, size, os.POSIX_FADV_WILLNEED)
        for first, place, count in zip(firsts.tolist(), places.tolist(), counts.tolist(), strict=False):
            self._read(file, raw[place * self._row_bytes : (place + count) * self._row_bytes], first * self._row_bytes)
        self._scale(values, torch.from_numpy(np.arange(places[-1]) + np.repeat(firsts - places[:-1], counts)))
        run = np.searchsorted(firsts, samples, side="right") - 1
        return Piece(memory, values, torch.from_numpy(samples - firsts[run] + places[run]))

    def _lend(self, piece: Piece) -> Iterator[Piece]:
        """Yield the piece; its memory is reused once the next one is requested."""
        yield piece
        self._spare.append(piece.memory)

    def _memory(self, rows: int) -> Tensor:
        with contextlib.suppress(IndexError):
            spare = self._spare.pop()
            if len(spare) >= rows:
                return spare
        return torch.empty((rows + rows // 16, *self._row), dtype=torch.float32)

    def _read(self, file: int, into: memoryview, start: int) -> None:
        done = 0
        while done < len(into):
            got = os.preadv(file, [into[done:]], start + done)
            if not got:
                raise OSError(0, "is shorter than it was", str(self._path))
            done += got
