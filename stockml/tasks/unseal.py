"""task=unseal: the look at a sealed test. Its forecasts and scores are made and written as if it had been open."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from stockml import compose
from stockml.config.root import Config
from stockml.data import dataset
from stockml.errors import UserError
from stockml.reporting import job_ranking, predictions_file, summary, sweep_page
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import TASKS, Request, report, start
from stockml.tasks.same_experiment import with_its_bars


def run(config: Config, request: Request) -> None:
    """Open the test of the run that `config.run` names, or of the `unseal.best` jobs of a sweep.

    A run goes on from its last checkpoint, at the end of its training. Raises UserError where there is nothing to open,
    or the data have changed; else errors are those of `train.run`.
    """
    path = Path(str(config.run))
    if SweepFolder.is_one(path):
        _of_sweep(SweepFolder.existing(path), config, request.arguments)
        return
    if config.unseal.best is not None:
        raise UserError(f"unseal.best={config.unseal.best}: chooses among a sweep's jobs, and {path} is none")
    folder = RunFolder.existing(path)
    if not (path / "metrics.json").exists():
        raise UserError(f"{path}: is not finished ({folder.ending}); continue it first: trainer.resume={path}")
    if "test" in folder.read_json("metrics.json"):
        raise UserError(f"{path}: its test is not sealed; its scores are in metrics.json")
    was = predictions_file.content_hash(folder)
    config, folds = with_its_bars(folder, dataclasses.replace(config, test="open"), dataset.prepare_folds)
    resumed = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, resume=str(path)))
    start.train(resumed, request.place, compose.records(config), folds)
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    unsealed = {"when": when, "was": was, "sha256": predictions_file.content_hash(folder)}
    folder.write_json("config.json", {**folder.read_json("config.json"), "unsealed": unsealed})


def _of_sweep(sweep: SweepFolder, config: Config, typed: Sequence[str]) -> None:
    """Open the tests of a sweep's best jobs on validation, or of all; its table and page are made again.

    `typed` is the command line, in which `run=` names the sweep.
    """
    rows = done = [row for row in summary.read(sweep) if row["status"] == "ok"]
    if (best := config.unseal.best) is not None:
        rows = job_ranking.ranked_on_validation(rows)[:best]
        if len(rows) < best:
            raise UserError(
                f"unseal.best={best}: {sweep.path} has {len(rows)} finished jobs whose scores on validation can be "
                "compared; take at most as many"
            )
    sealed = [row["job"] for row in rows if "test" not in sweep.job(row["job"]).read_json("metrics.json")]
    if not sealed:
        if any("test" not in sweep.job(row["job"]).read_json("metrics.json") for row in done):
            raise UserError(
                f"unseal.best={best}: {'that job is' if best == 1 else 'those jobs are'} unsealed already: task=report "
                f"run={sweep.path} draws their page; for the next best one: unseal.best={len(rows) + 1}"
            )
        raise UserError(f"{sweep.path}: none of {len(rows)} jobs has a sealed test")
    others = [argument for argument in typed if not argument.startswith(("run=", "unseal."))]
    for name in sealed:
        folder = sweep.job(name)
        command = compose.read([*others, f"run={compose.quote(str(folder.path))}"], TASKS)
        job = dataclasses.replace(command.jobs[0], report=(folder.path / "report.html").exists())
        compose.within_hydra(command, functools.partial(run, job, Request(RunLocation(job=folder.path))))
        print(f"{name:<20} {folder.read_json('metrics.json')['verdict']}", flush=True)
    rows = summary.write(sweep)
    print(summary.table(rows), summary.location_line(sweep), sep="\n", flush=True)
    if config.report is not False:
        print(*report.attempted(lambda: sweep_page.draw(sweep, rows)), sep="\n", flush=True)
