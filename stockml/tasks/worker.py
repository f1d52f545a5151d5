"""A rank of a run: `python -m stockml.tasks.worker <run>`, or `run.py` started by the user's own torchrun or srun.

The first reads the config from the run's config.json, and has no command line of its own. Its launcher learns from a
file why it failed.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from stockml.config.root import Config
from stockml.config.values import plain
from stockml.distributed import worker
from stockml.distributed.settings import DDPConfig
from stockml.errors import Interrupted, LostRank, UserError
from stockml.processes import parent, streams
from stockml.runs.folder import NullRun, RunFolder, WorkerRun
from stockml.runs.location import ExistingRun, RunLocation
from stockml.tasks import pruning, run_metadata

if TYPE_CHECKING:
    from stockml.distributed.environment import WorkerEnvironment
    from stockml.distributed.group import Group


def main(run: Path) -> NoReturn:
    """Do this rank's share of the run in that folder, to the end of the process."""
    streams.make_robust()
    own = worker.started_by_launcher()
    log = worker.log_path(run, own.rank)
    worker.redirect_output(log, own.rank)
    with worker.whole_process(own, _print_traceback):
        folder = NullRun(run, own.rank, log) if own.rank else WorkerRun(run)
        _train(run_metadata.saved_config(RunFolder(run)), ExistingRun(folder), {}, own)
    raise AssertionError("unreachable")


def run(config: Config, location: RunLocation, records: Mapping[str, str], own: WorkerEnvironment) -> NoReturn:
    """Be the worker that the user's own torchrun or srun has started, to the end of the process."""
    trainer = cast("DDPConfig", config.trainer)
    if trainer.world_size not in ("auto", own.world_size):
        raise UserError(
            f"trainer.world_size={trainer.world_size}: but {own.world_size} workers have been started "
            "(WORLD_SIZE); leave it out"
        )
    config = dataclasses.replace(config, trainer=dataclasses.replace(trainer, world_size=own.world_size))

    def print_error(error: BaseException) -> None:
        if own.rank == 0 or not isinstance(error, (LostRank, Interrupted)):  # rank 0 prints these for all
            _print_error(error, log_is_kept=own.rank == 0)

    with worker.whole_process(own, print_error):
        if own.rank:
            folder = NullRun(location.exact or Path("outputs").absolute(), own.rank)
            _train(config, ExistingRun(folder), {}, own)
        else:
            _train(config, location, with_saved_config(config, records), own)
    raise AssertionError("unreachable")


def with_saved_config(config: Config, records: Mapping[str, str]) -> dict[str, str]:
    """The records of a run whose world size was determined after they were made."""
    from stockml import compose

    return {**records, "config.yaml": compose.records(config)["config.yaml"]}


def _train(
    config: Config, location: RunLocation | ExistingRun, records: Mapping[str, str], own: WorkerEnvironment
) -> None:
    def train_in(group: Group) -> None:
        from stockml.tasks import train

        report_epoch = pruning.report_epoch if parent.descriptor() is not None else None
        train.run(config, location, records, group, report_epoch=report_epoch)

    timeout_seconds = cast("DDPConfig", config.trainer).timeout_seconds
    worker.train(own, timeout_seconds, _shared_settings(config), train_in)


def _shared_settings(config: Config) -> Any:
    """The settings that must be equal on all ranks; data are compared by their content, wherever they are stored."""
    settings = plain(config)
    del settings["looks"], settings["tracker"]
    for section, keys in {"data": ("dir", "path"), "trainer": ("node_rank", "resume", "init_from")}.items():
        for key in keys:
            settings[section].pop(key, None)
    return settings


def _print_traceback(error: BaseException) -> None:
    """Print the traceback, unless the run's own log has it."""
    if not isinstance(error, (UserError, Interrupted)) or isinstance(error, LostRank):
        traceback.print_exception(error)


def _print_error(error: BaseException, *, log_is_kept: bool) -> None:
    """Print an error's lines; a traceback where it has none, or where no log has the traceback of its cause."""
    if not isinstance(error, (UserError, Interrupted)):
        traceback.print_exception(error)
    elif error.__cause__ is None or log_is_kept:
        print(*error.lines, sep="\n", file=sys.stderr)
    else:
        traceback.print_exception(error.__cause__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
