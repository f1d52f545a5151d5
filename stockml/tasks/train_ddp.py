"""trainer=ddp: what task=train does, by several processes. The one that starts and watches them imports no torch."""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.dataset import Data
from stockml.distributed import environment, launching
from stockml.distributed.settings import DDPConfig
from stockml.errors import RunError, UserError
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import outcome, rank_count, report, resume, run_metadata, worker
from stockml.trackers import tracking


def run(config: Config, place: RunLocation, records: Mapping[str, str]) -> float:
    """Train by workers; the best validation loss, on node 0. Arguments and errors as `tasks.train.run` has them.

    A process that torchrun or SLURM has started as a worker becomes that worker. In any other, what is wrong with
    config and data is found before a folder is made or a worker started.
    """
    started = time.time()
    trainer = cast("DDPConfig", config.trainer)
    found = environment.read(trainer.endpoint())
    if found is not None:
        if place.job is not None:
            raise UserError("-m: the runs of a sweep start their workers themselves; leave out torchrun or srun")
        worker.run(config, place, records, found)
    resumed = None if trainer.resume is None else resume.resumable(Path(trainer.resume), config)
    data = dataset.prepare(config)
    if resumed is not None:
        resume.check_same_data(resumed, data)
    world_size = rank_count.world_size(config, len(data.split.train))
    trainer = dataclasses.replace(trainer, world_size=world_size)
    config = dataclasses.replace(config, trainer=trainer)
    launching.check_rendezvous(trainer)
    if trainer.node_rank:
        return _help_out(config, trainer, data, world_size)
    told = [] if resumed is None else resume.changes_of_batch(resumed, config, world_size)
    folder = resumed or place.create_folder(config.stock.ticker)
    run_log = terminal.RunLog(verbose=place.verbose)
    with (
        tracking.tracked(config.tracker, folder, run_log.emit) as trackers,
        report.drawn_after(folder, config, run_log.emit, verbose=place.verbose),
        outcome.recorded(folder, run_log, started, synthetic=data.panel.synthetic),
    ):
        run_log.emit(*told)
        folder.write_json("config.json", run_metadata.of(config, [data], None, world_size))
        folder.write_records(worker.with_saved_config(config, records), resumed=resumed is not None)
        folder.make_logs_of_ranks(launching.logs(trainer, world_size))
        trackers.remember()
        launching.train(folder.path, trainer, world_size, run_log.emit, verbose=place.verbose)
    return float(folder.read_json("metrics.json")["validation_loss"])


def _help_out(config: Config, trainer: DDPConfig, data: Data, world_size: int) -> float:
    """Run the ranks of another node than the first, which has the run folder and prints."""
    folder = RunFolder(Path(tempfile.mkdtemp(prefix=f"stockml-node{trainer.node_rank}-")))
    here = world_size // trainer.nnodes
    print(f"node {trainer.node_rank}: {here} of {world_size} ranks, for the run of {trainer.rdzv_endpoint}", flush=True)
    try:
        folder.write_json("config.json", run_metadata.of(config, [data], None, world_size))
        folder.make_logs_of_ranks(launching.logs(trainer, world_size))
        launching.train(folder.path, trainer, world_size, print, verbose=False)
    except RunError:
        raise  # the ranks' logs stay
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    shutil.rmtree(folder.path, ignore_errors=True)
    return math.nan
