"""From a source of numbers to scaled samples: source → panel → split → scaler → batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stockml.data import doctor, sources
from stockml.data.panel import Panel, from_bars
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.data.split import Rows, Split, split

if TYPE_CHECKING:
    from stockml.config.root import Config


@dataclass(frozen=True)
class Data:
    """A panel, scaled; how it is split; and what scaled it."""

    panel: Panel
    split: Split
    scaler: Scaler
    fingerprint: str
    """Of the panel before it was scaled."""

    def span(self, rows: Rows) -> tuple[str, str]:
        """The first and the last day of some rows; empty texts for undated arrays."""
        return self.panel.date(rows[0]), self.panel.date(rows[-1])


def prepare(config: Config) -> Data:
    """Load, split and scale what the config names. Raises UserError for every fault of the data.

    Of a walk-forward config it is the fold that is named, the first one by default.
    """
    panel, before_test = load(config)
    return scaled(panel, split(panel, config.data, before_test), _fit(config))


def prepare_folds(config: Config) -> list[Data]:
    """Every fold of a walk-forward config, from one reading of the data; of any other config the one that there is."""
    panel, before_test = load(config)
    parts = [split(panel, fold.data, before_test) for fold in config.each_fold()]
    copies = [_own(panel) for _ in parts[1:]]  # each is scaled by itself
    return [scaled(own, part, _fit(config)) for own, part in zip([*copies, panel], parts, strict=True)]


def _own(panel: Panel) -> Panel:
    return panel if panel.mapped else dataclasses.replace(panel, values=panel.values.copy())


def _fit(config: Config) -> Callable[[Panel, Rows], Scaler]:
    data = config.data
    return functools.partial(Scaler.fit, per_stock=isinstance(data, BarsConfig) and data.scaler == "per_stock")


def scaled(panel: Panel, parts: Split, fit: Callable[[Panel, Rows], Scaler] = Scaler.fit) -> Data:
    """The panel, scaled in place by what `fit` makes of its train rows. Raises UserError.

    Values that stay in their file are scaled by the batch, as they are read.
    """
    fingerprint = panel.fingerprint()
    scaler = fit(panel, parts.train)
    if not panel.mapped:
        scaler.transform(panel)
    return Data(panel, parts, scaler, fingerprint)


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a sample, without loading the data. Raises UserError."""
    if config.data.source == "npz":
        from stockml.data.sources.npz import arrays

        return arrays.sample_shape(config)
    return cast("BarsConfig", config.data).window, len(config.stock.features)


def load(config: Config) -> tuple[Panel, int | None]:
    """The panel of the config's source; for arrays windowed elsewhere, how many samples come before the test too.

    Raises UserError, for errors that the data doctor finds too.
    """
    if config.data.source == "npz":
        from stockml.data.sources.npz import arrays

        with sources.readable():
            return arrays.load(config)
    data = cast("BarsConfig", config.data)
    if data.pooled:
        from stockml.data import pooled

        return pooled.load(config), None
    bars = load_bars(config).between(data.start, data.end)
    data_warnings = doctor.told(doctor.counts(bars))
    return dataclasses.replace(from_bars(bars, config.stock.features, data), data_warnings=data_warnings), None


def panel_to_forecast(config: Config) -> Panel:
    """The panel of the dated bars that the config names, whose samples are all full windows. Raises UserError."""
    data = cast("BarsConfig", config.data)
    if data.pooled:
        from stockml.data import pooled

        return pooled.load(config, to_forecast=True)
    return from_bars(load_bars(config), config.stock.features, data, to_forecast=True)


load_bars = sources.load
