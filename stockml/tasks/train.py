"""task=train: one config, one stock, one run folder."""

from __future__ import annotations

import contextlib
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from stockml import data as data_room
from stockml import models
from stockml.config import Config, plain
from stockml.data import Data
from stockml.data.batches import Batches
from stockml.errors import Interrupted, RunError, UserError
from stockml.evaluation import baselines, metrics
from stockml.reporting import terminal
from stockml.runs import Place, RunFolder
from stockml.training import checkpoint, engine, hardware, interrupts


def run(config: Config, place: Place, records: Mapping[str, str]) -> float:
    """Train, evaluate and save a model; the best validation loss, in the target's units.

    `records` are the texts of the run's `.hydra` folder, by file name. Raises UserError for faults of config and data,
    before any folder is made; RunError for a run that failed; Interrupted for one that a signal ended.
    """
    started = time.time()
    journal = terminal.Journal()
    chosen = hardware.choose(config.hardware)
    resumed_folder = None if config.trainer.resume is None else _resumable(Path(config.trainer.resume), config)
    if config.data.source == "simulated":
        journal.say(*terminal.SYNTHETIC)
    data = data_room.prepare(config)
    journal.say(*terminal.data_report(data))
    resumed = None if resumed_folder is None else _resumed(resumed_folder, config, data)
    folder = resumed_folder or place.make(config.stock.ticker)

    def record(status: str, error: str | None = None) -> None:
        folder.record(status, started, error, synthetic=data.panel.synthetic)

    try:
        with journal.kept_in(folder.log), _failures_told(folder, journal):
            record("running")
            loss = _train(config, data, chosen, folder, records, journal, resumed)
            record("ok")
            journal.say(f"run folder  {folder.path}")
    except (RunError, Interrupted) as error:
        if not _is_worth_keeping(folder, error.__cause__):
            folder.discard()
        else:
            with contextlib.suppress(OSError):
                record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", "; ".join(error.lines))
        raise
    return loss


def _train(
    config: Config,
    data: Data,
    chosen: hardware.Hardware,
    folder: RunFolder,
    records: Mapping[str, str],
    journal: terminal.Journal,
    resumed: engine.Fit | None,
) -> float:
    panel, split, trainer = data.panel, data.split, config.trainer
    started = time.perf_counter()
    torch.manual_seed(engine.generator_seed(engine.INITIALISATION, config.seed))
    model = models.build(config.model, panel.window, len(panel.features)).to(chosen.dtype)
    engine.start_output_at_mean(model)
    size = sum(p.numel() for p in model.parameters())
    threads = hardware.set_up(config.hardware, size * trainer.batch_size)
    device = hardware.describe(chosen, threads)
    journal.say(f"model       {config.model.name}, {size:,} parameters, on {device}, {config.hardware.precision}")

    folder.write_json("config.json", _facts(config, data, device))
    folder.write_json("norm_stats.json", data.scaler.stats(panel, split.train))
    for name, text in records.items():  # last: a run with a saved config is one that can be resumed
        if trainer.resume is None or name == "config.yaml":
            folder.write_text(f".hydra/{name}", text)

    model.to(chosen.device)
    batches = Batches(panel, data.scaler, chosen.device, chosen.dtype, config.hardware.num_workers)
    rows = {name: torch.from_numpy(part) for name, part in split.parts().items()}
    if resumed is not None:
        journal.say(f"resumed     {len(resumed.history)} epochs are done already")
    history = list(resumed.history) if resumed else []
    with interrupts.noted(journal.say) as signals, journal.epochs(trainer.epochs, len(history)):

        def after_epoch(fit: engine.Fit) -> None:
            history.append(fit.history[-1])
            journal.epoch(history[-1], trainer.epochs)
            if fit.stopping.best_epoch == len(history):
                _save_best(folder, model, config, data, len(history))
            checkpoint.save(folder, "last.pt", {**fit.state(), "synthetic": panel.synthetic})
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
            )
        finally:
            _save_history(folder, history, synthetic=panel.synthetic)
    # Once more: a kill between the two checkpoints leaves a best.pt of an epoch that last.pt does not know.
    _save_best(folder, model, config, data, fit.stopping.best_epoch)
    _evaluate(folder, model, batches, data, chosen, journal, fit, started)
    return fit.history[fit.stopping.best_epoch - 1].validation_loss


def _evaluate(
    folder: RunFolder,
    model: torch.nn.Module,
    batches: Batches,
    data: Data,
    chosen: hardware.Hardware,
    journal: terminal.Journal,
    fit: engine.Fit,
    started: float,
) -> None:
    panel, split = data.panel, data.split
    forecasts = {
        part: baselines.unscaled(data, engine.forecast(model, batches, torch.from_numpy(rows), chosen))
        for part, rows in baselines.scored_parts(data)
    }
    scores = baselines.score_parts(data, forecasts)
    rivals = baselines.score_baselines(data, batches)
    oracle = baselines.oracle(data)
    verdict = baselines.verdict(scores["test"], rivals)
    train_seconds = sum(epoch.seconds for epoch in fit.history)
    written = {
        **scores,
        "baselines": rivals.scores,
        "best_baseline": rivals.best,
        "verdict": verdict,
        **({"oracle": oracle} if panel.synthetic else {}),
        "timing": {
            "total_seconds": time.perf_counter() - started,
            "train_seconds": train_seconds,
            "epochs": len(fit.history),
            "best_epoch": fit.stopping.best_epoch,
            "samples_per_second": len(split.train) * len(fit.history) / train_seconds,
        },
        "synthetic": panel.synthetic,
    }
    _save_predictions(folder, data, forecasts)
    folder.write_json("metrics.json", written)
    rows = {"model": scores, **({"oracle": oracle} if oracle else {}), **rivals.scores}
    journal.say(terminal.result_table(rows, rivals.best), f"verdict     {verdict}")


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


def _facts(config: Config, data: Data, device: str) -> dict[str, Any]:
    """What config.json says: the resolved config, and the facts that it does not fix."""
    settings = plain(config)
    settings["trainer"]["resume"] = None
    packages = ("stockml", "torch", "hydra-core", "omegaconf", "numpy", "pandas")
    return {
        "config": settings,
        "data": {
            "origin": data.panel.origin,
            "fingerprint": data.fingerprint,
            "rows": len(data.panel.values),
            "samples": {name: len(rows) for name, rows in data.split.parts().items()},
            "purged": data.split.purged,
            "dropped": list(data.panel.dropped),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "git_commit": _git_commit(),
        "device": device,
        "platform": platform.platform(),
        "synthetic": data.panel.synthetic,
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_commit() -> str | None:
    """The commit of this code, marked where the code differs from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _resumable(path: Path, config: Config) -> RunFolder:
    """The folder of a run that can go on; UserError where it is running, or would go on with other settings."""
    folder = RunFolder.existing(path)
    if folder.status() == "running":
        raise UserError(f"trainer.resume={path}: that run is still running")
    facts = folder.read_json("config.json")
    if not isinstance(facts.get("config"), dict) or not isinstance(facts.get("data"), dict):
        raise UserError(f"{path / 'config.json'}: is not a run's; start a new run")
    changed = _differences(facts["config"], plain(config))
    changed = [key for key in changed if not key.startswith(_MAY_CHANGE)]
    if changed:
        raise UserError(
            f"trainer.resume={path}: a run goes on with its own settings, but {', '.join(changed)} "
            f"differ{'s' if len(changed) == 1 else ''}; leave them as they were, or start a new run"
        )
    return folder


def _resumed(folder: RunFolder, config: Config, data: Data) -> engine.Fit | None:
    """The state to go on from, None where no epoch was finished; UserError where there is nothing to go on with."""
    if folder.read_json("config.json")["data"]["fingerprint"] != data.fingerprint:
        raise UserError(f"trainer.resume={folder.path}: the data have changed ({data.panel.origin}); start a new run")
    if not (folder.path / "last.pt").exists():
        return None
    fit = engine.Fit.of(checkpoint.load(folder.path / "last.pt"))
    if folder.status() == "ok" and config.trainer.epochs <= len(fit.history):
        raise UserError(f"trainer.resume={folder.path}: that run is finished; raise trainer.epochs to train it longer")
    return fit


_MAY_CHANGE = ("trainer.epochs", "trainer.patience", "trainer.resume", "hardware.")


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> list[str]:
    found = []
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{path}{key}.")
        elif one != other:
            found.append(f"{path}{key}")
    return found


def _is_worth_keeping(folder: RunFolder, cause: BaseException | None) -> bool:
    """Whether a failed run's folder tells more than that it could not be written to."""
    return not isinstance(cause, OSError) or (folder.path / "last.pt").exists()


@contextlib.contextmanager
def _failures_told(folder: RunFolder, journal: terminal.Journal) -> Iterator[None]:
    """Turn whatever ends a run early into RunError or Interrupted, with one line; the traceback goes to train.log."""
    try:
        yield
    except RunError as error:
        journal.note(str(error))
        raise
    except KeyboardInterrupt as error:
        line = f"interrupted; continue with: python run.py trainer.resume={folder.path}"
        journal.note(line)
        raise Interrupted(error.signum if isinstance(error, Interrupted) else signal.SIGINT, line) from error
    except Exception as error:
        with contextlib.suppress(OSError):
            journal.note(traceback.format_exc())
        reason = " ".join(str(error).split())
        kept = _is_worth_keeping(folder, error)
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in reason:  # of the CPU's
            line = f"out of memory ({reason[:200]}); lower trainer.batch_size, model.hidden_dim or data.window"
        elif isinstance(error, OSError):
            remedy = (
                f"when that is mended: trainer.resume={folder.path}" if kept else "choose another: hydra.run.dir=FOLDER"
            )
            line = f"cannot write to the run folder ({reason}); {remedy}"
        else:
            line = f"{type(error).__name__}: {reason[:300]}"
        raise RunError(f"{folder.path}: {line}{'; the traceback is in train.log' if kept else ''}") from error
