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
    lines, widths = [header, *rows], [0] * len(header)
    for line in lines:
        widths = [max(size, len(cell)) for size, cell in zip(widths, line, strict=True)]
    across = sum(widths) + len(_BETWEEN) * (len(widths) - 1)
    if across + 2 > width or not all(widths) or not all(_is_plain(cell) for line in lines for cell in line):
        return _drawn_by_rich(header, lines[1:], left=left, width=width, wrap=wrap)
    justify = [str.ljust if name in left else str.rjust for name in header]
    texts = [
        _BETWEEN.join(set_to(cell, size) for set_to, cell, size in zip(justify, line, widths, strict=True))
        for line in lines
    ]
    texts.insert(1, "─" * across)
    return "\n".join(f" {text}".rstrip() for text in texts if text.strip())


_BETWEEN = " " * 3


def _is_plain(cell: str) -> bool:
    """Whether it is one line whose characters all take one column."""
    return (cell.isascii() and cell.isprintable() and cell == cell.strip()) or cell in ("–", "±")


def _drawn_by_rich(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[str], width: int, wrap: bool
) -> str:
    """The same table, some of whose cells are wrapped, cut or wide; it takes rich some milliseconds."""
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
