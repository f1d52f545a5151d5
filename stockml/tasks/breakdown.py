"""A run's scores in detail: a row per fold of a walk-forward run, a row per stock of a pooled one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stockml.evaluation.metrics import SHORT_SPLITS, shown

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.evaluation.metrics import Scores
    from stockml.evaluation.predictions import PredictionsBySplit
    from stockml.training.interface import TrainState

Row = dict[str, Any]


def by_fold(
    folds: Sequence[Data], states: Sequence[Sequence[TrainState]], parts: Sequence[PredictionsBySplit]
) -> list[Row]:
    """The rows of folds.csv: each fold's days and samples, its epochs, and its scores."""
    return [_fold(number, *of_fold) for number, of_fold in enumerate(zip(folds, states, parts, strict=True))]


def by_stock(parts: PredictionsBySplit) -> list[Row]:
    """The rows of stocks.csv: the scores of each stock."""
    found = {part: scored.of_stocks() for part, scored in parts.items()}
    tickers = dict.fromkeys(ticker for scores in found.values() for ticker in scores)
    return [_stock(ticker, {part: scores.get(ticker) for part, scores in found.items()}) for ticker in tickers]


def _fold(number: int, data: Data, states: Sequence[TrainState], parts: PredictionsBySplit) -> Row:
    row: Row = {"fold": number}
    for part, rows in data.split.by_name().items():
        row |= {f"{part}_{what}": day for what, day in zip(("first", "last"), data.span(rows), strict=True)}
        row[f"{part}_n"] = len(rows)
    row |= {"purged": data.split.purged, "epochs": max(len(state.history) for state in states)}
    row["best_epoch"] = states[0].stopping.best_epoch if len(states) == 1 else None
    return row | _scores({part: scored.scores(scored.model) for part, scored in parts.items()}, "folds")


def _stock(ticker: str, scores: Mapping[str, Scores | None]) -> Row:
    counts = {f"{part}_n": of["n"] if of else 0 for part, of in scores.items()}
    return {"ticker": ticker, **counts, **_scores(scores, "stocks")}


def _scores(parts: Mapping[str, Scores | None], place: str) -> Row:
    return {
        f"{short}_{metric.name}": scores[metric.name] if (scores := parts[part]) else None
        for short, part in SHORT_SPLITS.items()
        for metric in shown(place)
    }
