"""The table of features, on the terminal and on a page, given what config.json says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockml.reporting.document import Section, Table
from stockml.reporting.text_tables import text_table

_HEADER = ("feature", "expression", "lookback", "missing", "correlation", "t")
_MOST_OPEN = 25


def text(found: Mapping[str, Any]) -> str:
    """The table as lines for a terminal."""
    return text_table(_HEADER, _cells(found), left=_HEADER[:2], width=120)


def basis(found: Mapping[str, Any], train: list[str] | None, *, folds: int = 1) -> str:
    """What the figures mean; `train` are the first and the last day of the train samples, if known."""
    span = f", {train[0]} to {train[1]}" if train and train[0] else ""
    of_fold = " of fold 0" if folds > 1 else ""
    step = f", one day in {found['day_step']}" if found["day_step"] > 1 else ""
    return (
        "Lookback is how many earlier days a value needs; missing is the share of days after the warm-up without a "
        f"value. The correlation with the target is over the {found['samples']:,} train samples{of_fold}{span}{step}; "
        "validation and test are not used. Its t allows for targets that overlap."
    )


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
            "–" if row["lookback"] is None else str(row["lookback"]),
            f"{row['missing']:.2%}" if row["missing"] else "0%",
            "–" if row["correlation"] is None else f"{row['correlation']:+.4f}",
            "–" if row["t"] is None else f"{row['t']:+.1f}",
        ]
        for row in found["features"]
    ]
