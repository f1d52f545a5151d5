"""Where dated daily bars come from: one way to ask for them, whatever the source."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.bars import Bars


class Source(Protocol):
    """What the module of a source offers."""

    def load(self, config: Config) -> Bars:
        """The bars of the config's stock. Raises UserError."""

    def content(self, config: Config) -> str:
        """A text that is another when these bars are others. Raises UserError."""


_MODULES = {"csv": "csv.tables", "yahoo": "yahoo.downloads", "simulated": "simulated.simulator"}


def of(config: Config) -> Source:
    """The source that the config names."""
    return cast("Source", importlib.import_module(f"stockml.data.sources.{_MODULES[config.data.source]}"))


def load(config: Config) -> Bars:
    """The daily bars of the config's stock. Raises UserError."""
    with readable():
        return of(config).load(config)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What the system says of a file that cannot be read becomes a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
