"""Text from a file of anybody's, written so that a terminal shows it and a spreadsheet does not run it."""

from __future__ import annotations

import json
import re

# Control characters but tab and line feed, those that reorder a line or break it, some that nobody sees (those that
# Persian and Indian names need stay), and halves of characters, which no file can hold.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
# What a spreadsheet takes for a formula; with the quotes before it that `csv_cell` may have written.
_FORMULA = re.compile("'*[=+@\t\r-]")
_IS_QUOTED = re.compile("''*[=+@\t\r-]")


def printable(text: str) -> str:
    r"""The text with its control characters escaped: an escape code that would drive the terminal is `\x1b` and so on.

    Of them, only tabs and ends of lines stay as they are.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_name(text: str) -> str:
    """The text as `printable` gives it, on one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def json_text(text: str) -> str:
    """JSON whose control characters are escaped: the same values."""
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def csv_cell(text: str) -> str:
    """A text as a cell of a CSV file: one that a spreadsheet would run gets a quote before it, and control characters
    are escaped. Numbers stay."""
    text = printable(text)
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
