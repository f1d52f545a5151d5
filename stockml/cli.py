"""The command line: check what was typed, hand it to Hydra, and turn every ending into a status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockml.errors import Interrupted, UserError

if TYPE_CHECKING:
    from stockml.config import Config
    from stockml.runs import Place


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `arguments` (the command line's by default) ask for; 0, or the status that tells how it ended."""
    signal.signal(signal.SIGTERM, _end)
    try:
        from stockml import compose

        command = compose.read(sys.argv[1:] if arguments is None else arguments)
        if command.answer is None:
            compose.enter_hydra(command, _job)
        else:
            print(command.answer)
    except UserError as error:
        _trace(error)
        error.tell()
        return error.status
    except Interrupted as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, `head` say, has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        _trace(error)
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{what} (a fault of stockml's own; HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        return 1
    return 0


def _job(config: Config, place: Place, records: dict[str, str]) -> float:
    if config.trainer.name == "ddp":
        from stockml.tasks import ddp

        return ddp.run(config, place, records)
    from stockml.tasks import train

    return train.run(config, place, records)


def _trace(error: BaseException) -> None:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)


def _end(signum: int, _frame: object) -> None:
    raise Interrupted(signum)
