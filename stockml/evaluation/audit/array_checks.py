"""Checks of arrays that were windowed elsewhere: what they show of how they were made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.sources.npz.horizon import ALIKE, SAME, span, target_days
from stockml.evaluation.audit.subject import FEWEST_SAMPLES, ArraysSubject, Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.bars import Floats

_FITTED = 0.005  # how far mean and standard deviation may be from 0 and 1 on the rows that a scaler was fitted on


def target_in_window(subject: ArraysSubject) -> Finding:
    """The target is not a number of the window; a class is not the sign of a move within the window."""
    panel, n = subject.windows, subject.before_test
    if n < FEWEST_SAMPLES:
        return Finding(None, f"fewer than {FEWEST_SAMPLES} train samples")
    x, y = panel.values[:n], panel.target[:n]
    if panel.kind == "class":
        moves = np.sign(np.diff(x, axis=1))
        agree = np.abs(np.einsum("ntf,n->tf", moves, 2 * y - 1)) / np.maximum(1, np.abs(moves).sum(axis=0))
        share, what = agree, "the sign of a move within the window is the class"
    else:
        share = (np.abs(x - y[:, None, None]) < ALIKE * y.std()).mean(axis=0)
        what = "a number of the window is the target"
    lag, feature = np.unravel_index(share.argmax(), share.shape)
    where = f"feature {panel.features[feature]}, {len(share) - 1 - lag} days before the last"
    if share.max() > SAME:
        return Finding(
            False,
            f"{what} in {share.max():.0%} of the train samples: {where}",
            "the model sees what it has to forecast; the target must come after the window's last day",
        )
    return Finding(True, f"{what} in at most {share.max():.0%} of the train samples, over all days and features")


def order_of_time(subject: ArraysSubject) -> Finding:
    """No validation or test window is a train window, or followed by one a day later."""
    panel, splits = subject.windows, subject.whole.split.by_name()
    if panel.window < 3:
        return Finding(None, "windows of one or two days do not show which window follows which")
    heads, tails = _hashes(panel.values[:, :-1]), _hashes(panel.values[:, 1:])
    windows = _hashes(panel.values)
    train = splits["train"]
    if not np.isin(tails[train], heads[train]).any():
        return Finding(None, "no train window follows another a day later, so their order is not known")
    moving = tails != heads  # a window that never changes follows itself
    for split in ("validation", "test"):
        rows = splits[split][moving[splits[split]]]
        double = int(np.isin(windows[rows], windows[train]).sum())
        followed = int(np.isin(tails[rows], heads[train]).sum())
        if double or followed:
            ordered = "" if split == "test" else " (the last of X_train, which must be in order of time)"
            return Finding(
                False,
                f"of {len(splits[split]):,} {split} windows{ordered} {followed:,} are followed, a day later, by a "
                f"train window, and {double:,} are in train themselves",
                "neighbours share all days but one, so the model is scored on what it was trained on; split by time, "
                "not at random",
            )
    return Finding(True, "no validation or test window is in train, or followed a day later by a train window")


def scaler_of_arrays(subject: ArraysSubject) -> Finding:
    """Whoever scaled the arrays did not fit the scale on train and test together."""
    panel, n = subject.windows, subject.before_test
    fits: list[tuple[str, Callable[[Floats], NDArray[np.bool_]]]] = [
        ("range from 0 to 1", lambda rows: (abs(rows.min(0)) < ALIKE) & (abs(rows.max(0) - 1) < ALIKE)),
        ("range from -1 to 1", lambda rows: (abs(rows.min(0) + 1) < ALIKE) & (abs(rows.max(0) - 1) < ALIKE)),
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
                    False,
                    f"{', '.join(wrong)}: {what} over train and test together, and not over train only",
                    "whoever scaled these arrays knew the test; fit the scaler on train rows only, and save them "
                    "again. stockml standardises them on train, so its own scores gain nothing from this; what was "
                    "chosen elsewhere with these arrays may have gained",
                )
            if on_train.any():
                known.append(what)
    if known:
        return Finding(True, f"{known[0]} over train, as if the scaler was fitted there")
    return Finding(None, "neither a range of 0 to 1 nor mean 0 and standard deviation 1, over train or over all")


def targets_apart(subject: ArraysSubject) -> Finding:
    """The last train target ends before the first test target begins."""
    panel, n = subject.windows, subject.before_test
    gap = _gap(panel.values[n - 1], panel.values[n])
    in_order = [_gap(panel.values[i - 1], panel.values[i]) == 1 for i in np.linspace(1, n - 1, 20, dtype=int)]
    if panel.window < 3 or not all(in_order):
        return Finding(None, "X_train is not one series of windows a day apart")
    found = target_days(panel.values[:n, -1].astype(np.float64), panel.target[:n], panel.kind)
    if found is None:
        return Finding(None, "the target is no change of a feature in later windows, so when it ends is not known")
    start, end = found
    days = f"targets {span(start, end)} after the window"
    if gap is not None and end > start + gap:
        return Finding(
            False,
            f"{days}, and the first test window ends {gap} day{'s' if gap > 1 else ''} after the last of train",
            f"the last {end - start - gap} train targets end after the first test target has begun; leave them out",
        )
    after = f"{gap} day{'' if gap == 1 else 's'}" if gap is not None else f"at least {panel.window} days"
    return Finding(True, f"{days}; the first test window ends {after} after the last of train")


def _gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> int | None:
    """How many days the other window ends after the one; None if they share no day."""
    return next((g for g in range(1, len(one)) if np.array_equal(one[g:], other[: len(one) - g])), None)


def _days(windows: NDArray[np.float32]) -> Floats:
    """(D, F) the days of the first window, then the last day of each further window."""
    return np.concatenate([windows[0], windows[1:, -1]]).astype(np.float64)


def _every_day(windows: NDArray[np.float32]) -> Floats:
    """(N × T, F) the days of all windows, each as often as it is in a window."""
    return windows.reshape(-1, windows.shape[-1]).astype(np.float64)


def _hashes(windows: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.array([hash(window.tobytes()) for window in windows])
