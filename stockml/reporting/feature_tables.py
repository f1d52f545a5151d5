"""The table of features, on the terminal and on a page, given what config.json says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockml.config.values import list_names
from stockml.reporting.document import Section, Table
from stockml.reporting.text_tables import text_table

_HEADER = ("feature", "expression", "lookback", "missing", "correlation", "t")
_MOST_OPEN = 25
_BY_CHANCE = 0.0455  # share of normal values beyond 2 standard deviations
_LARGEST_CORRELATION = 0.3


def text(found: Mapping[str, Any]) -> str:
    """The table as lines for a terminal."""
    return text_table(_HEADER, _cells(found), left=_HEADER[:2], width=120)


def basis(found: Mapping[str, Any], train: list[str] | None, *, folds: int = 1) -> str:
    """What the figures mean; `train` are the first and the last day of the train samples, if known."""
    span = f", {train[0]} to {train[1]}" if train and train[0] else ""
    of_fold = " of fold 0" if folds > 1 else ""
    step = f", one day in {found['day_step']}" if found["day_step"] > 1 else ""
    count = len(found["features"])
    all_days = any(row.get("from_first_row") for row in found["features"])
    from_first = ' ("all": every earlier day has some influence, so newer files must begin on the same day)' * all_days
    by_chance = f"{max(0.1, _BY_CHANCE * count):.{int(count < 200)}f}"
    return (
        f"Lookback is how many earlier days a value needs{from_first}; missing is the share of days after the warm-up "
        f"without a value. The correlation with the target is over the {found['samples']:,} train samples{of_fold}"
        f"{span}{step}; validation and test are not used. Its t allows for targets that overlap. Of {count:,} "
        f"feature{'s' * (count != 1)}, about {by_chance} have |t| > 2 by chance alone."
    )


def warning(found: Mapping[str, Any]) -> str:
    """Which features go with the target more than features do; empty where none does."""
    names = [row["name"] for row in found["features"] if abs(row["correlation"] or 0) > _LARGEST_CORRELATION]
    if not names:
        return ""
    return f"{list_names(names)}: |correlation| above {_LARGEST_CORRELATION}: seems to know the target: run task=audit"


def section(data: Mapping[str, Any]) -> list[Section]:
    """The section of a page, given `data` of config.json; none of a run of an earlier release."""
    if "features" not in data:
        return []
    found, folds = data["features"], data.get("folds") or [data]
    train = (folds[0].get("spans") or {}).get("train")
    cells = _cells(found)
    caption = f"{len(cells):,} feature{'s' if len(cells) != 1 else ''}"
    table = Table(caption, _HEADER, cells, is_folded=len(cells) > _MOST_OPEN)
    return [Section("Features", [basis(found, train, folds=len(folds))], [table])]


def _cells(found: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            row["name"],
            row["expression"] or "–",
            "–" if row["lookback"] is None else f"{row['lookback']}{', all' if row.get('from_first_row') else ''}",
            f"{row['missing']:.2%}" if row["missing"] else "0%",
            _signed(row["correlation"], 4),
            _signed(row["t"], 1),
        ]
        for row in found["features"]
    ]


def _signed(value: float | None, digits: int) -> str:
    """With its sign, unless it is rounded to 0."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]
