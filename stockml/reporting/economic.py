"""What forecasts are worth if they are traded, as a run's terminal and page show it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from stockml.config.values import worded
from stockml.evaluation.economic import RULES
from stockml.evaluation.metrics import formatter
from stockml.reporting.document import Section, Table
from stockml.reporting.text_tables import text_table

_PERCENT, _RATIO, _PLAIN = formatter("+.1%"), formatter("+.2f"), formatter(".1f")
COLUMNS = ("net_return", "net_sharpe", "holding_sharpe", "break_even_bps")
"""The columns of summary.csv: of a year, after costs."""
_NAMES = {"model": "model", "long_only": "long side alone", "holding": "holding"}


def lines(evaluated: Mapping[str, Any]) -> list[str]:
    """A table of the figures after costs, or why there are none, given what metrics.json says."""
    found = evaluated.get("economic")
    if not found:
        return []
    if "none" in found:
        return [f"economic    none: {found['none']}"]
    header = ("economic", "return", "volatility", "Sharpe", "95 % CI", "gross", "drawdown", "turnover", "break-even")
    rows = [
        [
            name,
            *(form(of["net"][key]) for form, key in ((_PERCENT, "annual_return"), (_PERCENT, "volatility"))),
            _RATIO(of["net"]["sharpe"]),
            _interval(of["net"]),
            _RATIO(of["gross"]["sharpe"]),
            _PERCENT(of["net"]["max_drawdown"]),
            _PLAIN(of["turnover"]),
            _PLAIN(of["break_even_bps"]),
        ]
        for name, of in _each(found)
    ]
    notes = (
        f"{found['n']:,} test days, traded {RULES[found['rule']]}{_closed(found)}; costs of {found['cost_bps']:g} bp "
        "are paid, except in gross, the Sharpe ratio before them; return (compounded), volatility and turnover (in "
        "multiples of the capital) are of a year, break-even cost in bp"
    )
    return [text_table(header, rows, left=header[:1]), textwrap.fill(worded(notes, evaluated.get("step", "day")), 100)]


def section(metrics: Mapping[str, Any]) -> list[Section]:
    """The section of a run's page, given what metrics.json says."""
    found = metrics.get("economic")
    if not found:
        return []
    if "none" in found:
        return [Section("Economic value", [f"None: {found['none']}."])]
    scaled = f", scaled to a volatility of {target:.3g} a year" if (target := found["volatility_target"]) else ""
    delay = f" {found['delay']} days later" if found["delay"] else ""
    text = (
        f"{found['n']:,} test days, traded {RULES[found['rule']]}{scaled}, at the close of the day{delay}"
        f"{_closed(found)}. Figures are after costs of {found['cost_bps']:g} bp of what is bought or sold, except "
        "those called gross. They are of a "
        f"year of {found['periods_per_year']:.4g} bars. Turnover is in multiples of the capital; at the break-even "
        "cost, in bp, the mean return is 0. Exposure is the mean sum of absolute positions. The 95 % CI is that of a "
        f"stationary bootstrap (Politis & Romano 1994) in blocks of {found['block_days']} days on average."
    )
    header = [
        "", "return", "volatility", "Sharpe", "95 % CI", "gross return", "gross Sharpe", "drawdown", "worst month",
        "skew", "turnover", "break-even", "exposure", "days in market",
    ]  # fmt: skip
    rows = [
        [
            name,
            _PERCENT(of["net"]["annual_return"]),
            _PERCENT(of["net"]["volatility"]),
            _RATIO(of["net"]["sharpe"]),
            _interval(of["net"]),
            _PERCENT(of["gross"]["annual_return"]),
            _RATIO(of["gross"]["sharpe"]),
            _PERCENT(of["net"]["max_drawdown"]),
            _PERCENT(of["net"]["worst_month"]),
            _RATIO(of["net"]["skew"]),
            _PLAIN(of["turnover"]),
            _PLAIN(of["break_even_bps"]),
            f"{of['exposure']:.2f}",
            f"{of['days_in_market']:.0%}",
        ]
        for name, of in _each(found)
    ]
    caption = "The model, holding, and each baseline by the same rule"
    return [Section("Economic value", [text], [Table(caption, header, rows, strong=[0])])]


def columns(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The columns of summary.csv, given what metrics.json says; none where nothing was valued."""
    found = metrics.get("economic") or {"none": ""}
    if "none" in found:
        return {}
    model, holding = found["model"], found["holding"]["net"]["sharpe"]
    figures = (model["net"]["annual_return"], model["net"]["sharpe"], holding, model["break_even_bps"])
    return dict(zip(COLUMNS, figures, strict=True))


def _closed(found: Mapping[str, Any]) -> str:
    return f", in {found['sessions']:,} sessions, each closed at its end" if found.get("sessions") else ""


def _each(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    own = [(text, found[name]) for name, text in _NAMES.items() if name in found]
    return [*own, *found["baselines"].items()]


def _interval(of: Mapping[str, Any]) -> str:
    interval = of.get("sharpe_interval")
    return "–" if interval is None else " to ".join(map(_RATIO, interval))
