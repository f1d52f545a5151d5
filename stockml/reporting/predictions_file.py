"""Write and read predictions.csv, and baselines.csv beside it: every forecast of a run, a row for each sample."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.printable import from_csv_cell
from stockml.errors import UserError
from stockml.evaluation import intervals
from stockml.evaluation.baselines import known_drift
from stockml.evaluation.predictions import Predictions, PredictionsBySplit
from stockml.evaluation.truth import Target
from stockml.runs import plain_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stockml.runs.folder import RunFolder

_COPIES = 8  # of a table, while its cells are texts in memory
_CHUNK = 4096  # samples converted to Python's numbers at a time, as these take four times the memory
_SAMPLE = ("sample", "ticker", "date", "split")


def write(folder: RunFolder, splits: PredictionsBySplit, ticker: str, *, synthetic: bool) -> None:
    """Write both files, with every digit of each number.

    `ticker` is that of samples which have none of their own.
    """
    first = next(iter(splits.values()))
    fold = [] if first.folds is None else ["fold"]
    names = [*first.baselines, *(["oracle"] if first.oracle is not None else [])]

    def rows(columns: dict[str, list[Any]]) -> Iterator[list[Any]]:
        for split, predictions in splits.items():
            folds = [] if predictions.folds is None else [predictions.folds]
            for start in range(0, len(predictions.rows), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                samples = predictions.rows[chunk].tolist()
                dates = [""] * len(samples)
                if predictions.dates is not None:
                    dates = predictions.dates[chunk].astype(str).tolist()
                tickers = [ticker] * len(samples)
                if predictions.tickers is not None:
                    tickers = predictions.tickers[chunk].tolist()
                values = [_cells(array[chunk]) for array in (*columns[split], *folds)]
                for sample, own, date, *cells in zip(samples, tickers, dates, *values, strict=True):
                    yield [sample, own, date, split, *cells]

    levels = list(splits["test"].intervals) if "test" in splits else []
    returns = [] if first.next_return is None else ["next_return"]
    further = [*intervals.columns(levels), *(["volatility"] if levels else []), *returns]
    own = {
        split: [of.truth.y_true, of.model, *_intervals(of, levels), *([of.next_return] if returns else [])]
        for split, of in splits.items()
    }
    others = {split: [of.baselines.get(name, of.oracle) for name in names] for split, of in splits.items()}
    folder.write_csv("predictions.csv", [*_SAMPLE, "y_true", "y_pred", *further, *fold], rows(own), synthetic=synthetic)
    folder.write_csv("baselines.csv", [*_SAMPLE, *names, *fold], rows(others), synthetic=synthetic)


def _intervals(predictions: Predictions, levels: Sequence[float]) -> list[Any]:
    """The columns of the intervals, without values for samples that have none, and the volatility."""
    nothing = np.full((2, len(predictions.rows)), np.nan)
    bounds = [end for level in levels for end in predictions.intervals.get(level, nothing)]
    return [*bounds, predictions.volatility] if levels else []


def _cells(values: Any) -> list[Any]:
    """Python's numbers; None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def read(folder: RunFolder) -> dict[str, Predictions]:
    """The predictions of each split, read from the run folder; UserError where its files are missing or broken."""
    metadata = folder.read_json("config.json")
    config = metadata["config"]
    data = {**metadata["data"], "quantile": config.get("trainer", {}).get("quantile")}
    data["reverts"] = config.get("data", {}).get("target") == "volatility"
    own, others = read_columns(folder, "predictions.csv"), read_columns(folder, "baselines.csv")
    try:
        if own["sample"] != others["sample"] or own["split"] != others["split"]:
            raise UserError(f"{folder.path}: predictions.csv and baselines.csv have different samples")
        return {split: _predictions(split, data, own, others) for split in dict.fromkeys(own["split"])}
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder.path}: predictions.csv and baselines.csv cannot be read ({error!r})") from error


def content_hash(folder: RunFolder) -> str:
    """The SHA-256 of both files; UserError where they are missing."""
    digest = hashlib.sha256()
    for name in ("predictions.csv", "baselines.csv"):
        try:
            digest.update(plain_files.read(folder.path / name))
        except OSError as error:
            raise UserError(f"{folder.path / name}: cannot be read ({error})") from error
    return digest.hexdigest()


def read_columns(folder: RunFolder, name: str) -> dict[str, list[str]]:
    """The columns of a CSV file of the run folder as text; UserError where it is missing, empty or broken."""
    path = folder.path / name
    remedy = f"train it again with its saved config: -cp {folder.path}/.hydra -cn config"
    try:
        text = plain_files.read(path, copies=_COPIES).decode()
        header, *rows = csv.reader(io.StringIO(text, newline="")) if text else [[]]
        if not rows:
            raise UserError(f"{path}: has no rows; {remedy}")
        if cut := next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None):
            raise UserError(
                f"{path}: line {cut} has {len(rows[cut - 2])} of {len(header)} columns, "
                f"so the file is cut short or damaged; {remedy}"
            )
        found = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        if "'" in text:
            found = {from_csv_cell(name): list(map(from_csv_cell, cells)) for name, cells in found.items()}
        return found
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _predictions(
    split: str, data: dict[str, Any], own: dict[str, list[str]], others: dict[str, list[str]]
) -> Predictions:
    chosen = [number for number, name in enumerate(own["split"]) if name == split]

    def column(table: dict[str, list[str]], name: str, kind: Any = np.float64, *, empty: str = "") -> Any:
        return np.array([table[name][number] or empty for number in chosen], dtype=object).astype(kind)

    def bounds(name: str) -> Any:
        return np.stack([column(own, f"{end}_{name}", empty="nan") for end in ("lower", "upper")])

    rivals = {name: column(others, name) for name in others if name not in (*_SAMPLE, "fold", "oracle", "synthetic")}
    return Predictions(
        truth=Target(
            column(own, "y_true"),
            data["kind"],
            rivals.get("persistence"),
            data["relative"],
            known_drift(rivals),
            data["quantile"],
            data["reverts"],
        ),
        rows=column(own, "sample", np.int64),
        dates=column(own, "date", np.datetime64(own["date"][chosen[0]]).dtype) if own["date"][chosen[0]] else None,
        tickers=column(own, "ticker", np.str_) if data.get("tickers") else None,
        model=column(own, "y_pred"),
        baselines=rivals,
        oracle=column(others, "oracle") if "oracle" in others else None,
        folds=column(own, "fold", np.int64) if "fold" in own else None,
        volatility=column(own, "volatility", empty="nan") if intervals.levels(own) or "volatility" in own else None,
        intervals={level: bounds(name) for name, level in intervals.levels(own).items()} if split == "test" else {},
        next_return=column(own, "next_return", empty="nan") if "next_return" in own else None,
    )
