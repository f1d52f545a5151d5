"""task=report: the pages of a run, or of a sweep and its jobs, made from their folders alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from stockml.config.root import Config
from stockml.errors import UserError, describe_error
from stockml.runs.folder import RunFolder, WorkerRun
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import NO_REQUEST, Request


def require_installed() -> None:
    """UserError where what drawing needs is not installed."""
    from stockml.reporting import drawing

    with drawing.style():
        pass


@contextlib.contextmanager
def drawn_after(folder: RunFolder, config: Config, emit: Callable[[str], None], *, verbose: bool) -> Iterator[None]:
    """Around a run: draw its page once it has ended well, if `report` asks for it, and emit where it is."""
    yield
    if isinstance(folder, WorkerRun) or not (verbose if config.report == "auto" else config.report):
        return  # the launcher draws the page of a worker's run
    from stockml.reporting import run_page

    for line in attempted(lambda: run_page.draw(folder)):
        emit(line)


def attempted(draw: Callable[[], Path]) -> list[str]:
    """Draw a page; the line with its path, or with the reason why there is none: a run never fails by its page."""
    try:
        return [f"report      {draw()}"]
    except UserError as error:
        return [f"report      not drawn: {error}"]
    except Exception as error:
        return [f"report      not drawn: {describe_error(error)}"]


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Draw the page of the run that `run` names; of a sweep its table, its jobs' pages and its own.

    Raises UserError where there is neither, where a run's files are broken, or where matplotlib is missing.
    """
    from stockml.reporting import drawing, run_page, summary, sweep_page

    path = Path(str(config.run))
    if not SweepFolder.is_one(path):
        if not (path / "config.json").is_file():
            raise UserError(f"{path}: holds neither a run nor a sweep; name a folder under outputs/ or multirun/")
        print(f"report      {run_page.draw(RunFolder.existing(path))}")
        return
    sweep = SweepFolder.existing(path)
    rows = summary.write(sweep)
    print(summary.table(rows), summary.location_line(sweep), sep="\n", flush=True)
    with drawing.style():  # where it is impossible, say so once
        for name in sweep.jobs():
            job = sweep.job(name)
            if (job.path / "config.json").exists():
                try:
                    run_page.draw(job)
                except UserError as error:  # the other jobs are drawn all the same
                    error.print_once()
        print(f"report      {sweep_page.draw(sweep, rows)}")
