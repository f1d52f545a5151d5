"""Names of run folders, of jobs, and of the folds and members within a run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping


def fold_and_member(name: str) -> dict[str, int]:
    """The numbers in a model's folder name: `folds/2/members/0` is {"fold": 2, "member": 0}."""
    return {kind: int(number) for kind, number in re.findall(r"(fold|member)s/(\d+)", name)}


def fold_member_title(numbers: Mapping[str, int]) -> str:
    """A fold and member as text: fold 2, member 0."""
    return ", ".join(f"{kind} {number}" for kind, number in numbers.items())


def safe_name(name: str) -> str:
    """`name` with `_` for every character that must be quoted in a shell or in Hydra's grammar."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def numbered_names(name: str) -> Iterator[str]:
    """The name itself, then with `_2`, `_3`, … without end."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))
