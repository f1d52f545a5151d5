"""Are a model's forecasts better than a rival's? Tests, confidence intervals and the smallest detectable gain.

All of them rest on one estimator: the mean of a daily series, its standard error from equally weighted cosine
transforms (EWC; Lazarus, Lewis, Stock & Watson 2018), and Student's t. The distributions are computed here because
importing scipy.special would add a fifth of a second to every run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

ESTIMATOR = "EWC"
"""How standard errors are estimated, as metrics.json names it; up to 2026-11-28 it had no name."""
CONFIDENCE = 0.95
SHOWN_LEVEL = (1 - CONFIDENCE) / 2
"""One-sided: a mean is significant exactly if its two-sided confidence interval lies above zero."""
HINT_LEVEL = 0.05
POWER = 0.8
FEWEST_DEGREES = 4
"""With fewer degrees of freedom a standard error is too uncertain to be used."""
_SAME = 1e-4
"""Forecasts that differ by less than this share of the returns' standard deviation are the same forecast."""
_ROUNDING = 1e-12  # differences of losses, relative to the losses, that are rounding


@dataclass(frozen=True)
class Outcome:
    """A test's statistic and one-sided p-value (H1: the model is better); None where they are undefined."""

    statistic: float | None
    p_value: float | None

    def rejects(self, level: float) -> bool:
        """Whether the p-value is below the level."""
        return self.p_value is not None and self.p_value < level


UNDEFINED = Outcome(None, None)


@dataclass(frozen=True)
class Mean:
    """The mean of autocorrelated values, and its standard error."""

    value: float
    standard_error: float
    degrees: int
    """Degrees of freedom of Student's t."""

    def test(self) -> Outcome:
        """The one-sided t test that the mean is positive."""
        t = self.value / self.standard_error
        return Outcome(t, student_tail(t, self.degrees))

    def interval(self) -> Interval:
        """The two-sided t interval."""
        half = student_quantile(1 - SHOWN_LEVEL, self.degrees) * self.standard_error
        return self.value - half, self.value + half

    def detectable(self, level: float) -> float:
        """The mean that a one-sided t test at this level finds with 80 % power; 2.80 standard errors at 2.5 %."""
        return (student_quantile(1 - level, self.degrees) + student_quantile(POWER, self.degrees)) * self.standard_error


@dataclass(frozen=True)
class Comparison:
    """The model's squared errors against a rival's; positive where the model is better."""

    mse_difference: float
    """Mean squared error of the rival minus the model's."""
    interval: Interval | None
    """Confidence interval of `mse_difference`; None if there are too few days, or both forecast the same."""
    r2: float | None
    """1 − Σ(r−f)²/Σ(r−rival)²; against zero it is r2_zero."""
    r2_interval: Interval | None
    """`interval` over the rival's mean squared error, so that it excludes zero exactly if `interval` does."""
    diebold_mariano: Outcome
    """Of the mean of e₀² − e₁², e₀ the rival's errors (Diebold & Mariano 1995)."""
    clark_west: Outcome
    """Of the mean of e₀² − (e₁² − (f₀−f₁)²): the last term is what useless weights are expected to cost (2007)."""
    rival_mse: float
    detectable: float | None
    """The `mse_difference` that Diebold–Mariano finds at 2.5 % with 80 % power, given this standard error."""
    detectable_hint: float | None
    """The same for Clark–West at 5 %, if the model is calibrated."""


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


def degrees_of_freedom(days: int, horizon: int) -> int:
    """How many cosines the standard error of a mean of so many days uses: min(0.41 n^⅔, n/2h).

    0.41 n^⅔ is the rule of Lazarus, Lewis, Stock & Watson (2018). The spectrum of values that overlap over h days falls
    to zero at frequency 1/h; n/2h cosines stay below a quarter of that, where it is still flat.
    """
    rule = int(0.41 * days ** (2 / 3))
    return rule if horizon <= 1 else min(rule, days // (2 * horizon))


def too_few(days: int, horizon: int) -> bool:
    """Whether nothing can be tested in so many days."""
    return degrees_of_freedom(days, horizon) < FEWEST_DEGREES


def long_run_variance(x: Floats, degrees: int) -> Floats:
    """n times the variance of the mean of x, (…, N) → (…): the mean square of its first cosine transforms.

    Λⱼ = √(2/n) Σₜ xₜ cos(πj(t−½)/n), Ω̂ = Σⱼ Λⱼ²/ν, j = 1 … ν (Müller 2004; Lazarus et al. 2018). It is never negative,
    and mean/√(Ω̂/n) has Student's t distribution with ν degrees of freedom.
    """
    n, order = x.shape[-1], np.arange(1, degrees + 1)
    x = x - x.mean(-1, keepdims=True)
    mirrored = np.fft.rfft(np.concatenate([x, x[..., ::-1]], axis=-1), axis=-1)[..., 1 : degrees + 1]
    cosines = np.real(mirrored * np.exp(-0.5j * np.pi * order / n)) / math.sqrt(2 * n)
    variance: Floats = np.square(cosines).mean(-1)
    return variance


def mean_of(x: Floats, horizon: int, scale: float = 0.0) -> Mean | None:
    """The mean of x, (D,), a value a day that overlaps over the horizon.

    None if there are too few days, or x varies by no more than rounding at that scale.
    """
    if too_few(len(x), horizon) or np.ptp(x) <= _ROUNDING * scale:
        return None
    degrees = degrees_of_freedom(len(x), horizon)
    variance = float(long_run_variance(x, degrees))
    return Mean(float(x.mean()), math.sqrt(variance / len(x)), degrees) if variance > 0 else None


def compare(
    realised: Floats, model: Floats, rivals: Mapping[str, Floats], horizon: int, by_day: ByDay | None = None
) -> dict[str, Comparison]:
    """A model's forecasts (N,) against those of each rival (N,). `by_day` is given if several samples share a day.

    The samples are in order of time. A rival with the model's own forecasts, but for rounding, is not tested.
    """
    daily = by_day or (lambda values: values)
    loss = daily(np.square(realised - model))

    def against(rival: Floats) -> Comparison:
        rival_loss, noise = daily(np.square(realised - rival)), daily(np.square(rival - model))
        rival_mse, scale = float(rival_loss.mean()), float(max(rival_loss.max(), loss.max(), noise.max()))
        same = are_same(realised, model, rival)
        gain = None if same else mean_of(rival_loss - loss, horizon, scale)
        without_noise = None if same else mean_of(rival_loss - loss + noise, horizon, scale)
        interval = gain.interval() if gain else None
        return Comparison(
            mse_difference=float(rival_mse - loss.mean()),
            interval=interval,
            r2=r2_against(float(loss.mean()), rival_mse),
            r2_interval=(interval[0] / rival_mse, interval[1] / rival_mse) if interval and rival_mse > 0 else None,
            diebold_mariano=gain.test() if gain else UNDEFINED,
            clark_west=without_noise.test() if without_noise else UNDEFINED,
            rival_mse=rival_mse,
            detectable=gain.detectable(SHOWN_LEVEL) if gain else None,
            # a calibrated model's gain is half of the mean that Clark–West tests
            detectable_hint=without_noise.detectable(HINT_LEVEL) / 2 if without_noise else None,
        )

    return {name: against(rival) for name, rival in rivals.items()}


def are_same(realised: Floats, one: Floats, other: Floats) -> bool:
    """Whether two forecasts, (N,), differ by no more than a ten-thousandth of the returns' standard deviation.

    A model that has learned no more than the train mean differs from it by rounding, whose sign is luck.
    """
    return math.sqrt(float(np.square(one - other).mean())) <= _SAME * float(realised.std())


def diebold_mariano(rival_loss: Floats, model_loss: Floats, horizon: int) -> Outcome:
    """The test of Diebold & Mariano (1995) that a rival's mean loss, (D,), is higher than a model's, (D,)."""
    mean = mean_of(rival_loss - model_loss, horizon, float(np.maximum(rival_loss, model_loss).max()))
    return mean.test() if mean else UNDEFINED


def directions(
    up: NDArray[np.bool_], forecast_up: NDArray[np.bool_], horizon: int, by_day: ByDay | None = None
) -> Outcome:
    """The test of Pesaran & Timmermann (1992) that forecasts (N,) of the direction, (N,), are better than independent.

    Their P̂ − P* is twice the covariance of both. Its standard error is that of `mean_of`, which allows for targets that
    overlap and for several samples a day.
    """
    if up.all() or forecast_up.all() or not up.any() or not forecast_up.any():
        return UNDEFINED
    product = (up - up.mean()) * (forecast_up - forecast_up.mean())
    mean = mean_of(by_day(product) if by_day else product, horizon, 1.0)
    return mean.test() if mean else UNDEFINED


def newey_west(x: Floats, lags: int) -> float:
    """Newey & West's (1987) standard error of the mean of x, (N,), over so many lags.

    For comparison with published figures; the tests use `mean_of`, since this one rejects too often at longer horizons.
    """
    x = x - x.mean()
    covariances = np.array([x[lag:] @ x[: len(x) - lag] for lag in range(lags + 1)]) / len(x)
    weights = 1 - np.arange(lags + 1) / (lags + 1)
    return math.sqrt(max(0.0, float(2 * weights @ covariances - covariances[0])) / len(x))


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


def squared_error(realised: Floats, forecast: Floats | float) -> float:
    """Σ(r−f)²."""
    return float(np.square(realised - forecast).sum())


def pinball_losses(realised: Floats, forecast: Floats, quantile: float) -> Floats:
    """(N,) q(y−f) above the forecast, (1−q)(f−y) below it, which the quantile minimises (Koenker & Bassett 1978)."""
    above = realised - forecast
    return np.maximum(quantile * above, (quantile - 1) * above)


def r2_against(loss: float, rival: float) -> float | None:
    """1 − loss/rival; None if the rival's loss is 0."""
    return float(1 - loss / rival) if rival > 0 else None


def student_tail(t: float, df: int) -> float:
    """P(T > t), Student's t with df degrees of freedom: the finite sums of Abramowitz & Stegun (1964), 26.7.3 f."""
    odd, angle = df % 2, math.atan(abs(t) / math.sqrt(df))
    step = 2 * np.arange(1, df // 2) + odd
    total = 1 + float(np.cumprod((step - 1) / step * math.cos(angle) ** 2).sum()) if df > 1 else 0.0
    inside = 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total) if odd else math.sin(angle) * total
    tail = max(0.0, (1 - inside) / 2)
    return tail if t >= 0 else 1 - tail


@functools.cache
def student_quantile(probability: float, df: int) -> float:
    """The t with P(T ≤ t) = probability, Student's t with df degrees of freedom; by bisection of `student_tail`."""
    low, high = -1e3, 1e3
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, df) > 1 - probability else (low, middle)
    return (low + high) / 2
