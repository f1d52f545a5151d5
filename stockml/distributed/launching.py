"""The launcher of workers on this machine: starts them, watches them, starts them anew, and leaves none behind.

Imports no torch: what it costs is little more than the time to start Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.distributed import environment
from stockml.distributed.environment import Environment
from stockml.errors import Interrupted, RunError, UserError
from stockml.processes import lifelines

if TYPE_CHECKING:
    from stockml.distributed.settings import DDPConfig

_INTERRUPT_SECONDS = 3.5
"""What is left to the leader to finish its epoch once the run is interrupted."""
_LAST_WORD_SECONDS = 2.0
"""What is left to the other ranks to end by themselves, and say why, once one has failed."""


@dataclass(frozen=True)
class Fault:
    """Why the workers of an attempt ended early."""

    lines: tuple[str, ...]
    status: int = 1
    signum: int | None = None
    """The signal by which somebody has interrupted the run."""
    lost: bool = False
    """Whether this rank only missed another."""
    final: bool = False
    """Whether it would happen again: a setting that does not work, no accident."""
    unwritable: bool = False
    """Whether it is the run folder that could not be written to."""

    def error(self) -> UserError | Interrupted:
        """As it is told to the user."""
        if self.signum is not None:
            return Interrupted(self.signum, *self.lines)
        error = UserError(*self.lines) if self.status == UserError.status else RunError(*self.lines)
        if self.unwritable:
            error.__cause__ = OSError()
        return error


def check_rendezvous(trainer: DDPConfig) -> None:
    """UserError where the address at which nodes are to meet cannot work, as far as this machine can tell."""
    host, port = trainer.endpoint() or ("", 0)
    if host:
        resolve(host)
        if trainer.node_rank == 0:
            _listen(True, port).close()


def resolve(host: str) -> None:
    """UserError where a host's name has no address here."""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(
            f"{host}: this name does not resolve here ({error.strerror}); check it, or give an address in its place: "
            "trainer.rdzv_endpoint=ADDRESS:PORT"
        ) from error


def train(run: Path, trainer: DDPConfig, world_size: int, emit: Callable[[str], None], *, verbose: bool) -> None:
    """Train with this machine's share of the ranks, started anew as often as `max_restarts` allows.

    `run` is a folder with a config.json, and gets the ranks' logs. Unless it is not `verbose`, rank 0 prints to the
    terminal. Raises RunError, UserError or Interrupted when no worker is left.
    """
    start = _torchrun if trainer.launcher == "torchrun" else _local
    restarts = 0 if trainer.launcher == "torchrun" else trainer.max_restarts  # torchrun restarts by itself
    for attempt in range(restarts + 1):
        sys.stdout.flush()
        with tempfile.TemporaryDirectory(prefix="stockml-") as faults:
            fault = start(run, trainer, world_size, Path(faults), verbose)
        if fault is None:
            return
        if fault.final or fault.signum is not None or fault.unwritable or attempt == restarts:
            raise fault.error()
        emit(f"restart {attempt + 1} of {restarts}, from the last checkpoint: {'; '.join(fault.lines)}")


def ranks_here(trainer: DDPConfig, world_size: int) -> range:
    """The ranks of this node."""
    here = world_size // trainer.nnodes
    return range(trainer.node_rank * here, (trainer.node_rank + 1) * here)


def logs(trainer: DDPConfig, world_size: int) -> list[str]:
    """The names of the logs that workers on this node and their launcher write to."""
    names = [f"rank_{rank}" for rank in ranks_here(trainer, world_size)]
    return [*names, "torchrun"] if trainer.launcher == "torchrun" else names


def _local(run: Path, trainer: DDPConfig, world_size: int, faults: Path, verbose: bool) -> Fault | None:
    """Start a worker a rank, and see how they end."""
    here = ranks_here(trainer, world_size)
    host, port = trainer.endpoint() or ("127.0.0.1", 0)
    lifeline = lifelines.Lifeline()
    workers: dict[int, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(lifeline.close)
        stack.callback(_kill, workers)
        listener = None
        if trainer.node_rank == 0:
            listener = stack.enter_context(_listen(trainer.nnodes > 1, port))
            port = listener.getsockname()[1]
        for local_rank, rank in enumerate(here):
            serves = listener if rank == 0 else None
            place = Environment(
                rank=rank,
                world_size=world_size,
                local_rank=local_rank,
                local_world_size=len(here),
                host=host,
                port=port,
                listener=None if serves is None else serves.fileno(),
            )
            with _log_of(run, f"rank_{rank}").open("ab") as log:
                workers[rank] = subprocess.Popen(
                    [sys.executable, "-m", "stockml.tasks.worker", str(run)],
                    env={**_environment(lifeline, faults), **place.variables()},
                    stdin=subprocess.DEVNULL,
                    stdout=None if rank == 0 and verbose else log,
                    stderr=log,
                    pass_fds=[lifeline.reader, *([] if serves is None else [serves.fileno()])],
                    start_new_session=True,  # Ctrl-C reaches the launcher alone, which tells rank 0
                )
        if listener is not None:
            listener.close()  # rank 0 alone holds it: when that is gone, nobody waits at a door that nobody opens
        return _fault(run, _watched(workers), faults)


def _torchrun(run: Path, trainer: DDPConfig, world_size: int, faults: Path, verbose: bool) -> Fault | None:
    """Hand the same worker to torchrun, and see how it ends."""
    meeting = (
        {"rdzv-backend": "static", "rdzv-endpoint": trainer.rdzv_endpoint}  # which alone keeps rank 0 on node 0
        if trainer.nnodes > 1
        else {"rdzv-backend": "c10d", "rdzv-endpoint": "127.0.0.1:0", "rdzv-conf": "is_host=1"}
    )
    options = {
        "nnodes": trainer.nnodes,
        "nproc-per-node": len(ranks_here(trainer, world_size)),
        "node-rank": trainer.node_rank,
        "max-restarts": trainer.max_restarts,
        "rdzv-id": "stockml",
        **meeting,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    lifeline = lifelines.Lifeline()
    workers: dict[int, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(lifeline.close)
        stack.callback(_kill, workers)
        with _log_of(run, "torchrun").open("ab") as log:
            workers[0] = subprocess.Popen(
                [sys.executable, "-m", "stockml.distributed.agent", *arguments, "-m", "stockml.tasks.worker", str(run)],
                env={**_environment(lifeline, faults), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
                stdin=subprocess.DEVNULL,
                stdout=None if verbose else log,
                stderr=log,
                pass_fds=[lifeline.reader],
                start_new_session=True,
            )
        return _fault_under_torchrun(run, _watched(workers)[0], faults)


def _listen(openly: bool, port: int) -> socket.socket:
    """The socket that rank 0 will serve on: bound here, it is nobody else's, and everybody knows its port."""
    try:
        if openly and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        return socket.create_server(("" if openly else "127.0.0.1", port), backlog=1024)
    except OSError as error:
        raise UserError(
            f"trainer.rdzv_endpoint: port {port} cannot be listened on here ({os.strerror(error.errno or 0)}); "
            "name another one, the same on every node"
        ) from error


def _environment(lifeline: lifelines.Lifeline, faults: Path) -> dict[str, str]:
    """What a worker inherits: all but what another launcher has told this process."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TORCHELASTIC_") and name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    paths = [inherited.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",  # a file in the current folder is no module of ours
        environment.LIFELINE: str(lifeline.reader),
        environment.FAULTS: str(faults),
    }


def _watched(workers: dict[int, subprocess.Popen[bytes]]) -> dict[int, int | None]:
    """The workers' exit codes when all have ended; or some time after one has failed, None for those still there."""
    try:
        while (codes := _codes(workers)) and None in codes.values():
            if any(codes.values()):
                break
            time.sleep(0.01)
        deadline = time.monotonic() + _LAST_WORD_SECONDS
        while None in _codes(workers).values() and time.monotonic() < deadline:
            time.sleep(0.01)
    except KeyboardInterrupt:
        if 0 in workers:  # a second signal breaks off here
            workers[0].terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                workers[0].wait(_INTERRUPT_SECONDS)
        raise
    return _codes(workers)


def _codes(workers: dict[int, subprocess.Popen[bytes]]) -> dict[int, int | None]:
    return {rank: worker.poll() for rank, worker in workers.items()}


def _kill(workers: dict[int, subprocess.Popen[bytes]]) -> None:
    """Leave none, nor what they have started."""
    for worker in workers.values():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
    for worker in workers.values():
        worker.wait()


def _fault(run: Path, codes: dict[int, int | None], faults: Path) -> Fault | None:
    """What went wrong first: that one rank misses another is told only where nothing else is known."""
    if not any(codes.values()):
        return None
    told = _told(run, faults)
    unheard = {rank: code for rank, code in codes.items() if code and rank not in told}
    killed = [rank for rank, code in unheard.items() if code < 0]
    own = [rank for rank, fault in sorted(told.items()) if not fault.lost]
    if killed:
        return Fault((_killed(run, killed[0], -unheard[killed[0]]),))
    if own:
        return told[own[0]]
    if unheard:
        rank, code = min(unheard.items())
        return Fault((f"{run}: rank {rank} ended with status {code}; its log is {_log_of(run, f'rank_{rank}')}",))
    return told[min(told)]


def _fault_under_torchrun(run: Path, code: int | None, faults: Path) -> Fault | None:
    """The same, where the ranks' ends are known from torchrun's report alone."""
    if not code:
        return None
    log = _log_of(run, "torchrun")
    ended = re.findall(r"^ *rank +: (\d+).*\n *exitcode +: (-?\d+)", log.read_text(errors="replace"), re.MULTILINE)
    fault = _fault(run, {int(rank): int(status) for rank, status in ended}, faults)
    return fault or Fault((f"{run}: torchrun ended with status {code}; its log is {log}",))


def _told(run: Path, faults: Path) -> dict[int, Fault]:
    """What the workers that failed have said, by rank."""
    told = {}
    for path in faults.glob("*.json"):
        word = json.loads(path.read_text())
        fault = Fault(**{**word, "lines": tuple(word["lines"])})
        if fault.lost:
            lines = (f"{run}: {'; '.join(fault.lines)}; the ranks' logs are in {run / 'ranks'}",)
            fault = dataclasses.replace(fault, lines=lines)
        told[int(path.stem)] = fault
    return told


def _killed(run: Path, rank: int, signum: int) -> str:
    name = signal.Signals(signum).name if signum in set(signal.Signals) else f"signal {signum}"
    why = ", by hand or for want of memory" if signum == signal.SIGKILL else ""
    return f"{run}: rank {rank} was killed ({name}{why}); its log is {_log_of(run, f'rank_{rank}')}"


def _log_of(run: Path, name: str) -> Path:
    return run / "ranks" / f"{name}.log"
