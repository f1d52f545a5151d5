"""Every feature and lag held against the next day's return, sign, volume and move, and against the target.

The day after the window is what a leak shows first, at any horizon, and single days do not overlap. The limits are
those of t statistics, for as many as are looked at. Ranks take the place of values: else a few violent days, which a
leak's feature and the next day share, drown it in its own standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stockml.data.bars import Floats
from stockml.data.sources.npz.horizon import correlations
from stockml.data.split import Rows
from stockml.evaluation.significance import degrees_of_freedom, long_run_variance, student_quantile, too_few

FALSE_ALARMS = 0.001
"""The chance that unrelated columns fail an audit; no more than that, since real ones are not quite unrelated."""
LEAST_CORRELATION = 0.05
"""What an honest column may show of the next day, whatever its t: an IC of 0.03 to 0.05."""
LEAST_TARGET_CORRELATION = 0.25
"""The same of targets over the whole horizon, an R² of 6 %: a level's trend and overlap reach further than a day."""
LEAST_ARRAY_CORRELATION = 0.1
"""The same of arrays, whose next day is not known."""
NEARLY_ALL = 0.95
"""A correlation of which no t is needed."""
FEWEST_DAYS = 50
_OWN_PAST = 5
_VOLUME = "the next day's volume"
_VOLUME_PAST = 10
_SPANS = (5, 20, 60)
_LEADS = 5


@dataclass(frozen=True)
class Suspect:
    """A feature at a lag, and how surely it shows something of the future."""

    feature: str
    change: bool
    """Whether it is the day-to-day change of the feature."""
    lag: int
    """Days before the window's last day."""
    against: str
    """What it shows."""
    t: float
    correlation: float
    """Of ranks."""

    def __str__(self) -> str:
        what = f"{'the change of ' if self.change else ''}feature {self.feature}"
        when = f"{self.lag} days before" if self.lag else "on"
        known = f"correlation {self.correlation:+.2f} (t {self.t:+.1f}) with {self.against}"
        return f"{what} {when} the window's last day has {known}"


@dataclass(frozen=True)
class Scan:
    """What was looked at and what was found."""

    looked_at: int
    limit: float
    """The |t| above which a feature fails."""
    largest: Suspect | None
    """By |t|; None: there were too few days."""
    failed: tuple[Suspect, ...]
    """The worst first."""


_TOO_FEW = Scan(0, math.inf, None, ())


@dataclass(frozen=True)
class Looked:
    """What is held against the next day."""

    names: Sequence[str]
    """(F,)"""
    values: Floats
    """(R, F)"""
    computed: NDArray[np.bool_]
    """(F,) whether it is an expression, which combines what the columns of its day and of days before show: a range, a
    reversal. The columns themselves are looked at beside it."""
    compared: NDArray[np.bool_] | None = None
    """(F,) whether it compares stocks: what others' volume shows of a stock's next is no leak. None: none does."""


@dataclass(frozen=True)
class NextDays:
    """The bars (R,) that features are held against, in order of time; of several stocks, each one's rows together."""

    close: Floats
    dates: NDArray[np.datetime64] | None = None
    columns: Mapping[str, Floats] = field(default_factory=dict)
    """Prices and volume, those that there are."""
    expected: Floats | None = None
    """Of simulated bars: the best possible forecast of the next day's log return, which features may show."""
    stock: Rows | None = None
    """Of several stocks: the number of each row's stock, and of its day."""
    day: Rows | None = None


def scan_next_day(looked: Looked, bars: NextDays, rows: Rows, window: int) -> Scan:
    """Hold features (R, F) at every lag of windows that end in `rows` (N,) against what the next day brings.

    Against the next day's return and its sign, beyond what the close's own last five changes show; against the next
    day's volume, beyond what the past of volume and moves and the day of the week show; and by lead and lag: whether
    the feature goes with the size of a later day's move more than with that of its own day (of an expression: and
    beyond what the ranges and moves up to its day show). Samples of one day count as one.
    """
    stock, names, values = bars.stock, looked.names, looked.values
    first = max(window, _SPANS[-1]) + 1
    rows = rows[(rows + _LEADS < len(values)) & (rows >= first)]
    if stock is not None:
        rows = rows[stock[rows - first] == stock[rows + _LEADS]]
    groups = None if bars.day is None else bars.day[rows]
    days = len(rows) if groups is None else len(np.unique(groups))
    if days < FEWEST_DAYS:
        return _TOO_FEW
    outcomes, leads = _outcomes(bars, rows)
    number = len(names) * (2 * window - 1) * len(outcomes) + 2 * len(names) * len(leads)
    limit = limit_of(number, days)
    found = list[Suspect]()
    for changed, columns in ((False, values), (True, changes(values))):
        ranked = np.column_stack([ranks(column) for column in columns.T])
        for lag in range(window - changed):
            x = ranked[rows - lag]
            for against, (y, beyond) in outcomes.items():
                t, correlation = t_values(x, y, groups), correlations(x, y)
                if beyond is not y and looked.computed.any():
                    t = np.where(looked.computed, t_values(x, beyond, groups), t)
                    correlation = np.where(looked.computed, correlations(x, beyond), correlation)
                if against == _VOLUME and looked.compared is not None:
                    t, correlation = np.where(looked.compared, 0, t), np.where(looked.compared, 0, correlation)
                found += _suspects(names, changed, lag, against, t, correlation)
        for against, (difference, later, beyond) in leads.items():
            x = ranked[rows]
            # both, one-sided: falling prices go with larger moves later, which is no leak
            t = np.minimum(t_values(x, difference, groups), t_values(x, later, groups))
            correlation = correlations(x, later)
            if looked.computed.any():
                t = np.where(looked.computed, np.minimum(t, t_values(x, beyond, groups)), t)
                correlation = np.where(looked.computed, correlations(x, beyond), correlation)
            found += _suspects(names, changed, 0, against, np.maximum(0, t), correlation)
    return _scan(found, number, limit, LEAST_CORRELATION)


def scan_target(
    columns: Iterable[tuple[int, bool, Floats]], names: Sequence[str], target: Floats, horizon: int, least: float
) -> Scan:
    """Hold features against targets (N,), one a day, that overlap over the horizon.

    `columns` has the lag, whether these are changes, and the values (N, F). Correlations below `least` never fail.
    """
    horizon = max(1, horizon)
    if len(target) < FEWEST_DAYS or too_few(len(target), horizon):
        return _TOO_FEW
    degrees = degrees_of_freedom(len(target), horizon)
    y, found = ranks(target), list[Suspect]()
    y = y - y.mean()
    for lag, changed, values in columns:
        x = np.column_stack([ranks(column) for column in values.T])
        product = ((x - x.mean(0)) * y[:, None]).T
        with np.errstate(divide="ignore", invalid="ignore"):
            t = product.mean(1) * np.sqrt(len(y) / long_run_variance(product, degrees))
        found += _suspects(names, changed, lag, "the target", np.nan_to_num(t), correlations(x, y))
    return _scan(found, len(found), limit_of(len(found), degrees + 1), least)


def limit_of(number: int, days: int) -> float:
    """The |t| that any of so many unrelated columns exceeds with a chance of `FALSE_ALARMS` (Bonferroni)."""
    return student_quantile(1 - FALSE_ALARMS / (2 * max(1, number)), max(1, days - 1))


def t_values(x: Floats, y: Floats, groups: NDArray[np.int64] | None = None) -> Floats:
    """(F,) t of the covariances of columns x, (N, F), with y, (N,), robust to changing variances (White 1980).

    Samples of one group, a day of several stocks, may be correlated (Liang & Zeger 1986).
    """
    x, y = x - x.mean(0), y - y.mean()
    if groups is None:
        spread = np.sqrt(np.square(y) @ np.square(x))
    else:
        order = np.argsort(groups, kind="stable")
        firsts = np.flatnonzero(np.append(True, np.diff(groups[order]) != 0))
        spread = np.sqrt(np.square(np.add.reduceat((x * y[:, None])[order], firsts, axis=0)).sum(0))
    found: Floats = np.divide(y @ x, spread, out=np.zeros(x.shape[1]), where=spread > 1e-12)
    return found


def residual(y: Floats, known: Sequence[Floats]) -> Floats:
    """(N,) what a linear regression of y on a constant and on what is known leaves."""
    design = np.column_stack([np.ones(len(y)), *known])
    left: Floats = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return left


def ranks(x: Floats) -> Floats:
    """(N,) ranks, spread evenly over −1 to 1; equal values share the mean of theirs, missing ones are 0."""
    if (missing := np.isnan(x)).any():
        found = np.zeros(len(x))
        found[~missing] = ranks(x[~missing]) if not missing.all() else 0.0
        return found
    ordered, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    if len(ordered) == 1:
        return np.zeros(len(x))
    middle = np.cumsum(counts) - (counts + 1) / 2
    scaled: Floats = (2 * middle / (len(x) - 1) - 1)[inverse]
    return scaled


def changes(values: NDArray[np.floating]) -> Floats:
    """Daily changes of features (…, R, F), in the place of the later day: relative ones where all are above zero."""
    wide = values.astype(np.float64)
    relative = ~(wide <= 0).any(axis=tuple(range(wide.ndim - 1)))
    wide[..., relative] = np.log(wide[..., relative])
    return np.concatenate([np.zeros_like(wide[..., :1, :]), np.diff(wide, axis=-2)], axis=-2)


def _outcomes(
    bars: NextDays, rows: Rows
) -> tuple[dict[str, tuple[Floats, Floats]], dict[str, tuple[Floats, Floats, Floats]]]:
    """By name: what of the next day (N,) the past of the same does not show, and what all columns do not show either; a
    later day's move, less its own day's, itself, and what all columns do not show of it."""
    close, volume = bars.close, bars.columns.get("volume")
    change = np.append(0.0, np.diff(np.log(close)))
    scores, move = ranks(change), ranks(np.abs(change))
    past = [scores[rows - lag] for lag in range(_OWN_PAST)]
    ranges = [ranks(size) for size in (np.abs(change), *_sizes(bars))]
    shown = [*past, *(size[rows - lag] for size in ranges for lag in range(_OWN_PAST))]
    shown += [mean for size in ranges for mean in _means(size, rows)]
    known = past if bars.expected is None else [*past, bars.expected[rows]]
    left = residual(scores[rows + 1], known), residual(np.sign(change[rows + 1]), known)
    outcomes = {
        "the next day's return": (left[0], left[0]),
        "the sign of the next day's return": (left[1], left[1]),
    }
    if volume is not None:
        level, turnover = ranks(volume), ranks(np.append(0.0, np.diff(np.log1p(volume))))
        own = [level[rows], *_means(level, rows)]  # volume returns to its level, slowly (Corsi 2009)
        own += [turnover[rows - lag] for lag in range(_VOLUME_PAST)]
        before = [*own, *(move[rows - lag] for lag in range(_OWN_PAST)), *past, *_weekdays(bars, rows)]
        next_volume, shown = turnover[rows + 1], [*shown, *own]
        outcomes[_VOLUME] = residual(next_volume, before), residual(next_volume, [*before, *shown])
    leads = {}
    for lead in range(1, _LEADS + 1):
        name = f"the size of the move {lead} day{'s' if lead > 1 else ''} later, more than its own day's"
        later = move[rows + lead]
        leads[name] = later - move[rows], later, residual(later, shown)
    return outcomes, leads


def _means(size: Floats, rows: Rows) -> list[Floats]:
    """(N,) each: means over the last days, from a week to a quarter."""
    total = np.append(0.0, size.cumsum())
    return [(total[rows + 1] - total[rows + 1 - days]) / days for days in _SPANS]


def _sizes(bars: NextDays) -> Iterator[Floats]:
    """(R,) each: how far the prices of a day are apart, and from the close before it."""
    before = np.append(bars.close[:1], bars.close[:-1])
    if (opened := bars.columns.get("open")) is not None:
        yield np.abs(np.log(opened / before))
    high, low = (bars.columns.get(name) for name in ("high", "low"))
    if high is not None and low is not None:
        yield np.log(high / low)


def _weekdays(bars: NextDays, rows: Rows) -> list[Floats]:
    """(N,) each: 1 where the next day is that day of the week: volumes differ by it."""
    if bars.dates is None:
        return []
    weekday = (bars.dates[rows + 1].astype("datetime64[D]").astype(np.int64) + 3) % 7  # Monday is 0
    return [(weekday == day).astype(np.float64) for day in range(1, 7)]


def _suspects(
    names: Sequence[str], changed: bool, lag: int, against: str, t: Floats, correlation: Floats
) -> Iterator[Suspect]:
    for name, own, rho in zip(names, t.tolist(), correlation.tolist(), strict=True):
        yield Suspect(name, changed, lag, against, own, rho)


def _scan(found: Sequence[Suspect], number: int, limit: float, least: float) -> Scan:
    found = sorted(found, key=lambda one: -abs(one.t))
    failed = tuple(
        one
        for one in found
        if (abs(one.t) > limit and abs(one.correlation) >= least) or abs(one.correlation) >= NEARLY_ALL
    )
    return Scan(number, limit, found[0] if found else None, failed)
