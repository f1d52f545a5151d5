"""Every forecast of a run, on disk: predictions.csv, and baselines.csv beside it with the same samples."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.errors import UserError
from stockml.evaluation.metrics import Target
from stockml.evaluation.predictions import Predictions, PredictionsBySplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stockml.runs.folder import RunFolder

_CHUNK = 4096  # samples at a time: as numbers of Python's they take four times the memory
_SAMPLE = ("sample", "ticker", "date", "split")


def write(folder: RunFolder, parts: PredictionsBySplit, ticker: str, *, synthetic: bool) -> None:
    """Write both files, a row a sample; each number so that it is read back as it was.

    The ticker is that of samples that have none of their own.
    """
    first = next(iter(parts.values()))
    fold = [] if first.folds is None else ["fold"]
    names = [*first.baselines, *(["oracle"] if first.oracle is not None else [])]

    def rows(columns: dict[str, list[Any]]) -> Iterator[list[Any]]:
        for part, scored in parts.items():
            folds = [] if scored.folds is None else [scored.folds]
            for start in range(0, len(scored.rows), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                samples = scored.rows[chunk].tolist()
                dates = [""] * len(samples) if scored.dates is None else scored.dates[chunk].astype(str).tolist()
                tickers = [ticker] * len(samples) if scored.tickers is None else scored.tickers[chunk].tolist()
                values = [array[chunk].tolist() for array in (*columns[part], *folds)]
                for sample, own, date, *cells in zip(samples, tickers, dates, *values, strict=True):
                    yield [sample, own, date, part, *cells]

    own = {part: [scored.truth.y_true, scored.model] for part, scored in parts.items()}
    others = {part: [s.baselines.get(name, s.oracle) for name in names] for part, s in parts.items()}
    folder.write_csv("predictions.csv", [*_SAMPLE, "y_true", "y_pred", *fold], rows(own), synthetic=synthetic)
    folder.write_csv("baselines.csv", [*_SAMPLE, *names, *fold], rows(others), synthetic=synthetic)


def read(folder: RunFolder) -> dict[str, Predictions]:
    """Validation and test as they were scored, from the run's folder alone; UserError where that is impossible."""
    facts = folder.read_json("config.json")["data"]
    own, others = columns(folder, "predictions.csv"), columns(folder, "baselines.csv")
    try:
        if own["sample"] != others["sample"] or own["split"] != others["split"]:
            raise UserError(f"{folder.path}: predictions.csv and baselines.csv are not of the same samples")
        return {part: _part(part, facts, own, others) for part in dict.fromkeys(own["split"])}
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder.path}: its forecasts cannot be read ({error!r})") from error


def columns(folder: RunFolder, name: str) -> dict[str, list[str]]:
    """A CSV file of the run folder as text, by column; UserError where there is none, or nothing in it."""
    path = folder.path / name
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _part(part: str, facts: dict[str, Any], own: dict[str, list[str]], others: dict[str, list[str]]) -> Predictions:
    chosen = [number for number, split in enumerate(own["split"]) if split == part]

    def column(table: dict[str, list[str]], name: str, kind: Any = np.float64) -> Any:
        return np.array([table[name][number] for number in chosen], dtype=object).astype(kind)

    rivals = {name: column(others, name) for name in others if name not in (*_SAMPLE, "fold", "oracle", "synthetic")}
    return Predictions(
        truth=Target(column(own, "y_true"), facts["kind"], rivals.get("persistence"), facts["relative"]),
        rows=column(own, "sample", np.int64),
        dates=column(own, "date", "datetime64[D]") if own["date"][chosen[0]] else None,
        tickers=column(own, "ticker", np.str_) if facts.get("tickers") else None,
        model=column(own, "y_pred"),
        baselines=rivals,
        oracle=column(others, "oracle") if "oracle" in others else None,
        folds=column(own, "fold", np.int64) if "fold" in own else None,
    )
