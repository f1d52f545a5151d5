"""A run's models, trained one by one: its own, or one a fold, or one a member of an ensemble, or of each fold's."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from stockml import models
from stockml.config.root import Config
from stockml.config.values import plain
from stockml.data.batches import Batches
from stockml.data.dataset import Data
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.errors import Interrupted
from stockml.evaluation import baselines, predictions
from stockml.evaluation.metrics import Floats
from stockml.evaluation.predictions import Predictions
from stockml.processes import signals
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.names import fold_and_member, fold_member_title
from stockml.training import checkpoint, engine, hardware


@dataclass(frozen=True)
class Fold:
    """What is trained on the same data: one model, or the members of an ensemble; a run that walks has several."""

    name: str
    """Its folder in the run's, `folds/2`; the run's own, "", where there is but one."""
    data: Data
    members: list[Config]

    @classmethod
    def each(cls, config: Config, folds: Sequence[Data]) -> list[Fold]:
        """Every fold of a run, in the order of training."""
        return [
            cls(f"folds/{number}" if len(folds) > 1 else "", data, of_fold.each_member())
            for number, (of_fold, data) in enumerate(zip(config.each_fold(), folds, strict=True))
        ]

    def parts(self) -> dict[str, Config]:
        """What each model is trained by, by its folder in the run's: its fold's own, or `folds/2/members/0`."""
        if len(self.members) == 1:
            return {self.name: self.members[0]}
        within = f"{self.name}/" if self.name else ""
        return {f"{within}members/{number}": config for number, config in enumerate(self.members)}


def fresh_model(config: Config, data: Data, dtype: torch.dtype) -> torch.nn.Module:
    """The model as it is before its first epoch."""
    torch.manual_seed(engine.stream_seed(engine.INITIALISATION, config.seed))
    model = models.build(config.model, data.panel.window, len(data.panel.features)).to(dtype)
    engine.start_output_at_mean(model)
    return model


@dataclass(frozen=True)
class Trained:
    """A fold's training, and the forecasts of its best epoch's model; of a rank that does not lead, no forecasts."""

    fits: list[engine.TrainState]
    """Of each member."""
    loss: float
    """On validation, of the best epoch's model, in the target's units."""
    parts: dict[str, Predictions]


def train(
    fold: Fold,
    chosen: hardware.Hardware,
    folder: RunFolder,
    run_log: terminal.RunLog,
    tell: Callable[[engine.EpochStats, float, str], None],
    resumed: Mapping[str, engine.TrainState],
    group: Group,
) -> Trained:
    """Train a fold's models, one after another, and forecast with the mean of them, which is then its model.

    Checkpoints and history go into the parts' folders in the run's; each finished epoch is told of, by its part, and a
    part of `resumed` goes on. Raises RunError where a loss stops being a number, Interrupted after the epoch in which a
    signal came.
    """
    data, config, own = fold.data, fold.members[0], folder.within(fold.name)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype, config.hardware.num_workers)
    members, fits = [], []
    for name, each in fold.parts().items():
        model = fresh_model(each, data, chosen.dtype).to(chosen.device)
        fits.append(_train(name, model, batches, each, data, chosen, folder, run_log, tell, resumed.get(name), group))
        members.append(model)
    model = models.averaged(members)
    loss = fits[0].history[fits[0].stopping.best_epoch - 1].validation_loss
    if len(fits) > 1:
        own.write_json("norm_stats.json", data.scaler.to_dict(data.panel, data.split.train))
        _save_best(own, model, config, data, [fit.stopping.best_epoch for fit in fits])
        validation = torch.from_numpy(data.split.validation)
        loss = engine.unit(config.trainer, data.scaler.target_std) * engine.loss_on(
            model, batches, validation, config.trainer, chosen, group
        )
    found = forecasts_of(model, batches, data, chosen, group)
    return Trained(fits, loss, predictions.collect(data, batches, found, config.model.name) if group.is_main else {})


def _train(
    part: str,
    model: torch.nn.Module,
    batches: Batches,
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    folder: RunFolder,
    run_log: terminal.RunLog,
    tell: Callable[[engine.EpochStats, float, str], None],
    resumed: engine.TrainState | None,
    group: Group,
) -> engine.TrainState:
    """Train a fresh model to its best epoch, its checkpoints and history in its part of the run folder."""
    panel, split, trainer = data.panel, data.split, config.trainer
    folder = folder.within(part)
    if part:
        run_log.emit(fold_member_title(fold_and_member(part)))
    folder.write_json("norm_stats.json", data.scaler.to_dict(panel, split.train))
    if batches.by_blocks and trainer.shuffle:
        blocks = engine.Blocks.of(batches, trainer.global_batch(group.world_size))
        run_log.emit(f"shuffled    by {blocks}: these are read from their file (data.memory_limit)")
    if resumed is not None:
        run_log.emit(f"resumed     {len(resumed.history)} epochs are done already")
    history = list(resumed.history) if resumed else []
    epochs = 1 if models.solver(config.model) else trainer.epochs
    with _signals(run_log, group) as signals, run_log.epochs(epochs, len(history)):

        def after_epoch(fit: engine.TrainState) -> None:
            history.append(fit.history[-1])
            run_log.epoch(history[-1], epochs)
            if not group.is_main:
                return
            tell(history[-1], trainer.lr, part)  # before the checkpoint: what is told too often can be taken back
            if fit.stopping.best_epoch == len(history):
                _save_best(folder, model, config, data, [len(history)])
            checkpoint.save_last(folder, {**fit.to_dict(), "synthetic": panel.synthetic})
            if signals:
                raise Interrupted(signals[0])

        try:
            fit = fit_model(model, batches, config, data, chosen, after_epoch, resumed, group)
        finally:
            _save_history(folder, history, synthetic=panel.synthetic)
    if alpha := fit.optimizer.get("alpha"):
        run_log.emit(f"ridge       alpha {alpha:g}")
    # Once more: a kill between the two checkpoints leaves a best.pt of an epoch that last.pt does not know.
    _save_best(folder, model, config, data, [fit.stopping.best_epoch])
    return fit


def fit_model(
    model: torch.nn.Module,
    batches: Batches,
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    after_epoch: Callable[[engine.TrainState], None],
    resumed: engine.TrainState | None = None,
    group: Group = SINGLE_PROCESS,
) -> engine.TrainState:
    """Train the model on the data's train part, as the config says, judged by its validation part."""
    train, validation = (torch.from_numpy(rows) for rows in (data.split.train, data.split.validation))
    solver = models.solver(config.model)
    fit: Callable[..., engine.TrainState] = solver or functools.partial(engine.fit, seed=config.seed)
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
    model: torch.nn.Module, batches: Batches, data: Data, chosen: hardware.Hardware, group: Group = SINGLE_PROCESS
) -> dict[str, Floats]:
    """The model's forecasts (N,) of each scored part, in the target's own units; whole on every rank."""
    return {
        part: data.scaler.inverse_transform(
            engine.forecast(model, batches, torch.from_numpy(rows), chosen, group=group).numpy(), data.panel, rows
        )
        for part, rows in baselines.scored_splits(data)
    }


def _signals(run_log: terminal.RunLog, group: Group) -> contextlib.AbstractContextManager[list[int]]:
    """The signals received while the model trains: the leader answers them, and ends the others' training too."""
    return signals.noted(run_log.emit) if group.is_main else contextlib.nullcontext([])


def _save_history(folder: RunFolder, history: Sequence[engine.EpochStats], *, synthetic: bool) -> None:
    folder.write_csv(
        "history.csv",
        ["epoch", "train_loss", "validation_loss", "best_epoch", "seconds", "lr"],
        ([e.epoch, e.train_loss, e.validation_loss, e.best_epoch, round(e.seconds, 6), e.lr] for e in history),
        synthetic=synthetic,
    )


def _save_best(folder: RunFolder, model: torch.nn.Module, config: Config, data: Data, epochs: Sequence[int]) -> None:
    """Keep a model, of which each member was best at its own epoch."""
    checkpoint.save(
        folder,
        "best.pt",
        {
            "model": plain(config.model),
            "window": data.panel.window,
            "features": list(data.panel.features),
            "scaler": data.scaler.to_dict(data.panel, data.split.train),
            "epoch": epochs[0] if len(epochs) == 1 else list(epochs),
            "state_dict": dict(model.state_dict()),
            "synthetic": data.panel.synthetic,
        },
    )
