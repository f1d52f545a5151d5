"""Takes a text of bars apart: its lines, the sign between its cells, and the words below it."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd

from stockml.data.sources.csv import columns
from stockml.data.sources.csv.columns import Given
from stockml.data.sources.csv.spreadsheets import HEAD
from stockml.errors import UserError
from stockml.runs import plain_files

_DELIMITERS = ",;\t|"


def split_lines(text: str, given: Given) -> list[str]:
    """The lines of a text, with tabs between their cells where these are apart by spaces alone."""
    lines = text.split("\n")
    if max(columns.figures_named(row, given) for row in parse_head(lines[:HEAD], given)[1]) < 2:
        apart = [line.split() for line in lines[:HEAD]]
        if any(columns.figures_named(row, given) > 3 for row in apart):
            return ["\t".join(line.split()) for line in lines]
    return lines


def parse_head(lines: list[str], given: Given) -> tuple[str, list[list[str]]]:
    """The delimiter that gives most columns with a known name, and the cells of the lines."""
    if re.fullmatch("sep=.", lines[0].strip()):  # as for Excel
        return lines[0].strip()[-1], [[], *parse_lines(lines[1:], lines[0].strip()[-1])]
    heads = {delimiter: parse_lines(lines, delimiter) for delimiter in _DELIMITERS}
    named = {d: max(columns.figures_named(row, given) for row in heads[d]) for d in heads}
    # Without names, a comma may be the decimal one.
    best = max(heads, key=lambda d: (named[d], max(map(len, heads[d])), not named[d] and d != ","))
    return best, heads[best]


def parse_cells(path: Path, lines: list[str], delimiter: str, most: int) -> pd.DataFrame:
    """The cells of all lines, at most so many of each. Raises UserError."""
    width = min(max(line.count(delimiter) for line in lines) + 1, most)
    plain_files.require_cells(path, width * len(lines))
    try:
        # Blank lines are kept, so that a row's number is that of its line.
        cells = pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=delimiter,
            header=None,
            names=list(range(width)),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); fix the line") from error
    if len(cells) != len(lines):
        broken = cells.apply(lambda column: column.str.contains("\n", regex=False)).any(axis=1)
        raise UserError(f"{path}, line {int(broken.argmax()) + 1}: has a quote that is not closed on the line; fix it")
    return cells


def parse_lines(lines: list[str], delimiter: str) -> list[list[str]]:
    """The cells of each line, parsed on its own."""
    reader = (next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []) for line in lines)
    return list(reader)


def is_footnote(cells: list[str], width: int) -> bool:
    """Whether the filled cells of a row are words alone, as of the source of the bars, and no part of a bar."""
    text = " ".join(cells).strip()
    is_long = len(text) > 40 or not text[:1].isalnum() or not re.search(r"\d", text)
    has_words = len(text) >= 8 and len(re.findall(r"[^\W\d_]{2,}", text)) > 1
    return len(cells) < width and has_words and is_long and not any(map(columns.is_number, cells))
