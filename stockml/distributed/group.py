"""One process's part in a training that several do together: which samples, which sums, and who writes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # they are, without saying so

from stockml.config.values import differences
from stockml.distributed import launching
from stockml.errors import LostRank, RunError, UserError
from stockml.processes import machine

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.distributed.environment import Environment


class Group:
    """The processes that train one model, seen from one of them. This one is alone: its share is the whole.

    A share is every w-th sample: none is on two ranks, none is left out, none comes twice.
    """

    rank = 0
    world_size = 1
    local_rank: int | None = None
    """Among the ranks on this machine; None for a process that trains alone."""
    local_world_size = 1

    @property
    def communication_seconds(self) -> float:
        """Spent in communication so far, waiting for slower ranks included."""
        return 0.0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes, prints and decides."""
        return self.rank == 0

    def shard(self, samples: Tensor) -> Tensor:
        """This rank's share of what every rank holds."""
        return samples[self.rank :: self.world_size]

    def shard_ends(self, samples: int, batch: int) -> list[int]:
        """How far this rank's share of so many samples reaches at the end of each global batch."""
        limits = (min(limit, samples) for limit in range(batch, samples + batch, batch))
        return [-(-(limit - self.rank) // self.world_size) for limit in limits]

    def describe(self, hardware: str) -> str:
        """The hardware of all ranks in words."""
        return hardware

    def check_same_on_all_ranks(self, what: str, value: Any) -> None:
        """UserError where this rank's `value` (of what JSON can hold) differs from the leader's."""

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum over all ranks into each rank's `tensor`."""

    def broadcast(self, tensor: Tensor) -> None:
        """Put what the leader's `tensor` holds into each rank's."""

    def gather(self, share: Tensor, total: int) -> Tensor:
        """The `total` numbers, in order, of which each rank brings its `share`."""
        if self.world_size == 1:
            return share
        whole = torch.zeros(total, dtype=share.dtype, device=share.device)
        self.shard(whole).copy_(share)
        self.all_reduce(whole)  # to zeros: exact
        return whole

    def broadcast_bytes(self, content: bytes) -> bytes:
        """What the leader brings."""
        size = torch.tensor([len(content)])
        self.broadcast(size)
        told = torch.empty(int(size), dtype=torch.uint8)
        if self.is_main:
            told.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else told)
        self.broadcast(told)
        return told.numpy().tobytes()

    def broadcast_bool(self, decision: bool) -> bool:
        """What the leader has decided."""
        told = torch.tensor([decision], dtype=torch.uint8)
        self.broadcast(told)
        return bool(told)


SINGLE_PROCESS = Group()


class RankGroup(Group):
    """Several processes, each of which holds the whole panel and a copy of the model."""

    def __init__(self, environment: Environment, store: Store, timeout_seconds: float) -> None:
        """Join the others, all of whom must do so within the timeout. Raises LostRank."""
        self.rank, self.world_size = environment.rank, environment.world_size
        self.local_rank, self.local_world_size = environment.local_rank, environment.local_world_size
        self._store, self._timeout_seconds = store, timeout_seconds
        self._seconds = 0.0
        self._on_device: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._await_all()
        # Control goes through gloo also where gradients go through nccl: no step of a GPU has to be waited for.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with self._waiting():
            distributed.init_process_group(
                backend,
                store=PrefixStore("ranks", store),
                rank=self.rank,
                world_size=self.world_size,
                timeout=timedelta(seconds=timeout_seconds),
            )
        group = distributed.group.WORLD
        assert group is not None
        self._group = group
        self._source = distributed.BroadcastOptions()
        self._source.rootRank = 0

    @property
    def communication_seconds(self) -> float:
        """Spent in communication so far, waiting for slower ranks included."""
        if self._on_device:
            torch.cuda.synchronize()
            self._seconds += sum(begun.elapsed_time(ended) for begun, ended in self._on_device) / 1000
            self._on_device.clear()
        return self._seconds

    def describe(self, hardware: str) -> str:
        """The hardware of all ranks in words."""
        return f"{self.world_size} × {hardware}"

    def check_same_on_all_ranks(self, what: str, value: Any) -> None:
        """UserError where this rank's `value` (of what JSON can hold) differs from the leader's."""
        if self.is_main:
            self._store.set(what, json.dumps(value))
            return
        with self._waiting():
            leaders = json.loads(self._store.get(what))
        if leaders != value:
            fault = f"rank {self.rank}: its {what} {_difference(leaders, value)}; all ranks need the same"
            self.announce_failure([fault])
            raise UserError(fault)

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum over all ranks into each rank's `tensor`."""
        with self._timed(tensor), self._waiting():
            self._group.allreduce([tensor]).wait()

    def broadcast(self, tensor: Tensor) -> None:
        """Put what the leader's `tensor` holds into each rank's."""
        with self._timed(tensor), self._waiting():
            self._group.broadcast([tensor], self._source).wait()

    def announce_failure(self, lines: Iterable[str]) -> None:
        """Leave word for the others of why this rank is about to end."""
        with contextlib.suppress(RuntimeError):
            self._store.set_timeout(timedelta(seconds=1))
            self._store.set("why", "; ".join(lines))

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
        except RuntimeError as error:  # of which all errors of torch's communication are kinds
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> LostRank:
        """Who is at fault: of the ranks that wait in vain, each says so, and the one that hangs is silent."""
        reason = " ".join(str(error).split())[:200]
        silent = [0] if self.rank else list(range(1, self.world_size))
        with contextlib.suppress(RuntimeError):  # rank 0 serves the store: without it there is no answer
            self._store.set_timeout(timedelta(seconds=1))
            self._store.set(f"waits/{self.rank}", "")
            time.sleep(0.5)
            if self._store.check(["why"]):
                return LostRank(self._store.get("why").decode())
        if "timed out" not in reason.lower() and "timeout" not in reason.lower():
            return LostRank(f"rank {self.rank} has lost the others ({reason})")
        with contextlib.suppress(RuntimeError):
            others = [rank for rank in range(self.world_size) if rank != self.rank]
            silent = [rank for rank in others if not self._store.check([f"waits/{rank}"])] or silent
        return LostRank(f"{_named(silent)} not answered for {self._timeout_seconds:g} s; {_HANGS}")

    def _await_all(self) -> None:
        """Wait until every rank is there; those that do not come are named."""
        try:
            self._store.set(f"is there/{self.rank}", "")
            self._store.wait(
                [f"is there/{rank}" for rank in range(self.world_size)], timedelta(seconds=self._timeout_seconds)
            )
        except RuntimeError as error:
            missing: list[int] = []
            with contextlib.suppress(RuntimeError):
                self._store.set_timeout(timedelta(seconds=1))
                missing = [r for r in range(self.world_size) if not self._store.check([f"is there/{r}"])]
            raise LostRank(
                f"{_named(missing or [0])} not come within {self._timeout_seconds:g} s (trainer.timeout_seconds); "
                "is it running, and is the way to it open?"
            ) from error


_HANGS = "it hangs, or is slower than trainer.timeout_seconds allows"


def join(environment: Environment, timeout_seconds: float, settings: Mapping[str, Any]) -> RankGroup:
    """The group that the environment names.

    UserError where this rank's settings differ from the leader's, by key; RunError where there is no way to the others.
    """
    # By themselves, gloo and NCCL take the interface that the host's own name leads to, if it leads anywhere.
    if (interface := machine.interface_towards(environment.host)) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    store = PrefixStore(environment.attempt, _store(environment, timeout_seconds))
    ranks = RankGroup(environment, store, timeout_seconds)
    ranks.check_same_on_all_ranks("config", settings)
    return ranks


def _store(environment: Environment, timeout_seconds: float) -> Store:
    """The store at which the ranks meet; rank 0 serves it, unless torchrun's agent does."""
    host, port, serves = environment.host, environment.port, environment.rank == 0 and not environment.agent_serves
    launching.resolve(host)
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            store = TCPStore(
                host,
                port,
                is_master=serves,
                timeout=timedelta(seconds=max(1.0, deadline - time.monotonic())),
                wait_for_workers=False,
                master_listen_fd=environment.listener if serves else None,
            )
            if serves or environment.agent_serves or store.add(f"met/{environment.rank}", 1) == 1:
                return store
            # A rank has met there already: the server is what an earlier attempt has left, and will be gone soon.
        except RuntimeError as error:
            if serves or time.monotonic() >= deadline:
                raise _unreachable(environment, serves, timeout_seconds, error) from error
        time.sleep(0.2)


def _unreachable(environment: Environment, serves: bool, timeout_seconds: float, error: RuntimeError) -> RunError:
    where, reason = f"{environment.host}:{environment.port}", " ".join(str(error).split())[:160]
    if serves:
        return RunError(f"{where}: cannot serve here ({reason}); is the port taken? Choose another")
    return LostRank(
        f"{where}: no answer within {timeout_seconds:g} s (trainer.timeout_seconds): is rank 0 running, is its port "
        f"open in the firewall, and does every node name the same address? ({reason})"
    )


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))} {'have' if len(ranks) > 1 else 'has'}"


def _difference(leaders: Any, own: Any) -> str:
    keys = differences(leaders, own) if isinstance(leaders, dict) and isinstance(own, dict) else []
    return f"differs from rank 0's in {', '.join(keys)}" if keys else "differs from rank 0's"
