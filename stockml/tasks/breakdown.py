"""A run's scores in detail: by fold of a walk-forward run, by stock of a pooled one, by member of a combined one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stockml.evaluation.metrics import SHORT_SPLITS, has_quantiles, shown

if TYPE_CHECKING:
    from stockml.data.dataset import Data
    from stockml.evaluation.metrics import Scores
    from stockml.evaluation.predictions import PredictionsBySplit
    from stockml.runs.folder import RunFolder
    from stockml.training.interface import TrainState

Row = dict[str, Any]


def by_fold(
    folds: Sequence[Data], states: Sequence[Sequence[TrainState]], predictions: Sequence[PredictionsBySplit]
) -> list[Row]:
    """The rows of folds.csv: each fold's days and samples, its epochs, and its scores."""
    return [_fold(number, *of_fold) for number, of_fold in enumerate(zip(folds, states, predictions, strict=True))]


def by_stock(predictions: PredictionsBySplit) -> list[Row]:
    """The rows of stocks.csv: the scores of each stock."""
    found = {split: scored.of_stocks() for split, scored in predictions.items()}
    tickers = dict.fromkeys(ticker for scores in found.values() for ticker in scores)
    return [_stock(ticker, {split: scores.get(ticker) for split, scores in found.items()}) for ticker in tickers]


def by_member(facts: Sequence[Row], predictions: Sequence[PredictionsBySplit]) -> list[Row]:
    """The rows of members.csv: what is known of each member of a combined run, and its scores."""
    scores = ({split: of.scores(of.model) for split, of in own.items()} for own in predictions)
    return [{**own, **_scores(found, "folds")} for own, found in zip(facts, scores, strict=True)]


def write(folder: RunFolder, name: str, rows: Sequence[Row], *, synthetic: bool) -> None:
    """Write rows as a CSV file of the run folder."""
    folder.write_csv(name, list(rows[0]), (list(row.values()) for row in rows), synthetic=synthetic)


def _fold(number: int, data: Data, states: Sequence[TrainState], predictions: PredictionsBySplit) -> Row:
    row: Row = {"fold": number}
    for split, rows in data.split.by_name().items():
        row |= {f"{split}_{what}": day for what, day in zip(("first", "last"), data.span(rows), strict=True)}
        row[f"{split}_n"] = len(rows)
    row |= {"purged": data.split.purged, "epochs": max(len(state.history) for state in states)}
    row["best_epoch"] = states[0].stopping.best_epoch if len(states) == 1 else None
    return row | _scores({split: scored.scores(scored.model) for split, scored in predictions.items()}, "folds")


def _stock(ticker: str, scores: Mapping[str, Scores | None]) -> Row:
    counts = {f"{split}_n": found["n"] if found else 0 for split, found in scores.items()}
    return {"ticker": ticker, **counts, **_scores(scores, "stocks")}


def _scores(by_split: Mapping[str, Scores | None], place: str) -> Row:
    of_quantiles = any(has_quantiles(scores) for scores in by_split.values() if scores)
    metrics = shown(place) + [
        metric for metric in shown(place, of_quantiles=True) if of_quantiles and metric.name != "n"
    ]
    return {
        f"{short}_{metric.name}": scores[metric.name] if (scores := by_split.get(split)) else None
        for short, split in SHORT_SPLITS.items()
        for metric in metrics
    }
