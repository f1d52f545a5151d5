"""What a source has read is kept while one panel is loaded, so that a file of many stocks is read once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_kept: ContextVar[dict[Hashable, Any] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """While this is open, `once` reads each thing once; then all of it is let go."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def known(key: Hashable) -> Any:
    """What has been read for this key before; None if nothing, or if nothing is kept."""
    return (_kept.get() or {}).get(key)


def once(key: Hashable, read: Callable[[], T]) -> T:
    """What `read` returns, or has returned for this key before."""
    known = _kept.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found
