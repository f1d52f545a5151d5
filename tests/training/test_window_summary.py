"""What a model computes of a window once a fit is what it would compute at each step, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stockml import compose
from stockml.data import batches as batches_module
from stockml.data.batches import Batches
from stockml.data.dataset import prepare
from stockml.errors import RunError
from stockml.training import hardware, window_summary
from tests.conftest import Run
from tests.tasks.test_train import QUICK

POOL = ("data.tickers=[AAPL,MSFT]", "data.days=200")


def made(*overrides: str, num_workers: int = 0) -> tuple[Batches, torch.Tensor]:
    data = prepare(compose.compose(*overrides))
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32, num_workers)
    return batches, torch.from_numpy(data.split.train)


@pytest.mark.parametrize("typed", [("data.days=300",), ("stock=SP500", "data.days=300", "data.window=7"), POOL])
def test_means_taken_once_are_those_of_any_batch(typed: tuple[str, ...]) -> None:
    batches, rows = made(*typed)
    once = batches.summarised(lambda x: x.mean(dim=1), rows)
    assert once is not None
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    ends = [1, 1, 3, 67, 131, len(rows)]
    pairs = zip(once.iter_batches(rows, ends), batches.iter_batches(rows, ends), strict=True)
    for (mean, y), (x, same_y) in pairs:
        assert torch.equal(mean, x.mean(dim=1)) and torch.equal(y, same_y)
    for mean, x in zip(once.iter_windows(rows, ends), batches.iter_windows(rows, ends), strict=True):
        assert torch.equal(mean, x.mean(dim=1))


@pytest.mark.parametrize("case", ["in a file", "gathered by workers", "too large"])
def test_windows_are_summarised_batch_by_batch_where_they_are(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_MOST_SUMMARY_BYTES", 0 if case == "too large" else 2**28)
    batches, rows = made(*POOL, *(["data.memory_limit=0"] if case == "in a file" else []), num_workers=case[0] == "g")
    assert batches.summarised(lambda x: x.mean(dim=1), rows) is None
    batches.close()


@pytest.mark.parametrize(
    "typed",
    [
        (),
        POOL,
        ("data.horizon=5", "data.split=walk_forward", "data.folds=2"),
        ("trainer.ensemble=2", "trainer.batch_size=50"),
    ],
    ids=" ".join,
)
def test_a_run_has_the_numbers_of_one_that_summarises_each_batch(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...]
) -> None:
    found = [run("once", *QUICK, *typed)]
    monkeypatch.setattr(window_summary, "summarised", lambda model, batches, *_: (model, batches))
    found.append(run("each", *QUICK, *typed))
    assert found[0] == found[1]
    once, each = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("once", "each"))
    assert once == each


class Wrong(torch.nn.Module):
    def summary(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1)

    def from_summary(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1].sum(dim=-1)


def test_a_model_whose_summary_is_another_than_that_of_forward_is_refused() -> None:
    batches, rows = made("data.days=200")
    with pytest.raises(RunError, match=r"^Wrong: forward\(x\) is not from_summary\(summary\(x\)\)"):
        window_summary.summarised(Wrong(), batches, rows, hardware.choose(compose.compose("hardware=cpu").hardware))
