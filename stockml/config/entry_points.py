"""What installed packages add to a register, by their entry points."""

from __future__ import annotations

from importlib import metadata
from typing import TypeVar

from stockml.errors import UserError

T = TypeVar("T")


def names(group: str) -> set[str]:
    """The names that are installed in a group."""
    return {entry.name for entry in metadata.entry_points(group=group)}


def place(group: str, name: str) -> str:
    """`module:attribute` of what is installed by that name in a group."""
    return next(entry.value for entry in metadata.entry_points(group=group, name=name))


def find(group: str, name: str, kind: type[T], key: str) -> T | None:
    """What is installed by that name in a group, None where nothing is.

    Raises UserError, which names the config's `key`, where it does not load or is not a `kind`.
    """
    for entry in metadata.entry_points(group=group, name=name):
        try:
            found = entry.load()
        except Exception as error:
            raise UserError(f"{key}={name}: the installed entry point {entry.value} does not load: {error}") from error
        if not isinstance(found, kind):
            wanted = f"{kind.__module__}.{kind.__qualname__}"
            raise UserError(f"{key}={name}: the entry point {entry.value} is not a {wanted}")
        return found
    return None
