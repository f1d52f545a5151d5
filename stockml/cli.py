"""The command line: check what was typed, hand it to Hydra, and turn every ending into a status."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.errors import Interrupted, UserError, describe_error
from stockml.processes import signals, streams
from stockml.tasks import start

if TYPE_CHECKING:
    from stockml.compose import Command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `arguments` (the command line's by default) ask for; 0, or the status that tells how it ended."""
    streams.make_robust()
    signal.signal(signal.SIGTERM, signals.end)
    typed = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from stockml import compose

        command = compose.read(typed)
        start.require_installed(command.jobs)
        if command.answer is not None:
            print(command.answer)
        elif command.sweep is not None:
            from stockml.tasks import sweep

            sweep.run(command, start.train, typed)
        elif not command.jobs:  # Hydra answers
            compose.enter_hydra(command, start.train)
        else:
            _do(command, typed)
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
        print(f"{describe_error(error)} (a fault of stockml's own; HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        return 1
    asks = any(argument.partition("=")[0] in _QUESTIONS for argument in typed)
    return streams.exit_status() if asks else 0  # a run is done whether or not anybody reads what it prints


_QUESTIONS = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info")
_INSTALL = "python -m pip install -e . where run.py is, or see Troubleshooting in the README"


def _do(command: Command, typed: Sequence[str]) -> None:
    """Do the task, other than a sweep, that a checked command asks for."""
    from stockml import compose

    config = command.jobs[0]
    if config.task == "report":
        from stockml.tasks import report

        report.run(config)
    elif config.task == "evaluate":
        from stockml.tasks import evaluate

        evaluate.run(config)
    elif config.task == "predict":
        from stockml.tasks import predict

        predict.run(config)
    elif config.task == "doctor":
        from stockml.tasks import doctor

        doctor.run(config)
    elif config.task == "fetch":
        from stockml.tasks import fetch

        fetch.run(config)
    elif config.task == "reproduce":
        from stockml.runs.sweep_folder import SweepFolder
        from stockml.tasks import reproduce

        if SweepFolder.is_one(Path(str(config.run))):
            reproduce.run_sweep(Path(str(config.run)), typed, start.train)
        else:
            compose.enter_hydra(command, functools.partial(reproduce.run, train=start.train))
    elif config.task == "audit":
        from stockml.tasks import audit

        compose.enter_hydra(command, audit.run)
    else:
        compose.enter_hydra(command, start.train)


def _trace(error: BaseException) -> None:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
