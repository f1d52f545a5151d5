"""Finds one-day changes of a stock's prices that its own history does not make credible, and their likeliest cause."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from stockml.data.bars import Bars, Floats
from stockml.data.doctor_further import Case, sigma

SPLITS = np.array([3 / 2, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100])
SPLIT_ROUNDING = 0.015
SIGMAS = 8.0
_NEIGHBOURS = 30  # bars to either side whose volatility counts too, since volatility clusters
_TAIL_EXPONENT = 3.0
_TAIL_SHARE = 0.05  # of the changes, from which the limit is extrapolated
_DAYS_PER_EXCESS = 100 * 252
_LEAST_JUMP = np.log(1.3)  # the S&P 500 fell by 20.5 %, a log return of −0.23, on 1987-10-19
_LEAST_BARS = 20
_UNIT_ROUNDING = 0.15  # log: the day's own move beside a change of unit
_VOLUME_DAYS = 10


def is_large(change: Floats, at: int, size: float | None = None) -> bool:
    """Whether a change (or `size`) is large compared with the 30 changes before and the 30 after the next one."""
    around = np.concatenate([change[max(at - _NEIGHBOURS, 0) : at], change[at + 2 : at + 2 + _NEIGHBOURS]])
    return bool(abs(change[at] if size is None else size) > SIGMAS * sigma(around))


def credible(change: Floats) -> float:
    """The absolute log return that a stock with these returns exceeds once in 100 years.

    Extrapolated from the largest 5 % of them (Weissman 1978) with the tail exponent 3 of stock returns (Gopikrishnan
    et al. 1999): a few jumps among the returns hardly change it. Infinite where there are too few returns.
    """
    size = np.sort(np.abs(change[np.isfinite(change)]))
    if len(size) < _LEAST_BARS:
        return np.inf
    largest = max(1, round(_TAIL_SHARE * len(size)))
    usual = max(size[-largest - 1], 2 * sigma(size))
    return float(max(_LEAST_JUMP, usual * (_TAIL_SHARE * _DAYS_PER_EXCESS) ** (1 / _TAIL_EXPONENT)))


def jumps(bars: Bars, close: Floats, opened: Floats, spikes: Collection[int], *, splits: bool) -> Iterator[Case]:
    """Changes that were not reverted the next day: those that look like a split, or all others.

    `close` and `opened` are (R,), NaN where not positive; `spikes` the bars that jumped and reverted. A change counts
    where it is beyond the `credible` one, or, if its ratio is that of a usual split, where it is more than 8 standard
    deviations.
    """
    change = np.diff(np.log(close))
    overnight = np.log(opened[1:] / close[:-1])
    limit, usual = credible(change), sigma(change)
    is_candidate = (np.abs(change) > limit) | ((np.abs(overnight) > SIGMAS * usual) & (change / overnight > 0.5))
    for at in np.flatnonzero(is_candidate).tolist():
        row, jump = at + 1, overnight[at]
        if row in spikes or row - 1 in spikes:
            continue
        if not (change[at] / jump > 0.5):  # the close jumped and the open did not
            jump = change[at]
        near = SPLITS[np.abs(np.log(SPLITS) - abs(jump)).argmin()]
        is_usual = abs(np.log(near) - abs(jump)) <= np.log1p(SPLIT_ROUNDING) and is_large(change, at, jump)
        if not is_usual and not (abs(change[at]) > limit and is_large(change, at)):
            continue
        is_split, cause = _cause(jump, near if is_usual else None, _volume_change(bars, row))
        if is_split == splits:
            yield row, bars.dates[row], f"× {np.exp(jump):.4g} overnight, {cause}"


def _volume_change(bars: Bars, row: int) -> float | None:
    """The log change of the usual volume at a bar; None if unknown."""
    volume = bars.columns.get("volume")
    if volume is None:
        return None
    before, after = (
        np.median(v[v > 0]) if (v > 0).any() else 0.0
        for v in (volume[max(0, row - _VOLUME_DAYS) : row], volume[row : row + _VOLUME_DAYS])
    )
    return float(np.log(after / before)) if before and after else None


def _cause(jump: float, usual: float | None, volume: float | None) -> tuple[bool, str]:
    """Whether a log change of the price is most likely a split; and the likeliest cause.

    A split divides the volume by what it multiplies the price with; another unit or currency leaves it as it is.
    """
    size = abs(jump)
    tens = round(size / np.log(10))
    is_ten = tens >= 1 and abs(size - tens * np.log(10)) <= _UNIT_ROUNDING
    follows = volume is not None and abs(volume + jump) < size / 2
    if is_ten and tens >= 2 and not follows:
        what = {
            2: "another unit: pence or cents beside pounds or dollars",
            3: "another unit, or dots and commas read both as decimals and as thousands",
        }.get(tens, "another currency unit (a redenomination)")
        return False, f"about {'' if jump > 0 else '1/'}{10**tens:,}: {what}"
    number = usual if usual is not None else _ratio(np.exp(size))
    if usual is not None or follows or (number is not None and volume is None):
        about = f"{np.exp(size) if number is None else number:.4g}"
        unmoved = "" if volume is None or follows else ", though the volume did not move with it"
        return True, f"about {about if jump > 0 else f'1/{about}'}{unmoved}"
    return False, (
        "no usual split" if number is None else f"a split of about {number:.4g} without its volume"
    ) + ", another stock's bars, another currency, a spin-off, or a real move"


def _ratio(size: float) -> float | None:
    """The nearest ratio n:1 up to 100, n:2 or n:3 and n:4 below 4, within 6 %; None if there is none."""
    near = np.unique([n / m for m, most in ((1, 100), (2, 8), (3, 12), (4, 16)) for n in range(m + 1, most + 1)])
    found = float(near[np.abs(np.log(near / size)).argmin()])
    return found if abs(np.log(found / size)) <= 0.06 else None
