"""Simulated daily bars whose best possible forecast is known.

Log returns are r = market_beta · m + e + μ: a market part m that all tickers share and an idiosyncratic part e,
each a GJR-GARCH(1,1) with Student-t innovations (Glosten, Jagannathan & Runkle 1993), targeted to a given annual
volatility. μ, the injected signal, depends only on the days before. It is returned beside the bars and is not a column
of them, so that the R² of the best possible forecast (the oracle) is known for any split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from stockml.config.values import show
from stockml.data import spec
from stockml.data.bars import COLUMNS, Bars, Floats, require_columns
from stockml.data.settings import GarchConfig
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.settings import SimulatorConfig
    from stockml.data.sources.simulated import SimulatedConfig

# Fitted to the S&P 500, 1990-2022.
_MARKET_VOL_PERCENT = 18.3
_MARKET_TAIL = 6.7
_MARKET_GARCH = GarchConfig(alpha=0.002, gamma=0.172, beta=0.898)

_TRADING_DAYS = 252
_FIRST_DAY = np.datetime64("2000-01-03", "D")
_BURN_IN = 250  # first days, discarded: they depend on the start values of the recursions
_STRENGTH = {None: 0.0, "realistic": 0.09, "strong": 0.2, "interaction": 0.5}  # k of the injected signal


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ."""
    data = cast("SimulatedConfig", config.data)
    return f"{config.stock.ticker} {config.stock.simulator} {data.days} {data.signal} {data.seed}"


def load(config: Config) -> Bars:
    """The bars of the config's stock; they depend on `data.seed` and not on the run's seed. Raises UserError."""
    data = cast("SimulatedConfig", config.data)
    require_columns(spec.columns_read(config), COLUMNS, "simulator")
    figures = config.stock.simulator
    assert figures is not None
    with np.errstate(all="ignore"):
        columns, expected = simulate(
            figures,
            config.stock.ticker,
            data.days,
            data.seed,
            _STRENGTH[data.signal],
            linear=data.signal != "interaction",
        )
    for name, values in columns.items():
        if not (np.isfinite(values).all() and (values.min() > 0 or name == "volume")):
            raise UserError(f"stock.simulator: its settings make the {name} overflow; lower them, or data.days")
    return Bars(
        ticker=config.stock.ticker,
        dates=np.busday_offset(_FIRST_DAY, np.arange(data.days), roll="forward"),
        columns=columns,
        origin=f"simulator (signal={show(data.signal)}, seed={data.seed})",
        synthetic=True,
        expected=expected,
    )


def simulate(
    figures: SimulatorConfig, ticker: str, days: int, seed: int, strength: float, *, linear: bool = True
) -> tuple[dict[str, Floats], Floats]:
    """Columns open, high, low, close, volume, (days,) each, and the expected log return of each day, (days,).

    Without `linear`, the signal is the interaction only.
    """
    total = days + _BURN_IN
    market = _innovations(seed, "/market", total, _MARKET_VOL_PERCENT, _MARKET_TAIL, _MARKET_GARCH)
    own = _innovations(seed, ticker, total, figures.idio_vol_percent, figures.idio_tail, figures.garch)
    beta, share = figures.market_beta, figures.overnight_share

    shocks = beta * market.returns + own.returns
    sigma = np.hypot(beta * market.sigma, own.sigma)
    signal_sigma = own.sigma if figures.idio_vol_percent > 0 else abs(beta) * market.sigma
    usual_sigma = math.hypot(beta * _MARKET_VOL_PERCENT, figures.idio_vol_percent) / 100 / math.sqrt(_TRADING_DAYS)
    noise = _generator(seed, ticker, "volume").standard_normal(total)
    level = np.log(sigma / usual_sigma)
    injected = _with_signal(shocks, sigma, level, signal_sigma, noise, figures, strength, linear=linear)
    returns, expected, log_volume = injected

    # Overnight and intraday shocks: independent, with the day's shock as their sum, from the same mixing draw.
    overnight = share * (returns - shocks)
    for factor, loading in ((market, beta), (own, 1.0)):
        overnight += loading * (share * factor.returns + math.sqrt(share * (1 - share)) * factor.bridge)
    intraday = returns - overnight
    spread = (1 - share) * (np.square(beta * market.scale) + np.square(own.scale))  # variance given the mixing draw
    uniform = 1.0 - _generator(seed, ticker, "range").random((total, 2)).T
    reach = np.sqrt(np.square(intraday) - 2 * spread * np.log(uniform))

    close = np.exp(math.log(100.0) + np.cumsum(returns) - np.cumsum(returns)[_BURN_IN - 1])
    opened = np.exp(np.log(close) - intraday)
    columns = {
        "open": opened,
        "high": opened * np.exp((intraday + reach[0]) / 2),
        "low": opened * np.exp((intraday - reach[1]) / 2),
        "close": close,
        "volume": np.rint(figures.shares_per_day * np.exp(log_volume)),
    }
    return {name: values[_BURN_IN:].copy() for name, values in columns.items()}, expected[_BURN_IN:].copy()


@dataclass(frozen=True)
class _Factor:
    """Returns of the market or of the stock alone, (R,) each."""

    returns: Floats
    sigma: Floats
    """Conditional volatility."""
    scale: Floats
    """Volatility given the mixing draw."""
    bridge: Floats
    """Noise that divides a return into overnight and intraday."""


def _generator(seed: int, name: str, purpose: str) -> np.random.Generator:
    """A random stream for each purpose, drawn day by day: more days continue the same history."""
    return np.random.default_rng([seed, *f"{name}/{purpose}".encode()])


def _innovations(seed: int, name: str, days: int, vol_percent: float, tail: float, garch: GarchConfig) -> _Factor:
    """A GJR-GARCH(1,1) path with unit-variance Student-t innovations and the given annual volatility."""
    chisquare = _generator(seed, name, "mixing").chisquare(tail, days)
    mixing = np.sqrt((tail - 2) / chisquare)  # a t draw is a normal one times this
    normal, bridge = _generator(seed, name, "normal").standard_normal((days, 2)).T
    innovation = normal * mixing
    target = (vol_percent / 100) ** 2 / _TRADING_DAYS
    omega = target * (1 - garch.alpha - garch.gamma / 2 - garch.beta)
    variances = np.empty(days)
    variance = target
    alpha, down, beta = garch.alpha, garch.alpha + garch.gamma, garch.beta
    for day in range(days):
        variances[day] = variance
        z = innovation[day]
        variance = omega + variance * ((down if z < 0 else alpha) * z * z + beta)
    sigma = np.sqrt(variances)
    scale = sigma * mixing
    return _Factor(scale * normal, sigma, scale, scale * bridge)


def _with_signal(
    shocks: Floats,
    sigma: Floats,
    level: Floats,
    signal_sigma: Floats,
    noise: Floats,
    figures: SimulatorConfig,
    strength: float,
    *,
    linear: bool,
) -> tuple[Floats, Floats, Floats]:
    """Returns with the injected signal, its expectation, and log volume relative to its usual level, (R,) each.

    μ = drift + σ·k·(g₁ + g₂): g₁ = clip(−(sum of the last 5 returns) / (√5 · rv20), ±3), linear in the window;
    g₂ = −clip(last return / rv20, ±3) · tanh(volume surprise / 0.35), an interaction. rv20 is the root mean square of
    the last 20 returns, the surprise yesterday's log volume less its mean over 20 days.

    Since volume rises with the size of a return, g₂ has a linear part that a linear model finds. Without `linear`, g₁
    is 0, and what the size of the return explains is subtracted from the surprise: nothing linear is left.
    """
    days, volume = len(shocks), figures.volume
    drift = figures.drift_percent / 100 / _TRADING_DAYS
    returns, expected, log_volume = np.empty(days), np.full(days, drift), np.empty(days)
    last_volume = last_z = 0.0
    squares = sum_volume = sum_five = 0.0
    for day in range(days):
        if strength and day >= 20:
            rv20 = math.sqrt(squares / 20)
            g1 = _clip3(-sum_five / (math.sqrt(5) * rv20)) if linear else 0.0
            surprise = last_volume - sum_volume / 20
            if not linear:
                surprise -= volume.b_z * (last_z - 0.75)
            g2 = -_clip3(returns[day - 1] / rv20) * math.tanh(surprise / 0.35)
            expected[day] = drift + signal_sigma[day] * strength * (g1 + g2)
        r = shocks[day] + expected[day]
        last_z = abs(r / sigma[day])
        last_volume = (
            volume.phi * last_volume + volume.b_z * (last_z - 0.75) + volume.b_s * level[day] + volume.se * noise[day]
        )
        returns[day], log_volume[day] = r, last_volume
        squares += r * r
        sum_volume += last_volume
        sum_five += r
        if day >= 5:
            sum_five -= returns[day - 5]
        if day >= 20:
            squares -= returns[day - 20] ** 2
            sum_volume -= log_volume[day - 20]
    return returns, expected, log_volume


def _clip3(value: float) -> float:
    return max(-3.0, min(3.0, value))
