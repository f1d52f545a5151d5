"""The stages that make scaled samples of bars: those that training uses, and variants that leak, for the audit to find.

Training knows nothing of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.dataset import Data, scale
from stockml.data.panel import Panel, from_bars
from stockml.data.scaler import Scaler
from stockml.data.split import Rows, Split, split
from stockml.evaluation.metrics import target

if TYPE_CHECKING:
    from stockml.data.bars import Bars
    from stockml.data.settings import BarsConfig

_WEEK = 5  # days


@dataclass(frozen=True)
class Pipeline:
    """How bars become scaled samples, stage by stage; the defaults are the stages of `stockml.data`."""

    panel: Callable[[Bars, Sequence[str], BarsConfig], Panel] = from_bars
    split: Callable[[Panel, BarsConfig], Split] = split
    scaler: Callable[[Panel, Rows], Scaler] = Scaler.fit

    def data(self, bars: Bars, features: Sequence[str], config: BarsConfig) -> Data:
        """The samples, scaled, as `stockml.data.prepare` makes them. Raises UserError."""
        panel = self.panel(bars, features, config)
        return scale(panel, self.split(panel, config), self.scaler)


def with_future(panel: Panel) -> Panel:
    """The panel with what is to be forecast among its features, as `future`: a return, or a level's change."""
    known = target(panel, np.arange(len(panel.target)))
    future = np.nan_to_num(known.changes(known.y_true)).astype(np.float32)
    column = np.zeros((*panel.values.shape[:-1], 1), dtype=np.float32)
    column[(slice(None), -1, 0) if panel.windowed else (slice(None), 0)] = future
    return replace(panel, features=(*panel.features, "future"), values=np.concatenate([panel.values, column], axis=-1))


def _scaler_on_all_rows(honest: Pipeline) -> Pipeline:
    return replace(honest, scaler=lambda panel, _train: honest.scaler(panel, panel.samples))


def _shifted_target(honest: Pipeline) -> Pipeline:
    """The target of the day before: with a horizon of one day, the change that the window ends with."""

    def panel(bars: Bars, features: Sequence[str], config: BarsConfig) -> Panel:
        made = honest.panel(bars, features, config)
        return replace(made, target=np.append(made.target[:1], made.target[:-1]))

    return replace(honest, panel=panel)


def _centred_window(honest: Pipeline) -> Pipeline:
    """Every feature smoothed by the mean of the day before, the day, and the day after."""

    def panel(bars: Bars, features: Sequence[str], config: BarsConfig) -> Panel:
        made = honest.panel(bars, features, config)
        padded = np.concatenate([made.values[:1], made.values, made.values[-1:]])
        return replace(made, values=(padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3))

    return replace(honest, panel=panel)


def _future_return(honest: Pipeline) -> Pipeline:
    return replace(honest, panel=lambda bars, features, config: with_future(honest.panel(bars, features, config)))


def _random_split(honest: Pipeline) -> Pipeline:
    """Parts of the same sizes, their samples drawn at random."""

    def split(panel: Panel, config: BarsConfig) -> Split:
        parts = list(honest.split(panel, config).by_name().values())
        drawn = np.random.default_rng(0).permutation(np.concatenate(parts))
        train, validation, test = map(np.sort, np.split(drawn, np.cumsum([len(part) for part in parts[:-1]])))
        return Split(train, validation, test, purged=0)

    return replace(honest, split=split)


def _label_over_boundary(honest: Pipeline) -> Pipeline:
    """Targets of a week or more, split as if they were a day's."""

    def panel(bars: Bars, features: Sequence[str], config: BarsConfig) -> Panel:
        return honest.panel(bars, features, replace(config, horizon=max(_WEEK, config.horizon)))

    return replace(honest, panel=panel, split=lambda panel, config: honest.split(replace(panel, horizon=1), config))


LEAKS: dict[str, Callable[[Pipeline], Pipeline]] = {
    "scaler_on_all_rows": _scaler_on_all_rows,
    "shifted_target": _shifted_target,
    "centred_window": _centred_window,
    "future_return": _future_return,
    "random_split": _random_split,
    "label_over_boundary": _label_over_boundary,
}
"""What a leak makes of a pipeline, by name."""


def pipeline(plant: str | None = None) -> Pipeline:
    """The pipeline that training uses; or what the leak of that name makes of it."""
    return LEAKS[plant](Pipeline()) if plant else Pipeline()
