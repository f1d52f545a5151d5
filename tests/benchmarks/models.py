"""How fast the engine trains each model, compared with other loops; and which share of that is torch's kernels."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile

from stockml import compose
from stockml.config.root import Config
from stockml.models import BUILT_IN
from stockml.training import losses
from stockml.training.engine import Trainer
from stockml.training.interface import TrainState
from tests.benchmarks.measuring import Figure, Grid
from tests.benchmarks.training import Arrays, Careful, Textbook, new_model

_BATCHES = 64, 1024
_BOUND_BY_KERNELS = "gru", "lstm", "tcn"  # recurrent and convolutional
_ROUNDS, _BEST_ROUND = 15, 3
_TURN_SECONDS, _MOST_UPDATES = 0.25, 16  # of the larger batch
_PROFILED_UPDATES, _PROFILED_ROUNDS = 4, 3


def of_models() -> Iterator[Figure | Grid]:
    """Samples/s of every model that is trained by steps, at its default settings (ridge is not trained by steps).

    One thread, and its CPU time: that of the clock where nothing else computes, and steady where something does. A turn
    is an epoch of a fixed number of samples, fewer for slow models; both sides start at the same weights.

    Where nearly all time is in torch's kernels the two are equal but for noise. So the engine counts as slower where
    not even the third best of its 15 rounds is level: luck alone does that to one of two equals in 4 of 1,000.
    """
    arrays = Arrays.random(_MOST_UPDATES * max(_BATCHES))
    against_careful: dict[int, dict[str, list[float]]] = {batch: {} for batch in _BATCHES}
    rows = []
    for name in (name for name, family in BUILT_IN.items() if not family.fitted_whole):
        row = [name]
        for batch in _BATCHES:
            config = compose.compose(f"model={name}", "hardware=cpu", f"trainer.batch_size={batch}")
            samples, own, *theirs = _seconds_in_turn(config, arrays)
            ratios = [sorted(map(operator.truediv, seconds, own)) for seconds in theirs]
            against_careful[batch][name] = ratios[-1]
            row += [f"{samples / median(own):,.0f}", *(f"{median(found):.2f}" for found in ratios)]
            row.append(f"{_share_in_kernels(config, arrays):.0%}" if name in _BOUND_BY_KERNELS else "")
        rows.append([f"`{name}`", *row[1:]])
    for batch, by_model in against_careful.items():
        slower = [name for name, found in by_model.items() if found[-_BEST_ROUND] < 1]
        least = min(by_model, key=lambda name: median(by_model[name]))
        note = "; ".join([*slower, f"lowest: {least}, {median(by_model[least]):.2f} ×"])
        yield Figure(
            f"models that train slower than in a careful loop, batch {batch:,}",
            len(slower),
            "models",
            most=0,
            note=note,
        )
    columns = [
        f"{column}\nbatch {batch:,}"
        for batch in _BATCHES
        for column in ("samples/s", "× textbook", "× careful", "kernels")
    ]
    yield Grid("models", ["model", *columns], rows)


def _seconds_in_turn(config: Config, arrays: Arrays) -> tuple[int, list[float], list[float], list[float]]:
    """Samples of a turn; seconds of the engine's turns, of the textbook's and of the careful loop's.

    One turn each before them does not count.
    """
    fewest = max(_BATCHES)
    seconds = _cpu_seconds_of(Textbook(config, arrays, fewest).train_epoch)
    samples = fewest * max(1, min(_MOST_UPDATES, round(_TURN_SECONDS / seconds)))
    textbook, careful = (loop(config, arrays, samples) for loop in (Textbook, Careful))
    mean_loss = losses.mean_loss
    own: list[float] = []
    theirs: list[tuple[float, float]] = []
    began = time.process_time()

    def before_validation(*args: Any) -> float:
        own.append(time.process_time() - began)
        return mean_loss(*args)

    def after_epoch(_: TrainState) -> None:
        nonlocal began
        theirs.append((_cpu_seconds_of(textbook.train_epoch), _cpu_seconds_of(careful.train_epoch)))
        began = time.process_time()

    with patch.object(losses, "mean_loss", before_validation):
        arrays.fit(new_model(config), config, samples, 1 + _ROUNDS, after_epoch)
    of_textbook, of_careful = (list(seconds) for seconds in zip(*theirs[1:], strict=True))
    return samples, own[1:], of_textbook, of_careful


def _share_in_kernels(config: Config, arrays: Arrays) -> float:
    """How much of the time of the engine's steps is spent in torch's operators, gathering and optimizer included.

    That is the self CPU time of the `aten::` events of torch.profiler, over the time that the same steps take under it.
    What is left is Python, autograd's bookkeeping between the operators, and the profiler.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or it tells of its start and end
    train_epoch, shares = Trainer._train_epoch, list[float]()

    def profiled(*args: Any) -> Any:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            started = time.perf_counter()
            result = train_epoch(*args)
            seconds = time.perf_counter() - started
        operators = [event for event in profiler.key_averages() if event.key.startswith("aten::")]
        shares.append(sum(event.self_cpu_time_total for event in operators) / (1e6 * seconds))
        return result

    samples = min(max(_BATCHES), _PROFILED_UPDATES * config.trainer.batch_size)
    with patch.object(Trainer, "_train_epoch", profiled):
        arrays.fit(new_model(config), config, samples, 1 + _PROFILED_ROUNDS, lambda _: None)
    return median(shares[1:])


def _cpu_seconds_of(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began
