"""The outcome of a run: recorded in its folder, and described in a line where it failed."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
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
        with folder.held(), run_log.writing_to(folder.log), _errors_in_a_line(folder, run_log):
            record("running")
            yield
            if missing := folder.missing():
                raise RunError(f"{folder.path}: removed while the run was in progress: {', '.join(missing)}")
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
    return not (refused or _is_of_folder(folder, cause)) or folder.has_checkpoint


def _is_of_folder(folder: RunFolder, error: BaseException | None) -> bool:
    """Whether an error is about writing to the run's folder, not about a file elsewhere."""
    if not isinstance(error, OSError):
        return False
    return error.filename is None or Path(str(error.filename)).is_relative_to(folder.path)


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
        elif isinstance(error, FileNotFoundError) and not folder.path.is_dir():
            line = "the run folder is gone; somebody removed it while the run was in progress"
        elif _is_of_folder(folder, error):
            key = "hydra.sweep.dir" if folder.stays else "hydra.run.dir"
            remedy = f"once that is fixed: trainer.resume={folder.path}" if kept else f"choose another: {key}=FOLDER"
            line = f"cannot write to the run folder ({reason}); {remedy}"
        elif isinstance(error, OSError) and error.filename is not None:
            line = f"{error.filename}: {error.strerror}"
        else:
            line = f"{type(error).__name__}: {reason[:300]}"
        where = f"; the traceback is in {folder.log_name}" if kept else ""
        raise RunError(f"{folder.path}: {folder.writer}{line}{where}") from error
