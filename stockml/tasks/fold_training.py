"""Trains the models of a run one by one: a single model, one per fold, or one per member of each fold's ensemble."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from stockml import models
from stockml.config.root import Config
from stockml.config.values import plain
from stockml.data.batches import Batches, tensor
from stockml.data.dataset import Data
from stockml.distributed.group import SINGLE_PROCESS, Group
from stockml.errors import Interrupted, Pruned
from stockml.evaluation import baselines, predictions
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Floats
from stockml.processes import signals
from stockml.reporting import terminal
from stockml.runs.folder import RunFolder
from stockml.runs.names import fold_and_member, fold_member_title
from stockml.tasks.initial_weights import InitialWeights, StateDict
from stockml.training import checkpoint
from stockml.training.engine import Trainer
from stockml.training.flat_parameters import FlatParameters
from stockml.training.forecasting import forecast
from stockml.training.hardware import Hardware
from stockml.training.interface import EpochStats, ModelTrainer, Report, Samples, TrainState
from stockml.training.losses import loss_unit, mean_loss
from stockml.training.random_streams import INITIALISATION, stream_seed
from stockml.training.sample_order import Blocks
from stockml.training.whole_trainer import WholeTrainer

_SECONDS_BETWEEN_SAVES = 1.0  # a killed run loses no more than the epochs since; small models take milliseconds each
_SECONDS_BETWEEN_SAVES_OF_ROUNDS = 30.0  # a checkpoint of a model that is fitted whole holds all rounds before it


@dataclass(frozen=True)
class FoldTraining:
    """The models that are trained on the same data: one, or the members of an ensemble."""

    name: str
    """The fold's folder in the run's, `folds/2`; "" where the run has but one fold."""
    data: Data
    members: list[Config]

    @classmethod
    def each(cls, config: Config, folds: Sequence[Data]) -> list[FoldTraining]:
        """All folds of a run, in the order of training."""
        return [
            cls(f"folds/{number}" if len(folds) > 1 else "", data, of_fold.each_member())
            for number, (of_fold, data) in enumerate(zip(config.each_fold(), folds, strict=True))
        ]

    def model_configs(self) -> dict[str, Config]:
        """The config of each model, by its folder in the run's: the fold's own, or `folds/2/members/0`."""
        if len(self.members) == 1:
            return {self.name: self.members[0]}
        within = f"{self.name}/" if self.name else ""
        return {f"{within}members/{number}": config for number, config in enumerate(self.members)}


@dataclass(frozen=True)
class TrainingRun:
    """What all models of a run share."""

    folder: RunFolder
    hardware: Hardware
    group: Group
    run_log: terminal.RunLog
    track_epoch: Callable[[EpochStats, float, str], None]
    """Called with each finished epoch, the configured learning rate, and the model's folder in the run's."""
    resumed: Mapping[str, TrainState]
    """States of earlier training to continue from, by the model's folder in the run's."""
    initial: InitialWeights | None = None
    """What training starts with; None: with random weights."""
    report: Report | None = None
    """Told of each epoch of the first model, the first member of the first fold; Pruned is raised where it says so.

    The validation of later folds has test days of the first: a choice by it would be one by test scores.
    """


@dataclass(frozen=True)
class TrainedFold:
    """The results of a fold."""

    states: list[TrainState]
    """Of each member."""
    loss: float
    """Loss on validation of the fold's model, at its best epoch, in the target's units."""
    predictions: dict[str, Predictions]
    """Predictions by split; empty on other ranks than 0."""
    weights: Sequence[StateDict]
    """The best weights of each member."""


def fresh_model(config: Config, data: Data, dtype: torch.dtype) -> torch.nn.Module:
    """The model as it is before its first epoch."""
    torch.manual_seed(stream_seed(INITIALISATION, config.seed))
    return models.build(config.model, data.panel.window, len(data.panel.features)).to(dtype)


def trainer_for(config: Config, hardware: Hardware, group: Group = SINGLE_PROCESS) -> ModelTrainer:
    """The trainer of the config's model."""
    if models.is_fitted_whole(config.model):
        return WholeTrainer(config.trainer, hardware, group, config.seed, models.most_epochs(config))
    return Trainer(config.trainer, hardware, group, seed=config.seed)


def samples_of(data: Data, batches: Batches) -> Samples:
    """The train and validation samples of the data, whose panel is in `batches`."""
    train, validation = (tensor(rows) for rows in (data.split.train, data.split.validation))
    return Samples(batches, train, validation, data.scaler.loss_std)


def forecasts_of(
    model: torch.nn.Module, batches: Batches, data: Data, hardware: Hardware, group: Group = SINGLE_PROCESS
) -> dict[str, Floats]:
    """The model's forecasts (N,) of each scored split, in the target's own units; all of them on every rank."""
    return {
        split: data.scaler.inverse_transform(
            forecast(model, batches, tensor(rows), hardware, group=group).numpy(), data.panel, rows
        )
        for split, rows in baselines.scored_splits(data)
    }


def train_each(folds: Sequence[FoldTraining], run: TrainingRun) -> list[TrainedFold]:
    """Train all folds, one after another; errors are those of `train`."""
    initial = run.initial.members if run.initial else None
    trained: list[TrainedFold] = []
    for fold in folds:
        is_warm = trained and fold.members[0].trainer.warm_start
        own = dataclasses.replace(run, report=None) if trained else run
        trained.append(train(fold, own, trained[-1].weights if is_warm else initial))
    return trained


def train(fold: FoldTraining, run: TrainingRun, initial: Sequence[StateDict] | None = None) -> TrainedFold:
    """Train a fold's models, one after another; the fold's forecasts are the mean of theirs.

    Training starts with the weights `initial` of each member, or with random ones. Checkpoints and history go into the
    models' folders in the run's. Raises RunError where a loss is not finite, Interrupted after the epoch in which a
    signal came, Pruned after the one after which `run.report` says so.
    """
    data, config, hardware = fold.data, fold.members[0], run.hardware
    batches = Batches(data.panel, data.scaler, hardware.device, hardware.dtype, config.hardware.num_workers)
    with contextlib.closing(batches):
        return _train_models(fold, batches, run, initial)


def _train_models(
    fold: FoldTraining, batches: Batches, run: TrainingRun, initial: Sequence[StateDict] | None
) -> TrainedFold:
    data, config, hardware, group = fold.data, fold.members[0], run.hardware, run.group
    samples = samples_of(data, batches)
    members, states = [], []
    for number, (name, own) in enumerate(fold.model_configs().items()):
        model = fresh_model(own, data, hardware.dtype).to(hardware.device)
        if initial is not None:
            model.load_state_dict(initial[number])
        states.append(_train_model(name, model, own, data, samples, run))
        run = dataclasses.replace(run, report=None)
        members.append(model)
    weights = [member.state_dict() for member in members]
    model = models.averaged(members)
    loss = states[0].history[states[0].stopping.best_epoch - 1].validation_loss
    if len(states) > 1:
        folder = run.folder.within(fold.name)
        folder.write_json("norm_stats.json", data.scaler.to_dict(data.panel, data.split.train))
        _save_best(folder, model, config, data, [state.stopping.best_epoch for state in states])
        scaled_loss = mean_loss(model, batches, samples.validation, config.trainer, hardware, group)
        loss = loss_unit(config.trainer, data.scaler.loss_std) * scaled_loss
    forecasts = forecasts_of(model, batches, data, hardware, group)
    if not group.is_main:
        return TrainedFold(states, loss, {}, weights)
    scored = predictions.collect(data, batches, forecasts, config.model.name, config.trainer.quantile)
    return TrainedFold(states, loss, scored, weights)


def _train_model(
    name: str, model: torch.nn.Module, config: Config, data: Data, samples: Samples, run: TrainingRun
) -> TrainState:
    """Train a model to its best epoch, with checkpoints and history in its folder, `name`, in the run's."""
    split, run_log, resumed = data.split, run.run_log, run.resumed.get(name)
    trainer, fitted_whole = trainer_for(config, run.hardware, run.group), models.is_fitted_whole(config.model)
    folder = run.folder.within(name)
    if name:
        run_log.emit(fold_member_title(fold_and_member(name)))
    folder.write_json("norm_stats.json", data.scaler.to_dict(data.panel, split.train))
    if samples.batches.by_blocks and config.trainer.shuffle and not fitted_whole:
        blocks = Blocks.of(samples.batches, config.trainer.global_batch(run.group.world_size))
        run_log.emit(f"shuffled    by {blocks}: they are read from a file (data.memory_limit)")
    if resumed is not None:
        run_log.emit(f"resumed     {len(resumed.history)} epochs are done already")
    history = list(resumed.history) if resumed else []
    saved_at = time.monotonic() if fitted_whole else -math.inf
    epochs_saved = len(history)
    between_saves = _SECONDS_BETWEEN_SAVES_OF_ROUNDS if fitted_whole else _SECONDS_BETWEEN_SAVES
    with _noted_signals(run, trainer.epochs) as signals_received, run_log.epochs(trainer.epochs, len(history)):

        def after_epoch(state: TrainState) -> None:
            history.append(state.history[-1])
            run_log.epoch(history[-1], trainer.epochs)
            if not run.group.is_main:
                return
            # Before the checkpoint: an epoch that is tracked twice can be corrected, one that is missing cannot.
            run.track_epoch(history[-1], config.trainer.lr, name)
            best_loss = history[state.stopping.best_epoch - 1].validation_loss
            is_pruned = run.report is not None and run.report(len(history), best_loss)
            ends = bool(signals_received) or is_pruned
            nonlocal saved_at, epochs_saved
            if not ends and time.monotonic() - saved_at < between_saves:
                return
            if ends and not fitted_whole:  # training ends here: the best epoch may not have been saved
                FlatParameters(model).restore(state.best_weights)
            best_epoch = state.stopping.best_epoch
            if (ends or best_epoch == len(history)) and not fitted_whole:
                _save_best(folder, model, config, data, [best_epoch])
            _save_last(folder, state, data)
            saved_at, epochs_saved = time.monotonic(), len(history)
            if signals_received:
                raise Interrupted(signals_received[0])
            if is_pruned:
                raise Pruned(f"pruned after epoch {len(history)}")

        try:
            state = trainer.fit(model, samples, after_epoch, resumed)
        finally:
            _save_history(folder, history, synthetic=data.panel.synthetic)
    if run.group.is_main and (fitted_whole or epochs_saved < len(history)):
        _save_last(folder, state, data)
    if fitted_whole and state.optimizer:
        facts = {key: f"{value:g}" if isinstance(value, float) else value for key, value in state.optimizer.items()}
        run_log.emit(f"{config.model.name:<11} {', '.join(f'{key} {value}' for key, value in facts.items())}")
    # Again: a kill between the two checkpoints leaves a best.pt of an epoch that last.pt does not know.
    _save_best(folder, model, config, data, [state.stopping.best_epoch])
    return state


def _noted_signals(run: TrainingRun, epochs: int) -> contextlib.AbstractContextManager[list[int]]:
    """The signals received while a model trains: rank 0 answers them, and ends the training of the others too."""
    doing = "finishing the epoch and its checkpoint" if epochs > 1 else "the model is fitted to its end first"
    return signals.noted(run.run_log.emit, doing) if run.group.is_main else contextlib.nullcontext([])


def _save_history(folder: RunFolder, history: Sequence[EpochStats], *, synthetic: bool) -> None:
    folder.write_csv(
        "history.csv",
        ["epoch", "train_loss", "validation_loss", "best_epoch", "seconds", "lr"],
        ([e.epoch, e.train_loss, e.validation_loss, e.best_epoch, round(e.seconds, 6), e.lr] for e in history),
        synthetic=synthetic,
    )


def _save_last(folder: RunFolder, state: TrainState, data: Data) -> None:
    checkpoint.save_last(folder, {**state.to_dict(), "synthetic": data.panel.synthetic})


def _save_best(folder: RunFolder, model: torch.nn.Module, config: Config, data: Data, epochs: Sequence[int]) -> None:
    """Write best.pt, with the best epoch of each member."""
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
