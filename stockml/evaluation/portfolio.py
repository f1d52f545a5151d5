"""Forecasts as positions: the daily returns of trading them by a rule, before and after costs.

A position is a share of the capital, held from the close of a day to the next bar's close; it earns the simple return
of its stock, whatever the target is: forecasts of log returns are turned into simple ones. The position of a day uses
the forecasts made by its close. Days without a sample are left out, for every rival alike. Of intraday bars, positions
are closed where the next bar is left out: at the end of a session, across which no target reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stockml.data import frequency
from stockml.data.settings import CLOSE_TARGETS, BarsConfig
from stockml.data.target import TargetSpec
from stockml.evaluation.cross_section import Grid
from stockml.evaluation.settings import PortfolioConfig
from stockml.evaluation.volatility import DECAY

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.evaluation.predictions import Predictions
    from stockml.evaluation.truth import Floats, Target

_LARGEST_USUAL_RETURN = 0.15
MOST_SCALED = 2.0
"""The most that a volatility target multiplies positions by."""


@dataclass(frozen=True)
class Portfolio:
    """How forecasts are traded, and of which days they are."""

    settings: PortfolioConfig
    target: str
    """As the config names it; empty for arrays."""
    horizon: int
    """Days that a forecast is of, 0 if not known."""
    start: int = 0
    """Days from the forecast to the first of them."""

    @classmethod
    def of(cls, config: Config, horizon: int) -> Portfolio:
        """That of a checked config; `horizon` is that of its data, which arrays say themselves."""
        if not isinstance(config.data, BarsConfig):
            return cls(config.portfolio, "", horizon)
        spec = TargetSpec.of(config.data)
        return cls(config.portfolio, spec.name, spec.horizon, spec.end - spec.horizon)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Portfolio:
        """That of the section `economic` of metrics.json."""
        settings = PortfolioConfig(**{of.name: found[of.name] for of in fields(PortfolioConfig)})
        return cls(settings, found["target"], found["horizon"], found["start"])

    def to_json(self) -> dict[str, Any]:
        """As plain data, which `from_json` reads."""
        return {**asdict(self.settings), "target": self.target, "horizon": self.horizon, "start": self.start}

    def rule(self, samples: Predictions) -> str:
        """The rule by which these samples are traded."""
        by_kind = "sign" if samples.tickers is None else "quantile"
        return by_kind if self.settings.rule == "auto" else self.settings.rule

    def why_none(self, samples: Predictions) -> str:
        """Why the samples cannot be valued; empty where they can."""
        truth, is_alone = samples.truth, samples.tickers is None
        if truth.quantile is not None:
            return "the forecast is a quantile (trainer.loss=quantile), not an expected return"
        if self.target == "volatility":
            return "the target is a volatility, which has no direction"
        if is_alone and self.target not in ("", "direction", *CLOSE_TARGETS):
            return f"data.target={self.target} is not known to be the return of the stock"
        is_change = self.target == "difference" or (self.target == "close" and not truth.relative)
        if is_change and not is_alone:
            return "price differences of several stocks are no returns: they are larger where prices are higher"
        if (truth.kind == "class" or is_change) and self.rule(samples) == "threshold":
            what = "a price difference" if is_change else "a class"
            return f"portfolio.rule=threshold compares a forecast return with the cost, and the target is {what}"
        if not self.target:
            return self._why_none_of_arrays(truth)
        if samples.next_return is None:
            return "the run has no daily returns: it was made by a release up to 2026-11-28"
        if self.horizon > 1 and len(begins := session_begins(samples)) < 2 * begins.sum() * (self.horizon + 1):
            return (
                f"targets of {self.horizon} bars end within their session, so the returns of its last bars are not "
                "among the samples; data.across_sessions=all, or data.horizon=1"
            )
        if is_alone and not np.isfinite(samples.next_return).all():
            return "some prices are 0 or less, from which there are no returns"
        return "" if len(samples.rows) > 1 else "a single day has no volatility"

    def _why_none_of_arrays(self, truth: Target) -> str:
        if truth.kind != "return":
            return "arrays hold no returns where the target is a class or a level"
        if self.horizon != 1:
            known = f"they are {self.horizon} windows long" if self.horizon else "how long they are is not known"
            return f"arrays hold daily returns only as targets that are one window long, and {known} (data.horizon)"
        if truth.y_true.min() <= -1:
            return "the targets of the arrays are no returns: some are −100 % or less"
        if (usual := float(np.median(np.abs(truth.y_true)))) > _LARGEST_USUAL_RETURN:
            return f"the targets of the arrays are hardly returns of a day: half are above {usual:.0%}, either way"
        return ""


@dataclass(frozen=True)
class Account:
    """What trading comes to, day by day."""

    dates: NDArray[np.datetime64] | None
    """(D,) the days at whose close the positions are taken; None where they are not known."""
    gross: Floats
    """(D,) the return from each day to the next before costs."""
    turnover: Floats
    """(D,) what is bought and sold on the day, as a share of the capital."""
    exposure: Floats
    """(D,) the sum of absolute positions, as a share of the capital."""
    cost: float
    """Of a unit of turnover."""

    @property
    def net(self) -> Floats:
        """(D,) the return after costs: gross − cost × turnover."""
        return self.gross - self.cost * self.turnover


def session_begins(samples: Predictions) -> NDArray[np.bool_]:
    """(D,) of intraday bars: whether the bar before was left out for every stock; the first one's was not."""
    grid = _grid(samples)
    found = np.zeros(len(grid.days), dtype=bool)
    if samples.dates is not None and frequency.has_times(samples.dates):
        found[1:] = ~(np.diff(grid.of(samples.rows.astype(np.float64)), axis=0) == 1).any(axis=1)
    return found


def _grid(samples: Predictions) -> Grid:
    days = samples.rows if samples.dates is None else samples.dates
    return Grid(days, np.zeros(len(days)) if samples.tickers is None else samples.tickers)


class Market:
    """The samples of a split by day and stock, in which forecasts are traded."""

    def __init__(self, samples: Predictions, portfolio: Portfolio, calibration: Predictions | None = None) -> None:
        """`calibration` are samples before these, with the same forecasters: rules take their scale from them."""
        self._samples, self._portfolio, self._before = samples, portfolio, calibration
        self._grid, self._begins = _grid(samples), session_begins(samples)
        self._days, self._shape = self._grid.days, self._grid.shape
        returns = samples.truth.y_true if samples.next_return is None else samples.next_return
        by_day = self._grid.of(returns)
        self._returns, self._known = np.nan_to_num(by_day), np.isfinite(by_day)

    @cached_property
    def _calibration(self) -> Market | None:
        return None if self._before is None else Market(self._before, self._portfolio, self._before)

    @cached_property
    def periods_per_year(self) -> float:
        """The bars of a year: 252 where days are not known."""
        return self._samples.frequency.per_year

    def holding(self) -> Account:
        """The same share of every stock of the day, always: one stock is bought and held."""
        return self._account(self._known / np.maximum(1, self._known.sum(axis=1, keepdims=True)))

    def traded(self, name: str, *, long_only: bool = False) -> Account:
        """The forecasts of the model, or of the baseline of that name, traded by the rule.

        With `long_only`, nothing is sold short.
        """
        held = self.positions(name, long_only=long_only)
        account = self._account(held)
        if self._portfolio.settings.volatility_target is None:
            return account
        before = self._calibration
        past = None if before is None else before._account(before.positions(name, long_only=long_only))
        return self._account(held * self._scale(account, past)[:, None])

    def positions(self, name: str, *, long_only: bool = False) -> Floats:
        """(D, K) what is held of each stock from each day to the next, before it is scaled to a volatility target.

        A forecast is held over its horizon: of h days, h tranches of 1/h each overlap (Jegadeesh & Titman 1993), so
        that no return is counted twice.
        """
        settings, horizon = self._portfolio.settings, self._portfolio.horizon
        aimed_at = self._weights(name)
        if long_only:
            aimed_at = np.maximum(aimed_at, 0)
        held, first = np.zeros(self._shape), self._portfolio.start + settings.delay
        for lag in range(first, min(first + horizon, len(held))):
            held[lag:] += aimed_at[: len(held) - lag] / horizon
        return held * self._known

    def _weights(self, name: str) -> Floats:
        """(D, K) the positions that the day's forecasts f, expected simple returns, ask for; their capital is 1.

        sign: sign(f)/n in each of the day's n stocks. proportional: f over its root mean square in `calibration`, at
        most 1 either way, over n. threshold: sign(f)/n where |f| is more than buying and selling again costs.
        quantile: the stocks with the highest forecasts are bought and those with the lowest sold short, each side in
        equal parts that sum to 1; equal forecasts share a place. Of classes, f is p − ½.
        """
        rule, signal = self._portfolio.rule(self._samples), self._signal(name)
        n = self._known.sum(axis=1, keepdims=True)
        signal = np.where(self._known, signal, np.nan)
        if rule == "quantile":
            each = np.minimum(np.maximum(1, np.round(self._portfolio.settings.quantile * n).astype(int)), n // 2)
            return _highest(signal, each) - _highest(-signal, each)
        if rule == "proportional":
            before = self._calibration
            assert before is not None  # a scale from these samples would know their future
            square = np.square(before._signal(name))[before._known].mean()
            sides = np.clip(signal / np.sqrt(square), -1, 1) if square > 0 else 0 * signal
        else:
            cost = 2 * self._portfolio.settings.cost_bps / 10_000 if rule == "threshold" else 0.0
            sides = np.sign(signal) * (np.abs(signal) > cost)
        weights: Floats = np.nan_to_num(sides) / np.maximum(1, n)
        return weights

    def _signal(self, name: str) -> Floats:
        """(D, K) the simple return that is forecast; of classes, how far the probability is from ½."""
        samples, truth = self._samples, self._samples.truth
        forecasts = samples.model if name == "model" else samples.baselines[name]
        if truth.kind == "class":
            return self._grid.of(forecasts - 0.5)
        changes = truth.changes(forecasts)
        return self._grid.of(
            np.expm1(changes) if self._portfolio.target in ("log_return", "excess_return") else changes
        )

    def _account(self, weights: Floats) -> Account:
        """What positions (D, K) come to.

        Turnover is Σ|w − w'|. w' is the position of the day before; of several stocks, which are rebalanced, what
        returns have made of it by then: w(1+r)/(1+R), R the portfolio's return. The entry is traded, the end is not;
        within a test, positions that are closed with their session are.
        """
        gross = (weights * self._returns).sum(axis=1)
        before = weights
        if self._shape[1] > 1:
            grown = (1 + self._returns) / np.maximum(1 + gross, 1e-9)[:, None]
            before = weights * grown
        before = np.concatenate([np.zeros((1, self._shape[1])), before[:-1]])
        closed = np.where(self._begins[:, None], before, 0.0)
        turnover = np.abs(weights - (before - closed)).sum(axis=1)
        turnover[:-1] += np.abs(closed[1:]).sum(axis=1)
        days = None if self._samples.dates is None else self._days
        cost = self._portfolio.settings.cost_bps / 10_000
        return Account(days, gross, turnover, np.abs(weights).sum(axis=1), cost)

    def _scale(self, account: Account, past: Account | None) -> Floats:
        """(D,) what positions are multiplied by: the target over the volatility known on the day, at most doubled.

        That is the exponentially weighted one (RiskMetrics 1996) of the unscaled returns of days with a position,
        `past` ones included; 1 until there is any.
        """
        target = self._portfolio.settings.volatility_target
        assert target is not None
        found, total, weight = np.ones(len(account.gross)), 0.0, 0.0
        each = [] if past is None else list(zip(past.gross.tolist(), past.exposure.tolist(), strict=True))
        first = len(each)
        each += zip(account.gross.tolist(), account.exposure.tolist(), strict=True)
        for number, (change, exposure) in enumerate(each):
            if number >= first and total > 0:
                deviation = np.sqrt(self.periods_per_year * total / weight)
                found[number - first] = min(MOST_SCALED, target / deviation)
            if exposure > 0:
                total, weight = DECAY * total + change**2, DECAY * weight + 1
        return found


def _highest(signal: Floats, each: NDArray[np.int64]) -> Floats:
    """(D, K) equal parts, which sum to 1, of each day's highest values, (D, 1) of them; NaN is none."""
    ordered = np.sort(-signal, axis=1)  # NaN comes last
    lowest = -np.take_along_axis(ordered, np.maximum(each - 1, 0), axis=1)
    above, tied = signal > lowest, signal == lowest
    left = each - above.sum(axis=1, keepdims=True)
    found: Floats = (above + tied * left / np.maximum(1, tied.sum(axis=1, keepdims=True))) / np.maximum(1, each)
    return found


def net_returns(
    test: Predictions, portfolio: Portfolio, calibration: Predictions | None = None
) -> tuple[NDArray[Any] | None, Floats]:
    """The days of the test (D,), None where they are not known, and the model's returns after costs (D,)."""
    account = Market(test, portfolio, calibration).traded("model")
    return account.dates, account.net


def accounts(
    test: Predictions, portfolio: Portfolio, calibration: Predictions | None = None
) -> tuple[Mapping[str, Account], float]:
    """The accounts of the model, of its long side where it has one of its own, of holding, and of each baseline; and
    the days of a year."""
    market = Market(test, portfolio, calibration)
    found = {"model": market.traded("model")}
    if portfolio.rule(test) == "quantile":
        found["long_only"] = market.traded("model", long_only=True)
    found["holding"] = market.holding()
    return {**found, **{name: market.traded(name) for name in test.baselines}}, market.periods_per_year
