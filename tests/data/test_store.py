"""Arrays on disk: built once, whole or not at all, and checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data import store
from stockml.data.dataset import load_panel
from stockml.data.panel import Panel
from stockml.errors import UserError
from tests.conftest import ROOT, random_bars, write_bars

_BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from stockml.data import store
folder, builds, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(writer):
    with builds.open("a") as file:
        file.write("built\\n")
    writer.append("values", np.arange(10.0))
    time.sleep(seconds)
    writer.append("values", np.arange(5.0))
    return {"what": "numbers"}
found = store.get_or_build(folder, "numbers", build)
assert found.array("values").tolist() == [*range(10), *range(5)], found.array("values")
"""


def builder(folder: Path, builds: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A process that asks for the numbers, and takes that long to build them."""
    command = [sys.executable, "-c", _BUILDER, str(folder), str(builds), str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def times_built(builds: Path) -> int:
    """How often."""
    return builds.read_text().count("built") if builds.exists() else 0


def wait_for(condition: Callable[[], Any]) -> None:
    """Until it holds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    both = [builder(tmp_path / "store", tmp_path / "builds", 0.5) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert times_built(tmp_path / "builds") == 1


def test_a_builder_that_is_killed_leaves_nothing_and_the_next_one_builds(tmp_path: Path) -> None:
    killed = builder(tmp_path / "store", tmp_path / "builds", 60)
    wait_for(lambda: times_built(tmp_path / "builds"))
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert builder(tmp_path / "store", tmp_path / "builds", 0).wait(60) == 0
    assert times_built(tmp_path / "builds") == 2
    assert [path for path in (tmp_path / "store").iterdir() if path.name.endswith(".tmp")] == []


def panel(bars: Path, kept: Path) -> Panel:
    """Of the folder's stocks."""
    overrides = ("data=csv", f"data.dir={bars}", "data.tickers=all", f"data.panel_cache={kept}", "data.window=5")
    return load_panel(compose.compose(*overrides))[0]


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A folder of two stocks."""
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(random_bars(60, seed=seed, ticker=ticker), tmp_path / "bars")
    return tmp_path / "bars"


def kept_files(kept: Path) -> dict[Path, int]:
    """What is kept, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in kept.glob("*/*")}


def test_what_is_kept_is_read_and_not_built_again(bars: Path, tmp_path: Path) -> None:
    first = panel(bars, tmp_path / "kept")
    before = kept_files(tmp_path / "kept")
    again = panel(bars, tmp_path / "kept")
    assert kept_files(tmp_path / "kept") == before
    np.testing.assert_array_equal(again.values, first.values)
    assert again.fingerprint() == first.fingerprint()


def test_a_changed_file_is_another_panel(bars: Path, tmp_path: Path) -> None:
    first = panel(bars, tmp_path / "kept")
    write_bars(random_bars(60, seed=7, ticker="BBB"), bars)
    second = panel(bars, tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*/facts.json"))) == 2
    assert second.fingerprint() != first.fingerprint()


@pytest.mark.parametrize("harm", ["flipped", "cut", "deleted", "facts"])
def test_what_is_damaged_is_built_again(bars: Path, tmp_path: Path, harm: str) -> None:
    first = panel(bars, tmp_path / "kept")
    path = next((tmp_path / "kept").glob("*/facts.json" if harm == "facts" else "*/values"))
    content = bytearray(path.read_bytes())
    if harm == "deleted":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(content[:-4])
    else:
        content[10] ^= 1
        path.write_bytes(content)
    again = panel(bars, tmp_path / "kept")
    np.testing.assert_array_equal(again.values, first.values)
    assert again.fingerprint() == first.fingerprint()


def test_a_folder_that_cannot_be_used_is_told(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(UserError, match=r"^data\.panel_cache=.*kept: cannot be used"):
        panel(bars, tmp_path / "kept")


def test_settings_that_the_rows_do_not_depend_on_share_them(bars: Path, tmp_path: Path) -> None:
    panel(bars, tmp_path / "kept")
    overrides = ("data=csv", f"data.dir={bars}", "data.tickers=all", f"data.panel_cache={tmp_path / 'kept'}")
    load_panel(compose.compose(*overrides, "data.window=9", "data.scaler=global"))
    assert len(list((tmp_path / "kept").glob("*/facts.json"))) == 1
    load_panel(compose.compose(*overrides, "data.window=9", "data.horizon=2"))
    assert len(list((tmp_path / "kept").glob("*/facts.json"))) == 2


def test_store_refuses_nothing_that_was_written(tmp_path: Path) -> None:
    def build(writer: store.Writer) -> dict[str, Any]:
        writer.append("empty", np.empty((0, 3)))
        writer.append("days", np.arange(3).astype("datetime64[D]"))
        return {}

    found = store.get_or_build(tmp_path, "x", build)
    assert found.array("empty", mapped=True).shape == (0, 3)
    assert found.array("days").dtype == "datetime64[D]"
