"""The forecasts of several stocks as a factor: the report that is usual for those, with alphalens' definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation import cross_section

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions
    from stockml.evaluation.truth import Floats

Figures = dict[str, Any]

QUANTILES = 5
HORIZONS = (1, 2, 3, 4, 5, 10, 15, 20)
"""Days of the IC decay; each takes a ranking of all samples."""
_FEWEST_STOCKS = 3  # as in cross_section


def evaluate(test: Predictions, horizon: int) -> Figures:
    """The section `factor` of metrics.json; empty for one stock, and for quantiles.

    IC is Spearman's correlation of forecasts and returns over the stocks of a day.
    """
    if test.tickers is None or test.dates is None or test.truth.quantile is not None:
        return {}
    truth = test.truth
    grid = cross_section.Grid(test.dates, test.tickers)
    forecasts, returns = grid.of(truth.changes(test.model)), grid.of(truth.changes(truth.y_true))
    ranks = row_ranks(forecasts)
    quantile = quantiles(forecasts)
    return {
        "factor": {
            "horizon": horizon,
            "ic": _mean(row_correlations(ranks, row_ranks(returns)), horizon),
            "quantiles": _of_quantiles(quantile, returns, horizon),
            "rank_autocorrelation": _average(row_correlations(ranks[1:], ranks[:-1])),
            "turnover": {"top": turnover(quantile == QUANTILES), "bottom": turnover(quantile == 1)},
            "ic_decay": _decay(ranks, grid, test.next_return),
        }
    }


def row_ranks(values: Floats) -> Floats:
    """(D, K) the ranks in each row; equal values share the mean of theirs, NaN has none."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    groups = np.flatnonzero(starts)
    sizes = np.diff(np.append(groups, values.size))
    ranks = np.empty(values.shape)
    shared = np.repeat(groups % values.shape[1] + (sizes + 1) / 2, sizes).reshape(values.shape)
    np.put_along_axis(ranks, order, shared, axis=1)
    ranks[np.isnan(values)] = np.nan
    return ranks


def row_correlations(a: Floats, b: Floats) -> Floats:
    """(D,) Pearson's correlation of the rows (D, K) over what both have; NaN for fewer than three, or a constant."""
    known = np.isfinite(a) & np.isfinite(b)
    counts = known.sum(axis=1)

    def centred(values: Floats) -> Floats:
        kept = np.where(known, values, 0.0)
        found: Floats = np.where(known, values - (kept.sum(axis=1) / np.maximum(1, counts))[:, None], 0.0)
        return found

    a, b = centred(a), centred(b)
    product, spread = (a * b).sum(axis=1), np.square(a).sum(axis=1) * np.square(b).sum(axis=1)
    usable = (counts >= _FEWEST_STOCKS) & (spread > 1e-12)
    found: Floats = np.where(usable, product / np.sqrt(np.where(usable, spread, 1.0)), np.nan)
    return found


def quantiles(values: Floats, number: int = QUANTILES) -> NDArray[np.int64]:
    """(D, K) the quantile of each value in its row, 1 to `number`, as pandas.qcut has it; 0 where there is none.

    That is where a row has fewer values than quantiles, or so many equal ones that two edges are the same.
    """
    counts = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN comes last
    place = np.outer(np.maximum(counts - 1, 0), np.arange(number + 1) / number)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0)[:, None])
    below, above = (np.take_along_axis(ordered, at, axis=1) for at in (low, high))
    edges = below + (place - low) * (above - below)
    usable = (counts >= number) & (np.diff(edges, axis=1) > 0).all(axis=1)
    found = 1 + sum((values > edges[:, k, None]).astype(np.int64) for k in range(1, number))
    return np.where(usable[:, None] & np.isfinite(values), found, 0)


def turnover(members: NDArray[np.bool_]) -> float | None:
    """The mean share of a day's members (D, K) that were none the day before; days without members are left out."""
    counts = members.sum(axis=1)
    new = (members[1:] & ~members[:-1]).sum(axis=1)
    usable = (counts[1:] > 0) & (counts[:-1] > 0)
    return _average(np.where(usable, new / np.maximum(1, counts[1:]), np.nan))


def _of_quantiles(quantile: NDArray[np.int64], returns: Floats, horizon: int) -> Figures | None:
    """Mean returns less the day's mean by quantile, the lowest first; None where days have fewer than five stocks."""
    belongs = (quantile > 0) & np.isfinite(returns)
    if not belongs.any():
        return None
    counts = belongs.sum(axis=1)
    mean = np.where(belongs, returns, 0.0).sum(axis=1) / np.maximum(1, counts)
    excess = np.where(belongs, returns - mean[:, None], 0.0)
    number = np.where(belongs, quantile, 0).ravel()
    sums, sizes = (np.bincount(number, weights, QUANTILES + 1)[1:] for weights in (excess.ravel(), None))
    means = sums / sizes
    top, bottom = (np.where(belongs & (quantile == of), returns, 0.0) for of in (QUANTILES, 1))
    spread = top.sum(axis=1) / np.maximum(1, (quantile == QUANTILES).sum(axis=1)) - bottom.sum(axis=1) / np.maximum(
        1, (quantile == 1).sum(axis=1)
    )
    ordered = row_correlations(row_ranks(means[None]), np.arange(1.0, QUANTILES + 1)[None])
    return {
        "returns": means.tolist(),
        "monotonicity": _average(ordered),
        "spread": _mean(spread[counts > 0], horizon),
    }


def _decay(ranks: Floats, grid: cross_section.Grid, next_return: Floats | None) -> dict[str, Figures | None]:
    """IC with the returns from the day's close over each of HORIZONS, as far as the test's days reach; by days."""
    if next_return is None:
        return {}
    daily = np.log1p(np.maximum(grid.of(next_return), -1 + 1e-12))
    found, total = {}, np.zeros_like(daily)
    for days in range(1, min(HORIZONS[-1], len(daily)) + 1):
        total = total[: len(daily) - days + 1] + daily[days - 1 :]
        if days in HORIZONS:
            found[str(days)] = _mean(row_correlations(ranks[: len(total)], row_ranks(total)), days)
    return found


def _mean(daily: Floats, horizon: int) -> Figures | None:
    """The mean of a daily series (D,) whose values overlap over the horizon, and its t of Newey & West (1987)."""
    of = cross_section.daily_mean(daily[np.isfinite(daily)], max(1, horizon))
    if of is None:
        return None
    t = of.mean / of.newey_west if of.newey_west > 0 else None
    return {"mean": of.mean, "newey_west_t": t, "interval": list(of.interval) if of.interval else None}


def _average(daily: Floats) -> float | None:
    known = daily[np.isfinite(daily)]
    return float(known.mean()) if len(known) else None
