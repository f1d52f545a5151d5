"""Calls as tasks of a Ray cluster, each in a process of its own on one of the nodes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stockml.errors import UserError, describe_error
from stockml.processes import machine, parent, ray_node
from stockml.processes.job_pool import Call, Ended
from stockml.processes.settings import RayConfig

_GRACE_SECONDS = 6  # a call that is to end has 4 from its node
_NUMBERS_DEPEND_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OBJECT_STORE_BYTES = 200_000_000
_LARGE_BYTES = 100_000  # of an array that a node gets once, and not with every call
_MOST_ARRAYS = 500  # that are kept for later calls


@contextlib.contextmanager
def connected(config: RayConfig) -> Iterator[RayPool]:
    """The pool of a cluster that runs already, or of one that is started here and ended afterwards.

    UserError where Ray is not installed, or no cluster answers.
    """
    if find_spec("ray") is None:
        raise UserError("hydra/launcher=ray: needs ray: pip install 'stockml[ray]'")
    import ray

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():  # by the program that calls this
            _connect(config, stack)
        pool = RayPool(config)
        stack.callback(pool.close)
        yield pool


def _connect(config: RayConfig, stack: contextlib.ExitStack) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if config.address is None:
        # The path of a socket has at most 104 characters: too few for Ray in macOS's own temporary folder.
        folder = tempfile.mkdtemp(prefix="stockml-ray-", dir="/tmp" if sys.platform == "darwin" else None)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        options |= {"address": "local", "num_cpus": machine.cores(), "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": folder}
    else:
        options["address"] = _answering(config.address, config.wait_seconds)
    handler = signal.getsignal(signal.SIGTERM)  # which Ray replaces
    stack.callback(ray.shutdown)
    try:
        ray.init(**options)
    except Exception as error:  # whatever Ray raises: another version of it or of Python, no room in /dev/shm
        where = "a cluster on this machine" if config.address is None else config.address
        raise UserError(f"hydra.launcher.address: {where}: {describe_error(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)
    from ray._private import worker

    worker.print_to_stdstream = _print_nothing  # Ray prints the log of a node that died on stdout


def _print_nothing(*_: Any, **__: Any) -> None:
    pass


def _answering(address: str, seconds: float) -> str:
    """The address of a cluster that answers, asked from another process: Ray ends the one where none does."""
    if address == "auto":
        from ray._private import services  # Ray has no public function for this

        addresses = os.environ.get("RAY_ADDRESS", "").split() or sorted(services.find_gcs_addresses())
        if not addresses:
            raise UserError(
                "hydra.launcher.address=auto: no Ray cluster runs on this machine; start one with: ray start --head, "
                "name one that runs elsewhere, host:port, or leave the setting out to start one for this sweep"
            )
        address = addresses[0]
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    with contextlib.suppress(subprocess.TimeoutExpired):
        if subprocess.run(asked, capture_output=True, timeout=seconds, check=False).returncode == 0:
            return address
    raise UserError(
        f"hydra.launcher.address={address}: no Ray cluster answers there within {seconds:g} s; check host and port "
        "(ray status on its head node shows them), or leave the setting out to start one here"
    )


@dataclass
class _Task:
    index: int
    call: Call
    given: bytes
    arrays: list[Any]
    """References to the large ones, which Ray brings to a node once."""
    options: dict[str, Any]
    left: int
    """How often it may be given to another node."""
    reference: Any = None
    """Ray's, of the task that is running."""


class RayPool:
    """Starts each call as a task of the cluster that this process is connected to."""

    def __init__(self, config: RayConfig) -> None:
        import ray

        self._config = config
        self._tasks: dict[Future[Any], _Task] = {}
        self._refused: list[tuple[int, Ended]] = []
        self._token = f".seen-{uuid.uuid4().hex}"
        self._tokens: set[Path] = set()
        self._arrays: dict[bytes, Any] = {}
        node = ray.get_runtime_context().get_node_id()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here}
        self._mailbox: Any = ray.remote(**options)(_mailbox()).remote()
        self._question: Future[Any] = self._mailbox.question.remote().future()

    def total(self, resource: str) -> int:
        """How much of a resource, CPU or GPU, the cluster has."""
        import ray

        return int(ray.cluster_resources().get(resource, 0))

    def why_nowhere(self, cores: int, gpus: int) -> str | None:
        """Why no node can ever run a call that keeps these busy; None where one can."""
        return _why_nowhere(self._resources(cores, gpus))

    def _resources(self, cores: int, gpus: int) -> dict[str, int]:
        memory = int((self._config.memory_gb or 0) * 1e9)
        return {"CPU": cores, "GPU": gpus if self.total("GPU") else 0, "memory": memory}

    def start(self, index: int, call: Call, run: Callable[[], Any]) -> None:
        """Hand a call to the cluster; one that no node has room for has ended at once."""
        import cloudpickle

        wanted = self._resources(call.cores, call.gpus)
        if fault := _why_nowhere(wanted):
            self._refused.append((index, Ended(None, fault)))
            return
        folder = None if self._config.shared is True else call.folder
        if folder is not None and self._config.shared == "auto":
            (folder / self._token).touch()
            self._tokens.add(folder / self._token)
        arrays: list[Any] = []
        given = ray_node.Given(
            run=cloudpickle.dumps(run, protocol=5, buffer_callback=functools.partial(self._put, arrays)),
            log=call.log,
            folder=folder,
            token=self._token,
            earlier=None if folder is None else ray_node.pack(call.log.parent),
            cwd=Path.cwd(),
            environment={name: os.environ.get(name) for name in _NUMBERS_DEPEND_ON},
        )
        options = {"num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"], "memory": wanted["memory"] or None}
        self._submit(_Task(index, call, pickle.dumps(given), arrays, options, self._config.retries))

    def _put(self, arrays: list[Any], buffer: pickle.PickleBuffer) -> bool:
        """Add a large array to those that travel apart; whether it is to be pickled with the rest."""
        import ray

        content = buffer.raw()
        if content.nbytes < _LARGE_BYTES:
            return True
        key = hashlib.sha256(content).digest()
        if key not in self._arrays:
            if len(self._arrays) >= _MOST_ARRAYS:
                self._arrays.pop(next(iter(self._arrays)))
            self._arrays[key] = ray.put(content.tobytes())
        arrays.append(self._arrays[key])
        return False

    def _submit(self, task: _Task) -> None:
        import ray

        paths = [path or str(Path.cwd()) for path in sys.path]
        # Its process ends with it. Ray would retry a task that fails for whatever reason.
        options: dict[str, Any] = {"max_calls": 1, "max_retries": 0, **task.options}
        remote: Any = ray.remote(**options)(_on_node())
        task.reference = remote.remote(paths, task.given, task.index, self._mailbox, *task.arrays)
        self._tasks[task.reference.future()] = task

    def messages(self, seconds: float) -> Iterator[tuple[int, parent.Question | Ended]]:
        """What calls have sent, by index; waits at most `seconds` for the first."""
        if self._refused:
            yield self._refused.pop()
            return
        # Not ray.wait, which turns whatever a signal's handler raises into a plain KeyboardInterrupt.
        for ready in wait([self._question, *self._tasks], seconds, FIRST_COMPLETED).done:
            if ready is self._question:
                index, content = ready.result()
                self._question = self._mailbox.question.remote().future()
                yield index, parent.Question(pickle.loads(content))
            elif (ended := self._ended(task := self._tasks.pop(ready), ready)) is not None:
                yield task.index, ended

    def _ended(self, task: _Task, future: Future[Any]) -> Ended | None:
        """How a task ended; None where it is given to another node."""
        import ray

        died = (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError, ray.exceptions.ObjectLostError)
        try:
            ended, packed = future.result()
            if packed is not None:
                _bring_home(packed, task.call.log.parent)
        except died:  # not the job's own process, which its node reports as any other pool does
            if task.left:
                task.left -= 1
                self._submit(task)
                return None
            return Ended(None, f"killed: each of {self._config.retries + 1} nodes that it was given to died")
        except ray.exceptions.OutOfMemoryError:
            return Ended(None, "killed by Ray, since the memory of its node ran out")
        except ray.exceptions.RayTaskError as error:
            return Ended(None, f"on node {error.ip}: {describe_error(error.cause)}")
        except (ray.exceptions.RayError, OSError) as error:
            return Ended(None, describe_error(error))
        result: Ended = ended
        return result

    def reply(self, index: int, answer: Any) -> None:
        """Answer the question of a call."""
        self._mailbox.reply.remote(index, pickle.dumps(answer))

    def end(self) -> None:
        """End the calls that are running."""
        import ray

        running, self._tasks = self._tasks, {}
        for task in running.values():
            ray.cancel(task.reference)
        for future in wait(running, _GRACE_SECONDS).not_done:
            ray.cancel(running[future].reference, force=True)

    def close(self) -> None:
        """Remove what the pool has made. It is of no more use."""
        import ray

        ray.kill(self._mailbox)
        for path in self._tokens:
            path.unlink(missing_ok=True)


def _why_nowhere(wanted: dict[str, int]) -> str | None:
    """Why no node of the cluster can ever run what wants these resources; None where one can."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
        return None

    def shown(of: dict[str, float]) -> str:
        amounts = (f"{of.get('CPU', 0):g} CPUs", f"{of.get('GPU', 0):g} GPUs", f"{of.get('memory', 0) / 1e9:.4g} GB")
        return ", ".join(text for text, name in zip(amounts, ("CPU", "GPU", "memory"), strict=True) if wanted[name])

    there = "; ".join(sorted({shown(node) for node in nodes}))
    return (
        f"wants {shown(dict(wanted))}, and no node of the Ray cluster has as much ({there}); lower hardware.threads, "
        "trainer.world_size or hydra.launcher.memory_gb"
    )


def _bring_home(packed: bytes, folder: Path) -> None:
    """Put the files that a job wrote on another machine in the place of its folder here."""
    arrived = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    ray_node.unpack(packed, arrived)
    shutil.rmtree(folder, ignore_errors=True)
    arrived.replace(folder)


# Nested, so that Ray sends them to the nodes as they are: a node imports stockml once it knows where that lies.


def _on_node() -> Callable[..., Any]:
    def run(paths: list[str], given: bytes, index: int, mailbox: Any, *arrays: bytes) -> Any:
        import os
        import pickle
        import sys
        from pathlib import Path

        import ray

        sys.path[:0] = known = [path for path in paths if Path(path).exists()]
        os.environ["PYTHONPATH"] = os.pathsep.join(known)
        from stockml.processes import ray_node

        def answer(_: int, content: Any) -> Any:
            return pickle.loads(ray.get(mailbox.ask.remote(index, pickle.dumps(content))))

        return ray_node.run(pickle.loads(given), arrays, answer)

    return run


def _mailbox() -> type[Any]:
    import asyncio

    class Mailbox:
        """Holds the questions of calls for their parent, and its answers."""

        def __init__(self) -> None:
            self._questions: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
            self._answers: dict[int, asyncio.Future[bytes]] = {}

        async def ask(self, index: int, content: bytes) -> bytes:
            self._answers[index] = asyncio.get_running_loop().create_future()
            await self._questions.put((index, content))
            return await self._answers[index]

        async def question(self) -> tuple[int, bytes]:
            return await self._questions.get()

        async def reply(self, index: int, answer: bytes) -> None:
            future = self._answers.pop(index)
            if not future.done():
                future.set_result(answer)

    return Mailbox
