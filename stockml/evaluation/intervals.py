"""Conformal intervals around forecasts: as wide as the stock is volatile that day, adapted as errors become known."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation.predictions import Predictions, PredictionsBySplit, deciding
from stockml.evaluation.truth import Floats
from stockml.evaluation.volatility import known_targets, volatility

if TYPE_CHECKING:
    from stockml.data.panel import Panel

_ROUNDING = 1e-9
"""How far above a whole number a rank may be that is one but for rounding."""
STEP = 0.005
"""γ: how far an error moves the level that is aimed at (Gibbs & Candès 2021)."""

Bounds = Mapping[float, Floats]
"""By level: the lower and the upper end of each interval, (2, N); NaN where there is none."""
Figures = dict[str, Any]


def columns(levels: Sequence[float]) -> list[str]:
    """The columns of these levels in predictions.csv and forecasts.csv."""
    return [f"{end}_{name(level)}" for level in levels for end in ("lower", "upper")]


def levels(columns: Iterable[str]) -> dict[str, float]:
    """The levels of these columns, by their names in percent."""
    names = [column.removeprefix("lower_") for column in columns if column.startswith("lower_")]
    return {name: round(float(name) / 100, 12) for name in names}


def name(level: float) -> str:
    """A level in percent, as columns and metrics.json name it."""
    return f"{100 * level:.10g}"


def why_none(panel: Panel, quantile: float | None) -> str:
    """Why the forecasts get no intervals, whatever the levels; empty where they do."""
    if panel.kind == "class":
        return "the target is a class, whose forecast is a probability"
    if quantile is not None:
        return "the forecast is a quantile itself (trainer.loss=quantile)"
    return "" if panel.reach else "how far ahead the targets lie is not known (data.horizon)"


def of_run(splits: PredictionsBySplit, panel: Panel, levels: Sequence[float]) -> dict[str, Predictions]:
    """A run's predictions with the volatility of each day, and with intervals of the test unless that is sealed.

    The intervals are calibrated on validation, which has none. The errors of one fold of a walk-forward run are known
    in the next.
    """
    if not levels:
        return dict(splits)
    found = {split: replace(of, volatility=volatility(panel, of.rows)) for split, of in splits.items()}
    if "test" in found:
        found["test"] = of_samples(found["test"], panel, deciding(found)["validation"], levels)
    return found


def like(run: PredictionsBySplit, samples: Predictions, panel: Panel) -> Predictions:
    """Samples of other or later data with intervals as a run has them, calibrated on its validation; none if it has
    none. On the days of its test, these are the run's own."""
    levels = list(run["test"].intervals)
    return of_samples(samples, panel, deciding(run)["validation"], levels) if levels else samples


def of_samples(samples: Predictions, panel: Panel, calibration: Predictions, levels: Sequence[float]) -> Predictions:
    """The samples with the volatility of each day, and intervals of each level around their forecasts."""
    samples = replace(samples, volatility=volatility(panel, samples.rows))
    return _adapted(samples, _known_before(samples, panel), calibration, levels)


def of_combination(samples: Predictions, reach: int, calibration: Predictions, levels: Sequence[float]) -> Predictions:
    """Samples that were read from a file, with intervals of each level; a target is known `reach` rows later."""
    tickers = np.zeros(len(samples.rows)) if samples.tickers is None else samples.tickers

    def known() -> Iterator[tuple[NDArray[np.int64], list[list[int]]]]:
        for ticker in np.unique(tickers):
            chosen = np.flatnonzero(tickers == ticker)
            rows = samples.rows[chosen]
            yield chosen, _news(np.arange(len(rows)), np.searchsorted(rows + reach, rows, side="right").tolist())

    return _adapted(samples, known(), calibration, levels)


def _adapted(
    samples: Predictions,
    known_before: Iterable[tuple[NDArray[np.int64], list[list[int]]]],
    calibration: Predictions,
    levels: Sequence[float],
) -> Predictions:
    """The samples with intervals of each level around their forecasts.

    Adaptive conformal inference (Gibbs & Candès 2021) with errors in units of the day's volatility. A forecast ± q·σ: q
    is the 1 − α quantile of the errors in `calibration`, of all stocks, and of those of the stock's samples that are
    known on that day; the largest of them where they are too few. α begins at 1 − level. Whenever a sample's target
    becomes known, it rises by γ(1 − level) where that lies in the interval, and falls by γ·level where it does not:
    the share inside returns to the level where it has left it.
    """
    assert samples.volatility is not None
    own_errors = np.abs(_errors(samples)) / samples.volatility
    start = np.abs(_errors(calibration)) / calibration.volatility
    start = np.sort(start[np.isfinite(start)]).tolist()
    widths = {level: np.full(len(own_errors), np.nan) for level in levels}
    for chosen, known in known_before:
        for level, reached in _quantiles(own_errors[chosen], known, start, levels).items():
            widths[level][chosen] = reached
    half = {level: width * samples.volatility * _unit(samples) for level, width in widths.items()}
    return replace(samples, intervals={level: _around(samples, width) for level, width in half.items()})


def _known_before(samples: Predictions, panel: Panel) -> Iterator[tuple[NDArray[np.int64], list[list[int]]]]:
    """For each stock: its samples in order of time; and for each of them, by their positions, those whose targets have
    become known since the sample before it."""
    for span, known, ends in known_targets(panel):
        chosen = np.flatnonzero((samples.rows >= span.start) & (samples.rows < span.stop))
        if not len(chosen):
            continue
        rows = samples.rows[chosen]
        ended = np.flatnonzero(np.isin(rows, known))
        on = ends[np.searchsorted(known, rows[ended])]
        upto = np.searchsorted(on, panel.day_numbers[rows], side="right").tolist()
        yield chosen, _news(ended, upto)


def _news(ended: NDArray[np.int64], upto: Sequence[int]) -> list[list[int]]:
    """For each sample, those of `ended` that are known by it, `upto` of them, and were not by the one before."""
    return [ended[start:stop].tolist() for start, stop in itertools.pairwise([0, *upto])]


def _quantiles(
    errors: Floats, known: Sequence[Sequence[int]], start: list[float], levels: Sequence[float]
) -> dict[float, list[float]]:
    """By level, (N,) the error that each interval reaches; `start` are the errors known at first, in order."""
    alphas, found = {level: 1 - level for level in levels}, {level: list[float]() for level in levels}
    own: list[float] = []
    for news in known:
        for number in news:
            if math.isfinite(errors[number]):
                for level, reached in found.items():
                    alphas[level] += STEP * (1 - level - float(errors[number] > reached[number]))
                bisect.insort(own, float(errors[number]))
        for level, reached in found.items():
            reached.append(_quantile(start, alphas[level], own))
    return found


def _quantile(errors: Sequence[float] | Floats, alpha: float, further: Sequence[float] = ()) -> float:
    """The ⌈(n+1)(1−α)⌉-th of n errors (Vovk, Gammerman & Shafer 2005), the largest if they are too few.

    They are given in two parts, each in order, since the stocks of a pool share the first.
    """
    n = len(errors) + len(further)
    if not n:
        return math.nan
    rank = min(max(math.ceil((n + 1) * (1 - alpha) - _ROUNDING), 1), n)
    least, most = max(0, rank - len(errors)), min(rank, len(further))  # how many of those up to the rank are further
    while least < most:
        middle = (least + most) // 2
        if further[middle] < errors[rank - middle - 1]:
            least = middle + 1
        else:
            most = middle
    return float(max([*further[least - 1 : least], *errors[rank - least - 1 : rank - least]]))


def _errors(samples: Predictions) -> Floats:
    """(N,) of returns as they are; of levels, of their changes since the last known value."""
    return samples.truth.changes(samples.truth.y_true) - samples.truth.changes(samples.model)


def _unit(samples: Predictions) -> Floats | float:
    """What an error is multiplied by to be one of the target."""
    truth = samples.truth
    return 1.0 if truth.last is None or not truth.relative else np.abs(truth.last)


def _around(samples: Predictions, half: Floats) -> Floats:
    """(2, N) the forecasts minus and plus half a width; a volatility is at least 0."""
    found = np.stack([samples.model - half, samples.model + half])
    return np.maximum(found, 0) if samples.reverts else found


def evaluate(samples: Predictions, calibration: Predictions) -> Figures:
    """What metrics.json says of the intervals of samples, by level: figures of all, and of each year.

    Beside them `constant`: the figures of intervals of constant width, the quantile of the stock's absolute errors in
    `calibration` (split conformal prediction, Lei et al. 2018); of relative levels, a constant share of the price.
    """
    return {
        name(level): _by_year(samples, {"": bounds, "constant": constant_width(samples, calibration, level)}, level)
        for level, bounds in samples.intervals.items()
    }


def constant_width(samples: Predictions, calibration: Predictions, level: float) -> Floats:
    """(2, N) the intervals of split conformal prediction; each stock in `calibration` has a width of its own."""
    errors, half = np.abs(_errors(calibration)), np.empty(len(samples.rows))
    tickers = np.zeros(len(half)) if samples.tickers is None else samples.tickers
    for ticker in np.unique(tickers):
        own = None if calibration.tickers is None else errors[calibration.tickers == ticker]
        half[tickers == ticker] = _quantile(np.sort(errors if own is None or not len(own) else own), 1 - level)
    return _around(samples, half * _unit(samples))


def _by_year(samples: Predictions, kinds: Mapping[str, Floats], level: float) -> Figures:
    """The figures of all samples with an interval, and by year where days are known."""
    defined = np.flatnonzero(np.isfinite(kinds[""]).all(axis=0))

    def figures(chosen: NDArray[np.int64]) -> Figures:
        each = {kind: _figures(samples.truth.y_true[chosen], of[:, chosen], level) for kind, of in kinds.items()}
        return {"n": len(chosen), **each.pop(""), **each}

    dates = np.array([], "datetime64[D]") if samples.dates is None else samples.dates[defined]
    years = dates.astype("datetime64[Y]")
    return {**figures(defined), "by_year": {str(year): figures(defined[years == year]) for year in np.unique(years)}}


def _figures(y_true: Floats, bounds: Floats, level: float) -> Figures:
    """Coverage, mean width and mean interval score (Winkler 1972; Gneiting & Raftery 2007, the lower the better)."""
    if not len(y_true):
        return dict.fromkeys(("coverage", "width", "score"))
    (lower, upper), width = bounds, bounds[1] - bounds[0]
    outside = np.maximum(0, lower - y_true) + np.maximum(0, y_true - upper)
    return {
        "coverage": float((outside == 0).mean()),
        "width": float(width.mean()),
        "score": float((width + 2 / (1 - level) * outside).mean()),
    }
