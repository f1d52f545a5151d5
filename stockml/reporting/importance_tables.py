"""What the forecasts of a run depend on, on the terminal and on a page, given the content of importance.json."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stockml.config.values import worded
from stockml.reporting import drawing
from stockml.reporting.document import Section, Table
from stockml.reporting.drawing import INK, MODEL, Plot
from stockml.reporting.score_sections import percent, span
from stockml.reporting.text_tables import text_table

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder

FILES = {"validation": "importance", "test": "importance_test"}
"""The names of its files without their endings, by split."""
_MOST_SHOWN = 25
_INTERVAL = "The 95 % CI counts days and allows for targets that overlap."
_HEADER = ("importance", "95 % CI", "attribution")


def text(found: Mapping[str, Any]) -> Iterator[str]:
    """The tables and what they mean, as lines for a terminal."""
    noun = found.get("step", "day")
    days = f"{noun}s of the window"
    for name, rows in (("feature", _used(_features(found))), (days, _used(_days(found)))):
        cells = [[own, *_cells(row)] for own, row in list(rows.items())[:_MOST_SHOWN]]
        yield text_table((name, *_HEADER), cells, left=("feature", days))
        if len(rows) > _MOST_SHOWN:
            yield f"and {len(rows) - _MOST_SHOWN:,} more"
    yield from textwrap.wrap(worded(_basis(found), noun), 110)


def sections(folder: RunFolder) -> list[Section]:
    """The sections of a run's page: one for each split on which the run was explained."""
    names = [name for name in FILES.values() if (folder.path / f"{name}.json").exists()]
    return [_section(folder.read_json(f"{name}.json"), name) for name in names]


def _section(found: Mapping[str, Any], name: str) -> Section:
    features, days = _used(_features(found)), _used(_days(found))
    cells = [[own, *_cells(row)] for own, row in features.items()]
    caption = f"Features by importance; {name}.csv has every digit"
    tables = [Table(caption, ("feature", *_HEADER), cells, is_folded=len(cells) > _MOST_SHOWN)]
    shown = dict(list(features.items())[:_MOST_SHOWN])
    cut = f" The first {_MOST_SHOWN} of {len(features):,}." if len(features) > _MOST_SHOWN else ""
    plots = [
        _plot(name, f"Importance of features on {found['split']}", shown, found, cut),
        _plot(f"{name}_days", f"Importance of days on {found['split']}", days, found, " Day 0 is the window’s last."),
    ]
    return Section(f"What the forecasts depend on, {found['split']}", [_basis(found)], tables, plots)


def _plot(name: str, title: str, rows: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any], note: str) -> Plot:
    """Importances with their intervals, a row each."""
    figure, axes = drawing.named_rows(list(rows), 0.24)
    axes.axvline(0, color=INK, linewidth=0.8)
    for number, row in enumerate(rows.values()):
        if row["lower_95"] is not None:
            ends = [100 * row["lower_95"], 100 * row["upper_95"]]
            axes.plot(ends, [number] * 2, color=MODEL, linewidth=2.5, alpha=0.4, solid_capstyle="butt")
        axes.plot(100 * row["importance"], number, "D", color=MODEL, markersize=4.5)
    drawing.label(axes, f"importance, % of the target’s {_unit(found)}", "")
    texts = [f"{own} {_cells(row)[0]}, 95 % CI {_cells(row)[1]}" for own, row in rows.items()]
    return Plot(
        name,
        title,
        f"How much the loss rises where these values are those of other samples, with 95 % CI. Near 0, the forecasts "
        f"would be as good without them.{note}",
        f"{title}: {'; '.join(texts)}.",
        figure,
    )


def _basis(found: Mapping[str, Any]) -> str:
    """What the figures mean."""
    too_few = any(row["lower_95"] is None for row in found["features"])
    interval = "There are too few days for a CI." if too_few else _INTERVAL
    span = f", {found['first']} to {found['last']}" if found["first"] else ""
    step = f", one day in {found['day_step']}" if found["day_step"] > 1 else ""
    count = sum(map(_is_used, found["features"]))
    unused = len(found["features"]) - count
    left_out = f" The model does not use {unused:,} of {len(found['features']):,} features." if unused else ""
    if found["method"] is None:
        attribution = f"No attribution: {found['no_method']}."
    else:
        error = found["completeness_error"]
        exact = "exact" if error is None else f"all together they miss the forecasts by {error:.1%}"
        attribution = (
            f"Attribution is the mean size of what the values add to a forecast, in standard deviations of the target: "
            f"{found['method']}, {exact}."
        )
    return (
        f"Importance is the rise of the {found['loss']} loss, as a share of the target's {_unit(found)}, where a "
        f"feature's values over the whole window, or all values of some days, are those of other samples: blocks of "
        f"days change places, {found['repeats']} times; {found['samples']:,} {found['split']} samples{span}{step}. "
        f"{interval} It says what this model uses: features that are alike share it, or each has a high one where the "
        f"model uses their difference. Of {count:,} useless feature{'s' * (count != 1)} that it uses, about "
        f"{max(0.1, 0.05 * count):.{int(count < 200)}f} would have a CI without 0 by chance.{left_out} {attribution}"
    )


def _unit(found: Mapping[str, Any]) -> str:
    return "standard deviation" if found["loss"] in ("mae", "quantile") else "variance"


def _features(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {row["feature"]: row for row in found["features"]}


def _used(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The rows of values that the model uses; all of them where it uses none."""
    return {name: row for name, row in rows.items() if _is_used(row)} or dict(rows)


def _is_used(row: Mapping[str, Any]) -> bool:
    """Whether the loss changes with these values at all."""
    return (row["importance"], row["lower_95"] or 0.0, row["upper_95"] or 0.0) != (0.0, 0.0, 0.0)


def _days(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    def name(first: int, last: int) -> str:
        return str(last) if first == last else f"{first} to {last}"

    return {name(row["first_day"], row["last_day"]): row for row in found["days"]}


def _cells(row: Mapping[str, Any]) -> list[str]:
    interval = None if row["lower_95"] is None else (row["lower_95"], row["upper_95"])
    attribution = "–" if row["attribution"] is None else f"{row['attribution']:.4f}"
    return [percent(row["importance"]), span(interval, "{:+.2%}"), attribution]
