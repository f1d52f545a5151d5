"""Tables as plain text, for a terminal and a log."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any


def text_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[str], width: int = 110, wrap: bool = True
) -> str:
    """The table as lines of at most so many characters; the columns named in `left` are set to the left.

    Without `wrap`, a cell is one line.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=SIMPLE, pad_edge=False, padding=(0, 1))
    for name, column in zip(header, table.columns, strict=True):
        column.justify = "left" if name in left else "right"
        column.no_wrap = not wrap
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def forecast_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, signed: bool = True) -> str:
    """Forecasts, a row a day; the first three columns name the day and the stock. `signed`: with a plus sign."""
    cells = [[_cell(value, "+.6g" if signed else ".6g") for value in row] for row in rows]
    return text_table(header, cells, left=header[:3], width=160)


def _cell(value: Any, form: str) -> str:
    return "–" if value in (None, "") else format(value, form) if isinstance(value, float) else str(value)


def finding_table(rows: Sequence[Sequence[str]]) -> str:
    """The findings of the data doctor, a row each."""
    header = ("severity", "check", "place", "date", "value")
    return text_table(header, rows, left=header, width=160)
