"""What notices that a command did what a hostile file asked for."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import command

SECRET = "hunter2-of-the-environment"
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MOST_SECONDS = 60


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what is sent there."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.02)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    heard.append(connection.recv(4096))
                    connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        finally:
            stop.set()
            thread.join()


@dataclass
class Witness:
    """A folder that no command was told of, an address that none should call, and what a command printed."""

    root: Path
    address: str
    heard: list[bytes] = field(default_factory=list)
    out: str = ""

    def __post_init__(self) -> None:
        self.elsewhere.mkdir()
        self.cwd.mkdir()
        (self.elsewhere / "kept").write_text(f"{SECRET},of,a,file\n")

    @property
    def elsewhere(self) -> Path:
        """Where nothing may be written, and nothing read."""
        return self.root / "elsewhere"

    @property
    def cwd(self) -> Path:
        """The folder that commands are run in."""
        return self.root / "cwd"

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command; its status."""
        started = time.monotonic()
        done = command(*arguments, cwd=self.cwd)
        self.out = done.stdout + done.stderr
        assert time.monotonic() - started < _MOST_SECONDS
        return done.returncode

    def check(self) -> None:
        """AssertionError where something happened, was read or was written that nobody typed."""
        end = time.monotonic() + 0.05
        while self.heard == [] and time.monotonic() < end and "127.0.0.1" in self.out:
            time.sleep(0.01)
        assert self.heard == []
        assert [path.name for path in self.elsewhere.iterdir()] == ["kept"]
        assert (self.elsewhere / "kept").read_text() == f"{SECRET},of,a,file\n"
        assert SECRET not in self.out and "Traceback" not in self.out, self.out
        assert (found := CONTROLS.search(self.out)) is None, repr(self.out[max(0, found.start() - 80) :][:160])
        for path in self.root.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.parent == self.elsewhere:
                continue
            assert path.name != "EXECUTED", path
            with path.open("rb") as file:  # some have terabytes of nothing
                content = file.read(2_000_000).decode(errors="replace")
            assert SECRET not in content, path
            if path.suffix in (".log", ".md"):
                assert CONTROLS.search(content) is None, path
            assert "<script>alert" not in content or path.suffix != ".html", path
