"""The command line: check what was typed, run it, and turn every ending into a status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stockml.config.values import undecoded
from stockml.errors import Interrupted, UserError, describe_error, describe_os_error
from stockml.processes import signals, streams
from stockml.tasks import TASKS, Request, Task


def main(arguments: Sequence[str] | None = None, tasks: Mapping[str, Task] = TASKS) -> int:
    """Run what `arguments` (the command line's by default) ask for; 0, or the status that says how it ended."""
    streams.make_robust()
    if arguments is None:  # a program of our own: most of what it makes are modules, which stay to the end
        gc.set_threshold(300_000)
    signal.signal(signal.SIGTERM, signals.end)
    typed = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            _run(typed, tasks)
        except Exception as error:
            if (interruption := _interruption(error)) is not None:
                raise interruption from None
            raise
    except UserError as error:
        _trace(error)
        error.print_once()
        return error.status
    except Interrupted as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ImportError as error:
        _trace(error)
        print(f"{error}; this Python ({sys.executable}) lacks it, or half of it: {_INSTALL}", file=sys.stderr)
        return 1
    except Exception as error:
        _trace(error)
        if isinstance(error, MemoryError):
            print(f"there is too little memory ({error}); take fewer data, or a larger machine", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and (line := describe_os_error(error)) is not None:
            print(line, file=sys.stderr)
            return 1
        if isinstance(error, UnicodeEncodeError) and (odd := re.search(r"\S*[\udc80-\udcff]\S*", error.object)):
            print(f"{undecoded(odd[0])}: holds bytes that are not UTF-8; choose another name", file=sys.stderr)
            return UserError.status
        print(f"{describe_error(error)} (a fault of stockml's own; HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        return 1
    asks = any(argument.partition("=")[0] in _QUESTIONS for argument in typed)
    return streams.exit_status() if asks else 0  # a run is done whether or not anybody reads what it prints


def program() -> NoReturn:
    """`python run.py`, or `stockml`: run the command line, and end the process.

    What is registered for the end is done, but Python does not take apart all that torch has built: a twentieth of a
    short run's time.
    """
    status = main()
    for child in multiprocessing.active_children():
        if child.daemon:  # a worker that a failure has left, and that would ignore Python's SIGTERM
            child.kill()
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            stream.flush()
    os._exit(status)


_QUESTIONS = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info")
_INSTALL = "python -m pip install -e . where run.py is, or see Troubleshooting in the README"


def _run(typed: Sequence[str], tasks: Mapping[str, Task]) -> None:
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UserError("the folder that this was started in is gone; change to one that exists: cd FOLDER") from None
    if odd := [shown for shown in map(undecoded, typed) if shown]:
        raise UserError(*(f"{shown}: holds bytes that are not UTF-8; type others, or rename the file" for shown in odd))
    if shown := undecoded(str(here)):
        raise UserError(f"{shown}: this folder's name holds bytes that are not UTF-8; rename it, or start in another")
    from stockml import compose
    from stockml.tasks import start

    command = compose.read(typed, tasks, _progress())
    start.require_installed(command.jobs)
    for note in command.notes:
        print(f"note        {note}", flush=True)
    if command.answer is not None:
        print(command.answer)
    elif command.hydra_arguments is not None:
        compose.answer_by_hydra(command.hydra_arguments)
    elif command.sweep is not None:
        from stockml.tasks import sweep

        sweep.run(command, start.train, typed)
    else:
        from stockml.runs.location import RunLocation

        config = command.jobs[0]
        request = Request(RunLocation(exact=command.folder), command.records, typed, command.conf_changes)
        run = tasks[config.task].run()
        compose.within_hydra(command, lambda: run(config, request))


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C or SIGTERM that an error came of: in the midst of a library's work it can end as another error."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _progress() -> Callable[[int, int], None]:
    """What prints how many jobs of a large sweep are composed: at once, and then every five seconds."""
    due = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal due
        if total >= _MANY_JOBS and time.monotonic() >= due:
            print(f"composing   {f'{done:,} of ' if done else ''}{total:,} jobs", flush=True)
            due = time.monotonic() + _PAUSE_SECONDS

    return progress


_MANY_JOBS = 50
_PAUSE_SECONDS = 5.0


def _trace(error: BaseException) -> None:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
