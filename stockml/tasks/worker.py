"""One of the processes that train a model together: `python -m stockml.tasks.worker <run>`.

It reads the run's config.json, never a command line of its own, and its place among the others from torchrun's
environment. Whoever has started it learns from a file why it failed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from stockml.config.root import Config
from stockml.config.values import plain
from stockml.distributed import environment
from stockml.distributed.settings import DDPConfig
from stockml.errors import Interrupted, LostRank, UserError
from stockml.processes import lifelines, streams
from stockml.runs.folder import NullRun, RunFolder, WorkerRun
from stockml.runs.location import ExistingRun, RunLocation
from stockml.tasks import run_metadata

if TYPE_CHECKING:
    from stockml.distributed.environment import Environment


def main(run: Path) -> None:
    """Do this rank's part of the run in that folder."""
    streams.make_robust()
    if environment.LIFELINE in os.environ:
        lifelines.follow(int(os.environ.pop(environment.LIFELINE)))
    place = environment.read()
    if place is None:
        raise SystemExit("stockml.tasks.worker: is started by `python run.py trainer=ddp`, or by torchrun")
    log = run / "ranks" / f"rank_{place.rank}.log"
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun gives every rank its own output
        _write_to(log, *((sys.stderr,) if place.rank == 0 else (sys.stderr, sys.stdout)))
    try:
        folder = WorkerRun(run) if place.rank == 0 else NullRun(run, place.rank, log)
        _take_part(run_metadata.saved_config(RunFolder(run)), ExistingRun(folder), {}, place)
    except BaseException as error:
        if not isinstance(error, (UserError, Interrupted)) or isinstance(error, LostRank):
            traceback.print_exception(error)  # of another error the run's own log has it
        _fail(error, place)
    end(0)


def run(config: Config, place: RunLocation, records: Mapping[str, str], found: Environment) -> NoReturn:
    """Be the worker that `torchrun … run.py` or `srun … run.py` has started, to the end of the process."""
    trainer = cast("DDPConfig", config.trainer)
    if trainer.world_size not in ("auto", found.world_size):
        raise UserError(
            f"trainer.world_size={trainer.world_size}: but {found.world_size} workers have been started "
            "(WORLD_SIZE); leave it out"
        )
    config = dataclasses.replace(config, trainer=dataclasses.replace(trainer, world_size=found.world_size))
    try:
        if found.rank:
            folder = NullRun(place.exact or Path("outputs").absolute(), found.rank)
            _take_part(config, ExistingRun(folder), {}, found)
        else:
            _take_part(config, place, with_saved_config(config, records), found)
    except BaseException as error:
        if found.rank == 0 or not isinstance(error, (LostRank, Interrupted)):  # the leader tells of these
            _tell(error, log_is_kept=found.rank == 0)
        _fail(error, found)
    end(0)


def _take_part(
    config: Config, place: RunLocation | ExistingRun, records: Mapping[str, str], found: Environment
) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        lifelines.follow_parent()
    _listen_to_signals(is_main=found.rank == 0)
    from stockml.distributed import group
    from stockml.tasks import train

    timeout_seconds = cast("DDPConfig", config.trainer).timeout_seconds
    ranks = group.join(found, timeout_seconds, _shared_settings(config))
    try:
        train.run(config, place, records, ranks)
    except LostRank:
        raise
    except BaseException as error:
        ranks.announce_failure(_lines(error))
        raise


def _listen_to_signals(*, is_main: bool) -> None:
    """The leader answers signals, and the others go on for as long as it does."""
    if is_main:
        signal.signal(signal.SIGTERM, _interrupt)
    else:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)


def _interrupt(signum: int, _frame: object) -> NoReturn:
    raise Interrupted(signum)


def _shared_settings(config: Config) -> Any:
    """What must be equal on every rank; what the data are is compared by their content, wherever they lie."""
    settings = plain(config)
    del settings["tracker"]
    for section, keys in {"data": ("dir", "path"), "trainer": ("node_rank", "resume")}.items():
        for key in keys:
            settings[section].pop(key, None)
    return settings


def with_saved_config(config: Config, records: Mapping[str, str]) -> dict[str, str]:
    """The records of a run whose world size has been found out since they were made."""
    from stockml import compose

    return {**records, "config.yaml": compose.records(config)["config.yaml"]}


def _tell(error: BaseException, *, log_is_kept: bool) -> None:
    """The lines of an error that has some; where no log has the traceback beneath, or there are none, a traceback."""
    if not isinstance(error, (UserError, Interrupted)):
        traceback.print_exception(error)
    elif error.__cause__ is None or log_is_kept:
        print(*error.lines, sep="\n", file=sys.stderr)
    else:
        traceback.print_exception(error.__cause__)


def _fail(error: BaseException, place: Environment) -> NoReturn:
    """Say why, and end at once: what torch keeps of a broken group may never end by itself."""
    status = error.status if isinstance(error, (UserError, Interrupted)) else 1
    if environment.FAULTS in os.environ:
        word = {
            "lines": _lines(error),
            "status": status,
            "signum": error.signum if isinstance(error, Interrupted) else None,
            "lost": isinstance(error, LostRank),
            "final": isinstance(error, UserError) and error.__cause__ is None,
            "unwritable": isinstance(error.__cause__, OSError),
        }
        path = Path(os.environ[environment.FAULTS]) / f"{place.rank}.json"
        path.with_suffix(".tmp").write_text(json.dumps(word))
        path.with_suffix(".tmp").replace(path)
    end(status)


def _lines(error: BaseException) -> tuple[str, ...]:
    return error.lines if isinstance(error, (UserError, Interrupted)) else (f"{type(error).__name__}: {error}",)


def end(status: int) -> NoReturn:
    """End this process at once: what torch does to take a group apart hangs or aborts now and then."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _write_to(log: Path, *streams: Any) -> None:
    """Let what goes to the streams, also from below Python, go to the log."""
    with log.open("ab") as file:
        for stream in streams:
            os.dup2(file.fileno(), stream.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
