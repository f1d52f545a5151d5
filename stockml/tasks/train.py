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
from stockml.distributed.group import ALONE, Group
from stockml.distributed.settings import DDPConfig
from stockml.evaluation import predictions
from stockml.reporting import predictions_file as written
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.location import Given, Place
from stockml.tasks import breakdown, fold_training, outcome, rank_count, report, resume, run_metadata
from stockml.training import checkpoint, closed_form, engine, hardware


@hardware.restored()
def run(config: Config, place: Place | Given, records: Mapping[str, str], group: Group = ALONE) -> float:
    """Train, evaluate and save a model; the best validation loss, in the target's units.

    Of a walk-forward run, each fold's model; the mean of their losses, by samples. `records` are the texts of the run's
    `.hydra` folder, by file name. Each rank of a group calls this; the one that leads writes. Raises UserError for
    faults of config and data, before any folder is made; RunError for a run that failed; Interrupted for one that a
    signal ended.
    """
    started = time.time()
    journal = terminal.Journal(aloud=group.leads and place.aloud)
    chosen = hardware.choose(config.hardware, group.local_rank)
    if config.trainer.resume is not None and group.leads:
        place = Given(resume.resumable(Path(config.trainer.resume), config), place.aloud)
    if config.data.source == "simulated":
        journal.say(*terminal.SYNTHETIC)
    folds = dataset.prepare_folds(config)
    journal.say(*terminal.data_report(folds))
    for data in folds:
        rank_count.demand_samples(group.world_size, len(data.split.train))
    data = folds[0]
    if models.solver(config.model):
        closed_form.demand_solvable(config, data.panel.window * len(data.panel.features))
    group.demand_equal("data", data.fingerprint)
    each = fold_training.Fold.each(config, folds)
    parts = [name for fold in each for name in fold.parts()]
    resumed, told = _resumed(place.folder, config, data, parts, group) if isinstance(place, Given) else ({}, [])
    if group.world_size > 1:
        leaders = ((name, _leaders(resumed.get(name), group)) for name in parts)
        resumed = {name: state for name, state in leaders if state is not None}
    folder = place.make(config.stock.ticker)
    with (
        trackers.following(config.tracker, folder, journal.say, leads=group.leads) as followed,
        report.drawn_after(folder, config, journal.say, aloud=place.aloud),
        outcome.recorded(folder, journal, started, synthetic=data.panel.synthetic),
    ):
        journal.say(*told)
        began = time.perf_counter()
        model = fold_training.fresh_model(each[0].members[0], data, chosen.dtype)
        threads = hardware.set_up(config.hardware, _size(model) * config.trainer.batch_size, group.local_world_size)
        device = group.describe(hardware.describe(chosen, threads))
        several = f"{config.trainer.ensemble} × " if config.trainer.ensemble > 1 else ""
        name = f"{config.model.name}, {several}{_size(model):,} parameters"
        journal.say(f"model       {name}, on {device}, {config.hardware.precision}")
        folder.write_json("config.json", run_metadata.of(config, folds, device, group.world_size))
        folder.write_records(records, resumed=config.trainer.resume is not None)  # last: from then on it can be resumed
        done = {name: resumed[name].history if name in resumed else [] for name in parts}
        followed.begin(done, config.trainer.lr)
        trained = [fold_training.train(fold, chosen, folder, journal, followed.epoch, resumed, group) for fold in each]
        loss = _evaluate(folder, config, folds, trained, journal, began, group)
        journal.say(f"run folder  {folder.path}")
    return loss


def _evaluate(
    folder: RunFolder,
    config: Config,
    folds: Sequence[Data],
    trained: Sequence[fold_training.Trained],
    journal: terminal.Journal,
    began: float,
    group: Group,
) -> float:
    """Judge the forecasts, write and tell what came of them; the best validation loss, over all folds."""
    losses = [fold.loss for fold in trained]
    loss = float(np.average(losses, weights=[len(data.split.validation) for data in folds]))
    if not group.leads:
        return loss
    panel = folds[0].panel
    parts = trained[0].parts if len(folds) == 1 else predictions.joined([fold.parts for fold in trained])
    judged = predictions.judged(parts, panel.horizon, synthetic=panel.synthetic)
    written.write(folder, parts, panel.ticker, synthetic=panel.synthetic)
    if len(folds) > 1:
        rows = breakdown.by_fold(folds, [fold.fits for fold in trained], [fold.parts for fold in trained])
        _write_table(folder, "folds.csv", rows, synthetic=panel.synthetic)
        journal.say(terminal.fold_table(rows))
    if panel.stocks is not None:
        rows = breakdown.by_stock(parts)
        _write_table(folder, "stocks.csv", rows, synthetic=panel.synthetic)
        journal.say(terminal.stock_table(rows))
    timing, communication = _timing(folds, [fold.fits for fold in trained], began, group.world_size)
    told = {"validation_loss": loss, "timing": timing, "synthetic": panel.synthetic}
    folder.write_json("metrics.json", {**judged, **told})
    journal.say(*terminal.results(judged))
    journal.say(*_advice(communication, config, group))
    return loss


def _write_table(folder: RunFolder, name: str, rows: Sequence[breakdown.Row], *, synthetic: bool) -> None:
    folder.write_csv(name, list(rows[0]), (list(row.values()) for row in rows), synthetic=synthetic)


def _timing(
    folds: Sequence[Data], fits: Sequence[Sequence[engine.Fit]], began: float, world_size: int
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
) -> tuple[dict[str, engine.Fit], list[str]]:
    """The state to go on from of each part that has finished an epoch, and what is to be told; for the leader.

    UserError where there is nothing to go on with.
    """
    if not group.leads:
        return {}, []
    resume.demand_same_data(folder, data)
    states, told = {}, []
    for name in parts:
        state, faults = checkpoint.load_last(folder.within(name))
        if state is not None:
            states[name] = engine.Fit.of(state)
        told += [f"{fault}; going on from previous.pt" for fault in faults]
    folder.remove_leftovers()
    return states, told + resume.changes_of_batch(folder, config, group.world_size)


def _leaders(fit: engine.Fit | None, group: Group) -> engine.Fit | None:
    """The leader's state, on every rank: other machines do not have its files."""
    content = group.tell(b"" if fit is None else bytes(checkpoint.packed(fit.state())))
    return engine.Fit.of(checkpoint.load(io.BytesIO(content))) if content else None
