"""task=audit: is anything of the future in the data, or in what becomes of them? No run folder is made."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.errors import RunError
from stockml.evaluation import baselines
from stockml.evaluation.audit import array_checks, bar_checks, leaks
from stockml.reporting import terminal
from stockml.tasks import NO_REQUEST, Request, fold_training, train
from stockml.training import hardware

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.evaluation.audit.bar_checks import Forecaster, Subject
    from stockml.evaluation.metrics import Floats
    from stockml.training.settings import HardwareConfig

_RESULTS = {True: "passed", False: "FAILED", None: "not applicable"}


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Print what each check finds. Raises UserError for faults of the data, RunError where a check fails."""
    if config.data.source == "simulated":
        print(*terminal.SYNTHETIC, sep="\n")
    config = dataclasses.replace(config, hardware=_reproducible(config))
    folds, checks = _subjects(config)
    if config.audit.plant:
        print(f"PLANTED     {config.audit.plant}: what follows is about a pipeline made to leak, not about stockml's")
    print(*terminal.data_report([fold.whole for fold in folds]), "", sep="\n", flush=True)
    failed = []
    for check in checks:
        finding = check()
        print(_told(finding), flush=True)
        failed += [finding.check] if finding.passed is False else []
    if failed:
        raise RunError(f"{folds[0].whole.panel.origin}: the audit failed: {', '.join(failed)}")
    print("no leak found")


def _told(finding: bar_checks.Finding) -> str:
    """A row of the table; under a failure what it means."""
    told = [finding.looked_at, *([f"It means: {finding.means}."] if finding.means else [])]
    text = "\n".join(textwrap.fill(part, 76) for part in told)
    return f"{finding.check:<26}{_RESULTS[finding.passed]:<16}{textwrap.indent(text, ' ' * 42).lstrip()}"


def _reproducible(config: Config) -> HardwareConfig:
    """Hardware on which equal inputs give equal bits, set up once: sums by other threads would round otherwise."""
    chosen = dataclasses.replace(
        config.hardware, device="cpu", precision="fp32", num_workers=0, threads=train.threads(config)
    )
    hardware.set_up(chosen, 0)
    return chosen


def _subjects(config: Config) -> tuple[Sequence[Subject], list[Callable[[], bar_checks.Finding]]]:
    """What is audited, of a walk-forward config fold by fold, and how."""
    window, width = dataset.sample_shape(config)
    forecasters: dict[str, Forecaster] = {config.model.name: functools.partial(model_forecasts, config)}
    if window * width <= baselines.MOST_RIDGE_INPUTS:
        forecasters = {"ridge": ridge_forecasts, **forecasters}
    if config.data.source == "npz":
        windows, before_test = dataset.load(config)
        assert before_test is not None
        arrays = array_checks.ArraysSubject(config, forecasters, windows, before_test)
        return [arrays], array_checks.on_arrays(arrays)
    bars, pipeline = dataset.load_bars(config), leaks.pipeline(config.audit.plant)
    folds = [bar_checks.BarsSubject(each, forecasters, bars, pipeline) for each in config.each_fold()]
    return folds, bar_checks.on_bars(folds)


def ridge_forecasts(data: Data) -> dict[str, Floats]:
    """Forecasts of the ridge baseline."""
    return baselines.ridge_forecasts(data, Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32))


def model_forecasts(config: Config, data: Data) -> dict[str, Floats]:
    """Forecasts of the config's model after one epoch."""
    chosen = hardware.choose(config.hardware)
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, epochs=1, overfit_batches=0))
    model = fold_training.fresh_model(config, data, chosen.dtype)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
    fold_training.fit_model(model, batches, config, data, chosen, after_epoch=lambda _fit: None)
    return fold_training.forecasts_of(model, batches, data, chosen)
