"""Sweeps planned: which jobs there will be, what each is called, and what each is given."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.compose.records import Records
from stockml.compose.search import Search
from stockml.config.root import Config
from stockml.config.values import show
from stockml.runs.names import numbered_names, safe_name

if TYPE_CHECKING:
    from stockml.data.dataset import Data

_LONGEST_NAME = 100  # of a job; a file system takes 255 bytes


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    name: str
    swept: dict[str, Any]
    """The value of each key that differs from job to job."""
    config: Config | None
    """What is run; None where that cannot be: `faults` says why."""
    records: Records | None = None
    number: int = 0
    """Its place among the jobs, counted from 0."""
    faults: tuple[str, ...] = ()
    folds: Sequence[Data] | None = None
    """Its data, where they are read already."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was typed."""

    folder: Path
    is_named: bool
    """Whether the folder was typed: then what it holds is continued."""
    jobs: tuple[Job, ...]
    """In the order of the grid; none where a search chooses them as it goes."""
    launcher: str
    """Hydra's class for it."""
    n_jobs: int
    """Jobs at once; -1 where as many as the machine has room for."""
    batch: int | None
    """Jobs that are given out together, each batch after the one before; None: all."""
    search: Search | None
    """What chooses the jobs; None where all are known."""

    @property
    def is_launched_here(self) -> bool:
        """Whether this process starts the jobs, and not another launcher of Hydra's."""
        return self.launcher.endswith(("BasicLauncher", "JoblibLauncher", "RayPool"))


def names_of(swept: Sequence[Mapping[str, Any]], configs: Sequence[Config]) -> list[str]:
    """A name for each job of a grid, no two the same."""
    plain = [_name(config, job) for config, job in zip(configs, swept, strict=True)]
    distinct: dict[str, set[str]] = {}
    for name, job in zip(plain, swept, strict=True):
        distinct.setdefault(name, set()).add(str(job))
    wanted = [
        f"{name}-{_hash(job)}" if len(distinct[name]) > 1 else name for name, job in zip(plain, swept, strict=True)
    ]
    every, names, seen = set(wanted), list[str](), set[str]()
    for name in wanted:
        own = name if name not in seen else free(name, every | seen)
        names.append(own)
        seen.add(own)
    return names


def name_of(swept: Mapping[str, Any], config: Config | None, taken: Iterable[str]) -> str:
    """A name for a job that a search has chosen, one that is not taken."""
    return free(_name(config, swept), set(taken))


def free(name: str, taken: set[str]) -> str:
    """The name, or with `_2`, `_3`, … the first that is not taken."""
    return next(own for own in numbered_names(name) if own not in taken)


def _name(config: Config | None, swept: Mapping[str, Any]) -> str:
    """`AAPL`, `AAPL-seed_3`: the ticker, then what else was swept."""
    ticker = config.stock.ticker if config else "job"
    last = Counter(key.split(".")[-1] for key in swept)
    parts = [ticker]
    for key, value in swept.items():
        text = _brief(key, value)
        short = key.split(".")[-1]
        if text != ticker:
            parts.append(f"{short if last[short] == 1 else key}_{text}")
    name = safe_name("-".join(parts))
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 9]}-{_hash(swept)}"


def _brief(key: str, value: Any) -> str:
    if isinstance(value, str) and re.search(r"[$(]", value):  # an expression
        return re.sub(r"[^A-Za-z0-9.]+", "_", value).strip("_")
    if isinstance(value, str) and ("/" in value or key.endswith(".path")):
        return Path(value.removesuffix(".gz")).stem
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def _hash(swept: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(swept).encode()).hexdigest()[:8]
