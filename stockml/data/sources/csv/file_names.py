"""The endings of tables' files. Imports nothing heavy."""

from __future__ import annotations

import itertools
from pathlib import Path

from stockml.config.printable import printable_name
from stockml.config.values import undecoded

_PACKED = ("", ".gz", ".bz2", ".xz", ".zst", ".zip")
ENDINGS = (
    *map("".join, itertools.product((".csv", ".txt", ".tsv", ".json", ".jsonl"), _PACKED)),
    *(".parquet", ".xlsx", ".xls", ".ods", ".zip"),
)
"""In the order in which a ticker's file is looked for."""


def stem(path: Path) -> str:
    """A file's name without its ending, as it can be shown."""
    ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), path.suffix)
    name = path.name[: len(path.name) - len(ending)]
    return name if undecoded(name) else printable_name(name)
