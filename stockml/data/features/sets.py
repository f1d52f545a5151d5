"""Factor sets of installed packages; stockml's own are the files of conf/features.

A package adds a set with an entry point in the group `stockml.features`, whose name is the set's name and whose value
is a dict from a feature's name to its expression:

    [project.entry-points."stockml.features"]
    my_set = "my_package:FEATURES"

The same group holds operators, see `operators`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

import yaml

from stockml.config import entry_points
from stockml.config.conf_folder import CONF
from stockml.errors import UserError

ENTRY_POINTS = "stockml.features"


def names() -> list[str]:
    """The sets that are installed and load."""
    found = []
    for name in sorted(entry_points.names(ENTRY_POINTS)):
        with contextlib.suppress(UserError):  # an operator, or a broken one
            found += [name] if installed(name) is not None else []
    return found


def installed(name: str) -> dict[str, str] | None:
    """The set of that name, None where there is none. Raises UserError where it is no dict of texts."""
    found = entry_points.find(ENTRY_POINTS, name, object, "features")
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(x, str) for pair in found.items() for x in pair):
        where = entry_points.place(ENTRY_POINTS, name)
        raise UserError(f"features={name}: the installed {where} is no dict from names to expressions")
    return found


def names_in(name: str) -> Collection[str] | None:
    """The names of the expressions of a set; None of one that is not known, as in a further config folder."""
    path = CONF / "features" / f"{name}.yaml"
    if name == path.stem and path.is_file():
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")).get("columns") or {})
    with contextlib.suppress(UserError):
        return installed(name)
    return None
