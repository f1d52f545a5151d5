"""Training and forecasting from Python: functions that do what `python run.py` does, with the same words.

They leave the global state of Hydra and torch, argv, the environment, logging and the current folder unchanged. One
call runs at a time in a process; calls from other threads wait.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from stockml.errors import UserError
from stockml.result import Result
from stockml.runs.location import RememberedLocation

if TYPE_CHECKING:
    import pandas as pd

    from stockml.compose import Command
    from stockml.config.root import Config


class Choices(TypedDict, total=False):
    """What `train` takes in the words of the command line: a choice for each config group, and the seed."""

    stock: str | None
    data: str | None
    model: str | None
    trainer: str | None
    hardware: str | None
    experiment: str | None
    """`"quick"` is `+experiment=quick`."""
    tracker: str | Sequence[str] | None
    seed: int | None


def train(
    *,
    folder: str | PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    quiet: bool = False,
    **choices: Unpack[Choices],
) -> Result:
    """Train, evaluate and save a model as `python run.py` does: the same numbers, the same files.

    `choices` choose from the config groups: `stock`, `data`, `model`, `trainer`, `hardware`, `experiment`, `tracker`,
    and give the `seed` (`model="gru"` is `model=gru`); without one, the command line's default holds. `settings` has
    every other setting by its dotted name: `{"trainer.epochs": 3, "data.dir": Path("bars"), "trainer.patience": None}`.
    A list is a list there, not a sweep: a sweep is a loop. `folder` is the run folder, which must not hold a run yet;
    by default a new one in `outputs/`. Prints what the command prints, and draws the page, unless `quiet`.

    Raises UserError with a line for each fault of config or data, before a folder is made; RunError if the run failed;
    Interrupted, a KeyboardInterrupt, when Ctrl-C has let the epoch and its checkpoint finish (in the main thread).
    """
    if unknown := choices.keys() - Choices.__annotations__.keys():
        raise TypeError(f"train() has no argument {min(unknown)!r}: other settings go into settings={{'group.key': …}}")
    words = {"experiment": "+experiment"}
    given = {words.get(name, name): value for name, value in choices.items()}
    typed = {**_given(given), **_given({"hydra.run.dir": folder}), **(settings or {})}
    with _isolated():
        from stockml import compose
        from stockml.tasks import start

        command = _command(typed, "train")
        start.require_installed(command.jobs)
        config = command.jobs[0]
        _require_one_machine(config)
        made: list[Path] = []
        place = RememberedLocation(command.folder, made=made, quiet=quiet)
        for note in () if quiet else command.notes:
            print(f"note        {note}")
        compose.within_hydra(command, lambda: start.train(config, place, command.records))
    return Result(command.folder or made[0])


def predict(
    run: str | PathLike[str],
    *,
    stock: str | None = None,
    data: str | None = None,
    hardware: str | None = None,
    settings: Mapping[str, object] | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Forecast with the model of a run, as `task=predict` does: a row for each bar since the run's test began.

    `run` is a Result or a run folder. The bars are those of the run, as they are now, unless `stock`, `data` or
    `settings` name others. Columns: date, target_date, ticker, y_pred, lower_95, upper_95 and so on for each level of
    the run's `intervals`, y_true (NaN if it is not known yet); the run folder gets them as forecasts.csv, too. Prints
    warnings about the bars, unless `quiet`.

    Raises UserError if the run or the bars cannot be used.
    """
    typed = {
        **_given({"run": Path(run), "stock": stock, "data": data, "hardware": hardware}),
        **(settings or {}),
        "task": "predict",
    }
    with _isolated():
        command = _command(typed, "predict")
        from stockml.tasks import predict as task

        found = task.forecasts(command.jobs[0], _ignore if quiet else print)
    return Result(run).table(found.path.name)


_one_at_a_time = threading.Lock()  # the seed of torch, its threads and Hydra are one for the process


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    from stockml import compose

    with _one_at_a_time, compose.isolated_hydra_state():
        yield


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in arguments.items() if value is not None}


def _command(typed: Mapping[str, object], task: str) -> Command:
    """The checked command for arguments as if they were typed. Raises UserError with every fault."""
    from stockml import compose
    from stockml.tasks import TASKS

    texts: list[str] = []
    faults: list[str] = []
    for key, value in typed.items():
        try:
            texts.append(compose.setting(key, value))
        except UserError as error:
            faults += error.lines
    try:
        command = compose.read(texts, TASKS)
    except UserError as error:
        raise UserError(*faults, *error.lines) from None
    if command.sweep is not None:
        faults.append("a sweep was asked for: call train once for each of its jobs, or type it: python run.py")
    elif (other := command.jobs[0].task) != task:
        faults.append(f"task={other}: this is {task}(); type it: python run.py task={other}")
    if faults:
        raise UserError(*faults)
    return command


def _require_one_machine(config: Config) -> None:
    """UserError where this process would be a worker among others, which ends with its part of the run."""
    from stockml.distributed import environment
    from stockml.distributed.settings import DDPConfig

    if not isinstance(config.trainer, DDPConfig):
        return
    if config.trainer.nnodes > 1:
        raise UserError("trainer.nnodes: train() runs on one machine; type it on each: python run.py trainer=ddp")
    if environment.read() is not None:
        raise UserError(
            "trainer=ddp: torchrun or srun has started this process as a worker (RANK or SLURM_PROCID is set), and "
            "train() starts workers itself; unset it, or let them start run.py"
        )


def _ignore(line: str) -> None:
    """Print nothing."""
