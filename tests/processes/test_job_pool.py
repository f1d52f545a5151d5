"""Calls in processes of their own: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml.processes import job_pool
from stockml.processes.job_pool import Call, Ended
from stockml.processes.parent import ask

ROOT = Path(__file__).parents[2]

# Python 3.12 and later warn of every fork of a process that has threads; pytest's has those of earlier tests.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def marked(mark: str) -> list[int]:
    """The processes that were started, at whatever remove, with `mark` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Return as soon as `holds`; fail where it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture(autouse=True, params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(job_pool, "START_METHOD", request.param)
    return str(request.param)


only_forked = pytest.mark.parametrize("start_method", ["fork"], indirect=True)


def calls(folder: Path, *runs: Callable[[], Any], cores: Sequence[int] | None = None) -> list[Call]:
    """The calls, each with a log of its own."""
    taken = cores or [1] * len(runs)
    return [Call(partial(itself, run), folder / f"{number}.log", taken[number]) for number, run in enumerate(runs)]


def itself(run: Callable[[], Any]) -> Callable[[], Any]:
    return run


def ends(given: Sequence[Call], at_once: int = 2) -> list[Ended]:
    """What became of each call, in their order."""
    found: dict[int, Ended] = {}
    deadline = time.monotonic() + 30
    with contextlib.closing(job_pool.run_each(given, cores=at_once, at_once=at_once)) as events:
        for event in events:
            assert time.monotonic() < deadline, "some call never ends"
            if event is not None and event[1] is not None:
                found[event[0]] = event[1]
    return [found[number] for number in range(len(given))]


def fail() -> Any:
    raise ValueError("no such luck")


def die(signum: int) -> None:
    os.kill(os.getpid(), signum)


def die_and_leave_a_child() -> None:
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def return_what_cannot_be_sent() -> Callable[[], int]:
    return lambda: 0


def test_a_call_that_fails_affects_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reasons: dict[Callable[[], Any], str] = {
        fail: "ValueError: no such luck",
        partial(die, signal.SIGKILL): "killed (SIGKILL), perhaps because memory ran out",
        partial(die, signal.SIGALRM): "killed (SIGALRM)",
        partial(os._exit, 3): "ended with status 3",
        die_and_leave_a_child: "killed (SIGKILL), perhaps because memory ran out",
    }
    runs: list[Callable[[], Any]] = [partial(int, "7"), *reasons, return_what_cannot_be_sent, partial(int, "8")]
    with capfd.disabled():  # what pytest puts in the place of sys.stdout does not follow file descriptor 1
        first, *others, unsendable, last = ends(calls(tmp_path, *runs))
    assert (first, last) == (Ended(7, None), Ended(8, None))
    assert others == [Ended(None, reason) for reason in reasons.values()]
    assert unsendable.value is None and "pickle" in str(unsendable.error)
    assert "ValueError: no such luck" in (tmp_path / "1.log").read_text()


@only_forked
def test_a_call_that_cannot_be_prepared_affects_no_other(tmp_path: Path) -> None:
    good = calls(tmp_path, *[partial(int, "7")] * 4)
    unprepared = Call(fail, tmp_path / "unprepared.log")
    found = ends([unprepared, good[0], unprepared, *good[1:], unprepared])
    failed, fine = Ended(None, "ValueError: no such luck"), Ended(7, None)
    assert found == [failed, fine, failed, *[fine] * 3, failed]


@only_forked
def test_a_value_of_any_size_is_returned(tmp_path: Path) -> None:
    (found,) = ends(calls(tmp_path, partial(bytes, 1_000_000)))
    assert found.value == bytes(1_000_000)


def speak() -> None:
    print("python's own")
    subprocess.run(["echo", "a program's"], check=True)
    print("complaint", file=sys.stderr)


def test_a_call_s_output_is_in_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0.log").write_text("of an earlier attempt\n")
    with capfd.disabled():
        ends(calls(tmp_path, speak, partial(int, "0")))
    lines = (tmp_path / "0.log").read_text().splitlines()
    assert lines[0] == "of an earlier attempt"
    assert set(lines[1:]) == {"python's own", "a program's", "complaint"}
    assert (tmp_path / "1.log").read_text() == ""


def state() -> dict[str, Any]:
    """Whatever of a process could reach from one run into the next."""
    import torch

    return {
        "environment": os.environ.get("LEFT_BEHIND"),
        "folder": str(Path.cwd()),
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "seeds": (torch.initial_seed(), np.random.get_state()[1][:3].tolist()),  # type: ignore[index]
    }


def spoil(folder: str) -> dict[str, Any]:
    """Change all of it."""
    import torch

    os.environ["LEFT_BEHIND"] = "1"
    os.chdir(folder)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(11)
    np.random.seed(11)
    return state()


@only_forked
def test_nothing_of_a_call_reaches_the_next(tmp_path: Path) -> None:
    before = state()
    spoilt, then = (ended.value for ended in ends(calls(tmp_path, partial(spoil, str(tmp_path)), state), at_once=1))
    assert then == before == state()
    assert all(spoilt[key] != value for key, value in before.items())


def test_a_call_asks_its_parent_and_waits_for_the_answer(tmp_path: Path) -> None:
    given = calls(tmp_path, partial(ask, "a"), partial(ask, "b"))
    events = job_pool.run_each(given, cores=2, at_once=2, answer=lambda index, question: (index, question * 2))
    assert {event[0]: event[1].value for event in events if event and event[1]} == {0: (0, "aa"), 1: (1, "bb")}
    unanswered = job_pool.run_each(given, cores=2, at_once=2)
    assert [event[1].value for event in unanswered if event and event[1]] == [None, None]


def test_calls_that_depend_on_others_are_taken_when_those_have_ended(tmp_path: Path) -> None:
    values: list[int] = []

    def source() -> Iterator[Call | None]:
        yield from calls(tmp_path, partial(int, 1))
        while not values:
            yield None
        yield from calls(tmp_path, partial(int, 1 + values[0]))

    for event in job_pool.run_each(source(), cores=2, at_once=2):
        if event and event[1]:
            values.append(event[1].value)
    assert values == [1, 2]


@only_forked
@pytest.mark.parametrize(
    ("cores", "at_once", "taken", "first"),
    [
        (4, 4, [1] * 6, 4),
        (8, 3, [1] * 6, 3),
        (4, 9, [2, 2, 2, 2], 2),
        (4, 9, [1, 4, 1, 1], 1),
        (1, 1, [8, 8], 1),  # one always runs
    ],
)
def test_no_more_calls_run_at_once_than_the_cores_allow(
    tmp_path: Path, cores: int, at_once: int, taken: list[int], first: int
) -> None:
    given = calls(tmp_path, *[partial(time.sleep, 0.05)] * len(taken), cores=taken)
    running: set[int] = set()
    started: list[int] = []
    starts_before_any_end = 0
    for event in job_pool.run_each(given, cores=cores, at_once=at_once):
        if event is None:
            continue
        index, ended = event
        if ended is None:
            started.append(index)
            running.add(index)
            busy = sum(taken[number] for number in running)
            assert len(running) <= at_once and (busy <= cores or len(running) == 1)
        else:
            starts_before_any_end = starts_before_any_end or len(started)
            running.remove(index)
    assert (started, starts_before_any_end, running) == (list(range(len(taken))), first, set())


def close_everything_and_stay() -> None:
    os.closerange(3, 200)
    time.sleep(1)


@only_forked
def test_waiting_takes_no_processor_time(tmp_path: Path) -> None:
    """A process that is about to end has closed its files already; it is waited for, not asked again and again."""
    events = list(job_pool.run_each(calls(tmp_path, close_everything_and_stay), cores=1, at_once=1))
    assert events.count(None) < 20


PARENT = """
import signal, subprocess, sys, time
from pathlib import Path
from stockml.processes import job_pool
from stockml.processes.parent import ask

def stay(number):
    if number:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"])
    print("staying", flush=True)
    time.sleep(600)

job_pool.START_METHOD = sys.argv[1]
folder = Path(sys.argv[2])
logs = [folder / str(number) for number in range(2)]
calls = [job_pool.Call(lambda number=number: lambda: stay(number), log) for number, log in enumerate(logs)]
events = job_pool.run_each(calls, cores=2, at_once=2)
for event in events:
    if all(log.exists() and log.read_text() for log in logs):
        break
print("running", flush=True)
sys.stdin.readline()
events.close()
print("closed", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def parent(start_method: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs two calls, one deaf to SIGTERM, which have started two programs each; and its mark."""
    mark = f"STOCKML_TEST_MARK={folder}"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, start_method, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STOCKML_TEST_MARK": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert next_line(process) == "running\n"
        assert len(marked(mark)) >= 7
        yield process, mark
    finally:
        process.kill()
        process.communicate()


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes in /proc")


@needs_proc
@only_forked
def test_closing_ends_the_running_calls_and_all_that_they_started(start_method: str, tmp_path: Path) -> None:
    with parent(start_method, tmp_path) as (process, mark):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert next_line(process) == "closed\n"
        helpers = [p for p in marked(mark) if b"resource_tracker" in Path(f"/proc/{p}/cmdline").read_bytes()]
        assert set(marked(mark)) == {process.pid, *helpers}  # multiprocessing's own ends with its process


@needs_proc
def test_nothing_outlives_a_parent_that_is_killed(start_method: str, tmp_path: Path) -> None:
    with parent(start_method, tmp_path) as (process, mark):
        process.kill()
        wait_until(lambda: not marked(mark), seconds=20)


def ask_until_ended(path: Path) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _frame: ended.append(signum))
    while not ended:
        ask(None)
    path.touch()


def test_a_call_that_asks_all_the_time_neither_stops_the_clock_nor_keeps_its_end_waiting(tmp_path: Path) -> None:
    call = Call(partial(partial, ask_until_ended, tmp_path / "ended"), tmp_path / "log")
    with contextlib.closing(job_pool.run_each([call], cores=1, at_once=1, answer=lambda *_: None)) as events:
        assert [next(events), next(events), next(events)] == [(0, None), None, None]
    assert (tmp_path / "ended").exists()


def test_a_call_ends_though_a_signal_comes_before_its_answer(tmp_path: Path) -> None:
    def interrupted(_index: int, _content: object) -> None:
        raise KeyboardInterrupt

    call = Call(partial(partial, ask_until_ended, tmp_path / "ended"), tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        list(job_pool.run_each([call], cores=1, at_once=1, answer=interrupted))
    assert (tmp_path / "ended").exists()
