"""The outcome of a run: recorded in its folder, and described in a line where it failed."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stockml.errors import Interrupted, Pruned, RunError, UserError

if TYPE_CHECKING:
    from stockml.reporting import terminal
    from stockml.runs.folder import RunFolder


@contextlib.contextmanager
def record_outcome(folder: RunFolder, run_log: terminal.RunLog, started: float, *, synthetic: bool) -> Iterator[None]:
    """A context for a run: its log is open, and result.json has its status.

    Raises RunError or Interrupted, with a line for the user, instead of the exception that ended the run. A folder that
    could not be written to is removed.
    """

    def record(status: str, error: str | None = None) -> None:
        folder.record(status, started, error, synthetic=synthetic)

    try:
        with run_log.writing_to(folder.log), _errors_in_a_line(folder, run_log):
            record("running")
            yield
            record("ok")
    except (UserError, Interrupted) as error:
        if not _is_worth_keeping(folder, error.__cause__ or error):
            folder.discard()
        else:
            with contextlib.suppress(OSError):
                if isinstance(error, Pruned):
                    record("pruned")
                else:
                    record("interrupted" if isinstance(error, Interrupted) else "failed", "; ".join(error.lines))
        raise


def _is_worth_keeping(folder: RunFolder, cause: BaseException | None) -> bool:
    """Whether a failed run's folder is worth keeping: not if the run never began, or could not write to it."""
    refused = isinstance(cause, UserError) and cause.status == UserError.status
    return not (refused or isinstance(cause, OSError)) or folder.has_checkpoint


@contextlib.contextmanager
def _errors_in_a_line(folder: RunFolder, run_log: terminal.RunLog) -> Iterator[None]:
    """Turn any exception into RunError or Interrupted, with one line; the traceback goes to the log."""
    try:
        yield
    except UserError as error:
        run_log.record(str(error))
        raise
    except KeyboardInterrupt as error:
        line = f"interrupted; continue with: python run.py trainer.resume={folder.path}"
        run_log.record(line)
        raise Interrupted(error.signum if isinstance(error, Interrupted) else signal.SIGINT, line) from error
    except Exception as error:
        with contextlib.suppress(OSError):
            run_log.record(traceback.format_exc())
        reason = " ".join(str(error).split())
        kept = _is_worth_keeping(folder, error)
        names = {cls.__name__ for cls in type(error).__mro__}  # by name, so that torch need not be imported
        # Of a GPU, of Python, or of torch on the CPU.
        if "OutOfMemoryError" in names or "MemoryError" in names or "allocate memory" in reason:
            line = f"out of memory ({reason[:200]}); lower trainer.batch_size, model.hidden_dim or data.window"
        elif isinstance(error, OSError):
            remedy = (
                f"once that is fixed: trainer.resume={folder.path}" if kept else "choose another: hydra.run.dir=FOLDER"
            )
            line = f"cannot write to the run folder ({reason}); {remedy}"
        else:
            line = f"{type(error).__name__}: {reason[:300]}"
        where = f"; the traceback is in {folder.log_name}" if kept else ""
        raise RunError(f"{folder.path}: {folder.writer}{line}{where}") from error
