"""Checks that nothing up to a day depends on what comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stockml.evaluation.audit.subject import BarsSubject, Finding, Subject, date_of, scaling

if TYPE_CHECKING:
    from stockml.data.panel import Panel


def scrambled_future(subject: Subject) -> Finding:
    """Features, scaler and forecasts up to a day of the test are the same, bit for bit, if all later rows are noise."""
    whole, features = subject.whole, subject.panel()
    days = np.unique(np.quantile(whole.split.test, [0.1, 0.5, 0.9], method="nearest"))
    for day in days.tolist():
        after = f"every row after {date_of(features, day)} was replaced by noise"
        if changed := _changed_features(features, subject.panel(noise_after=day), day):
            return Finding(
                False,
                f"{after}, and {changed}",
                "a feature knows days after its own; compute each one only from rows up to its own day",
            )
        data = subject.data(noise_after=day)
        if scaling(data) != scaling(whole):
            return Finding(
                False,
                f"{after}, and the scaler changed",
                "mean and standard deviation know the test; fit the scaler on train rows only",
            )
        for forecaster, forecast in subject.forecasters.items():
            before, again = subject.forecasts(forecaster), forecast(data)
            for split in ("validation", "test"):
                known = whole.split.by_name()[split] <= day
                differing = int((before[split] != again[split])[known].sum())
                if differing:
                    return Finding(
                        False,
                        f"{after}, and {differing:,} forecasts of {forecaster} up to that day changed",
                        "training has seen days of the test; split by time",
                    )
    same = f"features, scaler and the forecasts of {' and '.join(subject.forecasters)} up to a day of the test"
    return Finding(True, f"{same} are the same if all later rows are noise; tried on {len(days)} days")


def prefix(subject: BarsSubject) -> Finding:
    """Features made from the bars up to a day are those made from all bars."""
    subject = subject.of_bars(bars := subject.bars)
    features = subject.panel()
    samples = features.samples[:1].tolist() or [0]  # a prefix without a sample is refused
    first = max(subject.settings.window, samples[0]) + features.reach + 2
    last = len(features.values) - 2
    if first > last:
        return Finding(None, "too few bars to leave some out")
    for day in np.unique(np.linspace(first, last, 5, dtype=int)).tolist():
        end = subject.row_of_bar(day) + 1
        first_bars = bars.first(end)
        if changed := _changed_features(features, subject.of_bars(first_bars).panel(), day):
            return Finding(
                False,
                f"made from the bars up to {date_of(features, day)} only, {changed}",
                "a feature looks ahead (a centred window, a back-fill, a statistic of all rows); use past rows only",
            )
    return Finding(
        True, "features made from the bars up to a day are, bit for bit, those made from all bars; tried on 5 days"
    )


def _changed_features(one: Panel, other: Panel, day: int) -> str:
    """Which features differ up to that row, in words; an empty text if none does."""
    before, after = one.values[: day + 1], other.values[: day + 1]
    differ = (before != after) & ~(np.isnan(before) & np.isnan(after))
    if not differ.any():
        return ""
    columns = differ.reshape(-1, len(one.features)).T
    names = [name for name, column in zip(one.features, columns, strict=True) if column.any()]
    last = int(differ.reshape(day + 1, -1).any(axis=1).nonzero()[0][-1])
    return f"{', '.join(names)} of {date_of(one, last)} changed" + (" (that day itself)" if last == day else "")
