"""What a process that was given a call asks the process that gave it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True)
class Question:
    """A question on its way to the parent."""

    content: Any


_connection: ContextVar[Connection | None] = ContextVar("_connection", default=None)


def connect(connection: Connection | None) -> None:
    """Ask over this connection from here on; None: there is nobody to ask."""
    _connection.set(connection)


def descriptor() -> int | None:
    """The file descriptor of that connection, for a process that asks in this one's place; None where it has none."""
    connection = _connection.get()
    return connection.fileno() if isinstance(connection, Connection) else None


def ask(content: Any) -> Any:
    """The parent's answer, for which this waits; None where there is nobody to ask, or no answer."""
    connection = _connection.get()
    if connection is None:
        return None
    connection.send(Question(content))
    return connection.recv()
