"""Finds the table of bars in a JSON text, at any depth: records, rows, columns, or bars by their dates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stockml.data.sources.csv.columns import figures_named
from stockml.errors import UserError
from stockml.runs import plain_files

_Rows = list[list[Any]]


class NoTableError(UserError):
    """A file that holds no table at all, as the page or the note that a server sends instead of bars."""


def rows(path: Path, text: str) -> list[list[str]]:
    """The rows of the one table in a JSON text, or of one record a line; where there are names, they come first.

    Raises UserError where there is no table, or several.
    """
    try:
        try:
            found = _parsed(text)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            found = [_parsed(line) for line in text.splitlines() if line.strip()]
        tables = _tables(path, found)
        alone = [_of_records(path, [found])] if isinstance(found, dict) and not tables else []
        tables = [table for table in [*tables, *alone] if _has_names(table)] or tables
        if len(tables) != 1:
            raise ValueError(f"it has {len(tables) or 'no'} tables")
    except (ValueError, RecursionError) as error:
        raise NoTableError(f'{path}: holds no JSON records, [{{"date": …, "close": …}}, …] ({error})') from error
    return [[shown(cell) for cell in row] for row in tables[0]]


def shown(cell: Any) -> str:
    """A cell as text: exact to the last digit."""
    text = "" if cell is None else str(cell)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()  # JSON can have half a character


def _parsed(text: str) -> Any:
    """A JSON text whose numbers stay as they are written. Raises ValueError."""
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{pairs[0][0]} or another name is there twice")
    return found


def _tables(path: Path, value: Any) -> list[_Rows]:
    """Every table in a value. Raises ValueError where a list holds records and other things."""
    kinds = {type(part) for part in value} if isinstance(value, list) else set()
    if kinds == {list}:
        return [value]
    if kinds == {dict}:
        within = [table for record in value for part in record.values() for table in _tables(path, part)]
        return [table for table in within if _has_names(table)] or [_of_records(path, value)]
    if kinds & {dict, list}:
        raise ValueError("a list holds records and other things")
    if not isinstance(value, dict):
        return []
    found = _of_columns(value) or _of_objects(path, value)
    return [found] if found else [table for part in value.values() for table in _tables(path, part)]


def _of_records(path: Path, records: Sequence[dict[str, Any]]) -> _Rows:
    names = list(dict.fromkeys(name for record in records for name in record))
    plain_files.require_cells(path, len(records) * len(names))
    return [names, *([record.get(name) for name in names] for record in records)]


def _of_columns(value: dict[str, Any]) -> _Rows | None:
    """The table of a list for each column, or of names and rows apart, with which pandas writes an index."""
    lists = {name: part for name, part in value.items() if isinstance(part, list)}
    names, body, index = lists.get("columns", lists.get("column_names")), lists.get("data"), lists.get("index")
    if names and body and all(isinstance(row, list) for row in body):
        if index is None:
            return [names, *body]
        return [["", *names], *([day, *row] for day, row in zip(index, body, strict=True))]
    if figures_named(list(lists)) > 1:
        return [list(lists), *map(list, zip(*lists.values(), strict=True))]
    return None


def _of_objects(path: Path, value: dict[str, Any]) -> _Rows | None:
    """The table of an object of objects: of each column its values by date, or of each date its bar."""
    if not all(isinstance(part, dict) and not _is_deep(part) for part in value.values()):
        return None
    if figures_named(list(value)) > 1:
        days = list(dict.fromkeys(day for part in value.values() for day in part))
        plain_files.require_cells(path, len(days) * len(value))
        return [["", *value], *([day, *(part.get(day) for part in value.values())] for day in days)]
    names, *bars = _of_records(path, list(value.values()))
    is_table = figures_named(names) > 1
    return [["", *names], *([day, *bar] for day, bar in zip(value, bars, strict=True))] if is_table else None


def _is_deep(part: dict[str, Any]) -> bool:
    return any(isinstance(value, dict | list) for value in part.values())


def _has_names(table: _Rows) -> bool:
    return figures_named([shown(cell) for cell in table[0]]) > 1
