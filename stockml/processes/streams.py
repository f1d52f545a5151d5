"""Output streams that never end a run: whatever their encoding, and whether or not anybody still reads them."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

from stockml.config.printable import printable


def make_robust(encoding: str | None = None) -> None:
    """Let this process print to stdout and stderr without an error, whatever becomes of them. Call it at its start.

    Characters that the encoding lacks are printed as "?". What cannot be written is dropped: the reader has gone, the
    disk is full, or the stream was closed from the start. Control characters are printed escaped, but by `Controlling`.
    `encoding` replaces that of the environment.
    """
    for number in range(3):
        _open_if_closed(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream: Any = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            stream = os.fdopen(os.dup(number), "w", encoding="utf-8")
            setattr(sys, name, stream)
        if not isinstance(stream, io.TextIOWrapper):
            continue  # a notebook's
        raw = getattr(stream.buffer, "raw", stream.buffer)
        if type(raw) is io.FileIO and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            stream = _Printing(
                io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False)),
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
                encoding=stream.encoding,
            )
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        stream.reconfigure(encoding=encoding, errors="replace")


def exit_status() -> int:
    """The status of a command whose purpose is its output: 0, or 141 where its reader went away, else 1."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Output) else None
    return 0 if error is None else 141 if isinstance(error, BrokenPipeError) else 1


def print_line(line: str) -> bool:
    """Print a line and flush it; False where that is impossible. For programs that have not called `make_robust`."""
    try:
        try:
            print(line := printable(line), flush=True)
        except UnicodeEncodeError as error:
            print(line.encode(error.encoding, "replace").decode(error.encoding), flush=True)
    except (OSError, ValueError):  # ValueError: it is closed
        return False
    return True


class _Printing(io.TextIOWrapper):
    """Text whose control characters are written escaped: it may come from a file of anybody's."""

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)


class Controlling:
    """A stream for texts of our own that move the cursor or choose colours, which are written as they are."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text unescaped."""
        if isinstance(self._stream, _Printing):
            return io.TextIOWrapper.write(self._stream, text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(io.FileIO):
    """A file whose writing never fails."""

    error: OSError | None = None
    """Why something was dropped last."""

    def write(self, content: Any) -> int:
        try:
            while (written := super().write(content)) is None:  # the other end reads later
                select.select([], [self], [])
        except OSError as error:
            self.error = error
            return len(memoryview(content).cast("B"))
        return written


def _open_if_closed(number: int) -> None:
    """Let a standard file descriptor that is closed be the null device: else the next file to be opened would be it."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, number)
        if null != number:
            os.close(null)
        os.set_inheritable(number, True)
