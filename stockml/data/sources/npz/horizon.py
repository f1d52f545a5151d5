"""How far ahead the targets of windowed arrays lie, as the arrays themselves show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stockml.data.bars import Floats
    from stockml.data.panel import Kind

SAME = 0.95  # share of samples, or correlation, above which two things are the same but for dividends and rounding
ALIKE = 1e-6  # of a spread of about one: float32's rounding
_MOST_DAYS = 60
_MOST_WINDOWS, _MOST_FEATURES = 2_000, 50  # enough to see it, in well under a second
_FIRST_LOOK, _FIRST_SAME = 300, 0.85


@dataclass(frozen=True)
class Horizon:
    """When the targets of windows end, counted in windows: days where the windows are a day apart."""

    days: int = 0
    """Windows from a target's beginning to its end, over which targets overlap; 0 if unknown."""
    end: int = 0
    """Windows from a window to the end of its target, as far as train must stay away from the next split."""
    note: str = ""
    """How this is known, as shown to the user."""


def infer(last: Floats, target: Floats, kind: Kind, moves: Floats | None) -> Horizon:
    """The horizon of targets (N,) in order of time, from each window's last day (N, F), or else from their overlap.

    `moves` (N,) is what overlaps: returns themselves, levels less their last values; None where these are not known.
    """
    last, target = last[:_MOST_WINDOWS, :_MOST_FEATURES], target[:_MOST_WINDOWS]
    if (found := target_days(last, target, kind)) is not None:
        start, end = found
        return Horizon(end - start, end, f"targets {span(start, end)} after the window, as later windows show")
    if moves is not None and (days := overlap(moves[:_MOST_WINDOWS])) > 1:
        note = (
            f"targets overlap over about {days} windows, as their autocorrelations show; data.horizon=N says it exactly"
        )
        return Horizon(days, 2 * days, note)
    return Horizon(note="nothing shows how far ahead the targets lie: set data.horizon; samples are not purged")


def span(start: int, end: int) -> str:
    """On which days a target begins and ends, in words."""
    return f"{f'run from day {start} to' if start else 'end on'} day {end}"


def target_days(last: Floats, target: Floats, kind: Kind) -> tuple[int, int] | None:
    """How many windows after its own a target (N,) begins and ends; None if no later window shows it.

    `last` (N, F) is each window's last day. Of all moves of a feature, and sums of a feature that is a return itself,
    the one that is most like the target counts: its neighbours overlap with it so much that they look alike too.
    """
    most = min(_MOST_DAYS, len(target) // 4)
    if kind == "level":
        near = ALIKE * target.std()
        for end in range(1, most + 1):
            if (np.abs(last[end:] - target[:-end, None]) < near).mean(axis=0).max() > SAME:
                return 0, end
        return None
    paths = np.concatenate([last, last.cumsum(axis=0)], axis=1)
    few = np.unique(np.linspace(0, len(target) - most - 1, _FIRST_LOOK, dtype=int))
    best, found = SAME, None
    for end in range(1, most + 1):
        for start in range(end):
            if _alike(paths[few + end] - paths[few + start], target[few], kind) < _FIRST_SAME:
                continue
            alike = _alike(paths[end:] - paths[start : start - end], target[:-end], kind)
            if alike > best + 1e-9:
                best, found = alike, (start, end)
        if best > 1 - ALIKE:
            break
    return found


def overlap(target: Floats, most: int = _MOST_DAYS) -> int:
    """Over how many windows targets (N,) in order of time overlap, by their autocorrelations; 1 if they do not.

    Sums of h independent returns have autocorrelations max(0, 1 − k/h). The h is returned whose triangle is nearest to
    the sample's. Shuffled samples have no autocorrelation.
    """
    n, most = len(target), min(most, len(target) // 8)
    if most < 2 or np.ptp(target) == 0:
        return 1
    x = target - target.mean()
    lags = np.arange(1, 2 * most + 1)
    rho = np.array([float(x[lag:] @ x[:-lag]) for lag in lags.tolist()]) / float(x @ x)
    if rho[0] < max(0.25, 4 / math.sqrt(n)):  # of h = 2 it is ½
        return 1
    misfit = [np.square(rho - np.maximum(0, 1 - lags / h)).sum() for h in range(1, most + 1)]
    return int(np.argmin(misfit)) + 1


def correlations(x: Floats, y: Floats) -> Floats:
    """(F,) Pearson's correlation of each column of x (N, F) with y (N,); 0 where one of the two is constant."""
    x, y = x - x.mean(axis=0), y - y.mean()
    spread = np.sqrt(np.square(x).sum(axis=0) * float(y @ y))
    found: Floats = np.divide(y @ x, spread, out=np.zeros(x.shape[1]), where=spread > 1e-12)
    return found


def _alike(moves: Floats, target: Floats, kind: Kind) -> float:
    """How much the column of moves (N, F) that is most like the target (N,) is like it, at most 1."""
    if kind == "class":
        signs = np.sign(moves)
        agree = (signs * (2 * target - 1)[:, None]).sum(axis=0) / np.maximum(1, np.abs(signs).sum(axis=0))
        return float((1 + agree.max(initial=-1.0)) / 2)
    return float(np.abs(correlations(moves, target)).max(initial=0.0))
