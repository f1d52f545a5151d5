"""task=train: one config, one stock, one run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stockml import models
from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.dataset import Data
from stockml.data.settings import BarsConfig
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.distributed.settings import DDPConfig
from stockml.errors import UserError
from stockml.evaluation import intervals, predictions
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.portfolio import Portfolio
from stockml.reporting import data_report, result_tables, terminal
from stockml.reporting import predictions_file as written
from stockml.runs.folder import RunFolder
from stockml.runs.location import ExistingRun, RunLocation
from stockml.runs.old_releases import FORMAT
from stockml.tasks import (
    breakdown,
    features,
    fold_training,
    initial_weights,
    looks,
    outcome,
    rank_count,
    report,
    resume,
    run_metadata,
)
from stockml.tasks.fold_training import FoldTraining, TrainedFold, TrainingRun
from stockml.trackers import tracking
from stockml.training import checkpoint, hardware
from stockml.training.engine import OVERFITTED
from stockml.training.flat_parameters import FlatParameters
from stockml.training.interface import Report, TrainState
from stockml.training.settings import HardwareConfig


@hardware.restored()
def run(
    config: Config,
    location: RunLocation | ExistingRun,
    records: Mapping[str, str],
    group: Group = SINGLE_PROCESS,
    folds: Sequence[Data] | None = None,
    report_epoch: Report | None = None,
) -> float:
    """Train, evaluate and save a model; return the best validation loss, in the target's units.

    A walk-forward run has a model per fold; it returns the loss of the first, whose validation comes before every test
    day. `records` are the texts of the run's `.hydra` folder, by file name; `folds` the data, where they are read
    already; `report_epoch` is that of a trial of a search. Every rank of a group calls this; rank 0 writes. Raises
    UserError for faults of config and data, before any folder is made; RunError for a run that failed; Pruned for one
    that `report_epoch` ended, Interrupted for one that a signal ended.
    """
    with resume.held(config) if group.is_main else contextlib.nullcontext():
        return _run(config, location, records, group, folds, report_epoch)


def _run(
    config: Config,
    location: RunLocation | ExistingRun,
    records: Mapping[str, str],
    group: Group,
    folds: Sequence[Data] | None,
    report_epoch: Report | None,
) -> float:
    started = time.time()
    run_log = terminal.RunLog(verbose=group.is_main and location.verbose)
    chosen = hardware.choose(_hardware(config), group.local_rank)
    if config.trainer.resume is not None and group.is_main:
        location = ExistingRun(resume.resumable(Path(config.trainer.resume), config), location.verbose)
    if config.data.made_up:
        run_log.emit(*terminal.made_up(config.data.placebo))
    folds = dataset.prepare_folds(config) if folds is None else folds
    run_log.emit(*data_report.lines(folds, config))
    for data in folds:
        rank_count.require_samples(group.world_size, len(data.split.train))
    data = folds[0]
    with torch.device("meta"):  # before a folder is made
        models.build(config.model, data.panel.window, len(data.panel.features))
    initial = initial_weights.load(config, data, group)
    links = run_metadata.links(config, initial.sha256 if initial else None) if group.is_main else {}
    group.check_same_on_all_ranks("data", data.fingerprint)
    fold_trainings = FoldTraining.each(config, folds)
    names = [name for fold in fold_trainings for name in fold.model_configs()]
    resumed, notes = _states_to_resume(location, config, data, names, group)
    if group.is_main:
        looks.require_ledger(config, location.path(config.stock.ticker))
    folder = location.create_folder(config.stock.ticker, records)
    with (
        tracking.tracked(config.tracker, folder, run_log.emit, is_main=group.is_main) as trackers,
        report.drawn_after(folder, config, run_log.emit, verbose=location.verbose),
        outcome.record_outcome(folder, run_log, started, synthetic=data.panel.synthetic),
    ):
        run_log.emit(*notes)
        began = time.perf_counter()
        model = fold_training.fresh_model(fold_trainings[0].members[0], data, chosen.dtype)
        threads = hardware.set_up(config.hardware, _step_size(config, model), group.local_world_size)
        device = group.describe(hardware.describe(chosen, threads))
        several = f"{config.trainer.ensemble} × " if config.trainer.ensemble > 1 else ""
        size = f"{_size(model):,} parameters" if _size(model) else "fitted whole"
        described = f"{config.model.name}, {several}{size}"
        run_log.emit(f"model       {described}, on {device}, {config.hardware.precision}")
        if initial is not None:
            run_log.emit(f"starts from {config.trainer.init_from}")
        table = features.of(config, data) if group.is_main else None
        folder.write_json("config.json", run_metadata.collect(config, folds, device, group.world_size, table, links))
        folder.write_records(records, resumed=config.trainer.resume is not None)  # last: from then on it can be resumed
        trackers.start({name: resumed[name].history if name in resumed else [] for name in names}, config.trainer.lr)
        training_run = TrainingRun(folder, chosen, group, run_log, trackers.log_epoch, resumed, initial, report_epoch)
        trained = fold_training.train_each(fold_trainings, training_run)
        loss = _evaluate(folder, config, folds, trained, run_log, began, group)
        run_log.emit(f"run folder  {folder.path}")
        if config.update.of is not None:
            run_log.emit(f"chain       all updates as one series: task=evaluate run={folder.path}")
    return loss


def _evaluate(
    folder: RunFolder,
    config: Config,
    folds: Sequence[Data],
    trained: Sequence[TrainedFold],
    run_log: terminal.RunLog,
    began: float,
    group: Group,
) -> float:
    """Evaluate the predictions, write and print the results; return the best validation loss, of the first fold."""
    validation = [len(folds[0].split.validation)]
    loss = float(np.average([trained[0].loss], weights=validation))  # earlier releases' runs have its rounding
    if not group.is_main:
        return loss
    panel, states = folds[0].panel, [fold.states for fold in trained]
    of_folds = [fold.predictions for fold in trained]
    scored = of_folds[0] if len(folds) == 1 else predictions.concatenate_folds(of_folds)
    none = intervals.why_none(panel, config.trainer.quantile)
    scored = intervals.of_run(scored, panel, () if none else config.intervals)
    portfolio = Portfolio.of(config, panel.horizon)
    evaluated = evaluate(scored, panel.horizon, synthetic=panel.synthetic, portfolio=portfolio)
    if "test" in scored:
        evaluated = looks.record(evaluated, scored["test"], config, folder)
    overfitted = config.trainer.overfit_batches > 0
    if overfitted:
        evaluated["verdict"] = _learned(config.trainer.overfit_batches, states)
    written.write(folder, scored, panel.ticker, synthetic=panel.synthetic)
    if len(folds) > 1:
        rows = breakdown.by_fold(folds, states, of_folds)
        breakdown.write(folder, "folds.csv", rows, synthetic=panel.synthetic)
        run_log.emit(result_tables.fold_table(rows))
    if panel.stocks is not None:
        rows = breakdown.by_stock(predictions.deciding(scored))
        breakdown.write(folder, "stocks.csv", rows, synthetic=panel.synthetic)
        run_log.emit(result_tables.stock_table(rows))
    timing = _timing(folds, states, began, group.world_size)
    facts = {"validation_loss": loss, "timing": timing, "synthetic": panel.synthetic}
    folder.write_json("metrics.json", {"format": FORMAT, **evaluated, **facts})
    run_log.emit(*result_tables.results(evaluated, overfitted=overfitted))
    if none and config.intervals:
        run_log.emit(f"intervals   none: {none}")
    run_log.emit(*_advice(timing["communication_share"], config, group))
    return loss


def _learned(batches: int, states: Sequence[Sequence[TrainState]]) -> str:
    """What a run says whose models were to learn a few batches, and have; those that have not are failed runs."""
    loss = max(state.history[-1].train_loss for of_fold in states for state in of_fold)
    what = "The batch was" if batches == 1 else f"The {batches} batches were"
    return (
        f"{what} learned: the train loss ended at {loss:.3g}, at most {OVERFITTED:.0%} of the best constant "
        "forecast's. The model can learn; the scores of such a run say nothing about its skill."
    )


def _timing(
    folds: Sequence[Data], states: Sequence[Sequence[TrainState]], began: float, world_size: int
) -> dict[str, Any]:
    """The section `timing` of metrics.json, over all models of the run."""
    all_states = [state for of_fold in states for state in of_fold]
    epochs = [epoch for state in all_states for epoch in state.history]
    train_seconds = sum(epoch.seconds for epoch in epochs)
    samples = sum(
        len(data.split.train) * len(state.history)
        for data, of_fold in zip(folds, states, strict=True)
        for state in of_fold
    )
    return {
        "total_seconds": time.perf_counter() - began,
        "train_seconds": train_seconds,
        "epochs": max(len(state.history) for state in all_states),
        "best_epoch": all_states[0].stopping.best_epoch if len(all_states) == 1 else None,
        "samples_per_second": samples / train_seconds,
        "world_size": world_size,
        "samples_per_second_per_rank": samples / train_seconds / world_size,
        "communication_share": sum(epoch.communication_seconds for epoch in epochs) / train_seconds,
    }


def _advice(communication_share: float, config: Config, group: Group) -> list[str]:
    """A line where fewer ranks are faster: one process needs less time than w ranks that compute a w-th of the time."""
    if group.world_size == 1 or communication_share <= 1 - 1 / group.world_size:
        return []
    return [
        f"ranks       {communication_share:.0%} of the training time went into communication: one process with this "
        f"global batch is faster: trainer=single trainer.batch_size={config.trainer.global_batch(group.world_size)}"
    ]


def threads(config: Config) -> int:
    """The number of threads of a process that trains by this config. UserError where its data cannot be read."""
    if config.hardware.threads != "auto":
        return config.hardware.threads
    with torch.device("meta"):
        model = models.build(config.model, *dataset.sample_shape(config))
    return hardware.thread_count(config.hardware, _step_size(config, model), rank_count.here(config))


def device(config: Config) -> str:
    """A description of the hardware that this config trains on. UserError where this machine does not have it."""
    description = hardware.describe(hardware.choose(_hardware(config)), threads(config))
    return f"{config.trainer.world_size} × {description}" if isinstance(config.trainer, DDPConfig) else description


def _hardware(config: Config) -> HardwareConfig:
    """The config's hardware; the CPU where the model is fitted there and another is not asked for."""
    if config.hardware.device == "auto" and models.is_on_one_cpu(config.model):
        return dataclasses.replace(config.hardware, device="cpu")
    return config.hardware


def _step_size(config: Config, model: torch.nn.Module) -> int:
    """Multiplications of a training step. Trees have none: a pool of stocks is enough work for all cores."""
    if models.is_on_one_cpu(config.model):
        return hardware.LARGE_STEP if isinstance(config.data, BarsConfig) and config.data.pooled else 0
    return _size(model) * config.trainer.batch_size


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _states_to_resume(
    location: RunLocation | ExistingRun, config: Config, data: Data, names: Sequence[str], group: Group
) -> tuple[dict[str, TrainState], list[str]]:
    """The state to continue from of each model that has finished an epoch, on every rank; and notes for the user.

    UserError where a run cannot be continued from its checkpoints.
    """
    states: dict[str, TrainState] = {}
    notes: list[str] = []
    if isinstance(location, ExistingRun) and group.is_main:
        folder = location.folder
        resume.check_same_data(folder, data)
        for name in names:
            state, problems = checkpoint.load_last(folder.within(name))
            if state is not None:
                states[name] = _state(folder.within(name).path / "last.pt", state, config, data)
                if not models.continues_interrupted(config.model) and not resume.is_finished(states[name], config):
                    del states[name]
                    notes.append(f"resumed     {config.model.name} begins again: its random draws cannot be continued")
            notes += [f"{problem}; going on from previous.pt" for problem in problems]
        notes += resume.nothing_left(folder, config, states, names)
        folder.remove_leftovers()
        notes += resume.changes_of_batch(folder, config, group.world_size)
    if group.world_size > 1:
        shared = ((name, _broadcast_state(states.get(name), group)) for name in names)
        states = {name: state for name, state in shared if state is not None}
    return states, notes


def _state(path: Path, values: dict[str, Any], config: Config, data: Data) -> TrainState:
    """The state in a checkpoint; UserError where it is not one of the config's model."""
    try:
        state = TrainState.from_dict(values)
        if not models.is_fitted_whole(config.model):
            model = models.build(config.model, data.panel.window, len(data.panel.features))
            FlatParameters(model.to(state.weights.dtype)).restore(state.weights)
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:  # RuntimeError: weights of other shapes
        raise UserError(checkpoint.misfit(path, error)) from error
    return state


def _broadcast_state(state: TrainState | None, group: Group) -> TrainState | None:
    """The state that rank 0 has: other machines do not have its files."""
    content = group.broadcast_bytes(b"" if state is None else bytes(checkpoint.to_bytes(state.to_dict())))
    return TrainState.from_dict(checkpoint.load(io.BytesIO(content))) if content else None
