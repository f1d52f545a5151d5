"""The audit of arrays that were windowed elsewhere: what they tell of how they were made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.dataset import Data, scale
from stockml.data.split import split
from stockml.evaluation.audit.bar_checks import (
    FEWEST_SAMPLES,
    Finding,
    Subject,
    correlations,
    feature_and_target,
    positive_control,
    scaler_on_train,
    score,
    scrambled_future,
)
from stockml.evaluation.audit.leaks import with_future

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.bars import Floats
    from stockml.data.panel import Panel

_ALIKE = 1e-6  # of a spread of about one: float32's rounding
_SAME = 0.95  # the share of samples, or the correlation, from which two things are one but for dividends and rounding
_MOST_DAYS_AHEAD = 20
_FITTED = 0.005  # how far from 0 and 1 mean and standard deviation are on the rows that a scaler was fitted on


@dataclass(frozen=True)
class ArraysSubject(Subject):
    """Windows, not scaled by stockml, and how many of them come before the test."""

    windows: Panel
    before_test: int

    def panel(self, noise_after: int | None = None) -> Panel:
        """The windows, those after the sample `noise_after` replaced by noise."""
        values, wanted = self.windows.values.copy(), self.windows.target.copy()
        if noise_after is not None:
            rng, noisy = np.random.default_rng(1), slice(noise_after + 1, None)
            values[noisy] = rng.standard_normal(values[noisy].shape)
            wanted[noisy] = rng.standard_normal(wanted[noisy].shape)
        return replace(self.windows, values=values, target=wanted)

    def data(self, noise_after: int | None = None) -> Data:
        """The samples, split and scaled."""
        panel = self.panel(noise_after)
        return scale(panel, split(panel, self.config.data, self.before_test))

    def with_future(self) -> ArraysSubject:
        """The same with the target's change among the features."""
        return replace(self, windows=with_future(self.windows))


def on_arrays(subject: ArraysSubject) -> list[Callable[[], Finding]]:
    """The checks of windows made elsewhere, in the order in which they are told."""
    unknown = "needs the bars that the windows were made of"
    return [
        lambda: target_in_window(subject),
        lambda: order_of_time(subject),
        lambda: scaler_of_arrays(subject),
        lambda: targets_apart(subject),
        lambda: scrambled_future(subject),
        lambda: scaler_on_train(subject),
        *(partial(Finding, name, None, unknown) for name in ("prefix of features", "ramp", "null data")),
        lambda: feature_and_target(subject),
        lambda: score(subject),
        lambda: positive_control(subject, feature_and_target),
    ]


def target_in_window(subject: ArraysSubject) -> Finding:
    """No number of the window is the target already; nor, of classes, does a move within it have the target's sign."""
    name, panel, n = "target in the window", subject.windows, subject.before_test
    if n < FEWEST_SAMPLES:
        return Finding(name, None, f"fewer than {FEWEST_SAMPLES} train samples")
    x, y = panel.values[:n], panel.target[:n]
    if panel.kind == "class":
        moves = np.sign(np.diff(x, axis=1))
        agree = np.abs(np.einsum("ntf,n->tf", moves, 2 * y - 1)) / np.maximum(1, np.abs(moves).sum(axis=0))
        share, what = agree, "the sign of a move within the window is the class"
    else:
        share = (np.abs(x - y[:, None, None]) < _ALIKE * y.std()).mean(axis=0)
        what = "a number of the window is the target"
    lag, feature = np.unravel_index(share.argmax(), share.shape)
    where = f"feature {panel.features[feature]}, {len(share) - 1 - lag} days before the last"
    if share.max() > _SAME:
        return Finding(
            name,
            False,
            f"{what} in {share.max():.0%} of the train samples: {where}",
            "the model is shown what it is to forecast; the target must come after the window's last day",
        )
    return Finding(name, True, f"{what} in at most {share.max():.0%} of the train samples, over all days and features")


def order_of_time(subject: ArraysSubject) -> Finding:
    """No validation or test window is a train window, nor followed by one a day later."""
    name, panel, parts = "split by time", subject.windows, subject.whole.split.by_name()
    if panel.window < 3:
        return Finding(name, None, "windows of one or two days do not tell what follows what")
    heads, tails = _hashes(panel.values[:, :-1]), _hashes(panel.values[:, 1:])
    windows = _hashes(panel.values)
    train = parts["train"]
    if not np.isin(tails[train], heads[train]).any():
        return Finding(name, None, "no train window follows another a day later, so their order cannot be told")
    moving = tails != heads  # a window that never changes follows itself
    for part in ("validation", "test"):
        rows = parts[part][moving[parts[part]]]
        double = int(np.isin(windows[rows], windows[train]).sum())
        followed = int(np.isin(tails[rows], heads[train]).sum())
        if double or followed:
            ordered = "" if part == "test" else " (the last of X_train, which must be in order of time)"
            return Finding(
                name,
                False,
                f"of {len(parts[part]):,} {part} windows{ordered} {followed:,} are followed, a day later, by a train "
                f"window, and {double:,} are in train themselves",
                "neighbours share all days but one, so the model is scored on what it was trained on; split by time, "
                "never at random",
            )
    return Finding(name, True, "no validation or test window is in train, or followed a day later by a train window")


def scaler_of_arrays(subject: ArraysSubject) -> Finding:
    """The scale that the arrays arrived with was not fitted on train and test together."""
    name, panel, n = "scaler of the arrays", subject.windows, subject.before_test
    fits: list[tuple[str, Callable[[Floats], NDArray[np.bool_]]]] = [
        ("range from 0 to 1", lambda rows: (abs(rows.min(0)) < _ALIKE) & (abs(rows.max(0) - 1) < _ALIKE)),
        ("range from -1 to 1", lambda rows: (abs(rows.min(0) + 1) < _ALIKE) & (abs(rows.max(0) - 1) < _ALIKE)),
        (
            "mean 0 and standard deviation 1",
            lambda rows: np.maximum(abs(rows.mean(0)), abs(rows.std(0) - 1)) < _FITTED,
        ),
    ]
    known = []
    for what, fit in fits:
        for days in (_days, _every_day):
            on_train, on_all = fit(days(panel.values[:n])), fit(days(panel.values))
            wrong = [f for f, a, b in zip(panel.features, on_all, on_train, strict=True) if a and not b]
            if wrong:
                return Finding(
                    name,
                    False,
                    f"{', '.join(wrong)}: {what} over train and test together, and not over train alone",
                    "whoever scaled these arrays knew the test; fit the scaler on train rows alone, and save them "
                    "again. stockml standardises anew on train, so its own scores gain nothing by this; what was "
                    "chosen elsewhere with these arrays may have",
                )
            if on_train.any():
                known.append(what)
    if known:
        return Finding(name, True, f"{known[0]} over train, as a scaler leaves it that was fitted there")
    return Finding(name, None, "neither a range of 0 to 1 nor mean 0 and standard deviation 1, over train or over all")


def targets_apart(subject: ArraysSubject) -> Finding:
    """The last train target ends before the first test target begins."""
    name, panel, n = "train targets before test", subject.windows, subject.before_test
    gap = _gap(panel.values[n - 1], panel.values[n])
    in_order = [_gap(panel.values[i - 1], panel.values[i]) == 1 for i in np.linspace(1, n - 1, 20, dtype=int)]
    if panel.window < 3 or not all(in_order):
        return Finding(name, None, "X_train is not one series of windows a day apart")
    found = _target_days(panel, n)
    if found is None:
        return Finding(
            name, None, "the target is no change of a feature that later windows show: no telling when it ends"
        )
    start, end = found
    told = f"targets {f'run from day {start} to' if start else 'end on'} day {end} after the window"
    if gap is not None and end > start + gap:
        return Finding(
            name,
            False,
            f"{told}, and the first test window ends {gap} day{'s' if gap > 1 else ''} after the last of train",
            f"the last {end - start - gap} train targets end after the first test target has begun; leave them out",
        )
    after = f"{gap} day{'' if gap == 1 else 's'}" if gap is not None else f"at least {panel.window} days"
    return Finding(name, True, f"{told}; the first test window ends {after} after the last of train")


def _target_days(panel: Panel, n: int) -> tuple[int, int] | None:
    """How many days after the window the target begins and ends; None where later windows do not show it."""
    y, last = panel.target[:n], panel.values[:n, -1].astype(np.float64)
    for end in range(1, min(_MOST_DAYS_AHEAD, n // 4) + 1):
        wanted = y[:-end]
        if panel.kind == "level":
            if (np.abs(last[end:] - wanted[:, None]) < _ALIKE * y.std()).mean(axis=0).max() > _SAME:
                return 0, end
            continue
        for start in range(end):
            moves = last[end:] - last[start : start - end]
            if panel.kind == "class":
                alike = [(np.sign(m[m != 0]) == 2 * wanted[m != 0] - 1).mean() for m in moves.T if (m != 0).any()]
            else:
                total = np.cumsum(last, axis=0)  # where the features are returns
                sums = total[end:] - total[start : start - end]
                alike = [abs(c) for changes in (moves, sums) for c in correlations(changes, wanted)]
            if max(alike, default=0.0) > _SAME:
                return start, end
    return None


def _gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> int | None:
    """How many days after the window the other one ends; None where they share no day."""
    return next((g for g in range(1, len(one)) if np.array_equal(one[g:], other[: len(one) - g])), None)


def _days(windows: NDArray[np.float32]) -> Floats:
    """(D, F) the first window's days, and the last day of each further one."""
    return np.concatenate([windows[0], windows[1:, -1]]).astype(np.float64)


def _every_day(windows: NDArray[np.float32]) -> Floats:
    """(N × T, F) the days of all windows, as often as they come."""
    return windows.reshape(-1, windows.shape[-1]).astype(np.float64)


def _hashes(windows: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.array([hash(window.tobytes()) for window in windows])
