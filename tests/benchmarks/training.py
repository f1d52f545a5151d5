"""How fast the engine trains, against the loop of the textbooks; and what its step's time goes into."""

from __future__ import annotations

import operator
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from stockml import compose, data, models
from stockml.config import Config
from stockml.data.batches import Batches
from stockml.training import engine, hardware
from tests.benchmarks.measuring import Breakdown, Figure, seconds_of

SAMPLES, WINDOW, FEATURES = 100_000, 60, 5
_EPOCHS = 9
_EPOCHS_IN_PARTS = 5

Fit = Callable[[nn.Module, int, Callable[[engine.Fit], None]], object]


def training() -> Iterator[Figure | Breakdown]:
    """The engine and the textbook's loop in turn, an epoch each, on the same arrays in one thread."""
    config, batches, fit = _set_up()
    textbook = _Textbook(_model(config), batches, config)
    own: list[float] = []
    theirs: list[float] = []

    def after_epoch(state: engine.Fit) -> None:
        own.append(state.history[-1].seconds)
        theirs.append(seconds_of(textbook.train_epoch))

    fit(_model(config), 1 + _EPOCHS, after_epoch)
    del own[0], theirs[0]  # the warm-up
    note = f"{SAMPLES / median(own):,.0f} against {SAMPLES / median(theirs):,.0f}"
    yield Figure(
        "samples/s of training, over the textbook's loop",
        median(map(operator.truediv, theirs, own)),
        "×",
        least=2.0,
        note=note,
    )
    yield Breakdown("a training step", "µs", _step_in_parts(config, batches, fit))


class _Samples(Dataset[tuple[Tensor, Tensor]]):
    """Windows and targets, one at a time."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class _Textbook:
    """Dataset, DataLoader and Adam as they come, and the loss read after every step."""

    def __init__(self, model: nn.Module, batches: Batches, config: Config) -> None:
        samples = _Samples(batches.values[:SAMPLES], batches.target[:SAMPLES])
        self.loader = DataLoader(samples, batch_size=config.trainer.batch_size, shuffle=True, num_workers=0)
        self.model, self.loss_of = model, nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.trainer.lr)

    def train_epoch(self) -> float:
        self.model.train()
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss_of(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.loader)


def _set_up() -> tuple[Config, Batches, Fit]:
    """Random arrays, read as a user's are, and the engine's training on them."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.npz"
        arrays: dict[str, Any] = {}
        for part, n in (("train", SAMPLES), ("test", 1)):
            arrays[f"X_{part}"] = rng.standard_normal((n, WINDOW, FEATURES), dtype=np.float32)
            arrays[f"y_{part}"] = rng.standard_normal(n)
        np.savez(path, **arrays)
        config = compose.compose("data=npz", f"data.path={path}", "hardware=cpu", "hardware.threads=1")
        found = data.prepare(config)
    chosen = hardware.choose(config.hardware)
    hardware.set_up(config.hardware, step_multiplications=1)
    batches = Batches(found.panel, found.scaler, chosen.device, chosen.dtype)
    train, validation = torch.arange(SAMPLES), torch.from_numpy(found.split.test)  # an epoch is training alone

    def fit(model: nn.Module, epochs: int, after_epoch: Callable[[engine.Fit], None]) -> None:
        trainer = replace(config.trainer, epochs=epochs, patience=None)
        engine.fit(model, batches, train, validation, trainer, chosen, seed=0, target_std=1.0, after_epoch=after_epoch)

    return config, batches, fit


def _model(config: Config) -> nn.Module:
    torch.manual_seed(config.seed)
    return models.build(config.model, WINDOW, FEATURES)


class _Laps:
    """A stopwatch whose every lap is booked to a part of the step."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def book(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now

    def around(self, function: Callable[..., Any], part: str, before: str) -> Callable[..., Any]:
        """The function, its own time booked to `part`, and that since the last lap to `before`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.book(before)
            result = function(*args, **kwargs)
            self.book(part)
            return result

        return timed


def _step_in_parts(config: Config, batches: Batches, fit: Fit) -> dict[str, float]:
    """Microseconds of each part of a step, by a stopwatch between the engine's calls of them."""
    laps, model, found = _Laps(), _model(config), defaultdict[str, list[float]](list)
    steps = -(-SAMPLES // config.trainer.batch_size)

    def after_epoch(state: engine.Fit) -> None:
        del laps.seconds["rest"]  # of which this is more: what comes before and after the steps
        rest = state.history[-1].seconds - sum(laps.seconds.values())
        for part, seconds in {**laps.seconds, "rest": rest}.items():
            found[part].append(1e6 * seconds / steps)
        laps.seconds.clear()

    loss, step_of = engine._LOSSES[config.trainer.loss], engine._step_of
    model.register_forward_pre_hook(lambda *_: laps.book("rest"))
    with ExitStack() as stack:
        for patched in (
            patch.object(batches, "gather", laps.around(batches.gather, "gather", "rest")),
            patch.dict(engine._LOSSES, {config.trainer.loss: laps.around(loss, "forward", "forward")}),
            patch.object(engine, "_step_of", lambda *args: laps.around(step_of(*args), "optimizer", "backward")),
        ):
            stack.enter_context(patched)
        fit(model, 1 + _EPOCHS_IN_PARTS, after_epoch)
    return {part: median(values[1:]) for part, values in found.items()}
