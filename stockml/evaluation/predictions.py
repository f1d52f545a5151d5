"""Predictions: the samples of a split, what they turned out to be, and every forecast of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.evaluation import baselines
from stockml.evaluation.metrics import Scores, score
from stockml.evaluation.truth import Floats, Target, target

if TYPE_CHECKING:
    from stockml.data.batches import Batches
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.data.split import Rows


@dataclass(frozen=True)
class Predictions:
    """The samples of one split, validation or test, and every forecast of them, in the target's own units."""

    truth: Target
    """The targets of the N samples."""
    rows: NDArray[np.int64]
    """(N,) the rows of the panel in which the samples end."""
    dates: NDArray[np.datetime64] | None
    """(N,) days of the rows, in order; None where they are not known."""
    model: Floats
    """(N,)"""
    baselines: dict[str, Floats]
    """(N,) each."""
    oracle: Floats | None = None
    """(N,) the best possible forecast, which is known for simulated data."""
    folds: NDArray[np.int64] | None = None
    """(N,) the fold of a walk-forward run that forecast each sample."""
    tickers: NDArray[np.str_] | None = None
    """(N,) the stock of each sample, in a run on several; samples are in order of time, then of the stock."""
    volatility: Floats | None = None
    """(N,) the target's volatility as known on the day, by which intervals are scaled; None without intervals."""
    intervals: Mapping[float, Floats] = field(default_factory=dict)
    """By level: the lower and the upper end, (2, N); NaN where there is none."""
    next_return: Floats | None = None
    """(N,) the simple return of the stock from the day's close to its next; None where it is not known."""

    @cached_property
    def frequency(self) -> frequency.Frequency:
        """How far the bars are apart; daily where dates are not known. Of several stocks, that of the one with the most
        samples."""
        if self.dates is None:
            return frequency.DAILY
        own = np.ones(len(self.rows), dtype=bool)
        if self.tickers is not None:
            names, counts = np.unique(self.tickers, return_counts=True)
            own = self.tickers == names[counts.argmax()]
        return frequency.of(self.dates[own], self.rows[own])

    @property
    def reverts(self) -> bool:
        """Whether the target is a volatility, which reverts to its mean."""
        return self.truth.reverts

    def scores(self, y_pred: Floats, *, direction_only: bool = False) -> Scores:
        """Every metric of the forecasts (N,), with the pooled ones where there are several stocks.

        With `direction_only`, only the metrics of directions.
        """
        dates = None if self.tickers is None else self.dates
        return score(self.truth, y_pred, dates, direction_only=direction_only)

    def of_stocks(self) -> dict[str, Scores]:
        """The model's scores by stock; empty in a run on one."""
        if self.tickers is None:
            return {}
        chosen = {str(ticker): self.tickers == ticker for ticker in np.unique(self.tickers)}
        return {ticker: score(self.truth.of(own), self.model[own]) for ticker, own in chosen.items()}

    def of(self, chosen: NDArray[Any]) -> Predictions:
        """The predictions of some of the samples, by their positions or by a mask."""

        def some(array: Any) -> Any:
            return None if array is None else array[chosen]

        return Predictions(
            truth=self.truth.of(chosen),
            rows=self.rows[chosen],
            dates=some(self.dates),
            model=self.model[chosen],
            baselines={name: values[chosen] for name, values in self.baselines.items()},
            oracle=some(self.oracle),
            folds=some(self.folds),
            tickers=some(self.tickers),
            volatility=some(self.volatility),
            intervals={level: bounds[:, chosen] for level, bounds in self.intervals.items()},
            next_return=some(self.next_return),
        )


PredictionsBySplit = Mapping[str, Predictions]
"""Validation and test, by name."""


def collect(
    data: Data, batches: Batches, model: Mapping[str, Floats], name: str = "", quantile: float | None = None
) -> dict[str, Predictions]:
    """A model's forecasts, (N,) by split, with those of every baseline; `name` is the model's.

    `quantile` is the one that the model forecasts; None where that is the mean.
    """
    panel = data.panel
    rivals = (
        baselines.forecasts(data, batches, name) if quantile is None else baselines.quantile_forecasts(data, quantile)
    )
    return {
        split: Predictions(
            truth=target(panel, rows, baselines.known_drift(rivals[split]), quantile),
            rows=rows,
            dates=None if panel.dates is None else panel.dates[rows],
            tickers=tickers_of(panel, rows),
            model=model[split],
            baselines=rivals[split],
            oracle=None if panel.expected is None or quantile is not None else panel.expected[rows],
            next_return=None if panel.next_return is None else panel.next_return[rows],
        )
        for split, rows in baselines.scored_splits(data)
    }


def deciding(splits: PredictionsBySplit) -> dict[str, Predictions]:
    """The predictions by which runs are compared: of a walk-forward run, the validation of its first fold alone.

    The days of later folds' validation are test days of earlier ones: to choose by them is to choose by the test.
    """
    found = dict(splits)
    if (validation := found.get("validation")) is not None and validation.folds is not None:
        found["validation"] = validation.of(validation.folds == validation.folds.min())
    return found


def tickers_of(panel: Panel, rows: Rows) -> NDArray[np.str_] | None:
    """(N,) the stock of each row; None for a panel of one stock."""
    return None if panel.stocks is None else np.array(panel.stocks.tickers)[panel.stocks.of(rows)]


def concatenate_folds(folds: Sequence[PredictionsBySplit]) -> dict[str, Predictions]:
    """The predictions of all folds of a walk-forward run, in order; each fold has the same baselines."""

    def join(split: str) -> Predictions:
        found = [fold[split] for fold in folds]
        first = found[0]

        def together(arrays: Sequence[Any]) -> Any:
            return None if arrays[0] is None else np.concatenate(arrays)

        return Predictions(
            truth=Target(
                together([f.truth.y_true for f in found]),
                first.truth.kind,
                together([f.truth.last for f in found]),
                first.truth.relative,
                together([f.truth.drift for f in found]),
                first.truth.quantile,
                first.truth.reverts,
            ),
            rows=together([f.rows for f in found]),
            dates=together([f.dates for f in found]),
            tickers=together([f.tickers for f in found]),
            model=together([f.model for f in found]),
            baselines={name: together([f.baselines[name] for f in found]) for name in first.baselines},
            oracle=together([f.oracle for f in found]),
            folds=np.repeat(np.arange(len(found)), [len(f.rows) for f in found]),
            volatility=None if any(f.volatility is None for f in found) else together([f.volatility for f in found]),
            intervals={
                level: np.hstack([f.intervals[level] for f in found])
                for level in first.intervals
                if all(level in f.intervals for f in found)
            },
            next_return=None if any(f.next_return is None for f in found) else together([f.next_return for f in found]),
        )

    return {split: join(split) for split in folds[0]}
