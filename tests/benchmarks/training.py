"""How fast the engine trains, compared with loops as others write them; and how the time of a step is spent."""

from __future__ import annotations

import operator
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from stockml import compose, models
from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.training import flat_optimizer, hardware, losses
from stockml.training.engine import Trainer
from stockml.training.hardware import Hardware
from stockml.training.interface import Samples, TrainState
from tests.benchmarks.measuring import Breakdown, Figure, seconds_of

SAMPLES, WINDOW, FEATURES = 100_000, 60, 5
_EPOCHS = 9
_EPOCHS_IN_PARTS = 5


def training() -> Iterator[Figure | Breakdown]:
    """The engine and other loops in turn, an epoch each, on the same arrays in one thread."""
    arrays = Arrays.random(SAMPLES)
    for batch, bounds in _LEAST.items():
        own, *theirs = _seconds_of_epochs(compose.compose("hardware=cpu", f"trainer.batch_size={batch}"), arrays)
        for loop, least, seconds in zip(_LOOPS, bounds, theirs, strict=True):
            yield Figure(
                f"samples/s of training on ({SAMPLES:,}, {WINDOW}, {FEATURES}) arrays, batch {batch:,}, "
                f"over {loop.title}",
                median(map(operator.truediv, seconds, own)),
                "×",
                least=least,
                note=f"{SAMPLES / median(own):,.0f} against {SAMPLES / median(seconds):,.0f}",
            )
    yield Breakdown("a training step", "µs", _step_in_parts(compose.compose("hardware=cpu"), arrays))


def _seconds_of_epochs(config: Config, arrays: Arrays) -> list[tuple[float, ...]]:
    """Of the engine and of each loop: the seconds of every epoch after the first."""
    loops, found = [loop(config, arrays, SAMPLES) for loop in _LOOPS], list[tuple[float, ...]]()

    def after_epoch(state: TrainState) -> None:
        found.append((state.history[-1].seconds, *(seconds_of(loop.train_epoch) for loop in loops)))

    arrays.fit(new_model(config), config, SAMPLES, 1 + _EPOCHS, after_epoch)
    return list(zip(*found[1:], strict=True))


@dataclass(frozen=True)
class Arrays:
    """Random arrays, read as a user's are, and the engine's training on them in one thread."""

    batches: Batches
    test: Tensor
    """(1,) the row of the only sample that is not trained on."""
    hardware: Hardware

    @classmethod
    def random(cls, samples: int) -> Arrays:
        """So many samples to train on."""
        rng = np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "random.npz"
            arrays: dict[str, Any] = {}
            for part, n in (("train", samples), ("test", 1)):
                arrays[f"X_{part}"] = rng.standard_normal((n, WINDOW, FEATURES), dtype=np.float32)
                arrays[f"y_{part}"] = rng.standard_normal(n)
            np.savez(path, **arrays)
            config = compose.compose("data=npz", f"data.path={path}", "hardware=cpu", "hardware.threads=1")
            found = dataset.prepare(config)
        chosen = hardware.choose(config.hardware)
        hardware.set_up(config.hardware, step_multiplications=1)
        batches = Batches(found.panel, found.scaler, chosen.device, chosen.dtype)
        return cls(batches, torch.from_numpy(found.split.test), chosen)

    def fit(
        self,
        model: nn.Module,
        config: Config,
        samples: int,
        epochs: int,
        after_epoch: Callable[[TrainState], None],
    ) -> None:
        """Train on the first samples by the config's trainer; validation is one sample: an epoch is training alone."""
        samples_of_run = Samples(self.batches, torch.arange(samples), self.test, target_std=1.0)
        trainer = Trainer(replace(config.trainer, epochs=epochs, patience=None), self.hardware, seed=config.seed)
        trainer.fit(model, samples_of_run, after_epoch)


def new_model(config: Config) -> nn.Module:
    """The config's model for these arrays, with the same weights at each call."""
    torch.manual_seed(config.seed)
    return models.build(config.model, WINDOW, FEATURES)


class _Samples(Dataset[tuple[Tensor, Tensor]]):
    """Windows and targets, one at a time."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Textbook:
    """The textbook loop on the first samples: Dataset, DataLoader and Adam as they come, `.item()` after every step."""

    title = "the textbook loop"

    def __init__(self, config: Config, arrays: Arrays, samples: int) -> None:
        x, y = arrays.batches.values[:samples], arrays.batches.target[:samples]
        self.loader = self._loader(x, y, config.trainer.batch_size)
        self.model, self.loss_of = new_model(config), nn.MSELoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.trainer.lr)

    def _loader(self, x: Tensor, y: Tensor, batch_size: int) -> DataLoader[Any]:
        return DataLoader(_Samples(x, y), batch_size=batch_size, shuffle=True)

    def _total(self, losses: Iterator[Tensor]) -> float:
        return sum(loss.item() for loss in losses)

    def _losses(self) -> Iterator[Tensor]:
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss_of(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            yield loss

    def train_epoch(self) -> float:
        """One pass over the samples; the mean loss."""
        self.model.train()
        return self._total(self._losses()) / len(self.loader)


class Careful(Textbook):
    """The loop of those who have read on: torch's TensorDataset, and losses that are read once an epoch."""

    title = "a careful loop"

    def _loader(self, x: Tensor, y: Tensor, batch_size: int) -> DataLoader[Any]:
        return DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)

    def _total(self, losses: Iterator[Tensor]) -> float:
        return float(torch.stack([loss.detach() for loss in losses]).sum())


class Indexed(Careful):
    """The careful loop with whole batches taken by index, which few use: the DataLoader collates nothing."""

    title = "a careful loop that takes batches by index"

    def _loader(self, x: Tensor, y: Tensor, batch_size: int) -> DataLoader[Any]:
        samples = TensorDataset(x, y)
        order = BatchSampler(RandomSampler(samples), batch_size, drop_last=False)
        return DataLoader(samples, sampler=order, batch_size=None)


_LOOPS = Textbook, Careful, Indexed
_LEAST = {64: (2.0, 3.5, None), 1024: (None, 4.0, None)}  # by batch, for each loop


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


def _step_in_parts(config: Config, arrays: Arrays) -> dict[str, float]:
    """Microseconds of each part of a step, by a stopwatch between the engine's calls of them."""
    laps, found, steps = _Laps(), defaultdict[str, list[float]](list), -(-SAMPLES // config.trainer.batch_size)

    def after_epoch(state: TrainState) -> None:
        del laps.seconds["rest"]  # of which this is more: what comes before and after the steps
        rest = state.history[-1].seconds - sum(laps.seconds.values())
        for part, seconds in {**laps.seconds, "rest": rest}.items():
            found[part].append(1e6 * seconds / steps)
        laps.seconds.clear()

    loss, make_step = losses.loss_of(config.trainer), flat_optimizer.make_step
    with ExitStack() as stack:
        for patched in (
            patch.object(Batches, "_cut", laps.around(Batches._cut, "gather", "rest")),
            patch.object(losses, "loss_of", lambda _: laps.around(loss, "forward", "forward")),
            patch.object(
                flat_optimizer, "make_step", lambda *args: laps.around(make_step(*args), "optimizer", "backward")
            ),
        ):
            stack.enter_context(patched)
        arrays.fit(new_model(config), config, SAMPLES, 1 + _EPOCHS_IN_PARTS, after_epoch)
    return {part: median(values[1:]) for part, values in found.items()}
