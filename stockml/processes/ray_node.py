"""What a Ray task does on its node: it runs one call in a new interpreter, as `job_pool` does on this machine."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockml.processes import job_pool


@dataclass(frozen=True)
class Given:
    """A call as it travels to its node."""

    run: bytes
    """The function, pickled without its large arrays; unpickled where it is called, since that imports much."""
    log: Path
    folder: Path | None
    """The folder that holds the log's folder, where the function may be given another one."""
    token: str | None
    """The name of a file in `folder` that a node which sees that folder finds; None: none sees it."""
    earlier: bytes | None
    """What the log's folder holds already, packed."""
    cwd: Path
    environment: Mapping[str, str | None]
    """Variables that the numbers depend on; None where there is no such variable."""


def run(given: Given, arrays: Sequence[bytes], answer: job_pool.Answer) -> tuple[job_pool.Ended, bytes | None]:
    """Run a call; how it ended, and where this node does not see its folder, the folder of its log, packed."""
    for name, value in given.environment.items():  # Ray sets the number of threads
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})
    if given.cwd.is_dir():
        os.chdir(given.cwd)
    # Not forked: this process has threads, and numpy with another number of them than the same run alone.
    job_pool.START_METHOD = "spawn"
    vars(sys.modules["__main__"]).pop("__file__", None)  # else the new interpreter imports Ray's worker
    with contextlib.ExitStack() as stack:
        log, elsewhere = given.log, {}
        is_seen = given.folder is None or (given.token is not None and (given.folder / given.token).exists())
        if not is_seen:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stockml-job-")))
            log, elsewhere = folder / log.parent.name / log.name, {"folder": folder}
            unpack(given.earlier, log.parent)
        function = functools.partial(_call, given.run, arrays, elsewhere)
        call = job_pool.Call(functools.partial(_itself, function), log)
        events = stack.enter_context(contextlib.closing(job_pool.run_each([call], cores=1, at_once=1, answer=answer)))
        ended = next(event[1] for event in events if event and event[1])
        return ended, None if is_seen else pack(log.parent)


def _itself(function: Callable[[], Any]) -> Callable[[], Any]:
    return function


def _call(run: bytes, arrays: Sequence[bytes], elsewhere: Mapping[str, Path]) -> Any:
    return pickle.loads(run, buffers=arrays)(**elsewhere)


def pack(folder: Path) -> bytes | None:
    """The files of a folder as one; None where there is no such folder."""
    if not folder.is_dir():
        return None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, arcname=".")
    return packed.getvalue()


def unpack(packed: bytes | None, folder: Path) -> None:
    """Write the files of a packed folder, in the place of those that are there."""
    if packed is not None:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
