"""What forecasts are worth if they are traded: figures before and after costs, beside holding and the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.evaluation import bootstrap
from stockml.evaluation.portfolio import accounts, session_begins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stockml.evaluation.portfolio import Account, Portfolio
    from stockml.evaluation.predictions import Predictions
    from stockml.evaluation.truth import Floats

CONFIDENCE = 0.95
_TAILS = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
_SAME = 1e-12
_OWN = ("model", "long_only", "holding")
"""The accounts with intervals; the others are baselines."""

Figures = dict[str, Any]


def evaluate(test: Predictions, portfolio: Portfolio, calibration: Predictions | None = None) -> tuple[Figures, str]:
    """The section `economic` of metrics.json, and its sentence of the verdict; both empty with rule=none.

    Where nothing can be valued, the section is the reason, and there is no sentence.
    """
    settings = portfolio.settings
    if settings.rule == "none":
        return {}, ""
    if reason := portfolio.why_none(test):
        return {"economic": {"none": reason}}, ""
    each, periods = accounts(test, portfolio, calibration)
    n = len(each["model"].gross)
    block = bootstrap.block_days(n, portfolio.horizon)
    intervals, difference = _bootstrapped(each, periods, block)
    rule, sessions = portfolio.rule(test), int(session_begins(test).sum()) + 1
    of_each = {name: _figures(account, periods, intervals.get(name, {})) for name, account in each.items()}
    named: Figures = {name: of_each.pop(name) for name in _OWN if name in of_each}
    found: Figures = {
        **portfolio.to_json(),
        "rule": rule,
        "n": n,
        "periods_per_year": periods,
        "confidence": CONFIDENCE,
        "resamples": bootstrap.RESAMPLES,
        "block_days": block,
        **({"sessions": sessions} if sessions > 1 else {}),
        **named,
        "baselines": of_each,
        "difference": difference,
    }
    return {"economic": found}, sentence(found, pooled=test.tickers is not None)


def figures(returns: Floats, dates: NDArray[np.datetime64] | None, periods: float) -> Figures:
    """The figures of daily simple returns (D,): None where one is undefined.

    annual_return is the compound one. The Sharpe ratio is that of the mean over the standard deviation (n − 1), times
    √periods, without a risk-free rate (Sharpe 1994). max_drawdown is the largest fall from a maximum, the capital at
    first included. worst_month is the compound return of the month in which it is lowest, by the days on which
    positions are taken. skew is m₃/m₂^1.5.
    """
    deviation = float(returns.std(ddof=1))
    centred = returns - returns.mean()
    moved = deviation > _SAME
    return {
        "annual_return": float(wealth(returns)[-1] ** (periods / len(returns)) - 1),
        "volatility": deviation * periods**0.5,
        "sharpe": float(returns.mean()) / deviation * periods**0.5 if moved else None,
        "max_drawdown": float(drawdown(returns).min()),
        "worst_month": None if dates is None else _worst_month(returns, dates),
        "skew": float((centred**3).mean() / (centred**2).mean() ** 1.5) if moved else None,
    }


def wealth(returns: Floats) -> Floats:
    """(D,) what a capital of 1 has become by the end of each day; 0 from the day on which it is lost."""
    found: Floats = np.cumprod(np.maximum(1 + returns, 0), dtype=np.float64)
    return found


def drawdown(returns: Floats) -> Floats:
    """(D,) how far the capital is below its maximum so far, 0 or less."""
    found = wealth(returns)
    return found / np.maximum.accumulate(np.append(1.0, found))[1:] - 1


def _worst_month(returns: Floats, dates: NDArray[np.datetime64]) -> float:
    months = dates.astype("datetime64[M]")
    firsts = np.flatnonzero(np.append(True, months[1:] != months[:-1]))
    return float(np.multiply.reduceat(np.maximum(1 + returns, 0), firsts).min() - 1)


def _figures(account: Account, periods: float, intervals: Mapping[str, Any]) -> Figures:
    earned, traded = float(account.gross.mean()), float(account.turnover.mean())
    return {
        **{
            name: {**figures(returns, account.dates, periods), **intervals.get(name, {})}
            for name, returns in (("gross", account.gross), ("net", account.net))
        },
        "turnover": traded * periods,
        "break_even_bps": earned / traded * 10_000 if earned > 0 and traded > 0 else None,
        "exposure": float(account.exposure.mean()),
        "days_in_market": float((account.exposure > 0).mean()),
    }


def _bootstrapped(
    each: Mapping[str, Account], periods: float, block: int
) -> tuple[dict[str, dict[str, Figures]], Figures]:
    """By account, the intervals of its Sharpe ratios; and how the model's differs from that of holding, after costs.

    Both are percentiles of the stationary bootstrap; the difference is paired, as both are resampled by the same days.
    """
    names = [name for name in _OWN if name in each]
    kinds = [(name, kind) for name in names for kind in ("gross", "net")]
    series = np.stack([getattr(each[name], kind) for name, kind in kinds], axis=1)
    centre = series.mean(axis=0)
    deviations = series - centre
    moments = bootstrap.means(np.hstack([deviations, deviations**2]), block)
    means, squares = np.split(moments, 2, axis=1)
    variance = (squares - means**2) * len(series) / max(1, len(series) - 1)
    drawn = np.where(variance > _SAME**2, (means + centre) * np.sqrt(periods / np.maximum(variance, _SAME**2)), 0.0)
    moved = series.std(axis=0) > _SAME
    found: dict[str, dict[str, Figures]] = {name: {} for name in names}
    for number, (name, kind) in enumerate(kinds):
        low_high = np.percentile(drawn[:, number], _TAILS).tolist() if moved[number] else None
        found[name][kind] = {"sharpe_interval": low_high}
    model, holding = kinds.index(("model", "net")), kinds.index(("holding", "net"))
    same = bool(np.abs(series[:, model] - series[:, holding]).max() <= _SAME)
    if same or not (moved[model] and moved[holding]):
        return found, {"sharpe": 0.0 if same else None, "interval": None, "beats_holding": False}
    sharpe = np.sqrt(periods) * centre / series.std(axis=0, ddof=1)
    low, high = np.percentile(drawn[:, model] - drawn[:, holding], _TAILS).tolist()
    return found, {
        "sharpe": float(sharpe[model] - sharpe[holding]),
        "interval": [low, high],
        "beats_holding": low > 0,
    }


RULES = {
    "sign": "by the sign of the forecast",
    "proportional": "in proportion to the forecast",
    "threshold": "where the forecast is more than the cost",
    "quantile": "by buying the stocks with the highest forecasts and selling short those with the lowest",
}
"""The rules in words."""


def sentence(found: Mapping[str, Any], *, pooled: bool) -> str:
    """What the verdict says: the Sharpe ratio after costs beside that of holding, given the section of metrics.json."""
    model, holding, difference = found["model"]["net"], found["holding"]["net"], found["difference"]
    traded = f"Traded {RULES[found['rule']]} at {found['cost_bps']:g} bp"
    if model["sharpe"] is None:
        late = f", since no test day is {found['delay']} days after another" if found["delay"] >= found["n"] else ""
        return f"{traded}, nothing would be bought or sold{late}."
    own = f"{traded}, the Sharpe ratio after costs is {_with_interval(model['sharpe'], model['sharpe_interval'])}"
    held = f"holding {'all stocks equally' if pooled else 'the stock'}"
    if difference["interval"] is None:
        return f"{own}: that of {held}, since the positions are the same." if difference["sharpe"] == 0 else f"{own}."
    low, high = difference["interval"]
    why = "more than luck" if low > 0 else "more than bad luck" if high < 0 else "within luck"
    gap = _with_interval(difference["sharpe"], difference["interval"])
    return f"{own}, that of {held} {holding['sharpe']:+.2f}; the difference of {gap} is {why}."


def _with_interval(value: float, interval: list[float]) -> str:
    return f"{value:+.2f} ({100 * CONFIDENCE:g} % CI {interval[0]:+.2f} to {interval[1]:+.2f})"
