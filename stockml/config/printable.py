"""Text from a file of anybody's, written so that a terminal shows it and a spreadsheet does not run it."""

from __future__ import annotations

import re

# Control characters but tab and line feed, and those that reorder a line or break it.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What a spreadsheet takes for a formula; with the quotes before it that `csv_cell` may have written.
_FORMULA = re.compile("'*[=+@\t\r-]")
_IS_QUOTED = re.compile("''*[=+@\t\r-]")


def printable(text: str) -> str:
    r"""The text with its control characters escaped: an escape code that would drive the terminal is `\x1b` and so on.

    Of them, only tabs and ends of lines stay as they are.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv_cell(text: str) -> str:
    """A text as a cell of a CSV file: one that a spreadsheet would run gets a quote before it. Numbers stay."""
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def from_csv_cell(cell: str) -> str:
    """The text that `csv_cell` has written."""
    return cell[1:] if _IS_QUOTED.match(cell) else cell
