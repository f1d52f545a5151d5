"""Names of run folders, of jobs, and of the folds and members within a run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping


def fold_and_member(name: str) -> dict[str, int]:
    """Which part of a run it is, by the part's folder in the run's: fold 2, member 0 of `folds/2/members/0`."""
    return {kind: int(number) for kind, number in re.findall(r"(fold|member)s/(\d+)", name)}


def fold_member_title(part: Mapping[str, int]) -> str:
    """A part of a run as it is told of: fold 2, member 0."""
    return ", ".join(f"{kind} {number}" for kind, number in part.items())


def safe_name(name: str) -> str:
    """`name` in characters that a shell and Hydra's grammar take as they are."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def numbered_names(name: str) -> Iterator[str]:
    """The name, then with `_2`, `_3`, … without end."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))
