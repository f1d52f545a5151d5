"""Checks that features explain no more of the next day and of the target than returns allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from stockml.evaluation.audit import scan
from stockml.evaluation.audit.subject import BarsSubject, Finding, Subject
from stockml.evaluation.audit.target_checks import FORESEEABLE, foreseeable, named
from stockml.evaluation.truth import target

if TYPE_CHECKING:
    from stockml.data.bars import Floats
    from stockml.data.panel import Panel
    from stockml.data.split import Rows

_LARGEST_R2 = 0.05
_UNITS = {"return": "returns", "level": "changes", "class": "classes"}


def next_day(subject: BarsSubject) -> Finding:
    """No feature on any day of the window shows what the day after the window brings, at any horizon."""
    looked, bars, rows = subject.next_days()
    return finding(scan.scan_next_day(looked, bars, rows, subject.whole.panel.window), rows)


def feature_and_target(subject: Subject) -> Finding:
    """No feature, and no daily change of one, on any day of the window is strongly correlated with train's targets."""
    panel, rows = subject.panel(), subject.whole.split.train
    truth = target(panel, rows)
    y = truth.changes(truth.y_true)
    if np.ptp(y) <= 1e-6 * np.ptp(truth.y_true):  # but for rounding to float32
        return Finding(None, "the target is the last known value, in every train sample")
    if foreseeable(subject):
        return Finding(None, f"{named(subject)} {FORESEEABLE}")
    bars = subject.kind == "bars"
    least = scan.LEAST_TARGET_CORRELATION if bars else scan.LEAST_ARRAY_CORRELATION
    return finding(scan.scan_target(_columns(panel, rows), panel.features, y, panel.horizon, least), rows)


def finding(found: scan.Scan, rows: Rows) -> Finding:
    """What a scan of so many train samples means."""
    if found.largest is None:
        return Finding(None, f"{len(rows):,} train samples are too few to tell chance from a leak")
    limit = f"chance gives t of at most {found.limit:.1f}"
    if found.failed:
        names = list(dict.fromkeys(suspect.feature for suspect in found.failed))
        more = f"; so {'do' if len(names) > 2 else 'does'} {', '.join(names[1:])}" if len(names) > 1 else ""
        return Finding(
            False,
            f"{found.failed[0]}; {limit}{more}",
            "it may be shifted by a day, or computed from days after the window; check how that column is made",
        )
    looked = f"{found.looked_at:,} features, lags and changes, on {len(rows):,} train samples"
    return Finding(True, f"{looked}: the largest: {found.largest} ({limit})")


def ridge_r2(subject: Subject) -> Finding:
    """Ridge explains no more of the test, or of validation where the test is sealed, than daily returns allow."""
    split = "validation" if subject.config.test == "sealed" else "test"
    rows = subject.whole.split.by_name()[split]
    if "ridge" not in subject.forecasters:
        return Finding(None, "there are too many features for a ridge regression")
    panel = subject.whole.panel
    truth = target(panel, rows)
    realised, forecasts = truth.changes(truth.y_true), truth.changes(subject.forecasts("ridge")[split])
    naive = subject.whole.scaler.target_mean if truth.has_no_zero else 0.0
    spread = float(np.square(realised - naive).sum())
    if not spread:
        return Finding(None, f"nothing moves in the {split} split")
    r2 = 1 - float(np.square(realised - forecasts).sum()) / spread
    if foreseeable(subject):
        return Finding(None, f"{named(subject)} {FORESEEABLE}")
    limit = max(_LARGEST_R2, 16 * max(1, panel.horizon) / len(rows))  # R² less two of its standard errors, 2√(R²/n)
    if limit > 0.9:
        return Finding(None, f"{len(rows):,} {split} samples are too few to tell chance from a leak")
    rival = "the train mean" if panel.kind == "class" else "zero"
    seen = f"ridge explains {r2:+.2%} of {len(rows):,} {split} samples' squared {_UNITS[panel.kind]}, against {rival}"
    columns = [(0, False, forecasts[:, None])]
    order = scan.scan_target(columns, ["ridge"], realised, panel.reach, scan.LEAST_CORRELATION)
    if r2 > limit and order.largest is not None and not order.failed:
        seen_by = f"on a few violent days: correlation of ranks {order.largest.correlation:+.2f}"
        return Finding(True, f"{seen}; {seen_by} (t {order.largest.t:+.1f}, chance gives {order.limit:.1f})")
    if r2 > limit:
        return Finding(
            False,
            f"{seen}; more than {limit:.1%} is nearly always a leak",
            "before you believe it, check how each column is made, and when it was known",
        )
    return Finding(True, f"{seen} (allowed {limit:.1%})")


def _columns(panel: Panel, rows: Rows) -> Iterator[tuple[int, bool, Floats]]:
    """Each lag's features (N, F), then each lag's changes, of the windows that end in `rows`."""
    for changed, values in ((False, panel.values), (True, scan.changes(panel.values))):
        for lag in range(panel.window - changed):
            own = values[rows, panel.window - 1 - lag] if panel.windowed else values[rows - lag]
            yield lag, changed, own.astype(np.float64)
