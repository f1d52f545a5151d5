"""Windows are gathered by index, complete and in order."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from stockml import compose
from stockml.data.batches import Batch, Batches
from stockml.data.dataset import Data, prepare
from tests.conftest import random_bars, write_bars


@pytest.fixture
def data(tmp_path: Path) -> Data:
    write_bars(random_bars(), tmp_path)
    return prepare(compose.compose("data=csv", f"data.dir={tmp_path}", "stock.ticker=TEST", "data.window=7"))


def batches(data: Data, num_workers: int = 0) -> Batches:
    return Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32, num_workers)


def sixteens(rows: torch.Tensor) -> range:
    return range(16, len(rows) + 16, 16)


def test_sample_i_is_the_window_that_ends_in_row_i(data: Data) -> None:
    rows = data.split.test
    x, y = batches(data).gather(torch.from_numpy(rows))
    assert x.shape == (len(rows), 7, 5)
    for window, row in zip(x.numpy(), rows, strict=True):
        assert np.array_equal(window, data.panel.values[row - 6 : row + 1])
    restored = y.numpy() * data.scaler.target_std + data.scaler.target_mean
    assert np.allclose(restored, data.panel.target[rows], atol=1e-7)


@pytest.mark.parametrize("kind", ["bars", "pool", "arrays", "bars by index"])
def test_every_way_gives_the_windows_that_slices_do(kind: str, tmp_path: Path) -> None:
    typed = ["data=csv", f"data.dir={tmp_path}", "data.window=7", *(["data.tickers=all"] if kind == "pool" else [])]
    if kind == "arrays":
        rng = np.random.default_rng(0)
        shapes = {"X_train": (90, 7, 5), "y_train": (90,), "X_test": (9, 7, 5), "y_test": (9,)}
        arrays: dict[str, Any] = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        np.savez(tmp_path / "a.npz", **arrays)
        typed = ["data=npz", f"data.path={tmp_path / 'a.npz'}"]
    for number, ticker in enumerate(("TEST", "OTHER")):
        write_bars(random_bars(120, number, ticker), tmp_path)
    whole, in_file = (
        prepare(compose.compose(*typed, "stock.ticker=TEST", f"data.memory_limit={limit}")) for limit in (1, 0)
    )
    assert in_file.panel.mapped == (kind in ("pool", "arrays"))
    values, rows = torch.from_numpy(whole.panel.values), torch.from_numpy(whole.split.train)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    expected = torch.stack([values[row] if kind == "arrays" else values[row - 6 : row + 1] for row in rows])
    ends = [1, 1, 20, len(rows)]
    for data in (whole, in_file):
        made = batches(data)
        if kind == "bars by index":  # as on a GPU
            made._days, made._every_window = torch.arange(7), made.values
        gathered, target = made.gather(rows)
        xs, ys = zip(*made.iter_batches(rows, ends, at_once=2), strict=True)
        for found in (gathered, torch.cat(xs), torch.cat(list(made.iter_windows(rows, ends)))):
            assert torch.equal(found, expected)
        assert torch.equal(torch.cat(ys), target) and torch.equal(target, made.target[rows])
        assert gathered.is_contiguous() and all(x.is_contiguous() for x in xs)
        last = made.of_last_days(3).windows(rows)
        assert torch.equal(last, expected[:, -3:]) and last.is_contiguous()


def test_a_pass_gives_every_sample_once_and_drops_no_last_batch(data: Data) -> None:
    rows = torch.from_numpy(data.split.train)
    xs, ys = zip(*batches(data).iter_batches(rows, sixteens(rows)), strict=True)
    assert [len(x) for x in xs] == [16] * (len(rows) // 16) + [len(rows) % 16]
    x, y = batches(data).gather(rows)
    assert torch.equal(torch.cat(xs), x)
    assert torch.equal(torch.cat(ys), y)


def test_background_workers_give_the_same_batches_and_leave_the_random_stream_alone(data: Data) -> None:
    rows = torch.from_numpy(data.split.train)
    with_workers = batches(data, num_workers=2)
    state = torch.get_rng_state()
    for _ in range(2):
        pairs = zip(
            batches(data).iter_batches(rows, sixteens(rows)),
            with_workers.iter_batches(rows, sixteens(rows)),
            strict=True,
        )
        assert all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_passes_at_the_same_time_do_not_disturb_each_other(data: Data) -> None:
    made, rows = batches(data), [torch.from_numpy(data.split.train), torch.from_numpy(data.split.test)]
    passes = [made.iter_batches(own, sixteens(own)) for own in rows]
    firsts = [next(own)[0] for own in passes]
    for own, first, rest in zip(rows, firsts, passes, strict=True):
        assert torch.equal(torch.cat([first, *(x for x, _ in rest)]), made.gather(own)[0])


def test_background_workers_refuse_a_second_pass_and_stay_until_they_are_closed(data: Data) -> None:
    rows = torch.from_numpy(data.split.train)
    made = batches(data, num_workers=1)
    with contextlib.closing(cast("Generator[Batch]", made.iter_batches(rows, sixteens(rows)))) as first:
        next(first)
        with pytest.raises(RuntimeError, match="another pass"):
            next(made.iter_batches(rows, sixteens(rows)))
    workers = multiprocessing.active_children()
    assert len(list(made.iter_batches(rows, sixteens(rows)))) == len(sixteens(rows))
    assert multiprocessing.active_children() == workers
    made.close()
    assert multiprocessing.active_children() == []


def test_the_panel_is_not_copied_on_the_cpu(data: Data) -> None:
    assert batches(data).values.data_ptr() == data.panel.values.ctypes.data
