"""The stages that make scaled samples from bars, as training uses them, and with a leak injected for the audit to find.

Training does not use this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.panel import Panel
from stockml.data.samples import from_bars
from stockml.data.scaler import Scaler
from stockml.data.split import Rows, Split, split
from stockml.data.target import TargetSpec
from stockml.evaluation.truth import target

if TYPE_CHECKING:
    from stockml.data.bars import Bars
    from stockml.data.settings import BarsConfig
    from stockml.data.spec import PanelSpec

_WEEK = 5  # days


@dataclass(frozen=True)
class Pipeline:
    """How bars become scaled samples, stage by stage; the defaults are the stages that training uses."""

    panel: Callable[[Bars, PanelSpec, BarsConfig], Panel] = from_bars
    split: Callable[[Panel, BarsConfig], Split] = split
    scaler: Callable[[Panel, Rows], Scaler] = Scaler.fit


def with_future(panel: Panel) -> Panel:
    """The panel with the target among its features, as `future`: a return, or a level's change."""
    known = target(panel, np.arange(len(panel.target)))
    future = np.nan_to_num(known.changes(known.y_true)).astype(np.float32)
    column = np.zeros((*panel.values.shape[:-1], 1), dtype=np.float32)
    column[(slice(None), -1, 0) if panel.windowed else (slice(None), 0)] = future
    return replace(
        panel,
        features=(*panel.features, "future"),
        expressions=panel.expressions + (panel.expressions > 0),  # these are the last
        values=np.concatenate([panel.values, column], axis=-1),
    )


def _scaler_on_all_rows(clean: Pipeline) -> Pipeline:
    return replace(clean, scaler=lambda panel, _train: clean.scaler(panel, panel.samples))


def _shifted_target(clean: Pipeline) -> Pipeline:
    """The target of the day before: with a horizon of one day, the last change in the window."""

    def panel(bars: Bars, spec: PanelSpec, config: BarsConfig) -> Panel:
        made = clean.panel(bars, spec, config)
        return replace(made, target=np.append(made.target[:1], made.target[:-1]))

    return replace(clean, panel=panel)


def _centred_window(clean: Pipeline) -> Pipeline:
    """Every feature replaced by the mean of the day before, the day, and the day after."""

    def panel(bars: Bars, spec: PanelSpec, config: BarsConfig) -> Panel:
        made = clean.panel(bars, spec, config)
        padded = np.concatenate([made.values[:1], made.values, made.values[-1:]])
        return replace(made, values=(padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3))

    return replace(clean, panel=panel)


def _future_return(clean: Pipeline) -> Pipeline:
    return replace(clean, panel=lambda bars, spec, config: with_future(clean.panel(bars, spec, config)))


def _random_split(clean: Pipeline) -> Pipeline:
    """Splits of the same sizes, with their samples drawn at random."""

    def split(panel: Panel, config: BarsConfig) -> Split:
        splits = list(clean.split(panel, config).by_name().values())
        drawn = np.random.default_rng(0).permutation(np.concatenate(splits))
        train, validation, test = map(np.sort, np.split(drawn, np.cumsum([len(rows) for rows in splits[:-1]])))
        return Split(train, validation, test, purged=0)

    return replace(clean, split=split)


def _label_over_boundary(clean: Pipeline) -> Pipeline:
    """Targets over a week or more, split as if they were over one day."""

    def panel(bars: Bars, spec: PanelSpec, config: BarsConfig) -> Panel:
        over_a_week = TargetSpec.of(replace(config, horizon=max(_WEEK, config.horizon)))
        return clean.panel(bars, replace(spec, target=over_a_week), config)

    return replace(
        clean, panel=panel, split=lambda panel, config: clean.split(replace(panel, horizon=1, target_end=1), config)
    )


LEAKS: dict[str, Callable[[Pipeline], Pipeline]] = {
    "scaler_on_all_rows": _scaler_on_all_rows,
    "shifted_target": _shifted_target,
    "centred_window": _centred_window,
    "future_return": _future_return,
    "random_split": _random_split,
    "label_over_boundary": _label_over_boundary,
}
"""By name: a function from a pipeline to the same one with that leak."""


def pipeline(leak: str | None = None) -> Pipeline:
    """The pipeline that training uses, or the same one with the leak of that name injected."""
    return LEAKS[leak](Pipeline()) if leak else Pipeline()
