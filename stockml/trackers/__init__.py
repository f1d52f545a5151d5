"""The register of trackers: where a run is logged besides its own folder. Importing it imports nothing heavy.

A tracker is a class with the methods of `stockml.trackers.tracking.Tracker`. To add one, write its file and add a line
to TRACKERS: `tracker.<name>` is then a setting, checked and explained as the others are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A tracker of the register."""

    target: str
    """`module:class`; the class is called with the run folder and the TrackerConfig."""
    packages: tuple[str, ...] = ()
    """Packages that it imports."""
    extra: str | None = None
    """The extra of stockml that installs them."""
    database_packages: tuple[str, ...] = ()
    """Packages that it imports as well where `tracker.uri` is a database."""


TRACKERS = {
    "tensorboard": Entry("stockml.trackers.tensorboard:TensorBoard", ("tensorboard",), "tensorboard"),
    # mlflow-skinny, which is enough for a server, has neither of the two.
    "mlflow": Entry("stockml.trackers.mlflow:MLflow", ("mlflow",), "mlflow", ("sqlalchemy", "alembic")),
}


def packages(names: Iterable[Iterable[str]]) -> set[str]:
    """The packages that trackers of these names import, for a process to import before it forks."""
    return {package for of_one in names for name in of_one for package in TRACKERS[name].packages}
