"""A sweep: its jobs run, each failure kept to itself, and one table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml import compose
from stockml.compose import Job, Sweep
from stockml.config.root import Config
from stockml.config.values import show
from stockml.data import dataset
from stockml.data.dataset import Data
from stockml.distributed.settings import DDPConfig
from stockml.errors import Interrupted, Pruned, RunError, UserError, describe_error
from stockml.reporting import summary, sweep_page, terminal
from stockml.runs.location import RunLocation
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import pruning, rank_count, report, supervisor
from stockml.tasks.same_experiment import PLACES, DataState, can_go_on, changed_data, changed_settings, changed_weights
from stockml.trackers import tracking
from stockml.training import hardware

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.tasks.search import Search
    from stockml.training.interface import Report

Train = Callable[[Config, RunLocation, dict[str, str], "Sequence[Data] | None", "Report | None"], float]


def run(command: compose.Command, train: Train, arguments: Sequence[str], *, compares: bool = True) -> None:
    """Run what is missing of a sweep, and write its summary as jobs end and at the end, however that comes.

    `arguments` are what was typed, to emit how the sweep can be continued; `compares`: the jobs are compared with each
    other, in a table and on a page. Raises UserError where what is there
    already is of another config or other data, before anything is touched; RunError where jobs failed.
    """
    with contextlib.ExitStack() as until_the_end:
        _run(command, train, arguments, until_the_end, compares)


def _run(
    command: compose.Command,
    train: Train,
    arguments: Sequence[str],
    until_the_end: contextlib.ExitStack,
    compares: bool,
) -> None:
    sweep = command.sweep
    assert sweep is not None
    callbacks = compose.callbacks_of(command)
    new_search = _search(command, sweep.folder)  # before a folder is made
    cluster = until_the_end.enter_context(supervisor.pool(command))
    supervisor.refuse_too_large(sweep, cluster)
    folder = SweepFolder.at(sweep.folder) if sweep.is_named else SweepFolder.create(sweep.folder)
    named = compose.override("hydra.sweep.dir", str(folder.path))
    again = f"python run.py {shlex.join([*_without_folder(arguments), named])}"
    with folder.held():
        search = new_search(folder) if new_search is not None else None
        _refuse_what_differs(folder, sweep.jobs if search is None else search.finished())
        folder.plan({job.name: job.swept for job in sweep.jobs}, _without_folder(arguments))
        table = summary.SweepTable(folder)
        rows = table.write()
        asked = {job.name for job in sweep.jobs} if search is None else {row["job"] for row in rows}
        done = [row for row in rows if row["status"] in ("ok", "pruned") and row["job"] in asked]
        jobs = supervisor.Supervisor(folder, command, table, done, cluster, search)
        if any(supervisor.is_synthetic(config) for config in command.jobs):
            print(*terminal.made_up(command.jobs[0].data.placebo), sep="\n", flush=True)
        until_the_end.enter_context(tracking.tracked_sweep(command.jobs[0].tracker, folder, print))
        run_one = functools.partial(
            job,
            folder=folder.path,
            train=train,
            summarise=not sweep.is_launched_here,
            home=folder.path,
            report_epoch=pruning.report_epoch if sweep.search is not None and sweep.search.prunes else None,
        )
        try:
            compose.run_sweep(command, folder.path, jobs, run_one, callbacks, _chosen(search, sweep, jobs))
        except KeyboardInterrupt as error:
            rows = summary.write(folder, joint=False)
            ended = sum(row["status"] in ("ok", "pruned") for row in rows)
            line = (
                f"interrupted with {ended} of {len(rows)} jobs done; summary in {folder.path}; continue with: {again}"
            )
            raise Interrupted(getattr(error, "signum", 2), line) from error
        except RunError:  # the first failure, where that is to end the sweep
            pass
        except UserError:
            raise
        except Exception as error:
            if search is not None and (fault := search.fault_of(error)) is not None:
                raise RunError(f"{fault}; once that is mended, go on with: {again}") from error
            if sweep.is_launched_here:
                raise
            if not any(row["status"] == "failed" for row in summary.write(folder, joint=False)):
                raise RunError(f"{sweep.launcher}: {' '.join(str(error).split())}; nothing more was started") from error
            # else what was raised is Hydra's complaint about the failed jobs
        finally:
            if search is not None:
                search.close()
    rows = summary.write(folder)
    if compares:
        print(summary.table(rows), summary.location_line(folder), sep="\n", flush=True)
    if compares and command.jobs[0].report is not False:
        print(*report.attempted(lambda: sweep_page.draw(folder, rows)), sep="\n", flush=True)
    failed = [row for row in rows if row["status"] not in ("ok", "pruned")]
    lines = [": ".join(filter(None, (row["job"], row["status"], row.get("error")))) for row in failed]
    if search is not None:
        if search.fault is not None or (failed and command.jobs[0].sweep.fail_fast):
            raise RunError(*lines, *filter(None, [search.fault]), f"go on with: {again}")
        notes = [*(f"{line}; another trial took its place" for line in lines), *filter(None, [search.note])]
        print(*(f"note        {note}" for note in notes), sep="\n", end="\n" * bool(notes), flush=True)
    elif failed:
        raise RunError(*lines, f"{len(failed)} of {len(rows)} jobs are not done; try them again: {again}")


def _search(command: compose.Command, folder: Path) -> Callable[[SweepFolder], Search] | None:
    """What makes the search that chooses the jobs, if one does. UserError where its study cannot be opened."""
    sweep, trials = command.sweep, command.trials
    if sweep is None or sweep.search is None or trials is None:
        return None
    from stockml.tasks import search, study

    plan, config = sweep.search, command.jobs[0]
    shared = study.opened(plan, folder, config) if plan.settings.storage is not None else None
    return lambda own: search.Search(plan, own, trials.trial, shared or study.opened(plan, own.path, config))


def _chosen(search: Search | None, sweep: Sweep, jobs: supervisor.Supervisor) -> Iterable[Iterable[Job | None]] | None:
    """The jobs of a search, in one batch without end where this process starts them."""
    if search is None or sweep.search is None:
        return None
    here = sweep.is_launched_here
    return [search.jobs(jobs.at_once)] if here else search.batches(sweep.search.settings.n_jobs)


def _without_folder(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("hydra.sweep.dir=")]


def _refuse_what_differs(folder: SweepFolder, jobs: Iterable[Job]) -> None:
    """UserError where a job is done already, but of another config or of other data than are asked for."""
    states: dict[Any, DataState] = {}
    faults: dict[str, list[str]] = {}
    for job in jobs:
        run_folder = folder.job(job.name)
        if job.config is None or run_folder.outcome() not in ("ok", "pruned"):
            continue
        config = job.config
        changed = {key: pair for key, pair in changed_settings(run_folder, config).items() if key not in PLACES}
        source = (config.stock, config.data, config.features)
        if changed:
            for key, (then, now) in changed.items():
                faults.setdefault(f"{key} was {show(then)}, and is to be {show(now)}", []).append(job.name)
            continue
        if source not in states:
            states[source] = DataState.of(dataset.prepare(config), run_folder)
        if reason := changed_data(run_folder, states[source]) or changed_weights(run_folder, config):
            faults.setdefault(reason, []).append(job.name)
    if faults:
        raise UserError(
            *(
                f"{what}, since {', '.join(names)} {'were' if len(names) > 1 else 'was'} done"
                for what, names in faults.items()
            ),
            f"{folder.path}: is not continued; leave these as they were, or choose another hydra.sweep.dir",
        )


def job(
    given: Job,
    folder: Path,
    train: Train,
    *,
    summarise: bool,
    home: Path | None = None,
    report_epoch: Report | None = None,
) -> float | None:
    """One job of a sweep, in whatever process: its best validation loss; None where it failed, as result.json says.

    `summarise`: nobody else writes the sweep's summary. `home` is the sweep's folder, where the job's is copied to from
    another machine's `folder`. `report_epoch` ends the job of a search early.
    """
    location = RunLocation(job=folder / given.name)
    if given.config is None or given.records is None:
        location.create_folder("", {}).record("failed", time.time(), "; ".join(given.faults), synthetic=False)
        return None
    config = given.config
    run_folder = location.create_folder(config.stock.ticker, {})
    if run_folder.outcome() in ("ok", "pruned"):  # a launcher other than ours is given all the jobs
        return None
    started = time.time()

    def record(status: str, error: str | None) -> None:
        run_folder.record(status, started, error, synthetic=supervisor.is_synthetic(config))

    with run_folder.held():  # not while somebody resumes it
        try:
            if can_go_on(run_folder, config, given.folds):
                trainer = dataclasses.replace(config.trainer, resume=str(run_folder.path))
                config = dataclasses.replace(config, trainer=trainer)
            else:
                run_folder.clear()
                record("running", None)
            with gpus_of_its_own(config):
                records = given.records.of_job(home or folder, given.name, given.number)
                return train(config, location, records.texts(), given.folds, report_epoch)
        except Pruned:  # which train has recorded
            return None
        except UserError as error:
            if not isinstance(error, RunError):  # which train has printed already
                print(*error.lines, sep="\n", flush=True)
            record("failed", str(error))
        except KeyboardInterrupt:
            record("interrupted", "interrupted")
            raise
        except Exception as error:
            traceback.print_exc()
            record("failed", describe_error(error))
        finally:
            if summarise:
                summary.write(SweepFolder(folder), joint=False)
    return None


@contextlib.contextmanager
def gpus_of_its_own(config: Config) -> Iterator[None]:
    """On a machine with GPUs, one a rank that no other job of any sweep uses."""
    gpus = hardware.gpus() if config.hardware.device in ("auto", "cuda") else []
    if not gpus:
        yield
        return
    every = isinstance(config.trainer, DDPConfig) and config.trainer.world_size == "auto"
    count = (
        len(gpus) if every else min(len(gpus), rank_count.here(config))
    )  # too many are refused where ranks are started
    with hardware.holding(gpus, count, Path(tempfile.gettempdir())) as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
        yield
