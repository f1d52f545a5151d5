"""What notices that a command did what a hostile file asked for."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import conftest

SECRET = "hunter2-of-the-environment"
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NAMED = re.compile(r"(?:run|resume|dir|features|onnx)=([^\[][^ ]*)|runs=\[([^]]*)")
"""What a command names to write into."""
_MOST_SECONDS = 60
_MOST_BYTES = 4 * 2**30


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
    faults: list[str] = field(default_factory=list)
    """What was seen while the command ran."""

    def __post_init__(self) -> None:
        for folder in (self.elsewhere, self.cwd, self.home):
            folder.mkdir()
        (self.elsewhere / "kept").write_text(f"{SECRET},of,a,file\n")

    @property
    def elsewhere(self) -> Path:
        """Where nothing may be written, and nothing read."""
        return self.root / "elsewhere"

    @property
    def cwd(self) -> Path:
        """The folder that commands are run in."""
        return self.root / "cwd"

    @property
    def home(self) -> Path:
        """The home and the temporary folder, where nothing may be left."""
        return self.root / "home"

    def environment(self) -> dict[str, str]:
        """Variables for the commands."""
        return {"SECRET": SECRET, "HOME": str(self.home), "TMPDIR": str(self.home)}

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command; its status."""
        named = [Path(path) for found in _NAMED.findall(" ".join(arguments)) for path in "".join(found).split(",")]
        may_change = [self.cwd, *named, *(path.parent / "looks.jsonl" for path in named)]
        before = self._files(may_change)
        started = time.monotonic()
        done = conftest.command(*arguments, cwd=self.cwd)
        seconds = time.monotonic() - started
        self.out = done.stdout + done.stderr
        after = self._files(may_change)
        changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
        self.faults = [
            *(f"took {seconds:.0f} s" for _ in [0] if seconds > _MOST_SECONDS),
            *(
                f"took {conftest.forker().peak_bytes / 1e9:.1f} GB"
                for _ in [0]
                if conftest.forker().peak_bytes > _MOST_BYTES
            ),
            *(f"wrote {path}" for path in changed),
        ]
        return done.returncode

    def _files(self, but: Sequence[Path]) -> dict[str, tuple[int, ...]]:
        """Every file of the folder that lies in none of some others."""
        found: dict[str, tuple[int, ...]] = {}
        excepted = {os.path.realpath(path) for path in but}
        for folder, inner, files in os.walk(self.root):
            inner[:] = [name for name in inner if os.path.realpath(f"{folder}/{name}") not in excepted]
            for path in (f"{folder}/{name}" for name in files if not name.endswith(".lock")):
                if os.path.realpath(path) not in excepted:
                    is_ = os.lstat(path)
                    found[path] = (is_.st_mode, is_.st_size, is_.st_mtime_ns)
        return found

    def check(self) -> None:
        """AssertionError where something happened, was read or was written that nobody typed."""
        end = time.monotonic() + 0.05
        while self.heard == [] and time.monotonic() < end and "127.0.0.1" in self.out:
            time.sleep(0.01)
        assert self.heard == []
        assert self.faults == []
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
