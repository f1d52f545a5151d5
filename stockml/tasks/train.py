"""task=train: one config, one stock, one run folder."""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stockml import data as data_room
from stockml import models
from stockml.config import Config, DDPConfig, plain
from stockml.data import Data
from stockml.data.batches import Batches
from stockml.errors import Interrupted
from stockml.evaluation import baselines, forecasts
from stockml.evaluation.forecasts import Scored
from stockml.evaluation.metrics import Floats
from stockml.reporting import forecasts as written
from stockml.reporting import terminal, trackers
from stockml.runs import Given, Place, RunFolder
from stockml.tasks import breakdown, endings, facts, ranks, report, resuming
from stockml.training import checkpoint, closed_form, engine, hardware, interrupts
from stockml.training.distributed import ALONE, Group


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
        place = Given(resuming.resumable(Path(config.trainer.resume), config), place.aloud)
    if config.data.source == "simulated":
        journal.say(*terminal.SYNTHETIC)
    configs = config.each_fold()
    folds = data_room.prepare_folds(config)
    journal.say(*terminal.data_report(folds))
    for data in folds:
        ranks.demand_samples(group.world_size, len(data.split.train))
    data = folds[0]
    if models.solver(config.model):
        closed_form.demand_solvable(config, data.panel.window * len(data.panel.features))
    group.demand_equal("data", data.fingerprint)
    resumed, told = (
        _resumed(place.folder, config, folds, group) if isinstance(place, Given) else ([None] * len(folds), [])
    )
    if group.world_size > 1:
        resumed = [_leaders(state, group) for state in resumed]
    folder = place.make(config.stock.ticker)
    with (
        trackers.following(config.tracker, folder, journal.say, leads=group.leads) as followed,
        report.drawn_after(folder, config, journal.say, aloud=place.aloud),
        endings.recorded(folder, journal, started, synthetic=data.panel.synthetic),
    ):
        journal.say(*told)
        began = time.perf_counter()
        model = fresh_model(configs[0], data, chosen.dtype)
        threads = hardware.set_up(config.hardware, _size(model) * config.trainer.batch_size, group.local_world_size)
        device = group.describe(hardware.describe(chosen, threads))
        name = f"{config.model.name}, {_size(model):,} parameters"
        journal.say(f"model       {name}, on {device}, {config.hardware.precision}")
        folder.write_json("config.json", facts.of(config, folds, device, group.world_size))
        folder.write_records(records, resumed=config.trainer.resume is not None)  # last: from then on it can be resumed
        followed.begin([state.history if state else [] for state in resumed], config.trainer.lr)
        trained = []
        for number, (each, data, state) in enumerate(zip(configs, folds, resumed, strict=True)):
            if len(folds) > 1:
                journal.say(f"fold {number}")
            tell = functools.partial(followed.epoch, fold=number if len(folds) > 1 else None)
            trained.append(_train(each, data, chosen, _fold_folder(folder, number, folds), journal, tell, state, group))
        loss = _evaluate(folder, config, folds, trained, journal, began, group)
        journal.say(f"run folder  {folder.path}")
    return loss


def _fold_folder(folder: RunFolder, number: int, folds: Sequence[Data]) -> RunFolder:
    """Where a fold's checkpoints and the like are: of several, each has a folder of its own."""
    return folder.within(f"folds/{number}") if len(folds) > 1 else folder


def fresh_model(config: Config, data: Data, dtype: torch.dtype) -> torch.nn.Module:
    """The model as it is before its first epoch."""
    torch.manual_seed(engine.generator_seed(engine.INITIALISATION, config.seed))
    model = models.build(config.model, data.panel.window, len(data.panel.features)).to(dtype)
    engine.start_output_at_mean(model)
    return model


@dataclass(frozen=True)
class _Trained:
    """A fold's training, and the forecasts of its best epoch's model; of a rank that does not lead, no forecasts."""

    fit: engine.Fit
    parts: dict[str, Scored]


def _train(
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    folder: RunFolder,
    journal: terminal.Journal,
    tell: Callable[[engine.Epoch, float], None],
    resumed: engine.Fit | None,
    group: Group,
) -> _Trained:
    panel, split, trainer = data.panel, data.split, config.trainer
    model = fresh_model(config, data, chosen.dtype).to(chosen.device)
    folder.write_json("norm_stats.json", data.scaler.stats(panel, split.train))
    batches = Batches(panel, data.scaler, chosen.device, chosen.dtype, config.hardware.num_workers)
    if batches.by_blocks and trainer.shuffle:
        blocks = engine.Blocks.of(batches, trainer.global_batch(group.world_size))
        journal.say(f"shuffled    by {blocks}: these are read from their file (data.memory_limit)")
    if resumed is not None:
        journal.say(f"resumed     {len(resumed.history)} epochs are done already")
    history = list(resumed.history) if resumed else []
    epochs = 1 if models.solver(config.model) else trainer.epochs
    with _signals(journal, group) as signals, journal.epochs(epochs, len(history)):

        def after_epoch(fit: engine.Fit) -> None:
            history.append(fit.history[-1])
            journal.epoch(history[-1], epochs)
            if not group.leads:
                return
            tell(history[-1], trainer.lr)  # before the checkpoint: what is told too often can be taken back
            if fit.stopping.best_epoch == len(history):
                _save_best(folder, model, config, data, len(history))
            checkpoint.save_last(folder, {**fit.state(), "synthetic": panel.synthetic})
            if signals:
                raise Interrupted(signals[0])

        try:
            fit = fit_model(model, batches, config, data, chosen, after_epoch, resumed, group)
        finally:
            _save_history(folder, history, synthetic=panel.synthetic)
    if alpha := fit.optimizer.get("alpha"):
        journal.say(f"ridge       alpha {alpha:g}")
    # Once more: a kill between the two checkpoints leaves a best.pt of an epoch that last.pt does not know.
    _save_best(folder, model, config, data, fit.stopping.best_epoch)
    own = forecasts_of(model, batches, data, chosen, group)
    return _Trained(fit, forecasts.of(data, batches, own, config.model.name) if group.leads else {})


def fit_model(
    model: torch.nn.Module,
    batches: Batches,
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    after_epoch: Callable[[engine.Fit], None],
    resumed: engine.Fit | None = None,
    group: Group = ALONE,
) -> engine.Fit:
    """Train the model on the data's train part, as the config says, judged by its validation part."""
    train, validation = (torch.from_numpy(rows) for rows in (data.split.train, data.split.validation))
    solver = models.solver(config.model)
    fit: Callable[..., engine.Fit] = solver or functools.partial(engine.fit, seed=config.seed)
    return fit(
        model,
        batches,
        train,
        validation,
        config if solver else config.trainer,
        chosen,
        target_std=data.scaler.target_std,
        after_epoch=after_epoch,
        resumed=resumed,
        group=group,
    )


def forecasts_of(
    model: torch.nn.Module, batches: Batches, data: Data, chosen: hardware.Hardware, group: Group = ALONE
) -> dict[str, Floats]:
    """The model's forecasts (N,) of each scored part, in the target's own units; whole on every rank."""
    return {
        part: data.scaler.unscaled(
            engine.forecast(model, batches, torch.from_numpy(rows), chosen, group=group).numpy(), data.panel, rows
        )
        for part, rows in baselines.scored_parts(data)
    }


def _signals(journal: terminal.Journal, group: Group) -> contextlib.AbstractContextManager[list[int]]:
    """The signals received while the model trains: the leader answers them, and ends the others' training too."""
    return interrupts.noted(journal.say) if group.leads else contextlib.nullcontext([])


def _evaluate(
    folder: RunFolder,
    config: Config,
    folds: Sequence[Data],
    trained: Sequence[_Trained],
    journal: terminal.Journal,
    began: float,
    group: Group,
) -> float:
    """Judge the forecasts, write and tell what came of them; the best validation loss, over all folds."""
    fits = [fold.fit for fold in trained]
    losses = [fit.history[fit.stopping.best_epoch - 1].validation_loss for fit in fits]
    loss = float(np.average(losses, weights=[len(data.split.validation) for data in folds]))
    if not group.leads:
        return loss
    panel = folds[0].panel
    parts = trained[0].parts if len(folds) == 1 else forecasts.joined([fold.parts for fold in trained])
    judged = forecasts.judged(parts, panel.horizon, synthetic=panel.synthetic)
    written.write(folder, parts, panel.ticker, synthetic=panel.synthetic)
    if len(folds) > 1:
        rows = breakdown.by_fold(folds, fits, [fold.parts for fold in trained])
        _write_table(folder, "folds.csv", rows, synthetic=panel.synthetic)
        journal.say(terminal.fold_table(rows))
    if panel.stocks is not None:
        rows = breakdown.by_stock(parts)
        _write_table(folder, "stocks.csv", rows, synthetic=panel.synthetic)
        journal.say(terminal.stock_table(rows))
    timing, communication = _timing(folds, fits, began, group.world_size)
    folder.write_json("metrics.json", {**judged, "timing": timing, "synthetic": panel.synthetic})
    journal.say(*terminal.results(judged))
    journal.say(*_advice(communication, config, group))
    return loss


def _write_table(folder: RunFolder, name: str, rows: Sequence[breakdown.Row], *, synthetic: bool) -> None:
    folder.write_csv(name, list(rows[0]), (list(row.values()) for row in rows), synthetic=synthetic)


def _timing(
    folds: Sequence[Data], fits: Sequence[engine.Fit], began: float, world_size: int
) -> tuple[dict[str, Any], float]:
    """What metrics.json says of time, over all folds; and the share of training that went into communication."""
    epochs = [epoch for fit in fits for epoch in fit.history]
    train_seconds = sum(epoch.seconds for epoch in epochs)
    samples = sum(len(data.split.train) * len(fit.history) for data, fit in zip(folds, fits, strict=True))
    communication = sum(epoch.communication_seconds for epoch in epochs) / train_seconds
    return {
        "total_seconds": time.perf_counter() - began,
        "train_seconds": train_seconds,
        "epochs": max(len(fit.history) for fit in fits),
        "best_epoch": fits[0].stopping.best_epoch if len(fits) == 1 else None,
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


def _save_history(folder: RunFolder, history: Sequence[engine.Epoch], *, synthetic: bool) -> None:
    folder.write_csv(
        "history.csv",
        ["epoch", "train_loss", "validation_loss", "best_epoch", "seconds", "lr"],
        ([e.epoch, e.train_loss, e.validation_loss, e.best_epoch, round(e.seconds, 6), e.lr] for e in history),
        synthetic=synthetic,
    )


def _save_best(folder: RunFolder, model: torch.nn.Module, config: Config, data: Data, epoch: int) -> None:
    checkpoint.save(
        folder,
        "best.pt",
        {
            "model": plain(config.model),
            "window": data.panel.window,
            "features": list(data.panel.features),
            "scaler": data.scaler.stats(data.panel, data.split.train),
            "epoch": epoch,
            "state_dict": dict(model.state_dict()),
            "synthetic": data.panel.synthetic,
        },
    )


def threads(config: Config) -> int:
    """Processor threads of a process that trains by this config. UserError where its data cannot be read."""
    if config.hardware.threads != "auto":
        return config.hardware.threads
    with torch.device("meta"):
        model = models.build(config.model, *data_room.sample_shape(config))
    return hardware.thread_count(config.hardware, _size(model) * config.trainer.batch_size, ranks.here(config))


def device(config: Config) -> str:
    """The hardware that training by this config takes, in words. UserError where this machine has none such."""
    words = hardware.describe(hardware.choose(config.hardware), threads(config))
    return f"{config.trainer.world_size} × {words}" if isinstance(config.trainer, DDPConfig) else words


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _resumed(
    folder: RunFolder, config: Config, folds: Sequence[Data], group: Group
) -> tuple[list[engine.Fit | None], list[str]]:
    """The state of each fold to go on from, None where no epoch was finished, and what is to be told; for the leader.

    UserError where there is nothing to go on with.
    """
    if not group.leads:
        return [None] * len(folds), []
    resuming.demand_same_data(folder, folds[0])
    states, told = [], []
    for number in range(len(folds)):
        state, faults = checkpoint.load_last(_fold_folder(folder, number, folds))
        states.append(None if state is None else engine.Fit.of(state))
        told += [f"{fault}; going on from previous.pt" for fault in faults]
    folder.remove_leftovers()
    return states, told + resuming.changes_of_batch(folder, config, group.world_size)


def _leaders(fit: engine.Fit | None, group: Group) -> engine.Fit | None:
    """The leader's state, on every rank: other machines do not have its files."""
    content = group.tell(b"" if fit is None else bytes(checkpoint.packed(fit.state())))
    return engine.Fit.of(checkpoint.load(io.BytesIO(content))) if content else None
