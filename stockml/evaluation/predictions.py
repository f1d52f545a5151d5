"""Forecasts and what came of them: everything that evaluation looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import verdict as verdicts
from stockml.evaluation.metrics import DIRECTION_ONLY, Floats, Scores, Target, score, target

if TYPE_CHECKING:
    from stockml.data.batches import Batches
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

Table = dict[str, dict[str, Scores]]
"""Scores by forecaster and part."""


@dataclass(frozen=True)
class Predictions:
    """The samples of one part, validation or test, and all that is forecast of them, in the target's own units."""

    truth: Target
    """Of the N samples."""
    rows: NDArray[np.int64]
    """(N,) the panel's rows in which they end."""
    dates: NDArray[np.datetime64] | None
    """(N,) days of the rows; None where they are not known."""
    model: Floats
    """(N,)"""
    baselines: dict[str, Floats]
    """(N,) each."""
    oracle: Floats | None = None
    """(N,) the best possible forecast, where simulated data tell it."""
    folds: NDArray[np.int64] | None = None
    """(N,) the fold of a walk-forward run that each sample was forecast in."""
    tickers: NDArray[np.str_] | None = None
    """(N,) the stock that each sample is of, where there are several; they are in order of time, then of the stock."""

    def scores(self, y_pred: Floats, *, direction_only: bool = False) -> Scores:
        """Scores of the forecasts (N,); of those that say but a direction, the hit rate alone.

        Of several stocks, how they are ranked against one another too.
        """
        dates = None if self.tickers is None else self.dates
        return score(self.truth, y_pred, dates, direction_only=direction_only)

    def of_stocks(self) -> dict[str, Scores]:
        """The model's scores for each stock, where there are several."""
        if self.tickers is None:
            return {}
        return {str(ticker): score(*self._of(self.tickers == ticker)) for ticker in np.unique(self.tickers)}

    def _of(self, chosen: NDArray[np.bool_]) -> tuple[Target, Floats]:
        truth = self.truth
        last = None if truth.last is None else truth.last[chosen]
        return Target(truth.y_true[chosen], truth.kind, last, truth.relative), self.model[chosen]


PredictionsBySplit = Mapping[str, Predictions]
"""Validation and test, by name."""


def collect(data: Data, batches: Batches, model: Mapping[str, Floats], name: str = "") -> dict[str, Predictions]:
    """The forecasts of the model of that name, (N,) a part, with those of every baseline beside them."""
    from stockml.evaluation import baselines  # which imports torch

    panel = data.panel
    rivals = baselines.forecasts(data, batches, name)
    return {
        part: Predictions(
            truth=target(panel, rows),
            rows=rows,
            dates=None if panel.dates is None else panel.dates[rows],
            tickers=tickers_of(panel, rows),
            model=model[part],
            baselines=rivals[part],
            oracle=None if panel.expected is None else panel.expected[rows],
        )
        for part, rows in baselines.scored_splits(data)
    }


def tickers_of(panel: Panel, rows: Rows) -> NDArray[np.str_] | None:
    """(N,) the stock of each row, where there are several."""
    return None if panel.stocks is None else np.array(panel.stocks.tickers)[panel.stocks.of(rows)]


def concatenate_folds(folds: Sequence[PredictionsBySplit]) -> dict[str, Predictions]:
    """The parts of several folds as one; each fold has the same baselines."""

    def join(part: str) -> Predictions:
        found = [fold[part] for fold in folds]
        first = found[0]

        def together(arrays: Sequence[Any]) -> Any:
            return None if arrays[0] is None else np.concatenate(arrays)

        return Predictions(
            truth=Target(
                together([f.truth.y_true for f in found]),
                first.truth.kind,
                together([f.truth.last for f in found]),
                first.truth.relative,
            ),
            rows=together([f.rows for f in found]),
            dates=together([f.dates for f in found]),
            tickers=together([f.tickers for f in found]),
            model=together([f.model for f in found]),
            baselines={name: together([f.baselines[name] for f in found]) for name in first.baselines},
            oracle=together([f.oracle for f in found]),
            folds=np.repeat(np.arange(len(found)), [len(f.rows) for f in found]),
        )

    return {part: join(part) for part in folds[0]}


def evaluate(parts: PredictionsBySplit, horizon: int, *, synthetic: bool, best: str | None = None) -> dict[str, Any]:
    """What metrics.json says of the forecasts, of so many days ahead.

    The best baseline is that on validation, unless it is known already.
    """
    table = _table(parts)
    model, oracle = table.pop("model"), table.pop("oracle", None)
    best = best or min(table, key=lambda name: _error(table[name]["validation"]))
    found = verdicts.assess(parts["test"], best, horizon)
    return {
        **model,
        "baselines": table,
        "best_baseline": best,
        "significance": found.to_json(),
        "skill": verdicts.skill(found),
        "verdict": verdicts.verdict(found),
        **({"oracle": oracle} if synthetic else {}),
    }


def _table(parts: PredictionsBySplit) -> Table:
    table: Table = {"model": {part: scored.scores(scored.model) for part, scored in parts.items()}}
    for name in next(iter(parts.values())).baselines:
        only = name in DIRECTION_ONLY
        table[name] = {part: s.scores(s.baselines[name], direction_only=only) for part, s in parts.items()}
    oracles = {part: scored.scores(scored.oracle) for part, scored in parts.items() if scored.oracle is not None}
    return {**table, "oracle": oracles} if oracles else table


def _error(scores: Scores) -> float:
    """The squared error that baselines are chosen by; those that have none never are."""
    return np.inf if scores["mse"] is None else float(scores["mse"])
