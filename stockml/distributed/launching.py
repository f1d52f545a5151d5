"""The launcher of workers: starts those of this machine, watches and restarts them, and leaves none behind.

On one machine it starts the workers itself, unless `trainer.launcher` names torchrun; on several, torchrun does on
each of them. Imports no torch: what it costs is little more than the time to start Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.distributed import agent, environment
from stockml.distributed.environment import WorkerEnvironment
from stockml.distributed.worker import log_path
from stockml.errors import Interrupted, Pruned, RunError, UserError
from stockml.processes import lifelines
from stockml.runs.temporary import temporary_folder

if TYPE_CHECKING:
    from stockml.distributed.settings import DDPConfig

_INTERRUPT_SECONDS = 3.5
"""Time that rank 0 has to finish its epoch once the run is interrupted."""
_REPORT_SECONDS = 2.0
"""Time that the other ranks have to end by themselves, and report why, once one has failed."""


@dataclass(frozen=True)
class Launch:
    """The workers of one run on this machine."""

    module: str
    """What each worker runs, `python -m <module> <run>`."""
    run: Path
    """A folder with the run's config.json, which gets the ranks' logs."""
    trainer: DDPConfig
    world_size: int
    verbose: bool = True
    """Whether rank 0 prints to the terminal."""
    channel: int | None = None
    """Descriptor of the connection on which rank 0 asks, after each epoch, whether to stop."""

    @property
    def by_torchrun(self) -> bool:
        """Whether torchrun starts and supervises the workers."""
        return self.trainer.launcher == "torchrun" or self.trainer.nnodes > 1

    @property
    def ranks(self) -> range:
        """The ranks on this machine."""
        count = self.world_size // self.trainer.nnodes
        return range(self.trainer.node_rank * count, (self.trainer.node_rank + 1) * count)

    def logs(self) -> list[str]:
        """The names of the logs that the workers on this machine, and torchrun, write to."""
        names = [f"rank_{rank}" for rank in self.ranks]
        return [*names, "torchrun"] if self.by_torchrun else names

    def train(self, emit: Callable[[str], None]) -> None:
        """Train, restarting the workers up to `trainer.max_restarts` times; `emit` gets a line about each restart.

        Raises RunError, UserError or Interrupted when no worker is left.
        """
        start = self._torchrun if self.by_torchrun else self._start_workers
        for attempt in range(self.trainer.max_restarts + 1):
            sys.stdout.flush()
            with temporary_folder() as failures:
                failure = start(failures)
            if failure is None:
                return
            if failure.cannot_be_retried or attempt == self.trainer.max_restarts:
                raise failure.error()
            restart = f"restart {attempt + 1} of {self.trainer.max_restarts}, from the last checkpoint"
            emit(f"{restart}: {'; '.join(failure.lines)}")

    def _start_workers(self, failures: Path) -> WorkerFailure | None:
        """Start one worker per rank, and wait for their end."""
        with _children() as (lifeline, workers), socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            first = WorkerEnvironment(
                rank=0,
                world_size=self.world_size,
                local_rank=0,
                local_world_size=self.world_size,
                host="127.0.0.1",
                port=listener.getsockname()[1],
                listener=listener.fileno(),
            )
            for rank in range(self.world_size):
                own = dataclasses.replace(first, rank=rank, local_rank=rank, listener=None if rank else first.listener)
                channel = None if rank else self.channel
                with log_path(self.run, rank).open("ab") as log:
                    workers[rank] = subprocess.Popen(
                        [sys.executable, "-m", self.module, str(self.run)],
                        env={
                            **_environment(lifeline, failures),
                            **own.variables(),
                            **({} if channel is None else {environment.CHANNEL: str(channel)}),
                        },
                        stdin=subprocess.DEVNULL,
                        stdout=None if rank == 0 and self.verbose else log,
                        stderr=log,
                        pass_fds=[
                            lifeline.reader,
                            *([] if rank else [listener.fileno()]),
                            *([] if channel is None else [channel]),
                        ],
                        start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on to rank 0
                    )
            listener.close()  # rank 0 alone holds it: when that is gone, connections to it are refused at once
            return _failure_of_workers(self.run, _exit_codes_at_end(workers, failures), failures)

    def _torchrun(self, failures: Path) -> WorkerFailure | None:
        """Let torchrun start the workers, and wait for its end."""
        with _children() as (lifeline, workers), self._torchrun_log.open("ab") as log:
            earlier_bytes = log.tell()
            workers[0] = subprocess.Popen(
                [sys.executable, "-m", agent.__name__, *self._torchrun_options(), "-m", self.module, str(self.run)],
                env={
                    **_environment(lifeline, failures),
                    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                },
                stdin=subprocess.DEVNULL,
                stdout=None if self.verbose else log,
                stderr=log,
                pass_fds=[lifeline.reader],
                start_new_session=True,
            )
            code = _exit_codes_at_end(workers, failures)[0]
            return None if code == 0 else self._failure_under_torchrun(code, failures, earlier_bytes)

    def _torchrun_options(self) -> list[str]:
        trainer = self.trainer
        if trainer.nnodes > 1:
            # The only way of meeting that keeps rank 0 on node 0. It takes no node back that was lost: so restarts are
            # made here, of torchrun as a whole.
            meeting = {
                "rdzv-backend": "static",
                "rdzv-endpoint": str(trainer.rdzv_endpoint),
                "rdzv-conf": f"timeout={math.ceil(trainer.timeout_seconds)}",
            }
        else:
            meeting = {"rdzv-backend": "c10d", "rdzv-endpoint": "127.0.0.1:0", "rdzv-conf": "is_host=1"}
        options: dict[str, object] = {
            "nnodes": trainer.nnodes,
            "nproc-per-node": len(self.ranks),
            "node-rank": trainer.node_rank,
            "max-restarts": 0,
            "rdzv-id": "stockml",
            **meeting,
        }
        return [f"--{name}={value}" for name, value in options.items()]

    @property
    def _torchrun_log(self) -> Path:
        return self.run / "ranks" / "torchrun.log"

    def _failure_under_torchrun(self, code: int | None, failures: Path, earlier_bytes: int) -> WorkerFailure:
        """Why torchrun ended with that code; the exit codes of the ranks are in its log, after earlier attempts'."""
        log = self._torchrun_log
        report = log.read_bytes()[earlier_bytes:].decode(errors="replace")
        ended = re.findall(r"^ *rank +: (\d+).*\n *exitcode +: (-?\d+)", report, re.MULTILINE)
        codes: dict[int, int | None] = {int(rank): int(status) for rank, status in ended}
        if code is None:  # it waits half a minute for a rank that is stopped, and would then call it killed
            codes = {int(path.stem): 1 for path in failures.glob("*.json")}
        failure = _failure_of_workers(self.run, codes, failures)
        if failure is None and (failures / agent.NO_MEETING).is_file():
            failure = WorkerFailure((self._no_meeting((failures / agent.NO_MEETING).read_text()),), lost_rank=True)
        return failure or WorkerFailure((f"{self.run}: torchrun ended with status {code}; its log is {log}",))

    def _no_meeting(self, reason: str) -> str:
        trainer = self.trainer
        within = f"within {trainer.timeout_seconds:g} s (trainer.timeout_seconds)"
        if trainer.node_rank:
            return (
                f"{trainer.rdzv_endpoint}: no answer {within}: is node 0 running, is its port open in the firewall, "
                f"and does every node name the same address? ({reason[:160]})"
            )
        others = "node 1 has" if trainer.nnodes == 2 else f"one of the nodes 1 to {trainer.nnodes - 1} has"
        return (
            f"{trainer.rdzv_endpoint}: {others} not come {within}; is the same command running there, and is the "
            f"network between the nodes open? ({reason[:160]})"
        )


@dataclass(frozen=True)
class WorkerFailure:
    """Why the workers of an attempt ended early."""

    lines: tuple[str, ...]
    status: int = 1
    signum: int | None = None
    """The signal by which the run was interrupted."""
    lost_rank: bool = False
    """Whether this rank only waited in vain for another one."""
    final: bool = False
    """Whether it would happen again: a wrong setting, not an accident."""
    unwritable: bool = False
    """Whether the run folder could not be written to."""
    pruned: bool = False
    """Whether the run was stopped as unpromising."""

    @property
    def cannot_be_retried(self) -> bool:
        """Whether a restart would be of no use."""
        return self.final or self.unwritable or self.signum is not None

    def error(self) -> UserError | Interrupted:
        """The exception for the user."""
        if self.signum is not None:
            return Interrupted(self.signum, *self.lines)
        if self.pruned:
            return Pruned(*self.lines)
        error = UserError(*self.lines) if self.status == UserError.status else RunError(*self.lines)
        if self.unwritable:
            error.__cause__ = OSError()
        return error


def check_rendezvous(trainer: DDPConfig) -> None:
    """UserError where the address at which nodes are to meet cannot work, as far as this machine can find out."""
    endpoint = trainer.endpoint()
    if trainer.nnodes > 1 and endpoint is not None:
        host, port = endpoint
        environment.require_resolvable(host)
        if trainer.node_rank == 0:
            try:
                socket.create_server(("", port)).close()
            except OSError as error:
                raise UserError(
                    f"trainer.rdzv_endpoint: port {port} cannot be listened on here ({os.strerror(error.errno or 0)}); "
                    "name another one, the same on every node"
                ) from error


@contextlib.contextmanager
def _children() -> Iterator[tuple[lifelines.Lifeline, dict[int, subprocess.Popen[bytes]]]]:
    """A lifeline, and a dict for processes; at the end none of them, nor what they have started, is left."""
    lifeline = lifelines.Lifeline()
    children: dict[int, subprocess.Popen[bytes]] = {}
    try:
        yield lifeline, children
    finally:
        lifelines.kill(child.pid for child in children.values())
        for child in children.values():
            child.wait()
        lifeline.close()


def _environment(lifeline: lifelines.Lifeline, failures: Path) -> dict[str, str]:
    """The environment variables that a worker inherits: all except those that another launcher has set for us."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TORCHELASTIC_") and name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    paths = [inherited.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",  # a file in the current folder is not imported as a module
        environment.LIFELINE: str(lifeline.reader),
        environment.FAILURES: str(failures),
    }


def _exit_codes_at_end(workers: dict[int, subprocess.Popen[bytes]], failures: Path) -> dict[int, int | None]:
    """The workers' exit codes when all have ended, or some time after one has failed; None for those still running."""
    try:
        while (codes := _exit_codes(workers)) and None in codes.values():
            if any(codes.values()) or any(failures.glob("*.json")):
                break
            time.sleep(0.01)
        deadline = time.monotonic() + _REPORT_SECONDS
        while None in _exit_codes(workers).values() and time.monotonic() < deadline:
            time.sleep(0.01)
    except KeyboardInterrupt:
        workers[0].terminate()  # a second signal ends this wait
        with contextlib.suppress(subprocess.TimeoutExpired):
            workers[0].wait(_INTERRUPT_SECONDS)
        raise
    return _exit_codes(workers)


def _exit_codes(workers: dict[int, subprocess.Popen[bytes]]) -> dict[int, int | None]:
    return {rank: worker.poll() for rank, worker in workers.items()}


def _failure_of_workers(run: Path, codes: dict[int, int | None], failures: Path) -> WorkerFailure | None:
    """What failed first: that one rank has lost another counts only where nothing else is known."""
    if not any(codes.values()):
        return None
    reported = _reported_failures(run, failures)
    silent = {rank: code for rank, code in codes.items() if code and rank not in reported}
    killed = [rank for rank, code in silent.items() if code < 0]
    own = [rank for rank, failure in sorted(reported.items()) if not failure.lost_rank]
    if killed:
        return WorkerFailure((_describe_killed(run, killed[0], -silent[killed[0]]),))
    if own:
        return reported[own[0]]
    if silent:
        rank, code = min(silent.items())
        return WorkerFailure((f"{run}: rank {rank} ended with status {code}; its log is {log_path(run, rank)}",))
    return reported[min(reported)]


def _reported_failures(run: Path, failures: Path) -> dict[int, WorkerFailure]:
    """What the workers that failed have reported, by rank."""
    reported = {}
    for path in failures.glob("*.json"):
        values = json.loads(path.read_text())
        failure = WorkerFailure(**{**values, "lines": tuple(values["lines"])})
        if failure.lost_rank:
            lines = (f"{run}: {'; '.join(failure.lines)}; the ranks' logs are in {run / 'ranks'}",)
            failure = dataclasses.replace(failure, lines=lines)
        reported[int(path.stem)] = failure
    return reported


def _describe_killed(run: Path, rank: int, signum: int) -> str:
    name = signal.Signals(signum).name if signum in set(signal.Signals) else f"signal {signum}"
    reason = ", by hand or because memory ran out" if signum == signal.SIGKILL else ""
    return f"{run}: rank {rank} was killed ({name}{reason}); its log is {log_path(run, rank)}"
