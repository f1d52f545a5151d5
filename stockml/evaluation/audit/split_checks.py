"""Checks that train knows nothing of validation and test."""

from __future__ import annotations

import itertools

from stockml.evaluation.audit.subject import BarsSubject, Finding, Subject, date_of, scaling


def scaler_on_train(subject: Subject) -> Finding:
    """The scaler stays the same if validation and test change."""
    whole = subject.whole
    first = int(whole.split.validation.min())
    day = date_of(whole.panel, first)
    if scaling(subject.data(noise_after=first)) != scaling(whole):
        return Finding(
            False,
            f"noise after {day}, where validation begins, changes mean or standard deviation",
            "the scaler has seen validation or test; fit it on train rows only",
        )
    return Finding(True, f"norm_stats do not change if all rows after the start of validation ({day}) are noise")


def splits_apart(subject: BarsSubject) -> Finding:
    """Each target of a split ends before the first target of the next split begins.

    Known by its rows, and by whether noise from there on changes it.
    """
    panel, splits = subject.whole.panel, subject.whole.split.by_name()
    ends = []
    for (earlier, rows), (later, later_rows) in itertools.pairwise(splits.items()):
        first = int(later_rows.min())
        changed = subject.panel(noise_after=first).target[rows] != panel.target[rows]
        over = changed | (rows + panel.horizon > first)
        if over.any():
            return Finding(
                False,
                f"{int(over.sum()):,} targets of {earlier} end after {date_of(panel, first)}, when {later} begins",
                f"{earlier} knows days on which {later} is evaluated; split by time, and leave out the samples whose "
                "target ends in the next split",
            )
        end = date_of(panel, int(rows.max()) + panel.horizon)
        ends.append(f"{earlier} ends {end}, {later} begins after {date_of(panel, first)}")
    return Finding(True, f"by the days of their targets {'; '.join(ends)}")
