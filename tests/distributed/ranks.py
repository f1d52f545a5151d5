"""What the ranks of a real group compute, a process each: `python -m tests.distributed.ranks <out>` under `start`."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stockml import compose, models
from stockml.config.root import Config
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.distributed import environment, group, worker
from stockml.distributed.environment import WorkerEnvironment
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.training import hardware
from stockml.training.engine import Trainer
from stockml.training.forecasting import forecast
from stockml.training.interface import Samples
from tests.conftest import ROOT

# Neither samples nor batch are multiples of anything; of the last update of 30, one rank alone has a sample.
CASES: list[tuple[Any, ...]] = [("mlp", 193, 7), ("mlp", 193, 7, None, True), ("mlp", 211, 30, 0.01)]
CASES += [("linear", 193, 7, 0.01), ("mlp_gkx", 193, 7, 0.01)]
CASES += [(name, 61, 30) for name in models.BUILT_IN if not models.BUILT_IN[name].fitted_whole]


def start(world_size: int, out: Path) -> None:
    """Run this module as so many ranks, and wait until they are done; each writes `<out>/<rank>.pt`."""
    listener = socket.create_server(("127.0.0.1", 0))
    first = WorkerEnvironment(0, world_size, 0, world_size, "127.0.0.1", listener.getsockname()[1])
    running = []
    for rank in range(world_size):
        own = dataclasses.replace(first, rank=rank, local_rank=rank, listener=None if rank else listener.fileno())
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.distributed.ranks", str(out)],
                cwd=ROOT,
                env={**os.environ, **own.variables()},
                pass_fds=[] if rank else [listener.fileno()],
            )
        )
    listener.close()
    assert [process.wait(timeout=120) for process in running] == [0] * world_size


@functools.cache
def setting(model: str) -> tuple[Config, Data]:
    """Double precision, no dropout, 3 epochs, the last two of them at a falling learning rate."""
    dropout = [] if "dropout" not in models.BUILT_IN[model].config.__dataclass_fields__ else ["model.dropout=0"]
    config = compose.compose(
        "data.days=500", "data.window=10", "hardware.precision=fp64", "hardware=cpu", f"model={model}", *dropout,
        "trainer=ddp", "trainer.epochs=3", "trainer.schedule=cosine", "trainer.warmup_epochs=0.5",
    )  # fmt: skip
    return config, prepare(config)


def trained(
    group: Group, name: str, samples: int, batch: int, clip: float | None = None, by_window: bool = False
) -> dict[str, Any]:
    """The results of training on so many samples with that global batch; `by_window`: the model has no summaries."""
    config, data = setting(name)
    trainer: Any = dataclasses.replace(config.trainer, global_batch_size=batch, grad_clip_norm=clip)  # type: ignore[call-arg]
    torch.manual_seed(0)
    model = models.build(config.model, data.panel.window, 5).double()
    model = nn.Sequential(model) if by_window else model
    chosen = hardware.choose(config.hardware, group.local_rank)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
    rows = torch.from_numpy(data.split.train)[:samples]
    validation = torch.from_numpy(data.split.validation)
    samples_of_run = Samples(batches, rows, validation, target_std=1.0)
    state = Trainer(trainer, chosen, group).fit(model, samples_of_run)
    forecasts = forecast(model, batches, validation, chosen, group=group)
    losses = [(epoch.train_loss, epoch.validation_loss) for epoch in state.history]
    return {"weights": state.weights, "forecasts": forecasts, "losses": torch.tensor(losses)}


def every_case(group: Group = SINGLE_PROCESS) -> list[dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the ranks share the cores
    try:
        return [trained(group, *case) for case in CASES]
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    environment_of_rank = environment.read()
    assert environment_of_rank is not None
    ranks = group.join(environment_of_rank, 60, {})
    found = every_case(ranks)
    torch.save(
        {"cases": found, "received": ranks.broadcast_bytes(b"abc" if ranks.is_main else b"")},
        f"{sys.argv[1]}/{ranks.rank}.pt",
    )
    worker.end(0)
