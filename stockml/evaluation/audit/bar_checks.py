"""The leakage audit: laws that honest samples obey, tried on the user's own data.

A check changes what a pipeline is given, and looks at what comes out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from stockml.data.dataset import Data
from stockml.data.settings import BarsConfig
from stockml.evaluation import significance
from stockml.evaluation.audit.leaks import LEAKS, Pipeline
from stockml.evaluation.metrics import target

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.bars import Bars, Floats
    from stockml.data.panel import Panel

Forecaster = Callable[[Data], dict[str, "Floats"]]
"""Fits on train, and gives the forecasts (N,) of validation and test, in the target's own units."""

_NULL_SEEDS = 20
_NULL_LEVEL = 0.05
_MOST_REJECTIONS = 4  # of 20: at 5 % each, more come by chance once in 388 times (binomial)
FEWEST_SAMPLES = 50  # below, chance looks like anything
_LARGEST_CORRELATION = 0.25  # a daily return's R² of 6 %
_LARGEST_R2 = 0.05


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    passed: bool | None
    """None: the check does not apply to these data."""
    looked_at: str
    """What was looked at; of a failure what was seen, and of a check that does not apply why."""
    means: str = ""
    """Of a failure: what it means, and what to do."""


@dataclass(frozen=True)
class Subject(ABC):
    """What is audited: data that can be made anew with noise in place of all that comes after a row."""

    config: Config
    forecasters: Mapping[str, Forecaster]

    @abstractmethod
    def panel(self, noise_after: int | None = None) -> Panel:
        """The panel, not scaled, a copy of its own."""

    @abstractmethod
    def data(self, noise_after: int | None = None) -> Data:
        """The samples, split and scaled."""

    @abstractmethod
    def with_future(self) -> Subject:
        """The data with what is to be forecast among the features."""

    @cached_property
    def whole(self) -> Data:
        """The samples of the data as they are."""
        return self.data()

    def forecasts(self, forecaster: str) -> dict[str, Floats]:
        """Those of the data as they are, by part."""
        if forecaster not in self._forecasts:
            self._forecasts[forecaster] = self.forecasters[forecaster](self.whole)
        return self._forecasts[forecaster]

    @cached_property
    def _forecasts(self) -> dict[str, dict[str, Floats]]:
        return {}


@dataclass(frozen=True)
class BarsSubject(Subject):
    """Daily bars and the pipeline that makes samples of them."""

    bars: Bars
    pipeline: Pipeline

    @property
    def settings(self) -> BarsConfig:
        """How the bars are cut into samples."""
        return cast("BarsConfig", self.config.data)

    def panel(self, noise_after: int | None = None) -> Panel:
        """The panel of the bars; the row of `noise_after` is the panel's."""
        return self.pipeline.panel(self._bars(noise_after), self.config.stock.features, self.settings)

    def data(self, noise_after: int | None = None) -> Data:
        """The samples of the bars."""
        return self.pipeline.data(self._bars(noise_after), self.config.stock.features, self.settings)

    def with_future(self) -> BarsSubject:
        """The bars in the pipeline that training uses, with what is to be forecast among the features."""
        return replace(self, pipeline=LEAKS["future_return"](Pipeline()))

    def row_of_bar(self, row: int) -> int:
        """The number of the bar that the panel's row is."""
        dates = self.whole.panel.dates
        assert dates is not None
        return int(np.searchsorted(self.bars.dates, dates[row]))

    def _bars(self, noise_after: int | None) -> Bars:
        if noise_after is None:
            return self.bars
        first, rng = self.row_of_bar(noise_after) + 1, np.random.default_rng(1)
        columns = {name: column.copy() for name, column in self.bars.columns.items()}
        for column in columns.values():
            column[first:] *= np.exp(0.1 * rng.standard_normal(len(column) - first))
        return replace(self.bars, columns=columns)


def on_bars(folds: Sequence[BarsSubject]) -> list[Callable[[], Finding]]:
    """The checks of daily bars, of one split or of each fold, in the order in which they are told."""
    subject = folds[-1]
    return [
        lambda: _of_each(folds, scrambled_future),
        lambda: prefix(subject),
        lambda: _of_each(folds, scaler_on_train),
        lambda: _of_each(folds, parts_apart),
        lambda: ramp(subject),
        lambda: null_data(subject),
        lambda: _of_each(folds, feature_and_target),
        lambda: _of_each(folds, score),
        lambda: positive_control(subject, scrambled_future, prefix, feature_and_target),
    ]


def _of_each(folds: Sequence[BarsSubject], check: Callable[[BarsSubject], Finding]) -> Finding:
    """What the check finds in the first fold in which it fails; else in the last."""
    for number, fold in enumerate(folds):
        found = check(fold)
        if len(folds) > 1:
            found = replace(found, looked_at=f"fold {number}: {found.looked_at}")
        if found.passed is False:
            break
    return found


def scrambled_future(subject: Subject) -> Finding:
    """Features, scaler and forecasts up to a day of the test ignore every later row, bit for bit."""
    name, whole = "scrambled future", subject.whole
    rows = whole.split.test
    features = subject.panel()
    days = np.unique(np.quantile(rows, [0.1, 0.5, 0.9], method="nearest"))
    for day in days.tolist():
        after = f"every row after {_day(features, day)} was replaced by noise"
        noisy = subject.panel(noise_after=day)
        if changed := _changed_features(features, noisy, day):
            return Finding(
                name,
                False,
                f"{after}, and {changed}",
                "a feature knows days after its own; compute each one from rows up to its own day alone",
            )
        data = subject.data(noise_after=day)
        if _figures(data) != _figures(whole):
            return Finding(
                name,
                False,
                f"{after}, and the scaler is another",
                "mean and standard deviation know the test; fit the scaler on train rows alone",
            )
        for forecaster, forecast in subject.forecasters.items():
            before, again = subject.forecasts(forecaster), forecast(data)
            for part in ("validation", "test"):
                known = whole.split.by_name()[part] <= day
                differing = int((before[part] != again[part])[known].sum())
                if differing:
                    return Finding(
                        name,
                        False,
                        f"{after}, and {differing:,} forecasts of {forecaster} up to that day are others",
                        "training has seen days of the test; split by time",
                    )
    seen = f"features, scaler and the forecasts of {' and '.join(subject.forecasters)} up to a day of the test"
    return Finding(name, True, f"{seen}, all rows after it being noise; tried on {len(days)} days")


def prefix(subject: BarsSubject) -> Finding:
    """Features made of the bars up to a day are those made of all bars."""
    name, features = "prefix of features", subject.panel()
    first, last = subject.settings.window + features.horizon + 2, len(features.values) - 2
    if first > last:
        return Finding(name, None, "too few bars to leave some out")
    for day in np.unique(np.linspace(first, last, 5, dtype=int)):
        bar = subject.row_of_bar(int(day)) + 1
        bars = subject.bars
        first_bars = replace(
            bars,
            dates=bars.dates[:bar],
            columns={key: column[:bar] for key, column in bars.columns.items()},
            lines=None if bars.lines is None else bars.lines[:bar],
            expected=None if bars.expected is None else bars.expected[:bar],
        )
        if changed := _changed_features(features, replace(subject, bars=first_bars).panel(), int(day)):
            return Finding(
                name,
                False,
                f"of the bars up to {_day(features, int(day))} other features are made than of all bars: {changed}",
                "a feature looks ahead (a centred window, a back-fill, a statistic of all rows); use past rows alone",
            )
    return Finding(
        name, True, "features made of the bars up to a day are, bit for bit, those made of all; tried on 5 days"
    )


def scaler_on_train(subject: Subject) -> Finding:
    """What scales the data does not change when validation and test do."""
    whole = subject.whole
    first = int(whole.split.validation.min())
    day = _day(whole.panel, first)
    if _figures(subject.data(noise_after=first)) != _figures(whole):
        return Finding(
            "scaler on train alone",
            False,
            f"noise after {day}, where validation begins, changes mean or standard deviation",
            "the scaler has seen validation or test; fit it on train rows alone",
        )
    return Finding("scaler on train alone", True, f"norm_stats, with noise from validation's begin ({day}) on")


def parts_apart(subject: BarsSubject) -> Finding:
    """Every target of a part ends before the next part's first target begins, by its rows and by what noise changes."""
    name, panel, parts = "parts apart in time", subject.whole.panel, subject.whole.split.by_name()
    ends = []
    for (earlier, rows), (later, following) in zip(list(parts.items())[:-1], list(parts.items())[1:], strict=True):
        first = int(following.min())
        changed = subject.panel(noise_after=first).target[rows] != panel.target[rows]
        over = changed | (rows + panel.horizon > first)
        if over.any():
            return Finding(
                name,
                False,
                f"{int(over.sum()):,} targets of {earlier} end after {_day(panel, first)}, when {later} begins",
                f"{earlier} knows days that {later} is judged on; split by time, and leave out the samples whose "
                "target ends in the next part",
            )
        ends.append(
            f"{earlier} ends {_day(panel, int(rows.max()) + panel.horizon)}, {later} begins after {_day(panel, first)}"
        )
    return Finding(name, True, f"by the days of their targets {'; '.join(ends)}")


def ramp(subject: BarsSubject) -> Finding:
    """On a close that is the number of its day, each target is the change from its sample's day to the horizon's."""
    days = np.arange(1.0, len(subject.bars.dates) + 1)
    columns = dict.fromkeys(subject.bars.columns, days)
    panel = replace(subject, bars=replace(subject.bars, columns=columns)).panel()
    rows, horizon = panel.samples, panel.horizon
    assert panel.dates is not None
    today = days[np.searchsorted(subject.bars.dates, panel.dates[rows])]

    def expected(late: int) -> Floats:
        start, end = today + late, today + horizon + late
        if subject.settings.target == "close":
            return end
        return np.log(end / start) if subject.settings.target == "log_return" else end / start - 1

    if np.allclose(panel.target[rows], expected(0), rtol=1e-9):
        ahead = f"{horizon} day{'s' if horizon > 1 else ''}"
        return Finding("ramp", True, f"with a close that rises by 1 a day, all {len(rows):,} targets lie {ahead} ahead")
    inner = slice(3, -3)  # of which no shift looks beyond the ends
    shifts = [n for n in (-1, 1, -2, 2) if np.allclose(panel.target[rows][inner], expected(n)[inner], rtol=1e-9)]
    where = (
        f"lie {abs(shifts[0])} day(s) too {'early' if shifts[0] < 0 else 'late'}" if shifts else "are no such change"
    )
    return Finding(
        "ramp",
        False,
        f"with a close that rises by 1 a day, targets {where}",
        f"target i must be the change from the close of the window's last day to that {horizon} rows later",
    )


def null_data(subject: BarsSubject) -> Finding:
    """Where nothing can be forecast, the significance test finds skill no more often than by chance."""
    name, forecast = "null data", subject.forecasters.get("ridge")
    if forecast is None:
        return Finding(name, None, "the windows are too large for a ridge regression")
    if len(subject.whole.split.test) < FEWEST_SAMPLES:
        return Finding(name, None, f"fewer than {FEWEST_SAMPLES} test samples")
    rejections = 0
    for seed in range(_NULL_SEEDS):
        data = replace(subject, bars=without_signal(subject.bars, seed)).data()
        truth = target(data.panel, data.split.test)
        realised, forecasts = truth.changes(truth.y_true), truth.changes(forecast(data)["test"])
        errors = np.square(realised - forecasts)
        p_value = significance.diebold_mariano(np.square(realised), errors, data.panel.horizon).p_value
        rejections += p_value is not None and p_value < _NULL_LEVEL
    seen = f"the sign of each day's move drawn anew {_NULL_SEEDS} times: ridge seems to have skill in {rejections}"
    if rejections > _MOST_REJECTIONS:
        return Finding(
            name,
            False,
            f"{seen}, by chance at most {_MOST_REJECTIONS}",
            "there is nothing to forecast in such data: the target is known to the features, or to train",
        )
    return Finding(name, True, f"{seen} (Diebold-Mariano at {_NULL_LEVEL:.0%}; by chance at most {_MOST_REJECTIONS})")


def without_signal(bars: Bars, seed: int) -> Bars:
    """The bars with the sign of each day's log moves drawn at random: volatility stays, and nothing can be forecast."""
    columns, close = dict(bars.columns), bars.columns["close"]
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(close) - 1)
    moves = {key: np.log(column[1:] / close[:-1]) for key, column in columns.items() if key != "volume"}
    path = math.log(close[0]) + np.append(0, np.cumsum(sign * moves["close"]))
    if {"high", "low"} <= set(moves):  # mirrored, a day's high is its low
        highest, lowest, up = moves["high"], moves["low"], sign > 0
        moves["high"], moves["low"] = np.where(up, highest, lowest), np.where(up, lowest, highest)
    for key, move in moves.items():
        columns[key] = np.append(columns[key][:1], np.exp(path[:-1] + sign * move))
    return replace(bars, columns=columns, expected=None)


def feature_and_target(subject: Subject) -> Finding:
    """No feature, and no day-to-day change of one, on any day of the window nearly determines the target in train."""
    name, panel, rows = "features against target", subject.panel(), subject.whole.split.train
    truth = target(panel, rows)
    y = truth.changes(truth.y_true)
    if np.ptp(y) <= 1e-6 * np.ptp(truth.y_true):  # but for rounding to float32
        return Finding(name, None, "the target is the last value known, in every train sample")
    n = len(rows) / max(1, panel.horizon)  # targets that overlap tell less
    limit = min(_LARGEST_CORRELATION + 5 / math.sqrt(n), 0.95)
    if n < 30:
        return Finding(name, None, f"{len(rows):,} train samples are too few to tell chance from a leak")
    largest, where = 0.0, ""
    for what, values in (("feature {}", panel.values), ("the change of feature {}", _changes(panel))):
        for lag in range(panel.window - (what != "feature {}")):
            x = values[rows, panel.window - 1 - lag] if panel.windowed else values[rows - lag]
            for feature, correlation in zip(panel.features, correlations(x.astype(np.float64), y), strict=True):
                if abs(correlation) > abs(largest):
                    largest = correlation
                    where = f"{what.format(feature)} {f'{lag} days before' if lag else 'on'} the window's last day"
    if abs(largest) > limit:
        return Finding(
            name,
            False,
            f"{where} has correlation {largest:+.2f} with the target (returns allow {limit:.2f})",
            "it may be shifted by a day, or be computed from days after the window; see how that column is made",
        )
    scanned = f"{len(panel.features)} × {panel.window} features, and their changes, on {len(rows):,} train samples"
    return Finding(name, True, f"{scanned}: the largest correlation is {largest:+.2f} (allowed {limit:.2f})")


def score(subject: Subject) -> Finding:
    """Ridge explains no more of the test than daily returns allow."""
    name, rows = "score", subject.whole.split.test
    if "ridge" not in subject.forecasters:
        return Finding(name, None, "the windows are too large for a ridge regression")
    panel = subject.whole.panel
    truth = target(panel, rows)
    realised, forecasts = truth.changes(truth.y_true), truth.changes(subject.forecasts("ridge")["test"])
    naive = subject.whole.scaler.target_mean if panel.kind == "class" else 0.0
    spread = float(np.square(realised - naive).sum())
    if not spread:
        return Finding(name, None, "nothing moves in the test")
    r2 = 1 - float(np.square(realised - forecasts).sum()) / spread
    limit = max(_LARGEST_R2, 16 * max(1, panel.horizon) / len(rows))  # R² less two of its standard errors, 2√(R²/n)
    if limit > 0.9:
        return Finding(name, None, f"{len(rows):,} test samples are too few to tell chance from a leak")
    against = "the train mean" if panel.kind == "class" else "zero"
    seen = f"ridge explains {r2:+.2%} of {len(rows):,} test samples' squared {_unit(panel)}, against {against}"
    if r2 > limit:
        return Finding(
            name,
            False,
            f"{seen}; more than {limit:.1%} is nearly always a leak",
            "before you believe it, see how each column is made, and when it was known",
        )
    return Finding(name, True, f"{seen} (allowed {limit:.1%})")


def positive_control(subject: Subject, *checks: Callable[..., Finding]) -> Finding:
    """With what is to be forecast among the features, each of the checks fails; else the audit itself does."""
    found = [check(subject.with_future()) for check in checks]
    silent = [finding.check for finding in found if finding.passed]
    if silent:
        return Finding(
            "positive control",
            False,
            f"with the future among the features, nothing is seen by: {', '.join(silent)}",
            "the audit is blind on these data: do not trust what it passes",
        )
    fired = [finding.check for finding in found if finding.passed is False]
    if not fired:
        return Finding("positive control", None, "too few samples")
    return Finding(
        "positive control", True, f"with the future among the features these fail, as they must: {', '.join(fired)}"
    )


def _day(panel: Panel, row: int) -> str:
    return panel.date(row) if panel.dates is not None else f"sample {row:,}"


def _unit(panel: Panel) -> str:
    return {"return": "returns", "level": "changes", "class": "classes"}[panel.kind]


def _figures(data: Data) -> list[float]:
    """All that scales the data."""
    scaler = data.scaler
    return [*scaler.mean.tolist(), *scaler.std.tolist(), scaler.target_mean, scaler.target_std]


def _changed_features(one: Panel, other: Panel, day: int) -> str:
    """Which features differ up to the row, in words; nothing where none does."""
    differ = one.values[: day + 1] != other.values[: day + 1]
    if not differ.any():
        return ""
    names = [
        name for name, column in zip(one.features, differ.reshape(-1, len(one.features)).T, strict=True) if column.any()
    ]
    last = int(differ.reshape(day + 1, -1).any(axis=1).nonzero()[0][-1])
    return f"{', '.join(names)} of {_day(one, last)} changed" + (" (that day's own)" if last == day else "")


def _changes(panel: Panel) -> Floats:
    """Day-to-day changes of the features, in the place of the later day: relative ones where all are above zero."""
    values = panel.values.astype(np.float64)
    relative = (values > 0).all(axis=tuple(range(values.ndim - 1)))
    values[..., relative] = np.log(values[..., relative])
    return np.concatenate([np.zeros_like(values[..., :1, :]), np.diff(values, axis=-2)], axis=-2)


def correlations(x: Floats, y: Floats) -> list[float]:
    """Pearson's of each column of x (N, F) with y (N,); 0 where one of the two is constant."""
    x, y = x - x.mean(axis=0), y - y.mean()
    spread = np.sqrt(np.square(x).sum(axis=0) * float(y @ y))
    found: list[float] = np.divide(y @ x, spread, out=np.zeros(x.shape[1]), where=spread > 1e-12).tolist()
    return found
