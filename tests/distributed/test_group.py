"""Several ranks compute what one process computes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from stockml.distributed.group import Group
from tests.distributed import ranks


class Rank(Group):
    """One rank of several, without the others."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [1, 2, 7, 64, 101, 128])
@pytest.mark.parametrize("batch", [1, 3, 16, 128])
def test_every_sample_of_an_update_is_on_one_rank(world_size: int, samples: int, batch: int) -> None:
    order = torch.randperm(samples)
    updates: list[list[int]] = [[] for _ in range(-(-samples // batch))]
    for rank in range(world_size):
        group = Rank(rank, world_size)
        share, ends = group.shard(order), [0, *group.shard_ends(samples, batch)]
        assert ends[-1] == len(share) and len(ends) == len(updates) + 1
        for update, (begin, end) in zip(updates, itertools.pairwise(ends), strict=True):
            update += share[begin:end].tolist()
    assert [sorted(update) for update in updates] == [sorted(batch_rows.tolist()) for batch_rows in order.split(batch)]


@pytest.fixture(scope="module")
def alone() -> list[dict[str, Any]]:
    return ranks.every_case()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_any_number_of_ranks_computes_what_one_process_does(
    tmp_path: Path, alone: list[dict[str, Any]], world_size: int
) -> None:
    ranks.start(world_size, tmp_path)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(world_size)]
    for case, expected, *on_ranks in zip(ranks.CASES, alone, *(rank["cases"] for rank in found), strict=True):
        for own in on_ranks:
            for name, wanted in expected.items():
                assert own[name].shape == wanted.shape, case
                assert (own[name] - wanted).abs().max() < 1e-10, case
                assert torch.equal(own[name], on_ranks[0][name]), case  # bit for bit: ranks never drift apart
        if world_size == 1:
            assert all(torch.equal(on_ranks[0][name], wanted) for name, wanted in expected.items()), case
    for means_once, by_window, *_ in (rank["cases"] for rank in found):
        assert all(torch.equal(means_once[name], wanted) for name, wanted in by_window.items())
    assert all(rank["received"] == b"abc" for rank in found)
