"""One of the processes that train a model together: how it starts, answers signals, and reports why it failed.

Imports no torch before it joins the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from stockml.distributed import environment
from stockml.errors import Interrupted, LostRank, Pruned, UserError
from stockml.processes import lifelines, parent

if TYPE_CHECKING:
    from stockml.distributed.environment import WorkerEnvironment
    from stockml.distributed.group import Group


def started_by_launcher() -> WorkerEnvironment:
    """The environment of a worker that our launcher has started; from here on it ends when the launcher does."""
    if environment.LIFELINE in os.environ:
        lifelines.follow(int(os.environ.pop(environment.LIFELINE)))
        lifelines.die_with_parent()
    if environment.CHANNEL in os.environ:
        parent.connect(Connection(int(os.environ.pop(environment.CHANNEL))))
    found = environment.read()
    if found is None:
        raise SystemExit("a worker is started by `python run.py trainer=ddp`, or by torchrun")
    return found


def log_path(run: Path, rank: int) -> Path:
    """The log of a rank of the run in that folder."""
    return run / "ranks" / f"rank_{rank}.log"


def redirect_output(log: Path, rank: int) -> None:
    """Under torchrun, whose ranks all print to the terminal: send the output to the log, except what rank 0 prints."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    with log.open("ab") as file:
        for stream in (sys.stderr,) if rank == 0 else (sys.stderr, sys.stdout):
            os.dup2(file.fileno(), stream.fileno())  # also for what is printed below Python


def train(
    own: WorkerEnvironment, timeout_seconds: float, settings: Mapping[str, Any], run: Callable[[Group], object]
) -> None:
    """Join the other ranks, which must have the same settings, and call `run` with the group.

    UserError or RunError as from `group.join`. What `run` raises is announced to the other ranks, and raised again.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        lifelines.follow_parent()
    _handle_signals(is_main=own.rank == 0)
    from stockml.distributed import group

    ranks = group.join(own, timeout_seconds, settings)
    try:
        run(ranks)
    except LostRank:
        raise
    except BaseException as error:
        ranks.announce_failure(_lines(error))
        raise


@contextlib.contextmanager
def whole_process(own: WorkerEnvironment, print_error: Callable[[BaseException], None]) -> Iterator[None]:
    """A context for all that a worker does; at its end the process ends, after it has reported why it failed."""
    try:
        yield
    except BaseException as error:
        print_error(error)
        _report_failure(error, own.rank)
        end(error.status if isinstance(error, (UserError, Interrupted)) else 1)
    end(0)


def end(status: int) -> NoReturn:
    """End this process at once: torch's clean-up of a group of processes sometimes hangs or aborts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _handle_signals(*, is_main: bool) -> None:
    """Rank 0 answers signals, and the other ranks continue for as long as it does."""
    if is_main:
        signal.signal(signal.SIGTERM, _interrupt)
    else:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)


def _interrupt(signum: int, _frame: object) -> NoReturn:
    raise Interrupted(signum)


def _report_failure(error: BaseException, rank: int) -> None:
    """Write for the launcher, if there is one, why this rank failed."""
    if environment.FAILURES not in os.environ:
        return
    failure = {
        "lines": _lines(error),
        "status": error.status if isinstance(error, (UserError, Interrupted)) else 1,
        "signum": error.signum if isinstance(error, Interrupted) else None,
        "lost_rank": isinstance(error, LostRank),
        "final": isinstance(error, UserError) and error.__cause__ is None,
        "unwritable": isinstance(error.__cause__, OSError),
        "pruned": isinstance(error, Pruned),
    }
    path = Path(os.environ[environment.FAILURES]) / f"{rank}.json"
    path.with_suffix(".tmp").write_text(json.dumps(failure))
    path.with_suffix(".tmp").replace(path)


def _lines(error: BaseException) -> tuple[str, ...]:
    return error.lines if isinstance(error, (UserError, Interrupted)) else (f"{type(error).__name__}: {error}",)
