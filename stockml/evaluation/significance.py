"""Are a model's forecasts better than a rival's? Tests, confidence intervals and the smallest detectable R².

The distributions are computed here because importing scipy.special would add a fifth of a second to every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stockml.evaluation.metrics import Floats

Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 1000
_FEWEST_BLOCKS = 8  # fewer do not show how much days vary
_CHUNK = 2**20
_ROUNDING = 1e-12  # differences of losses, relative to the losses, that are rounding


@dataclass(frozen=True)
class Outcome:
    """A test's statistic and one-sided p-value (H1: the model is better); None where they are undefined."""

    statistic: float | None
    p_value: float | None


UNDEFINED = Outcome(None, None)


@dataclass(frozen=True)
class Comparison:
    """The model's squared errors against a rival's; positive where the model is better."""

    mse_difference: float
    """Mean squared error of the rival minus the model's."""
    interval: Interval | None
    """Confidence interval of `mse_difference`; None if there are too few days."""
    r2: float | None
    """1 − Σ(r−f)²/Σ(r−rival)²; against zero it is r2_zero."""
    r2_interval: Interval | None
    diebold_mariano: Outcome
    clark_west: Outcome


@dataclass(frozen=True)
class Identity:
    """The terms of R² = ρ² − (s−ρ)² − (bias/σ)²: why it is below the squared correlation."""

    r2: float | None
    correlation: float | None
    """ρ, of forecasts and returns; None, and 0 in the formula, if one of them is constant."""
    spread_ratio: float | None
    """s, the standard deviation of the forecasts over that of the returns."""
    bias_ratio: float | None
    """bias/σ, the mean of the forecasts minus that of the returns, over the returns' standard deviation."""


ByDay = Callable[[Floats], Floats]
"""A function from values of samples (…, N) to values of days (…, D) with the same mean."""


def compare(
    realised: Floats, model: Floats, rivals: Mapping[str, Floats], horizon: int, by_day: ByDay | None = None
) -> dict[str, Comparison]:
    """A model's forecasts (N,) against those of each rival (N,). `by_day` is given if several samples share a day."""
    losses = np.square(realised - np.stack([model, *rivals.values()]))
    losses = losses if by_day is None else by_day(losses)
    means = losses.mean(1)
    block = block_days(losses.shape[1], horizon)
    blocks, resampled = losses.shape[1] // block, resampled_means(losses, block)

    def against(number: int, rival: Floats) -> Comparison:
        difference = share = None
        if resampled is not None:
            difference = _interval(resampled[number] - resampled[0], blocks)
            with np.errstate(divide="ignore", invalid="ignore"):  # if nothing moves, the rival's error is 0
                share = _interval(1 - resampled[0] / resampled[number], blocks)
        return Comparison(
            mse_difference=float(means[number] - means[0]),
            interval=difference,
            r2=r2_against(means[0], means[number]),
            r2_interval=share,
            diebold_mariano=diebold_mariano(losses[number], losses[0], horizon),
            clark_west=clark_west(realised, rival, model, horizon, by_day),
        )

    return {name: against(number, rival) for number, (name, rival) in enumerate(rivals.items(), 1)}


def diebold_mariano(rival_loss: Floats, model_loss: Floats, horizon: int) -> Outcome:
    """The test of Diebold & Mariano (1995) that a rival's mean loss, (N,), is higher than a model's, (N,)."""
    return _mean_is_positive(rival_loss - model_loss, horizon, np.maximum(rival_loss, model_loss).max())


def clark_west(realised: Floats, rival: Floats, model: Floats, horizon: int, by_day: ByDay | None = None) -> Outcome:
    """The test of Clark & West (2007) that a larger model's forecasts (N,) are better once estimation noise is removed.

    It tests the mean of e₀² − (e₁² − (f₀−f₁)²): the last term is the expected cost of estimating useless weights.
    """
    rival_loss, noise = np.square(realised - rival), np.square(rival - model)
    adjusted = rival_loss - np.square(realised - model) + noise
    if by_day is not None:
        adjusted, rival_loss, noise = by_day(adjusted), by_day(rival_loss), by_day(noise)
    return _mean_is_positive(adjusted, horizon, max(rival_loss.max(), noise.max()))


def _mean_is_positive(x: Floats, horizon: int, scale: float) -> Outcome:
    """The t test that x, (N,), autocorrelated over the horizon, has a positive mean.

    With the factor √((n+1−2h+h(h−1)/n)/n) and n−1 degrees of freedom (Harvey, Leybourne & Newbold 1997); for h = 1 it
    is the t of a regression on a constant. Undefined if x varies by no more than rounding at that scale.
    """
    n = len(x)
    if horizon >= n or np.ptp(x) <= _ROUNDING * scale:
        return UNDEFINED
    variance = _long_run_variance(autocovariances(x, horizon - 1))
    if variance <= 0:
        return UNDEFINED
    t = float(x.mean()) * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / variance)
    return Outcome(t, student_tail(t, n - 1))


def pesaran_timmermann(up: NDArray[np.bool_], forecast_up: NDArray[np.bool_], horizon: int) -> Outcome:
    """The test of Pesaran & Timmermann (1992) that forecasts (N,) of the direction, (N,), are better than independent.

    Their P̂ − P* is twice the covariance of both, their V(P̂) − V(P*) is 4p(1−p)q(1−q)(n−1)/n², with p and q the shares
    of ups. Days that overlap (horizon > 1) make both autocorrelated, which adds 2·Σγₖδₖ to p(1−p)q(1−q), γ and δ their
    autocovariances (Bartlett 1935).
    """
    n, lags = len(up), horizon - 1
    if lags >= n or up.all() or forecast_up.all() or not up.any() or not forecast_up.any():
        return UNDEFINED
    a, b = up - up.mean(), forecast_up - forecast_up.mean()
    variance = _long_run_variance(autocovariances(a, lags) * autocovariances(b, lags))
    if variance <= 0:
        return UNDEFINED
    z = float(a @ b) / math.sqrt((n - 1) * variance)
    return Outcome(z, normal_tail(z))


def directions(up: NDArray[np.bool_], forecast_up: NDArray[np.bool_], horizon: int, by_day: ByDay) -> Outcome:
    """The same hypothesis as `pesaran_timmermann` for samples (N,) that share days: that both covary, over days."""
    if up.all() or forecast_up.all() or not up.any() or not forecast_up.any():
        return UNDEFINED
    return _mean_is_positive(by_day((up - up.mean()) * (forecast_up - forecast_up.mean())), horizon, 1.0)


def effective_sample_size(x: Floats, by_day: ByDay) -> int:
    """How many independent samples x, (N,), is worth: N over the days' design effect (Kish 1965), at most N."""
    days = by_day(x)
    spread = float(days.var())
    return len(days) if spread == 0 else min(len(x), max(1, round(float(x.var()) * len(days) / spread)))


def _long_run_variance(covariances: Floats) -> float:
    """The long-run variance of values that overlap up to the last lag, all at full weight (Hansen & Hodrick 1980).

    If that is negative (Harvey, Leybourne & Whitehouse 2017), Newey and West's.
    """
    variance = float(covariances[0] + 2 * covariances[1:].sum())
    return variance if variance > 0 else newey_west(covariances)


def newey_west(covariances: Floats) -> float:
    """The long-run variance γ₀ + 2·Σ(1 − k/(L+1))·γₖ from autocovariances (L+1,); never negative (1987)."""
    weights = 1 - np.arange(len(covariances)) / len(covariances)
    return float(2 * weights @ covariances - covariances[0])


def autocovariances(x: Floats, lags: int) -> Floats:
    """(lags+1,) of x, (N,), at lags 0, 1, …, each divided by N."""
    x = x - x.mean()
    return np.array([x[lag:] @ x[: len(x) - lag] for lag in range(lags + 1)]) / len(x)


def identity(realised: Floats, forecast: Floats, correlation: float | None) -> Identity:
    """The terms of the R² of forecasts (N,) of returns (N,)."""
    if np.ptp(realised) == 0:
        return Identity(None, correlation, None, None)
    sigma = float(realised.std())
    return Identity(
        r2=r2_against(squared_error(realised, forecast), squared_error(realised, realised.mean())),
        correlation=correlation,
        spread_ratio=float(forecast.std()) / sigma,
        bias_ratio=float(forecast.mean() - realised.mean()) / sigma,
    )


def minimum_detectable_r2(n: int, horizon: int) -> dict[str, float]:
    """About the smallest R² that each test finds, at 5 % one-sided, with 80 % power.

    It is 2.49 standard errors, with SE(R²) ≈ 2√(R²/N) for Diebold–Mariano and half of that for Clark–West; if targets
    overlap, N = n/h of them are independent.
    """
    return {"diebold_mariano": 25 * horizon / n, "clark_west": 6 * horizon / n}


def block_days(n: int, horizon: int) -> int:
    """Days of a block: n^⅓ (Hall, Horowitz & Jing 1995), at least twice the days by which targets overlap."""
    root = float(np.cbrt(n).round(9))  # the cube root of 512 is 8, not 8.000…1
    return max(math.ceil(root), 2 * horizon if horizon > 1 else 1)


def resampled_means(series: Floats, block: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats | None:
    """(S, resamples) means of series (S, N) over circular blocks drawn at random (Politis & Romano 1992).

    The same blocks are drawn for all series. None if there are fewer than 8 blocks.
    """
    n = series.shape[1]
    blocks = n // block
    if blocks < _FEWEST_BLOCKS:
        return None
    sums = np.concatenate([np.zeros((len(series), 1)), series, series[:, : block - 1]], axis=1).cumsum(1)
    block_means = (sums[:, block:] - sums[:, :-block]) / block
    random, means = np.random.default_rng(seed), np.empty((len(series), resamples))
    at_once = max(1, _CHUNK // blocks)
    for first in range(0, resamples, at_once):
        starts = random.integers(n, size=(min(at_once, resamples - first), blocks))
        for own, mean in zip(block_means, means, strict=True):
            mean[first : first + len(starts)] = own[starts].mean(1)
    return means


def _interval(values: Floats, blocks: int) -> Interval | None:
    """The middle 95 % of resampled values, wider for few blocks; None if some are undefined.

    Wider by the ratio of the t interval to the normal one (the expanded percentile interval, Hesterberg 2015).
    """
    if not np.isfinite(values).all():
        return None
    tail = (1 - CONFIDENCE) / 2
    t = next(t for t in np.arange(1.9, 13, 0.01) if student_tail(t, blocks - 1) <= tail)
    outside = round(len(values) * normal_tail(t * math.sqrt(blocks / (blocks - 1))))
    ordered = np.sort(values)
    return float(ordered[outside]), float(ordered[-1 - outside])


def squared_error(realised: Floats, forecast: Floats | float) -> float:
    """Σ(r−f)²."""
    return float(np.square(realised - forecast).sum())


def r2_against(loss: float, rival: float) -> float | None:
    """1 − loss/rival; None if the rival's loss is 0."""
    return float(1 - loss / rival) if rival > 0 else None


def normal_tail(z: float) -> float:
    """P(Z > z)."""
    return math.erfc(z / math.sqrt(2)) / 2


def student_tail(t: float, df: int) -> float:
    """P(T > t), Student's t with df degrees of freedom: the finite sums of Abramowitz & Stegun (1964), 26.7.3 f."""
    odd, angle = df % 2, math.atan(abs(t) / math.sqrt(df))
    step = 2 * np.arange(1, df // 2) + odd
    total = 1 + float(np.cumprod((step - 1) / step * math.cos(angle) ** 2).sum()) if df > 1 else 0.0
    inside = 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total) if odd else math.sin(angle) * total
    tail = max(0.0, (1 - inside) / 2)
    return tail if t >= 0 else 1 - tail
