"""task=train: one config, one stock, one run folder."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from stockml import data as data_room
from stockml import models
from stockml.config import Config, DDPConfig, plain
from stockml.data import Data
from stockml.data.batches import Batches
from stockml.errors import Interrupted
from stockml.evaluation import baselines, metrics
from stockml.reporting import terminal
from stockml.runs import Given, Place, RunFolder
from stockml.tasks import endings, facts, ranks, resuming
from stockml.training import checkpoint, engine, hardware, interrupts
from stockml.training.distributed import ALONE, Group


def run(config: Config, place: Place | Given, records: Mapping[str, str], group: Group = ALONE) -> float:
    """Train, evaluate and save a model; the best validation loss, in the target's units.

    `records` are the texts of the run's `.hydra` folder, by file name. Each rank of a group calls this; the one that
    leads writes. Raises UserError for faults of config and data, before any folder is made; RunError for a run that
    failed; Interrupted for one that a signal ended.
    """
    started = time.time()
    journal = terminal.Journal(aloud=group.leads and place.aloud)
    chosen = hardware.choose(config.hardware, group.local_rank)
    if config.trainer.resume is not None and group.leads:
        place = Given(resuming.resumable(Path(config.trainer.resume), config), place.aloud)
    if config.data.source == "simulated":
        journal.say(*terminal.SYNTHETIC)
    data = data_room.prepare(config)
    journal.say(*terminal.data_report(data))
    ranks.demand_samples(group.world_size, len(data.split.train))
    group.demand_equal("data", data.fingerprint)
    resumed, told = _resumed(place.folder, config, data, group) if isinstance(place, Given) else (None, [])
    if group.world_size > 1:
        resumed = _leaders(resumed, group)
    folder = place.make(config.stock.ticker)
    with endings.recorded(folder, journal, started, synthetic=data.panel.synthetic):
        journal.say(*told)
        loss = _train(config, data, chosen, folder, records, journal, resumed, group)
        journal.say(f"run folder  {folder.path}")
    return loss


def _train(
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    folder: RunFolder,
    records: Mapping[str, str],
    journal: terminal.Journal,
    resumed: engine.Fit | None,
    group: Group,
) -> float:
    panel, split, trainer = data.panel, data.split, config.trainer
    started = time.perf_counter()
    torch.manual_seed(engine.generator_seed(engine.INITIALISATION, config.seed))
    model = models.build(config.model, panel.window, len(panel.features)).to(chosen.dtype)
    engine.start_output_at_mean(model)
    size = _size(model)
    threads = hardware.set_up(config.hardware, size * trainer.batch_size, group.local_world_size)
    device = group.describe(hardware.describe(chosen, threads))
    journal.say(f"model       {config.model.name}, {size:,} parameters, on {device}, {config.hardware.precision}")

    folder.write_json("config.json", facts.of(config, data, device, group.world_size))
    folder.write_json("norm_stats.json", data.scaler.stats(panel, split.train))
    folder.write_records(records, resumed=trainer.resume is not None)  # last: from then on it can be resumed

    model.to(chosen.device)
    batches = Batches(panel, data.scaler, chosen.device, chosen.dtype, config.hardware.num_workers)
    rows = {name: torch.from_numpy(part) for name, part in split.parts().items()}
    if resumed is not None:
        journal.say(f"resumed     {len(resumed.history)} epochs are done already")
    history = list(resumed.history) if resumed else []
    with _signals(journal, group) as signals, journal.epochs(trainer.epochs, len(history)):

        def after_epoch(fit: engine.Fit) -> None:
            history.append(fit.history[-1])
            journal.epoch(history[-1], trainer.epochs)
            if not group.leads:
                return
            if fit.stopping.best_epoch == len(history):
                _save_best(folder, model, config, data, len(history))
            checkpoint.save_last(folder, {**fit.state(), "synthetic": panel.synthetic})
            if signals:
                raise Interrupted(signals[0])

        try:
            fit = engine.fit(
                model,
                batches,
                rows["train"],
                rows["validation"],
                trainer,
                chosen,
                seed=config.seed,
                target_std=data.scaler.target_std,
                after_epoch=after_epoch,
                resumed=resumed,
                group=group,
            )
        finally:
            _save_history(folder, history, synthetic=panel.synthetic)
    # Once more: a kill between the two checkpoints leaves a best.pt of an epoch that last.pt does not know.
    _save_best(folder, model, config, data, fit.stopping.best_epoch)
    _evaluate(folder, model, batches, config, data, chosen, journal, fit, started, group)
    return fit.history[fit.stopping.best_epoch - 1].validation_loss


def _signals(journal: terminal.Journal, group: Group) -> contextlib.AbstractContextManager[list[int]]:
    """The signals received while the model trains: the leader answers them, and ends the others' training too."""
    return interrupts.noted(journal.say) if group.leads else contextlib.nullcontext([])


def _evaluate(
    folder: RunFolder,
    model: torch.nn.Module,
    batches: Batches,
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    journal: terminal.Journal,
    fit: engine.Fit,
    started: float,
    group: Group,
) -> None:
    panel, split = data.panel, data.split
    forecasts = {
        part: baselines.unscaled(data, engine.forecast(model, batches, torch.from_numpy(rows), chosen, group=group))
        for part, rows in baselines.scored_parts(data)
    }
    if not group.leads:
        return
    scores = baselines.score_parts(data, forecasts)
    rivals = baselines.score_baselines(data, batches)
    oracle = baselines.oracle(data)
    verdict = baselines.verdict(scores["test"], rivals)
    train_seconds = sum(epoch.seconds for epoch in fit.history)
    timing = {
        "total_seconds": time.perf_counter() - started,
        "train_seconds": train_seconds,
        "epochs": len(fit.history),
        "best_epoch": fit.stopping.best_epoch,
        "samples_per_second": len(split.train) * len(fit.history) / train_seconds,
        "world_size": group.world_size,
        "samples_per_second_per_rank": len(split.train) * len(fit.history) / train_seconds / group.world_size,
        "communication_share": sum(epoch.communication_seconds for epoch in fit.history) / train_seconds,
    }
    written = {
        **scores,
        "baselines": rivals.scores,
        "best_baseline": rivals.best,
        "verdict": verdict,
        **({"oracle": oracle} if panel.synthetic else {}),
        "timing": timing,
        "synthetic": panel.synthetic,
    }
    _save_predictions(folder, data, forecasts)
    folder.write_json("metrics.json", written)
    rows = {"model": scores, **({"oracle": oracle} if oracle else {}), **rivals.scores}
    journal.say(terminal.result_table(rows, rivals.best), f"verdict     {verdict}")
    journal.say(*_advice(timing["communication_share"], config, group))


def _advice(communication_share: float, config: Config, group: Group) -> list[str]:
    """A line where fewer ranks are faster: at w times the computing of a rank, one process needs less than w ranks."""
    if group.world_size == 1 or communication_share <= 1 - 1 / group.world_size:
        return []
    return [
        f"ranks       {communication_share:.0%} of the training time went into communication: one process with this "
        f"global batch is faster: trainer=single trainer.batch_size={config.trainer.global_batch(group.world_size)}"
    ]


def _save_predictions(folder: RunFolder, data: Data, forecasts: Mapping[str, metrics.Floats]) -> None:
    panel = data.panel
    folder.write_csv(
        "predictions.csv",
        ["sample", "ticker", "date", "split", "y_true", "y_pred"],
        (
            [row, panel.ticker, panel.date(row), part, panel.target[row].item(), y]
            for part, rows in baselines.scored_parts(data)
            for row, y in zip(rows.tolist(), forecasts[part].tolist(), strict=True)
        ),
        synthetic=panel.synthetic,
    )


def _save_history(folder: RunFolder, history: Sequence[engine.Epoch], *, synthetic: bool) -> None:
    folder.write_csv(
        "history.csv",
        ["epoch", "train_loss", "validation_loss", "best_epoch", "seconds"],
        ([e.epoch, e.train_loss, e.validation_loss, e.best_epoch, round(e.seconds, 6)] for e in history),
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


def _resumed(folder: RunFolder, config: Config, data: Data, group: Group) -> tuple[engine.Fit | None, list[str]]:
    """The state to go on from, None where no epoch was finished, and what is to be told of it; for the leader alone.

    UserError where there is nothing to go on with.
    """
    if not group.leads:
        return None, []
    resuming.demand_same_data(folder, data)
    state, faults = checkpoint.load_last(folder)
    folder.remove_leftovers()
    told = [f"{fault}; going on from previous.pt" for fault in faults]
    told += resuming.changes_of_batch(folder, config, group.world_size)
    return None if state is None else engine.Fit.of(state), told


def _leaders(fit: engine.Fit | None, group: Group) -> engine.Fit | None:
    """The leader's state, on every rank: other machines do not have its files."""
    content = group.tell(b"" if fit is None else bytes(checkpoint.packed(fit.state())))
    return engine.Fit.of(checkpoint.load(io.BytesIO(content))) if content else None
