"""What the JSON files of run and sweep folders hold: a damaged one is found when it is read, not where it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from stockml.config.printable import printable_name
from stockml.errors import UserError

_MOST = 1e300  # of what is computed with
_TEXT, _NUMBER, _TRUTH = (str, type(None)), (int, float, type(None)), (bool, type(None))
_SCORES = {"*": _NUMBER}
_SPLITS = {"*": _SCORES}
_SPAN = ([_TEXT], type(None))
_DAYS = {"samples": _SCORES, "spans": {"*": _SPAN}, "purged": _NUMBER}
_STATS = {"mean": [(int, float)], "std": [(int, float)], "target": {"*": (int, float)}, "rows": int}
_SHAPES: Mapping[str, Any] = {
    "config.json": {
        "config": dict,
        "data": {
            **_DAYS,
            **dict.fromkeys(("origin", "fingerprint", "kind", "last_day", "understood"), _TEXT),
            **dict.fromkeys(("horizon", "reach", "rows"), _NUMBER),
            "dropped": [str],
            "folds": [_DAYS],
            "tickers": {"*": _TEXT},
            "features": {"features": [dict], "samples": _NUMBER, "day_step": _NUMBER},
        },
        "versions": {"*": _TEXT},
        "members": [{"folder": str, "sha256": {"*": str}, "weight": (int, float)}],
        "unsealed": {"*": _TEXT},
        **dict.fromkeys(("git_commit", "device", "platform", "combination"), _TEXT),
        **dict.fromkeys(("world_size", "global_batch_size"), _NUMBER),
        "synthetic": _TRUTH,
    },
    "metrics.json": {
        "validation": _SCORES,
        "test": _SCORES,
        "baselines": {"*": _SPLITS},
        "oracle": (_SPLITS, type(None)),
        "timing": _SCORES,
        "looks": (dict, type(None)),
        "significance": (dict, type(None)),
        **dict.fromkeys(("best_baseline", "skill", "verdict"), _TEXT),
        "validation_loss": _NUMBER,
        "synthetic": _TRUTH,
    },
    "norm_stats.json": {
        **_STATS,
        "features": [str],
        "stocks": {"*": _STATS},
        "from_pool": [str],
        "first_date": _TEXT,
        "last_date": _TEXT,
    },
    "result.json": {"status": str, "pid": _NUMBER, "started": _TEXT, "seconds": _NUMBER, "error": _TEXT},
    "sweep.json": {"jobs": {"*": dict}, "arguments": ([str], type(None))},
    "search.json": {
        "id": _TEXT,
        "objectives": [str],
        "directions": [str],
        "importances": {"*": _SCORES},
        "trials": [{"number": int, "state": str, "values": ([_NUMBER], type(None)), "params": dict, "job": _TEXT}],
    },
}
"""File name → key → type, list of one, or several to choose from; "*" are all other keys. Any key may be missing."""


class Values(dict[str, Any]):
    """A JSON object of a file: to ask for a key that it lacks is an error of the file."""

    path: Path

    def __missing__(self, key: str) -> Any:
        raise _damaged(self.path, f"has no {printable_name(str(key))}")


def parsed(path: Path, content: bytes) -> Values:
    """What a JSON file of a folder says. Raises ValueError where it is no JSON, UserError where it is of another shape.

    A number that JSON does not have, such as NaN, is none.
    """

    def values(pairs: list[tuple[str, Any]]) -> Values:
        of = Values(pairs)
        of.path = path
        return of

    found: Values = json.loads(content, object_pairs_hook=values, parse_constant=_no_number)
    if fault := _fault(found, _SHAPES.get(path.name, dict)):
        raise _damaged(path, fault)
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _damaged(path: Path, fault: str) -> UserError:
    return UserError(f"{path}: {fault}, so it is not as stockml wrote it; restore it from a copy")


def _fault(value: Any, shape: Any, key: str = "") -> str:
    """Where a value is not of the shape; empty where it is."""
    if isinstance(shape, tuple):
        return "" if any(not _fault(value, one, key) for one in shape) else _fault(value, shape[0], key)
    kind: Any = shape if isinstance(shape, type) else type(shape)
    is_number = kind in (int, float)
    if not isinstance(value, kind) or (is_number and (value is True or value is False or not abs(value) < _MOST)):
        return f"{key} is {printable_name(json.dumps(value))[:50]}" if key else "is not a JSON object"
    if isinstance(shape, list):
        items = [(n, item, shape[0]) for n, item in enumerate(cast("list[Any]", value))]
    elif isinstance(shape, dict):
        items = [(k, item, shape.get(k, shape.get("*", object))) for k, item in cast("dict[Any, Any]", value).items()]
    else:
        return ""
    faults = (_fault(item, of, f"{key}.{n}".lstrip(".")) for n, item, of in items)
    return next(filter(None, faults), "")
