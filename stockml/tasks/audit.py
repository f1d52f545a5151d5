"""task=audit: do the data, or the samples made from them, know the future? No run folder is made."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from stockml.config.values import worded
from stockml.data import dataset, pooled
from stockml.data.bars import PRICES
from stockml.data.batches import Batches
from stockml.data.settings import BarsConfig
from stockml.data.sources import loading
from stockml.data.spec import PanelSpec, days_without
from stockml.data.split import split
from stockml.errors import RunError, UserError
from stockml.evaluation import baselines
from stockml.evaluation.audit import checks, leaks
from stockml.evaluation.audit.pool_checks import PoolSubject
from stockml.evaluation.audit.subject import ArraysSubject, BarsSubject
from stockml.models.settings import MOST_RIDGE_INPUTS
from stockml.reporting import data_report, terminal
from stockml.tasks import NO_REQUEST, Request, fold_training, train
from stockml.training import hardware

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.evaluation.audit.subject import Finding, Forecaster, Subject
    from stockml.evaluation.truth import Floats
    from stockml.training.settings import HardwareConfig

_MOST_INPUTS = 1000  # of a ridge that is fitted some thirty times
_MOST_STOCKS = 5  # of a pool, that are audited alone
_RESULTS = {True: "passed", False: "FAILED", None: "not applicable"}


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Print what each check finds. Raises UserError for faults of the data, RunError if a check fails."""
    if config.data.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    config = dataclasses.replace(config, hardware=_reproducible(config))
    if isinstance(config.data, BarsConfig) and config.data.pooled:
        data, findings = dataset.prepare_folds(config), checks.run_pool(_pool(config))
    else:
        subjects = _subjects(config)
        data, findings = [subject.whole for subject in subjects], checks.run(subjects)
    if config.audit.plant:
        print(f"INJECTED    {config.audit.plant}: a leak put into stockml's pipeline; the checks below must find it")
    print(*data_report.lines(data, config), "", sep="\n", flush=True)
    failed, skipped = [], 0
    for name, finding in findings:
        print(_row(name, finding, data[0].panel.noun), flush=True)
        failed += [name] if finding.passed is False else []
        skipped += finding.passed is None
    if failed:
        raise RunError(f"{data[0].panel.origin}: the audit failed: {', '.join(failed)}")
    checks_were = "check was" if skipped == 1 else "checks were"
    print("no leak found" + (f"; {skipped} {checks_were} not applicable" if skipped else ""))


def _row(name: str, finding: Finding, noun: str) -> str:
    """A check's name, result and evidence; if it failed, what that means."""
    lines = [finding.evidence, *([f"It means: {finding.meaning}."] if finding.meaning else [])]
    text = "\n".join(textwrap.fill(worded(line, noun), 76) for line in lines)
    return f"{name:<26}{_RESULTS[finding.passed]:<16}{textwrap.indent(text, ' ' * 42).lstrip()}"


def _reproducible(config: Config) -> HardwareConfig:
    """Set up hardware on which equal inputs give equal bits: on the CPU, with one number of threads for all sums."""
    chosen = dataclasses.replace(
        config.hardware, device="cpu", precision="fp32", num_workers=0, threads=train.threads(config)
    )
    hardware.set_up(chosen, 0)
    return chosen


def _subjects(config: Config) -> Sequence[Subject]:
    """What is audited: one subject per fold of a walk-forward config, else one."""
    if isinstance(config.data, BarsConfig):
        return _of_bars(config)
    windows, before_test = loading.load_windows(config)
    return [ArraysSubject(config, _forecasters(config), windows, before_test)]


def _of_bars(config: Config) -> list[BarsSubject]:
    bars, pipeline = loading.load_bars(config), leaks.pipeline(config.audit.plant)
    data = cast("BarsConfig", config.data)
    used = bars.between(data.start, data.end)
    bars = used if bars.below_zero else bars
    if used.below_zero:
        low = np.logical_or.reduce([used.columns[name] <= 0 for name in PRICES if name in used.columns])
        raise UserError(
            f"{bars.origin}: has prices below 0, and the audit changes prices by ratios; "
            f"{days_without(used.dates, low)}"
        )
    return [BarsSubject(of_fold, _forecasters(config), bars, pipeline) for of_fold in config.each_fold()]


def _pool(config: Config) -> PoolSubject:
    """The pool that is audited, with a few of its stocks, which are printed. Raises UserError."""
    panel, _ = dataset.load_panel(config)
    assert panel.stocks is not None
    splits = [split(panel, fold.data) for fold in config.each_fold()]
    used, spec = set(panel.stocks.tickers), PanelSpec.of(config)
    each = [one for one in pooled.each_stock(config) if one.stock.ticker in used]
    bars, alone = functools.partial(pooled.each_bars, config, each), each
    if spec.target.expression is not None and spec.target.expression.cross_sectional:
        alone = [_with_own_target(one, spec.target.end) for one in each]
        print(f"            data.target={spec.target.name} compares stocks; each alone is audited with its log return")
    stocks = _sample(alone, panel.stocks.tickers)
    print(f"audited     {', '.join(stocks)}: {len(stocks)} of {len(panel.stocks.tickers)} stocks")
    return PoolSubject(panel, splits, functools.partial(dataset.fit_scaler, config), stocks, spec, bars)


def _with_own_target(config: Config, horizon: int) -> Config:
    assert isinstance(config.data, BarsConfig)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, target="log_return", horizon=horizon))


def _sample(each: Sequence[Config], tickers: Sequence[str]) -> dict[str, list[BarsSubject]]:
    """A few stocks from all over the list that have bars enough to be split by themselves. Raises UserError."""
    known = [one for one in each if one.stock.ticker in set(tickers)]
    at = np.unique(np.linspace(0, len(known) - 1, min(len(known), 3 * _MOST_STOCKS), dtype=int)).tolist()
    found, reason = dict[str, list[BarsSubject]](), ""
    for number in [*at[::3], *at[1::3], *at[2::3]]:
        subjects = _of_bars(known[number])
        try:
            for subject in subjects:
                subject.whole  # noqa: B018  # it is made, and kept, at the first look
        except UserError as error:
            reason = str(error)
            continue
        found[known[number].stock.ticker] = subjects
        if len(found) == _MOST_STOCKS:
            break
    if not found:
        raise UserError(f"data.tickers: no stock can be audited alone, the last of those tried: {reason}")
    return found


def _forecasters(config: Config) -> dict[str, Forecaster]:
    _, width = dataset.sample_shape(config)
    forecasters: dict[str, Forecaster] = {config.model.name: functools.partial(model_forecasts, config)}
    return {"ridge": ridge_forecasts, **forecasters} if width <= MOST_RIDGE_INPUTS else forecasters


def ridge_forecasts(data: Data) -> dict[str, Floats]:
    """Forecasts of the ridge baseline, by split; of large windows it sees the last days only."""
    panel = data.panel
    days = max(1, min(panel.window, _MOST_INPUTS // len(panel.features)))
    if days < panel.window:
        values = panel.values[:, -days:] if panel.windowed else panel.values
        data = dataclasses.replace(data, panel=dataclasses.replace(panel, values=values, window=days))
    return baselines.ridge_forecasts(data, Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32))


def model_forecasts(config: Config, data: Data) -> dict[str, Floats]:
    """Forecasts of the config's model after one epoch, by split."""
    chosen = hardware.choose(config.hardware)
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, epochs=1, overfit_batches=0))
    model = fold_training.fresh_model(config, data, chosen.dtype)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
    fold_training.trainer_for(config, chosen).fit(model, fold_training.samples_of(data, batches))
    return fold_training.forecasts_of(model, batches, data, chosen)
