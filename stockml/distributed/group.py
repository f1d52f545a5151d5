"""The group of processes that train a model together, as one of them sees it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # not declared as exported

from stockml.config.values import differences
from stockml.distributed.environment import require_resolvable
from stockml.errors import LostRank, RunError, UserError
from stockml.processes import machine

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.distributed.environment import WorkerEnvironment

_Result = TypeVar("_Result")


class Group:
    """The processes that train one model, as one of them sees it. This class is for a process that trains alone.

    Of w ranks, each one's shard is every w-th sample: no sample is on two ranks, none is left out or repeated.
    """

    rank = 0
    world_size = 1
    local_rank: int | None = None
    """Among the ranks on this machine; None for a process that trains alone."""
    local_world_size = 1

    @property
    def communication_seconds(self) -> float:
        """Time spent on communication so far, including the wait for slower ranks."""
        return 0.0

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes, prints and decides."""
        return self.rank == 0

    def shard(self, samples: Tensor) -> Tensor:
        """This rank's shard of what every rank holds."""
        return samples[self.rank :: self.world_size]

    def shard_ends(self, samples: int, batch: int) -> list[int]:
        """The position in this rank's shard of so many samples at which each global batch ends."""
        limits = (min(limit, samples) for limit in range(batch, samples + batch, batch))
        return [-(-(limit - self.rank) // self.world_size) for limit in limits]

    def describe(self, hardware: str) -> str:
        """A description of the hardware of all ranks, given that of one."""
        return hardware

    def check_same_on_all_ranks(self, what: str, value: Any) -> None:
        """UserError where this rank's `value` (any JSON value) differs from rank 0's."""

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum over all ranks into each rank's `tensor`."""

    def broadcast(self, tensor: Tensor) -> None:
        """Put rank 0's `tensor` into each rank's."""

    def gather(self, shard: Tensor, total: int) -> Tensor:
        """All `total` numbers, in order, given each rank's `shard` of them."""
        if self.world_size == 1:
            return shard
        whole = torch.zeros(total, dtype=shard.dtype, device=shard.device)
        self.shard(whole).copy_(shard)
        self.all_reduce(whole)  # a sum with zeros: exact
        return whole

    def broadcast_bytes(self, content: bytes) -> bytes:
        """The bytes that rank 0 has."""
        size = torch.tensor([len(content)])
        self.broadcast(size)
        received = torch.empty(int(size), dtype=torch.uint8)
        if self.is_main:
            received.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else received)
        self.broadcast(received)
        return received.numpy().tobytes()

    def broadcast_bool(self, decision: bool) -> bool:
        """What rank 0 has decided."""
        received = torch.tensor([decision], dtype=torch.uint8)
        self.broadcast(received)
        return bool(received)


SINGLE_PROCESS = Group()


class RankGroup(Group):
    """Several processes, each of which holds the whole panel and a copy of the model."""

    def __init__(self, own: WorkerEnvironment, store: Store, timeout_seconds: float) -> None:
        """Join the other ranks, all of which must do so within the timeout. Raises LostRank."""
        self.rank, self.world_size = own.rank, own.world_size
        self.local_rank, self.local_world_size = own.local_rank, own.local_world_size
        self._store, self._timeout_seconds = store, timeout_seconds
        self._seconds = 0.0
        self._on_device: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._await_all()
        # CPU tensors go through gloo also where gradients go through nccl, so that nothing waits for a GPU's steps.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with self._waiting():
            _within(
                timeout_seconds + _GRACE_SECONDS,
                lambda: distributed.init_process_group(
                    backend,
                    store=PrefixStore("ranks", store),
                    rank=self.rank,
                    world_size=self.world_size,
                    timeout=timedelta(seconds=timeout_seconds),
                ),
            )
        group = distributed.group.WORLD
        assert group is not None
        self._group = group
        self._source = distributed.BroadcastOptions()
        self._source.rootRank = 0

    @property
    def communication_seconds(self) -> float:
        """Time spent on communication so far, including the wait for slower ranks."""
        if self._on_device:
            torch.cuda.synchronize()
            self._seconds += sum(begun.elapsed_time(ended) for begun, ended in self._on_device) / 1000
            self._on_device.clear()
        return self._seconds

    def describe(self, hardware: str) -> str:
        """A description of the hardware of all ranks, given that of one."""
        return f"{self.world_size} × {hardware}"

    def check_same_on_all_ranks(self, what: str, value: Any) -> None:
        """UserError where this rank's `value` (any JSON value) differs from rank 0's."""
        if self.is_main:
            self._store.set(what, json.dumps(value))
            return
        with self._waiting():
            expected = json.loads(_within(self._timeout_seconds + _GRACE_SECONDS, lambda: self._store.get(what)))
        if expected != value:
            problem = f"rank {self.rank}: its {what} {_difference(expected, value)}; all ranks need the same"
            self.announce_failure([problem])
            raise UserError(problem)

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum over all ranks into each rank's `tensor`."""
        with self._timed(tensor), self._waiting():
            self._group.allreduce([tensor]).wait()

    def broadcast(self, tensor: Tensor) -> None:
        """Put rank 0's `tensor` into each rank's."""
        with self._timed(tensor), self._waiting():
            self._group.broadcast([tensor], self._source).wait()

    def announce_failure(self, lines: Iterable[str]) -> None:
        """Let the other ranks know why this one is about to end."""
        text = "; ".join(lines)
        with contextlib.suppress(RuntimeError):
            self._store.set_timeout(timedelta(seconds=1))
            _within(_GRACE_SECONDS, lambda: self._store.set("why", text))

    @contextlib.contextmanager
    def _timed(self, tensor: Tensor) -> Iterator[None]:
        if tensor.is_cuda:  # the call returns before the GPU has begun
            begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begun.record()
            yield
            ended.record()
            self._on_device.append((begun, ended))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all errors of torch's communication are RuntimeErrors
            raise self._lost_rank(error) from error

    def _lost_rank(self, error: RuntimeError) -> LostRank:
        """An error that names the rank at fault: each rank that waits in vain says so; one that hangs is silent."""
        reason = " ".join(str(error).split())[:200]
        silent = [0] if self.rank else list(range(1, self.world_size))
        answers = False
        with contextlib.suppress(RuntimeError):  # rank 0 serves the store: without it there is no answer
            self._store.set_timeout(timedelta(seconds=1))
            why = _within(_GRACE_SECONDS, self._why)
            answers = True
            if why is not None:
                return LostRank(why)
        if "timed out" not in reason.lower() and "timeout" not in reason.lower():
            return LostRank(f"rank {self.rank} has lost the others ({reason})")
        with contextlib.suppress(RuntimeError):
            if answers:
                silent = _within(_GRACE_SECONDS, self._silent) or silent
        return LostRank(f"{_named(silent)} not answered for {self._timeout_seconds:g} s; {_HANGS}")

    def _why(self) -> str | None:
        """Say that this rank waits in vain; why another one has ended, where it has said so."""
        self._store.set(f"waits/{self.rank}", "")
        time.sleep(0.5)
        return self._store.get("why").decode() if self._store.check(["why"]) else None

    def _silent(self, what: str = "waits") -> list[int]:
        """The other ranks that have not said that they are there, or that they wait."""
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        return [rank for rank in others if not self._store.check([f"{what}/{rank}"])]

    def _meet(self) -> None:
        self._store.set(f"is there/{self.rank}", "")
        each = [f"is there/{rank}" for rank in range(self.world_size)]
        self._store.wait(each, timedelta(seconds=self._timeout_seconds))

    def _await_all(self) -> None:
        """Wait until all ranks have come; LostRank names those that have not."""
        try:
            _within(self._timeout_seconds + _GRACE_SECONDS, self._meet)
        except RuntimeError as error:
            missing: list[int] = []
            with contextlib.suppress(RuntimeError):
                self._store.set_timeout(timedelta(seconds=1))
                missing = _within(_GRACE_SECONDS, lambda: self._silent("is there"))
            raise LostRank(
                f"{_named(missing or [0])} not come within {self._timeout_seconds:g} s (trainer.timeout_seconds); "
                "is it running, and is the way to it open?"
            ) from error


_GRACE_SECONDS = 2.0
"""Time for an answer of the store, of the process that serves it or of the network to it."""


def _within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """What a call returns, in a thread: the store waits without end for the answer of a process that is stopped.

    Raises what the call raises, or RuntimeError where it has not returned in time; its thread is then left behind.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise RuntimeError(f"timed out: no answer within {seconds:g} s") from error


_HANGS = "it hangs, or is slower than trainer.timeout_seconds allows"


def join(own: WorkerEnvironment, timeout_seconds: float, settings: Mapping[str, Any]) -> RankGroup:
    """Join the group that a worker's environment names.

    UserError where this rank's settings differ from rank 0's, by key; RunError where the others cannot be reached.
    """
    # By default, gloo and NCCL take the interface that the host's own name leads to, if it leads anywhere.
    if (interface := machine.interface_towards(own.host)) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    store = PrefixStore(own.attempt, _store(own, timeout_seconds))
    ranks = RankGroup(own, store, timeout_seconds)
    ranks.check_same_on_all_ranks("config", settings)
    return ranks


def _store(own: WorkerEnvironment, timeout_seconds: float) -> Store:
    """The store at which the ranks meet; rank 0 serves it, unless torchrun's agent does."""
    host, port, serves = own.host, own.port, own.rank == 0 and not own.agent_serves
    require_resolvable(host)
    try:
        return _within(
            max(1.0, timeout_seconds) + _GRACE_SECONDS,
            lambda: TCPStore(
                host,
                port,
                is_master=serves,
                timeout=timedelta(seconds=max(1.0, timeout_seconds)),
                wait_for_workers=False,
                master_listen_fd=own.listener if serves else None,
            ),
        )
    except RuntimeError as error:
        raise _unreachable(own, serves, timeout_seconds, error) from error


def _unreachable(own: WorkerEnvironment, serves: bool, timeout_seconds: float, error: RuntimeError) -> RunError:
    where, reason = f"{own.host}:{own.port}", " ".join(str(error).split())[:160]
    if serves:
        return RunError(f"{where}: rank 0 cannot listen here ({reason}); if the port is taken, choose another")
    return LostRank(
        f"{where}: no answer within {timeout_seconds:g} s (trainer.timeout_seconds): is rank 0 running, is its port "
        f"open in the firewall, and does every node name the same address? ({reason})"
    )


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))} {'have' if len(ranks) > 1 else 'has'}"


def _difference(expected: Any, own: Any) -> str:
    keys = differences(expected, own) if isinstance(expected, dict) and isinstance(own, dict) else []
    return f"differs from rank 0's in {', '.join(keys)}" if keys else "differs from rank 0's"
