"""From a source of numbers to scaled samples: source → panel → split → scaler → batches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stockml.data import doctor
from stockml.data.panel import Panel, from_bars
from stockml.data.scaler import Scaler
from stockml.data.split import Rows, Split, split
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config import BarsConfig, Config
    from stockml.data.bars import Bars


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
    return scaled(panel, split(panel, config.data, before_test))


def prepare_folds(config: Config) -> list[Data]:
    """Every fold of a walk-forward config, from one reading of the data; of any other config the one that there is."""
    panel, before_test = load(config)
    parts = [split(panel, fold.data, before_test) for fold in config.each_fold()]
    copies = [dataclasses.replace(panel, values=panel.values.copy()) for _ in parts[1:]]  # each is scaled by itself
    return [scaled(own, part) for own, part in zip([*copies, panel], parts, strict=True)]


def scaled(panel: Panel, parts: Split, fit: Callable[[Panel, Rows], Scaler] = Scaler.fit) -> Data:
    """The panel, scaled in place by what `fit` makes of its train rows. Raises UserError."""
    fingerprint = panel.fingerprint()
    scaler = fit(panel, parts.train)
    scaler.apply(panel)
    return Data(panel, parts, scaler, fingerprint)


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a sample, without loading the data. Raises UserError."""
    if config.data.source == "npz":
        from stockml.data import arrays

        return arrays.sample_shape(config)
    return cast("BarsConfig", config.data).window, len(config.stock.features)


def load(config: Config) -> tuple[Panel, int | None]:
    """The panel of the config's source; for arrays windowed elsewhere, how many samples come before the test too.

    Raises UserError, for errors that the data doctor finds too.
    """
    if config.data.source == "npz":
        from stockml.data import arrays

        with _readable():
            return arrays.load(config)
    data = cast("BarsConfig", config.data)
    bars = load_bars(config).between(data.start, data.end)
    doubts = doctor.doubts(bars)
    return dataclasses.replace(from_bars(bars, config.stock.features, data), doubts=doubts), None


def load_bars(config: Config) -> Bars:
    """The daily bars that the config names. Raises UserError."""
    if config.data.source == "csv":
        from stockml.data import tables as source
    elif config.data.source == "yahoo":
        from stockml.data import yahoo as source  # type: ignore[no-redef]
    else:
        from stockml.data import simulated as source  # type: ignore[no-redef]
    with _readable():
        return source.load(config)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
