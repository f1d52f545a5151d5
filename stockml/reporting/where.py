"""Where a result comes from, and the factor report of several stocks, as a run's page shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stockml.evaluation.factor import QUANTILES
from stockml.evaluation.metrics import PERCENT, SIGNED, formatter
from stockml.reporting import drawing
from stockml.reporting.document import Section, Table
from stockml.reporting.drawing import INK, MODEL, Plot

_SHARE, _RATIO = formatter("+.2%"), formatter("+.2f")
_MOST_MONTHS = 3


def section(metrics: Mapping[str, Any]) -> list[Section]:
    """The section on parts of the test, given what metrics.json says."""
    found = metrics.get("where")
    if not found:
        return []
    rival = "zero change" if found["against"] == "zero" else "the train mean"
    text = (
        f"R² against {rival} in parts of the test. Volatility is the one that was known on the day, its thirds are "
        "those of the test days."
    )
    header = ["", "days", "R²", "95 % CI"]
    years = [[year, *_cells(of)] for year, of in found["by_year"].items()]
    regimes = [
        [f"{name}, {of['from']:.3g} to {of['to']:.3g}", *_cells(of)] for name, of in found["by_volatility"].items()
    ]
    known = sorted((r2, month) for month, r2 in found["without_month"].items() if r2 is not None)[:_MOST_MONTHS]
    tables = [
        Table("By year", header, years),
        *([Table("By volatility", header, regimes)] if regimes else []),
        Table("Without a month: the lowest", ["left out", "R²"], [[month, _SHARE(r2)] for r2, month in known]),
    ]
    return [Section("Where it comes from", [text], tables)]


def factor_section(metrics: Mapping[str, Any]) -> list[Section]:
    """The factor report, given what metrics.json says; none for one stock."""
    found = metrics.get("factor")
    if not found or not found["ic"]:
        return []
    rows = [["IC", *_mean(found["ic"], SIGNED)]]
    notes = [["rank autocorrelation, a day apart", SIGNED(found["rank_autocorrelation"])]]
    if of := found["quantiles"]:
        rows.append([f"return of quantile {QUANTILES} less that of 1", *_mean(of["spread"], formatter("+.3%"))])
        notes.append(["monotonicity of quantiles", _RATIO(of["monotonicity"])])
        notes += [
            [f"turnover of the {name} quantile, a day", PERCENT(found["turnover"][name])] for name in ("top", "bottom")
        ]
    text = (
        "IC is Spearman’s correlation of forecasts and returns over the stocks of a day; quantiles are those of each "
        "day’s forecasts, 5 the highest, as alphalens has them. t is that of Newey & West (1987); the interval is that "
        "of all tests here. Monotonicity is 1 where mean returns rise with each quantile. Turnover is the share of a "
        "quantile that was not in it the day before."
    )
    return [
        Section(
            "Factor report",
            [text],
            [
                Table("Means of days", ["", "mean", "Newey–West t", "95 % CI"], rows),
                Table("Further figures", [], notes),
            ],
        )
    ]


def factor_plots(metrics: Mapping[str, Any]) -> Iterator[Plot]:
    """Mean returns by quantile, and IC by days ahead, given what metrics.json says; none for one stock."""
    found = metrics.get("factor") or {"quantiles": None, "ic_decay": {}}
    if of := found["quantiles"]:
        values = [10_000 * value for value in of["returns"]]
        figure, axes = drawing.axes(2.4)
        axes.bar(range(1, len(values) + 1), values, color=MODEL, width=0.6)
        axes.axhline(0, color=INK, linewidth=0.8)
        drawing.label(axes, "quantile of the day’s forecasts", "mean return less the day’s mean, 1/10,000")
        yield Plot(
            "quantiles",
            "Returns by quantile",
            "Bars that rise from the lowest to the highest forecasts are those of a useful ranking.",
            f"Mean returns less the day’s mean, in 1/10,000: {', '.join(f'{value:.3g}' for value in values)}.",
            figure,
        )
    decay = {int(days): of for days, of in found["ic_decay"].items() if of}
    if decay:
        figure, axes = drawing.axes(2.4)
        axes.plot(list(decay), [of["mean"] for of in decay.values()], "o-", color=MODEL)
        ends = {days: of["interval"] for days, of in decay.items() if of["interval"]}
        if ends:
            axes.vlines(list(ends), *zip(*ends.values(), strict=True), color=MODEL, alpha=0.4)
        axes.axhline(0, color=INK, linewidth=0.8)
        drawing.whole_numbers(axes)
        drawing.label(axes, "days from the forecast", "IC with the return over them; bars: 95 % CI")
        text = ", ".join(f"{days} days {of['mean']:+.4f}" for days, of in decay.items())
        yield Plot("ic_decay", "IC decay", "How long the forecasts rank the stocks.", f"IC: {text}.", figure)


def _cells(of: Mapping[str, Any]) -> list[str]:
    return [f"{of['days']:,}", _SHARE(of["r2"]), _interval(of["interval"], _SHARE)]


def _mean(of: Mapping[str, Any], form: Any) -> list[str]:
    return [form(of["mean"]), _RATIO(of["newey_west_t"]), _interval(of["interval"], form)]


def _interval(ends: list[float] | None, form: Any) -> str:
    return "–" if ends is None else " to ".join(map(form, ends))
