"""What several tests share: real bars where there are some, and runs in a folder of their own."""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars
from stockml.evaluation.audit import leaks
from stockml.evaluation.audit.subject import BarsSubject
from stockml.runs.location import RunLocation
from stockml.tasks.audit import ridge_forecasts
from tests.forking import ROOT, RUN_PY, SECONDS, Forker
from tests.yahoo_server import YahooServer, serving

__all__ = ["ROOT", "RUN_PY"]

Run = Callable[..., dict[str, Any]]

LEDGER = ("looks.jsonl", ".looks.jsonl.lock")
"""What a run leaves beside its folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no worker waits long for another."""
    items.sort(key=lambda item: item.path.parent.name != "tasks")


@pytest.fixture(scope="session")
def market() -> Path:
    """The folder of real market data; STOCKML_MARKET names it, and then it must be there."""
    folder = Path(os.environ.get("STOCKML_MARKET", ROOT.parent / "shared" / "market"))
    if "STOCKML_MARKET" not in os.environ and not folder.is_dir():
        pytest.skip("no real market data here (STOCKML_MARKET names their folder)")
    assert folder.is_dir()
    return folder


@pytest.fixture(scope="session", autouse=True)
def _rare_collections() -> None:
    """Collect garbage more rarely: each time all is searched that the many modules of the tests have made."""
    gc.set_threshold(50_000)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Panels that are kept on disk are those of the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """`main` leaves its handler behind, which pytest must not keep."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[YahooServer]:
    """A server that is asked in place of Yahoo's."""
    with serving() as server:
        monkeypatch.setenv("STOCKML_YAHOO_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Train in this process: run(folder name, *overrides) gives the metrics; the run folder is tmp_path/name."""
    from stockml.tasks import train

    def run(name: str, *overrides: str) -> dict[str, Any]:
        config = compose.compose("report=false", *overrides)
        train.run(config, RunLocation(exact=tmp_path / name), compose.records(config))
        return metrics(tmp_path / name)

    return run


def metrics(folder: Path) -> dict[str, Any]:
    """A run's metrics, less what may differ between identical runs."""
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    found["verdict"] = re.split(r" (?=This was (?:the first )?look |Looks at these )", found["verdict"])[0]
    for name in ("timing", "looks"):
        found.pop(name, None)
    return found


@functools.cache
def forker() -> Forker:
    """The process that `command` forks from."""
    return Forker()


def command(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python run.py …` as a process of its own, which draws a page only where `report=` says so.

    With variables of its own it is a new interpreter, to which they may mean something when it starts.
    """
    says = any(argument.startswith(("report=", "task=", "-h", "--")) for argument in arguments)
    typed = [*arguments, *([] if says else ["report=false"])]
    if env is None:
        return forker().run(typed, cwd)
    return subprocess.run(
        [sys.executable, str(RUN_PY), *typed],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


_UNIMPORTED = """
import sys
sys.argv = ["run.py", *{arguments!r}]
sys.path.insert(0, {root!r})
from stockml.cli import main
try:
    status = main()
except SystemExit as end:
    status = end.code or 0
heavy = {heavy!r} & set(sys.modules)
assert not heavy, heavy
assert status == {status}, status
"""


def require_not_imported(heavy: set[str], *arguments: str, cwd: Path, status: int = 0) -> None:
    """`python run.py …` in a process of its own, which must end with that status and import none of the modules."""
    program = _UNIMPORTED.format(arguments=arguments, root=str(ROOT), heavy=heavy, status=status)
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def random_bars(days: int = 400, seed: int = 0, ticker: str = "TEST") -> Bars:
    """Dated bars of a random walk with all five features."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(days)))
    opened = close * np.exp(0.005 * rng.standard_normal(days))
    spread = np.exp(0.005 * rng.random((2, days)))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * spread[0],
        "low": np.minimum(opened, close) / spread[1],
        "close": close,
        "volume": rng.integers(1_000, 2_000, days).astype(np.float64),
    }
    dates = np.busday_offset("2015-01-01", np.arange(days), roll="forward")
    return Bars(ticker=ticker, dates=dates, columns=columns, origin="test")


def audited(bars: Bars, *overrides: str, leak: str | None = None) -> BarsSubject:
    """The bars as the audit takes them: in the pipeline that training uses, or with a leak injected into it."""
    config = compose.compose("data=csv", "data.dir=.", *overrides)
    return BarsSubject(config, {"ridge": ridge_forecasts}, bars, leaks.pipeline(leak))


def write_bars(bars: Bars, folder: Path) -> Path:
    """The bars as `<folder>/<ticker>.csv`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{bars.ticker}.csv"
    header = ["Date", *(name.title() for name in bars.columns)]
    rows = zip(bars.dates, *(column.tolist() for column in bars.columns.values()), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path
