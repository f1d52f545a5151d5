"""trainer=ddp: task=train by several processes. The process that starts and watches them imports no torch."""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.dataset import Data
from stockml.distributed import environment
from stockml.distributed.launching import Launch, check_rendezvous
from stockml.distributed.settings import DDPConfig
from stockml.errors import RunError, UserError
from stockml.processes import parent
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import looks, outcome, rank_count, report, resume, run_metadata, worker
from stockml.trackers import tracking

if TYPE_CHECKING:
    from stockml.training.interface import Report


def run(config: Config, location: RunLocation, records: Mapping[str, str], report_epoch: Report | None = None) -> float:
    """Train by workers; return the best validation loss, on node 0. Arguments and errors as in `tasks.train.run`.

    With `report_epoch`, rank 0 asks the process that started this one in its place, except under torchrun.

    A process that torchrun or SLURM has started as a worker becomes that worker. In any other, faults of config and
    data are found before a folder is made or a worker started.
    """
    trainer = cast("DDPConfig", config.trainer)
    own = environment.read(trainer.endpoint())
    if own is not None:
        if location.job is not None:
            raise UserError("-m: the runs of a sweep start their workers themselves; leave out torchrun or srun")
        worker.run(config, location, records, own)
    with resume.held(config):
        return _launch(config, trainer, location, records, report_epoch)


def _launch(
    config: Config,
    trainer: DDPConfig,
    location: RunLocation,
    records: Mapping[str, str],
    report_epoch: Report | None,
) -> float:
    started = time.time()
    resumed = None if trainer.resume is None else resume.resumable(Path(trainer.resume), config)
    data = dataset.prepare(config)
    if resumed is not None:
        resume.check_same_data(resumed, data)
    links = {} if trainer.node_rank else _links(config, data)
    world_size = rank_count.world_size(config, len(data.split.train))
    trainer = dataclasses.replace(trainer, world_size=world_size)
    config = dataclasses.replace(config, trainer=trainer)
    check_rendezvous(trainer)
    if trainer.node_rank:
        return _train_on_other_node(config, trainer, data, world_size)
    notes = [] if resumed is None else resume.changes_of_batch(resumed, config, world_size)
    looks.require_ledger(config, resumed.path if resumed else location.path(config.stock.ticker))
    records = worker.with_saved_config(config, records)
    folder = resumed or location.create_folder(config.stock.ticker, records)
    channel = None if report_epoch is None else parent.descriptor()
    launch = Launch(worker.__name__, folder.path, trainer, world_size, verbose=location.verbose, channel=channel)
    run_log = terminal.RunLog(verbose=location.verbose)
    with (
        tracking.tracked(config.tracker, folder, run_log.emit) as trackers,
        report.drawn_after(folder, config, run_log.emit, verbose=location.verbose),
        outcome.record_outcome(folder, run_log, started, synthetic=data.panel.synthetic),
    ):
        run_log.emit(*notes)
        folder.write_json("config.json", run_metadata.collect(config, [data], None, world_size, links=links))
        folder.write_records(records, resumed=resumed is not None)
        folder.make_logs_of_ranks(launch.logs())
        trackers.remember()
        launch.train(run_log.emit)
    return float(folder.read_json("metrics.json")["validation_loss"])


def _links(config: Config, data: Data) -> dict[str, Any]:
    """What config.json says of other runs; UserError where training cannot start with their weights."""
    if not (config.trainer.init_from or config.trainer.warm_start):
        return run_metadata.links(config, None)
    from stockml.tasks import initial_weights  # which imports torch

    initial = initial_weights.load(config, data)
    return run_metadata.links(config, initial.sha256 if initial else None)


def _train_on_other_node(config: Config, trainer: DDPConfig, data: Data, world_size: int) -> float:
    """Run the ranks of a node other than node 0, which has the run folder and prints; return nan."""
    folder = RunFolder(Path(tempfile.mkdtemp(prefix=f"stockml-node{trainer.node_rank}-")))
    launch = Launch(worker.__name__, folder.path, trainer, world_size, verbose=False)
    ranks = f"{len(launch.ranks)} of {world_size} ranks"
    print(f"node {trainer.node_rank}: {ranks}, for the run of {trainer.rdzv_endpoint}", flush=True)
    try:
        folder.write_json("config.json", run_metadata.collect(config, [data], None, world_size))
        folder.make_logs_of_ranks(launch.logs())
        launch.train(print)
    except RunError:
        raise  # the ranks' logs are kept
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    shutil.rmtree(folder.path, ignore_errors=True)
    return math.nan
