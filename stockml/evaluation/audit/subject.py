"""What is audited: data that can be made again with noise in place of every row after a day."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import numpy as np

from stockml.data.bars import COLUMNS
from stockml.data.dataset import Data, scale
from stockml.data.settings import BarsConfig
from stockml.data.spec import PanelSpec
from stockml.data.split import Rows, split
from stockml.errors import UserError
from stockml.evaluation.audit.leaks import LEAKS, Pipeline, with_future
from stockml.evaluation.audit.noise import noisy_after
from stockml.evaluation.audit.scan import Looked, NextDays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.config.root import Config
    from stockml.data.bars import Bars, Floats
    from stockml.data.panel import Panel

Forecaster = Callable[[Data], dict[str, "Floats"]]
"""Fits on train, and gives the forecasts (N,) of validation and test, in the target's own units."""

FEWEST_SAMPLES = 50  # with fewer, chance looks like anything

_NOISE_SEED = 1
_MOST_DRAWS = 3


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    passed: bool | None
    """None: the check does not apply to these data."""
    evidence: str
    """What was looked at; of a failed check what was seen; of one that does not apply, the reason."""
    meaning: str = ""
    """Of a failed check: what it means, and what to do."""


@dataclass(frozen=True)
class Subject(ABC):
    """Data that can be made again with noise in place of every row after a given one."""

    kind: ClassVar[Literal["bars", "arrays"]]

    config: Config
    forecasters: Mapping[str, Forecaster]

    @abstractmethod
    def panel(self, noise_after: int | None = None) -> Panel:
        """The panel, not scaled, as a copy that may be changed."""

    @abstractmethod
    def data(self, noise_after: int | None = None) -> Data:
        """The samples, split and scaled."""

    @abstractmethod
    def with_future(self) -> Subject:
        """The same data with the target among the features."""

    @cached_property
    def whole(self) -> Data:
        """The samples without any noise, split and scaled."""
        return self.data()

    def forecasts(self, forecaster: str) -> dict[str, Floats]:
        """The forecaster's forecasts (N,) of the data without any noise, by split."""
        if forecaster not in self._forecasts:
            self._forecasts[forecaster] = self.forecasters[forecaster](self.whole)
        return self._forecasts[forecaster]

    @cached_property
    def _forecasts(self) -> dict[str, dict[str, Floats]]:
        return {}


@dataclass(frozen=True)
class BarsSubject(Subject):
    """Daily bars, and the pipeline that makes samples of them."""

    kind = "bars"

    bars: Bars
    pipeline: Pipeline
    lenient: bool = False
    """Whether a missing value is 0 where `features.missing` is error."""

    @property
    def settings(self) -> BarsConfig:
        """How the bars become samples."""
        return cast("BarsConfig", self.config.data)

    @cached_property
    def spec(self) -> PanelSpec:
        """What the panel holds: of a pool's stock, what is compared with other stocks in place of the comparison."""
        spec = PanelSpec.of(self.config)
        return spec.alone().lenient() if self.lenient or spec.cross_sectional else spec

    def panel(self, noise_after: int | None = None) -> Panel:
        """The panel of the bars; `noise_after` is a row of the panel.

        With noise, the samples are those without it, and what the noise leaves without a value is 0: which later days
        have values says nothing of a day.
        """
        if noise_after is None:
            return self.pipeline.panel(self.bars, self.spec, self.settings)
        row = self.row_of_bar(noise_after)
        for seed in range(_NOISE_SEED, _NOISE_SEED + _MOST_DRAWS):
            try:
                panel = self.pipeline.panel(noisy_after(self.bars, row, seed), self.spec.lenient(), self.settings)
                break
            except UserError:  # a value that is infinite on these days
                if seed == _NOISE_SEED + _MOST_DRAWS - 1:
                    raise
        values, target, samples = panel.values, panel.target, self.whole.panel.samples
        values[noise_after + 1 :] = np.nan_to_num(values[noise_after + 1 :])
        target[samples] = np.nan_to_num(target[samples])
        return replace(panel, samples=samples)

    def data(self, noise_after: int | None = None) -> Data:
        """The samples of the bars; `noise_after` is a row of the panel."""
        panel = self.panel(noise_after)
        return scale(panel, self.pipeline.split(panel, self.settings), self.pipeline.scaler)

    def of_bars(self, bars: Bars) -> BarsSubject:
        """The same of other bars, whose missing values are no fault."""
        return replace(self, bars=bars, lenient=True)

    def with_future(self) -> BarsSubject:
        """The bars in training's own pipeline, with the target among the features."""
        return replace(self, pipeline=LEAKS["future_return"](Pipeline()))

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """(R,) the days of the panel's rows."""
        dates = self.whole.panel.dates
        assert dates is not None
        return dates

    def next_days(self) -> tuple[Looked, NextDays, Rows]:
        """The features, unscaled, the bars (R,) of their days, and the last rows (N,) of train's windows."""
        panel = self.panel()
        rows = train_rows(panel, self.whole.split.train)
        return self.looked_at(panel.values, self.dates), self.days_of(self.dates), rows

    def looked_at(self, features: NDArray[np.float32], dates: NDArray[np.datetime64]) -> Looked:
        """Features (R, F) of some days, and the columns that their expressions read."""
        at, panel = np.searchsorted(self.bars.dates, dates), self.whole.panel
        read = {f"${name}": column[at] for name, column in self.spec.features.known(self.bars).items()}
        values, width = np.column_stack([features.astype(np.float64), *read.values()]), len(panel.features)
        number, compared = np.arange(values.shape[1]), np.zeros(values.shape[1], dtype=bool)
        computed = (number >= width - panel.expressions) & (number < width)
        expressions = PanelSpec.of(self.config).features.expressions.values()
        compared[width - len(expressions) : width] = [one.cross_sectional for one in expressions]
        return Looked((*panel.features, *read), values, computed, compared)

    def days_of(self, dates: NDArray[np.datetime64]) -> NextDays:
        """The bars of some days."""
        at = np.searchsorted(self.bars.dates, dates)
        columns = {name: self.bars.columns[name][at] for name in COLUMNS if name in self.bars.columns}
        expected = None if self.bars.expected is None else self.bars.expected[at]
        return NextDays(columns["close"], dates, columns, expected=expected)

    def row_of_bar(self, row: int) -> int:
        """The position among the bars of a row of the panel."""
        return int(np.searchsorted(self.bars.dates, self.dates[row]))


@dataclass(frozen=True)
class ArraysSubject(Subject):
    """Arrays that were windowed elsewhere, not scaled by stockml."""

    kind = "arrays"

    windows: Panel
    before_test: int
    """How many windows come before the test."""

    def panel(self, noise_after: int | None = None) -> Panel:
        """The windows; noise replaces those after the sample `noise_after`."""
        values, targets = self.windows.values.copy(), self.windows.target.copy()
        if noise_after is not None:
            rng, noisy = np.random.default_rng(_NOISE_SEED), slice(noise_after + 1, None)
            values[noisy] = rng.standard_normal(values[noisy].shape)
            targets[noisy] = rng.standard_normal(targets[noisy].shape)
        return replace(self.windows, values=values, target=targets)

    def data(self, noise_after: int | None = None) -> Data:
        """The samples, split and scaled."""
        panel = self.panel(noise_after)
        return scale(panel, split(panel, self.config.data, self.before_test))

    def with_future(self) -> ArraysSubject:
        """The same windows with the target's change among the features."""
        return replace(self, windows=with_future(self.windows))


def train_rows(panel: Panel, train: Rows) -> Rows:
    """The last rows of train's windows; of a panel with missing values, which may leave few of them, every row from
    the first to the last."""
    if panel.incomplete is None or not len(train) or not panel.incomplete.any():
        return train
    return np.arange(int(train.min()), int(train.max()) + 1)


def date_of(panel: Panel, row: int) -> str:
    """The day of a panel's row, or its number in undated panels."""
    return panel.date(row) if panel.dates is not None else f"sample {row:,}"


def scaling(data: Data) -> list[float]:
    """Every number that scales the data."""
    scaler = data.scaler
    return [*scaler.mean.tolist(), *scaler.std.tolist(), scaler.target_mean, scaler.target_std]
