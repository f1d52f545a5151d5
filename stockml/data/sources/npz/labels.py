"""What the targets of windowed arrays are, as their values show: returns, levels or classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stockml.data.sources.npz.horizon import correlations
from stockml.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.data.bars import Floats
    from stockml.data.panel import Kind

_MOST_LABELS = 20  # different whole numbers that are taken for classes
_LEVEL_R2 = 0.5  # the target is a level if a window's last value explains this much of its variance
_LARGEST_MEAN = 1.0  # of a return, in standard deviations; over 20 days, a Sharpe ratio of 3.5 a year
_FEWEST_OF_ONE_SIGN = 30  # by chance, so many returns have one sign once in a billion times
_LARGEST_RATIO = 20.0  # of the usual sizes before and after the test's first day: no market becomes so much wilder
_NEAR = 100  # samples on each side of it: over decades, prices and volumes do grow so much


def check_classes(path: Path, target: Floats, n_train: int) -> None:
    """Raise UserError where the targets are labels of classes other than 0 and 1, or only those of train are labels."""
    found = np.unique(target)
    if np.isin(found, (0, 1)).all():
        return
    if len(found) <= _MOST_LABELS and (found == np.round(found)).all():
        shown = ", ".join(f"{label:g}" for label in found[:5]) + (", …" if len(found) > 5 else "")
        raise UserError(
            f"{path}: the targets are whole numbers only ({shown}), which are labels of classes; stockml forecasts "
            "returns, levels, and classes named 0 and 1: save y_train and y_test as one of these"
        )
    if len(np.unique(target[:n_train])) == 2 and np.isin(target[:n_train], (0, 1)).all():
        other = target[n_train:][~np.isin(target[n_train:], (0, 1))][0]
        raise UserError(
            f"{path}: y_train has the classes 0 and 1 alone, y_test other values ({other:g}); save one kind"
        )


def kind_of(values: NDArray[np.float32], target: Floats, n_train: int) -> tuple[Kind, Floats | None, int]:
    """The kind of the target (N,), judged by the train samples; of a level, its last known value and its feature.

    Targets far from 0, or all of one sign, are no returns: their last value may be a feature that was scaled, and where
    none is, it is not known.
    """
    train = target[:n_train]
    if np.isin(target, (0, 1)).all():
        return "class", None, 0
    errors = [np.mean(np.square(train - values[:n_train, -1, f])) for f in range(values.shape[2])]
    best = int(np.argmin(errors))
    if errors[best] < (1 - _LEVEL_R2) * train.var():
        return "level", values[:, -1, best].astype(np.float64), best
    is_far = abs(train.mean()) > _LARGEST_MEAN * train.std()
    has_one_sign = len(train) >= _FEWEST_OF_ONE_SIGN and not (train.min() < 0 < train.max())
    if not is_far and not has_one_sign:
        return "return", None, 0
    shown = np.square(correlations(values[:n_train, -1].astype(np.float64), train))
    best = int(np.argmax(shown))
    if shown[best] <= _LEVEL_R2:
        return "level", None, 0
    feature = values[:, -1, best].astype(np.float64)
    slope, base = np.polyfit(feature[:n_train], train, 1).tolist()
    return "level", base + slope * feature, best


def check_scale(path: Path, moves: Floats, n_train: int) -> None:
    """Raise UserError where the targets of test, (N,) less their last values, are of another size than those of train:
    in percent, in pence, scaled."""
    sides = moves[max(0, n_train - _NEAR) : n_train], moves[n_train : n_train + _NEAR]
    train, test = (float(np.median(np.abs(of[of != 0]))) if of.any() else 0.0 for of in sides)
    if not train or not test or 1 / _LARGEST_RATIO < test / train < _LARGEST_RATIO:
        return
    raise UserError(
        f"{path}: y_test begins {test / train:.3g} times as large as y_train ends, by the median of their sizes: one "
        "may be in percent or another unit, or scaled; save both in one unit"
    )
