"""The lines in which a run reports its data: where they are from, how they are split, what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stockml.config.values import list_stocks, worded
from stockml.data.features import sets
from stockml.data.settings import CLOSE_TARGETS, BarsConfig
from stockml.data.spec import PanelSpec

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel


_LARGEST_MEAN = 1.0  # in standard deviations; over 20 days, a Sharpe ratio of 3.5 a year


_MOST_NAMED = 25
_MOST_SHOWN = 8  # features, in the first lines
_ROUNDING = 1e-9  # standard deviations; of a mean that is 0


def lines(folds: Sequence[Data], config: Config | None = None) -> list[str]:
    """The data report of a run, given the data of its folds, or its only data; with its config, of more detail."""
    data = folds[0]
    panel = data.panel
    rows = f"{len(panel.values):,} {'windows' if panel.windowed else 'rows'}"
    if panel.dates is not None:
        rows += f", {panel.days()}"
    report = [f"data        {panel.ticker} from {panel.origin}"]
    if panel.stocks is not None:
        report.append(f"            {list_stocks(panel.stocks.tickers)}")
    if panel.parsing_notes:
        report.append(f"read as     {panel.parsing_notes}")
    report += [
        f"            {rows}; window {panel.window}",
        f"features    {_features(config, panel)}",
        f"target      {_target(data, config)}",
    ]
    distance = abs(data.scaler.target_mean) / data.scaler.target_std
    if panel.kind == "return" and distance > _LARGEST_MEAN:
        report.append(f"            {_question(panel.target_name, f'{distance:.1f} standard deviations from 0')}")
    if len(folds) == 1:
        for name, samples in data.split.by_name().items():
            span = f"  {' to '.join(data.span(samples))}" if panel.dates is not None else ""
            report.append(f"{name:<12}{len(samples):>7,} samples{span}")
    else:
        report += [f"fold {number:<7}{_fold(fold)}" for number, fold in enumerate(folds)]
        first, last = data.span(data.split.validation)
        report.append(
            f"decided on  validation of fold 0, {first} to {last}, before every test day: by it runs are compared "
            "and the best baseline is chosen"
        )
    left_out = list(panel.dropped)
    if purged := sum(fold.split.purged for fold in folds):
        left_out.append(f"{purged} samples (purged: target ends in the next split, or embargo)")
    report.append(f"left out    {worded('; '.join(left_out) or 'nothing', panel.noun)}")
    report += [f"            {note}" for note in stock_notes(folds)]
    if panel.dates is None:
        purge = "" if panel.reach else ", and are not purged: their horizon is not known"
        report.append(f"            undated: samples are taken as ordered by time{purge}")
    if panel.data_warnings:
        warnings = ", ".join(panel.data_warnings)
        report.append(f"doctor      found {warnings}; task=doctor with the same data and stock shows where")
    return report


def stock_notes(folds: Sequence[Data]) -> list[str]:
    """Which stocks are left out, have few samples or end early, and which features are constant, a text each."""
    notes = []
    if unknown := list(dict.fromkeys(ticker for fold in folds for ticker in fold.split.unknown)):
        notes.append(f"{list_stocks(unknown)} (no train samples to fit a scaler on; data.scaler=global keeps them)")
    if few := list(dict.fromkeys(ticker for fold in folds for ticker in fold.scaler.from_pool)):
        why = "too few train samples for a scaler of their own: they have that of all stocks; data.min_scaler_samples"
        notes.append(f"{list_stocks(few)} ({why})")
    if ended := folds[0].panel.ended():
        named = [f"{ticker} on {day}" for ticker, day in ended.items()]
        notes.append(f"{list_stocks(named)} (ended before the pool; task=predict goes no further)")
    is_constant = np.any([np.isinf(fold.scaler.std) for fold in folds], axis=0)
    if constant := np.array(folds[0].panel.features)[is_constant].tolist():
        notes.append(f"{_named(constant)}: never changes in train, so the model sees 0")
    return notes


def _named(features: Sequence[str]) -> str:
    if len(features) <= _MOST_NAMED:
        return ", ".join(features)
    return f"{', '.join(features[:_MOST_NAMED])} and {len(features) - _MOST_NAMED:,} more"


def _question(name: str, distance: str) -> str:
    """What to do about a return whose mean is so far from 0."""
    if name in ("", *CLOSE_TARGETS):
        return f"its mean is {distance}, which no return's is: check them; zero is no baseline for them"
    if name.startswith("CSRank("):
        return (
            f"data.target={name} is a rank among the day's stocks: forecast what it ranks, and train on its rank with "
            "data.target_normalize=csrank"
        )
    return (
        f"data.target={name} seems to be a level (its mean is {distance}): forecast its change, such as "
        "'Ref(x, -1) / x - 1' or 'Ref(x, -1) - x'"
    )


def _features(config: Config | None, panel: Panel) -> str:
    """The set of features, those that are added to it, and the lag of columns."""
    if config is None or panel.windowed or not isinstance(config.data, BarsConfig):
        return _counted(panel.features)
    of_bars, of_set = config.stock.features if config.features.bars else (), sets.names_in(config.features.set)
    added = [name for name in panel.features if of_set is not None and name not in (*of_bars, *of_set)]
    rest = [name for name in panel.features if name not in added]
    parts = [f"{config.features.set}: {_counted(rest)}"] if rest else []
    parts += [f"own: {_counted(added)}"] if added else []
    lag = PanelSpec.of(config).features.lag
    return "; ".join([*parts, *(f"${name}, lag {days}" for name, days in lag.items())])


def _counted(names: Sequence[str]) -> str:
    """How many there are, and the first ones."""
    return ", ".join([f"{len(names):,}", *names[:_MOST_SHOWN], *(["…"] if len(names) > _MOST_SHOWN else [])])


def _fold(data: Data) -> str:
    splits = [f"{name} {len(rows):,} from {data.span(rows)[0]}" for name, rows in data.split.by_name().items()]
    return f"{', '.join(splits)} to {data.span(data.split.test)[1]}"


def _target(data: Data, config: Config | None) -> str:
    panel, scaler = data.panel, data.scaler
    mean = scaler.target_mean if abs(scaler.target_mean) > _ROUNDING * scaler.target_std else 0
    moments = f"train mean {mean:.4g}, standard deviation {scaler.target_std:.4g}"
    if panel.normalized is not None:
        how = getattr(config.data, "target_normalize", "") if config else ""
        shown = {"csrank": "rank", "cszscore": "standard score"}.get(how, "rank or standard score")
        moments += f"; the model is trained on its {shown} in the day (data.target_normalize)"
    name = "" if panel.target_name in ("", *CLOSE_TARGETS) else panel.target_name
    if panel.kind == "class":
        return f"a class, 0 or 1{f': {name}' if name else ''}; {moments}"
    if panel.kind == "level" and panel.last is None:
        return f"a level, and no feature is near its last value: compared with the train mean; {moments}"
    if panel.kind == "level":
        return f"a level, its direction relative to {panel.last_name}; {moments}"
    what = "the change of the price" if panel.target_name == "difference" else "a return"
    noun = panel.noun
    ahead = f"{panel.reach} {noun}{'s' if panel.reach > 1 else ''} ahead" if panel.reach else ""
    if name:
        return f"a return, ends {ahead}: {name}; {moments}"
    return f"{what}{f' {ahead}' if ahead else ''}; {moments}"
