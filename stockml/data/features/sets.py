"""Factor sets of installed packages; stockml's own are the files of conf/features.

A package adds a set with an entry point in the group `stockml.features`, whose name is the set's name and whose value
is a dict from a feature's name to its expression:

    [project.entry-points."stockml.features"]
    my_set = "my_package:FEATURES"

The same group holds operators, see `operators`.
"""

from __future__ import annotations

from stockml.config import entry_points
from stockml.errors import UserError

ENTRY_POINTS = "stockml.features"


def names() -> list[str]:
    """What is installed in the group: sets, and operators too, since nothing is imported to tell them apart."""
    return sorted(entry_points.names(ENTRY_POINTS))


def installed(name: str) -> dict[str, str] | None:
    """The set of that name, None where there is none. Raises UserError where it is no dict of texts."""
    found = entry_points.find(ENTRY_POINTS, name, dict, "features")
    if found is not None and not all(isinstance(key, str) and isinstance(text, str) for key, text in found.items()):
        raise UserError(f"features={name}: the installed set is not a dict from names to expressions")
    return found
