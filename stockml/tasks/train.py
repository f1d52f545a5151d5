"""task=train: one config, one stock, one run folder."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stockml import models, trackers
from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.dataset import Data
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.distributed.settings import DDPConfig
from stockml.evaluation import predictions
from stockml.evaluation.evaluate import evaluate
from stockml.reporting import predictions_file as written
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.location import ExistingRun, RunLocation
from stockml.runs.old_releases import FORMAT
from stockml.tasks import breakdown, fold_training, outcome, rank_count, report, resume, run_metadata
from stockml.training import checkpoint, closed_form, engine, hardware


@hardware.restored()
def run(
    config: Config, place: RunLocation | ExistingRun, records: Mapping[str, str], group: Group = SINGLE_PROCESS
) -> float:
    """Train, evaluate and save a model; the best validation loss, in the target's units.

    Of a walk-forward run, each fold's model; the mean of their losses, by samples. `records` are the texts of the run's
    `.hydra` folder, by file name. Each rank of a group calls this; the one that leads writes. Raises UserError for
    faults of config and data, before any folder is made; RunError for a run that failed; Interrupted for one that a
    signal ended.
    """
    started = time.time()
    run_log = terminal.RunLog(verbose=group.is_main and place.verbose)
    chosen = hardware.choose(config.hardware, group.local_rank)
    if config.trainer.resume is not None and group.is_main:
        place = ExistingRun(resume.resumable(Path(config.trainer.resume), config), place.verbose)
    if config.data.source == "simulated":
        run_log.emit(*terminal.SYNTHETIC)
    folds = dataset.prepare_folds(config)
    run_log.emit(*terminal.data_report(folds))
    for data in folds:
        rank_count.require_samples(group.world_size, len(data.split.train))
    data = folds[0]
    if models.solver(config.model):
        closed_form.check_solvable(config, data.panel.window * len(data.panel.features))
    group.check_same_on_all_ranks("data", data.fingerprint)
    each = fold_training.Fold.each(config, folds)
    parts = [name for fold in each for name in fold.parts()]
    resumed, told = _resumed(place.folder, config, data, parts, group) if isinstance(place, ExistingRun) else ({}, [])
    if group.world_size > 1:
        leaders = ((name, _leaders(resumed.get(name), group)) for name in parts)
        resumed = {name: state for name, state in leaders if state is not None}
    folder = place.create_folder(config.stock.ticker)
    with (
        trackers.following(config.tracker, folder, run_log.emit, is_main=group.is_main) as followed,
        report.drawn_after(folder, config, run_log.emit, verbose=place.verbose),
        outcome.recorded(folder, run_log, started, synthetic=data.panel.synthetic),
    ):
        run_log.emit(*told)
        began = time.perf_counter()
        model = fold_training.fresh_model(each[0].members[0], data, chosen.dtype)
        threads = hardware.set_up(config.hardware, _size(model) * config.trainer.batch_size, group.local_world_size)
        device = group.describe(hardware.describe(chosen, threads))
        several = f"{config.trainer.ensemble} × " if config.trainer.ensemble > 1 else ""
        name = f"{config.model.name}, {several}{_size(model):,} parameters"
        run_log.emit(f"model       {name}, on {device}, {config.hardware.precision}")
        folder.write_json("config.json", run_metadata.of(config, folds, device, group.world_size))
        folder.write_records(records, resumed=config.trainer.resume is not None)  # last: from then on it can be resumed
        done = {name: resumed[name].history if name in resumed else [] for name in parts}
        followed.begin(done, config.trainer.lr)
        trained = [fold_training.train(fold, chosen, folder, run_log, followed.epoch, resumed, group) for fold in each]
        loss = _evaluate(folder, config, folds, trained, run_log, began, group)
        run_log.emit(f"run folder  {folder.path}")
    return loss


def _evaluate(
    folder: RunFolder,
    config: Config,
    folds: Sequence[Data],
    trained: Sequence[fold_training.Trained],
    run_log: terminal.RunLog,
    began: float,
    group: Group,
) -> float:
    """Judge the forecasts, write and tell what came of them; the best validation loss, over all folds."""
    losses = [fold.loss for fold in trained]
    loss = float(np.average(losses, weights=[len(data.split.validation) for data in folds]))
    if not group.is_main:
        return loss
    panel = folds[0].panel
    parts = trained[0].parts if len(folds) == 1 else predictions.concatenate_folds([fold.parts for fold in trained])
    evaluated = evaluate(parts, panel.horizon, synthetic=panel.synthetic)
    written.write(folder, parts, panel.ticker, synthetic=panel.synthetic)
    if len(folds) > 1:
        rows = breakdown.by_fold(folds, [fold.fits for fold in trained], [fold.parts for fold in trained])
        _write_table(folder, "folds.csv", rows, synthetic=panel.synthetic)
        run_log.emit(terminal.fold_table(rows))
    if panel.stocks is not None:
        rows = breakdown.by_stock(parts)
        _write_table(folder, "stocks.csv", rows, synthetic=panel.synthetic)
        run_log.emit(terminal.stock_table(rows))
    timing, communication = _timing(folds, [fold.fits for fold in trained], began, group.world_size)
    told = {"validation_loss": loss, "timing": timing, "synthetic": panel.synthetic}
    folder.write_json("metrics.json", {"format": FORMAT, **evaluated, **told})
    run_log.emit(*terminal.results(evaluated))
    run_log.emit(*_advice(communication, config, group))
    return loss


def _write_table(folder: RunFolder, name: str, rows: Sequence[breakdown.Row], *, synthetic: bool) -> None:
    folder.write_csv(name, list(rows[0]), (list(row.values()) for row in rows), synthetic=synthetic)


def _timing(
    folds: Sequence[Data], fits: Sequence[Sequence[engine.TrainState]], began: float, world_size: int
) -> tuple[dict[str, Any], float]:
    """What metrics.json says of time, over all that was trained; the share of training that went into communication."""
    every = [fit for of_fold in fits for fit in of_fold]
    epochs = [epoch for fit in every for epoch in fit.history]
    train_seconds = sum(epoch.seconds for epoch in epochs)
    samples = sum(
        len(data.split.train) * len(fit.history) for data, own in zip(folds, fits, strict=True) for fit in own
    )
    communication = sum(epoch.communication_seconds for epoch in epochs) / train_seconds
    return {
        "total_seconds": time.perf_counter() - began,
        "train_seconds": train_seconds,
        "epochs": max(len(fit.history) for fit in every),
        "best_epoch": every[0].stopping.best_epoch if len(every) == 1 else None,
        "samples_per_second": samples / train_seconds,
        "world_size": world_size,
        "samples_per_second_per_rank": samples / train_seconds / world_size,
        "communication_share": communication,
    }, communication


def _advice(communication_share: float, config: Config, group: Group) -> list[str]:
    """A line where fewer ranks are faster: at w times the computing of a rank, one process needs less than w ranks."""
    if group.world_size == 1 or communication_share <= 1 - 1 / group.world_size:
        return []
    return [
        f"ranks       {communication_share:.0%} of the training time went into communication: one process with this "
        f"global batch is faster: trainer=single trainer.batch_size={config.trainer.global_batch(group.world_size)}"
    ]


def threads(config: Config) -> int:
    """Processor threads of a process that trains by this config. UserError where its data cannot be read."""
    if config.hardware.threads != "auto":
        return config.hardware.threads
    with torch.device("meta"):
        model = models.build(config.model, *dataset.sample_shape(config))
    return hardware.thread_count(config.hardware, _size(model) * config.trainer.batch_size, rank_count.here(config))


def device(config: Config) -> str:
    """The hardware that training by this config takes, in words. UserError where this machine has none such."""
    words = hardware.describe(hardware.choose(config.hardware), threads(config))
    return f"{config.trainer.world_size} × {words}" if isinstance(config.trainer, DDPConfig) else words


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _resumed(
    folder: RunFolder, config: Config, data: Data, parts: Sequence[str], group: Group
) -> tuple[dict[str, engine.TrainState], list[str]]:
    """The state to go on from of each part that has finished an epoch, and what is to be told; for the leader.

    UserError where there is nothing to go on with.
    """
    if not group.is_main:
        return {}, []
    resume.check_same_data(folder, data)
    states, told = {}, []
    for name in parts:
        state, faults = checkpoint.load_last(folder.within(name))
        if state is not None:
            states[name] = engine.TrainState.from_dict(state)
        told += [f"{fault}; going on from previous.pt" for fault in faults]
    folder.remove_leftovers()
    return states, told + resume.changes_of_batch(folder, config, group.world_size)


def _leaders(fit: engine.TrainState | None, group: Group) -> engine.TrainState | None:
    """The leader's state, on every rank: other machines do not have its files."""
    content = group.broadcast_bytes(b"" if fit is None else bytes(checkpoint.packed(fit.to_dict())))
    return engine.TrainState.from_dict(checkpoint.load(io.BytesIO(content))) if content else None
