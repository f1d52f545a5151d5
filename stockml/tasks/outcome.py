"""How a run ends: recorded in its folder, told in a line."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stockml.errors import Interrupted, RunError, UserError

if TYPE_CHECKING:
    from stockml.reporting import terminal
    from stockml.runs.folder import RunFolder


@contextlib.contextmanager
def recorded(folder: RunFolder, run_log: terminal.RunLog, started: float, *, synthetic: bool) -> Iterator[None]:
    """Around a run: its log is open, result.json says how it stands, and whatever ends it early is told in a line.

    Raises RunError or Interrupted in place of what ended it. A folder that could not be written to is not left behind.
    """

    def record(status: str, error: str | None = None) -> None:
        folder.record(status, started, error, synthetic=synthetic)

    try:
        with run_log.writing_to(folder.log), _failures_told(folder, run_log):
            record("running")
            yield
            record("ok")
    except (UserError, Interrupted) as error:
        if not _is_worth_keeping(folder, error.__cause__ or error):
            folder.discard()
        else:
            with contextlib.suppress(OSError):
                record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", "; ".join(error.lines))
        raise


def _is_worth_keeping(folder: RunFolder, cause: BaseException | None) -> bool:
    """Whether a failed run's folder tells more than that it could not be written to, or never began."""
    refused = isinstance(cause, UserError) and cause.status == UserError.status
    return not (refused or isinstance(cause, OSError)) or folder.has_checkpoint


@contextlib.contextmanager
def _failures_told(folder: RunFolder, run_log: terminal.RunLog) -> Iterator[None]:
    """Turn whatever ends a run early into RunError or Interrupted, with one line; the traceback goes to the log."""
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
        names = {cls.__name__ for cls in type(error).__mro__}  # by name: torch need not be there
        if (
            "OutOfMemoryError" in names or "MemoryError" in names or "allocate memory" in reason
        ):  # torch's, or the CPU's
            line = f"out of memory ({reason[:200]}); lower trainer.batch_size, model.hidden_dim or data.window"
        elif isinstance(error, OSError):
            remedy = (
                f"when that is mended: trainer.resume={folder.path}" if kept else "choose another: hydra.run.dir=FOLDER"
            )
            line = f"cannot write to the run folder ({reason}); {remedy}"
        else:
            line = f"{type(error).__name__}: {reason[:300]}"
        where = f"; the traceback is in {folder.log_name}" if kept else ""
        raise RunError(f"{folder.path}: {folder.writer}{line}{where}") from error
