"""Arrays on disk: built once, completely or not at all, and verified."""

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
    """A process that opens the numbers, and takes `seconds` to build them."""
    command = [sys.executable, "-c", _BUILDER, str(folder), str(builds), str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def times_built(builds: Path) -> int:
    """The number of builds."""
    return builds.read_text().count("built") if builds.exists() else 0


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    both = [builder(tmp_path / "store", tmp_path / "builds", 0.5) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert times_built(tmp_path / "builds") == 1


def test_a_killed_builder_leaves_nothing_and_the_next_one_builds(tmp_path: Path) -> None:
    killed = builder(tmp_path / "store", tmp_path / "builds", 60)
    wait_for(lambda: times_built(tmp_path / "builds"))
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert builder(tmp_path / "store", tmp_path / "builds", 0).wait(60) == 0
    assert times_built(tmp_path / "builds") == 2
    assert [path for path in (tmp_path / "store").iterdir() if path.name.endswith(".tmp")] == []


def panel(bars: Path, kept: Path) -> Panel:
    """The panel of the folder's stocks."""
    overrides = ("data=csv", f"data.dir={bars}", "data.tickers=all", f"data.panel_cache={kept}", "data.window=5")
    return load_panel(compose.compose(*overrides))[0]


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A folder of two stocks."""
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(random_bars(60, seed=seed, ticker=ticker), tmp_path / "bars")
    return tmp_path / "bars"


def kept_files(kept: Path) -> dict[Path, int]:
    """The stored files with the time of their last change."""
    return {path: path.stat().st_mtime_ns for path in kept.glob("*/*") if path.name != "verified.json"}


def test_stored_arrays_are_read_and_not_built_again(bars: Path, tmp_path: Path) -> None:
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


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that the store hashes from here on; all time stamps count as settled."""
    hashed: list[Path] = []
    real = store._hash

    def recording(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(store, "_hash", recording)
    monkeypatch.setattr(store, "_SETTLED_NS", -1)
    return hashed


def test_a_verified_file_is_not_hashed_again_until_it_has_changed(
    bars: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    first = panel(bars, tmp_path / "kept")
    (values,) = (tmp_path / "kept").glob("*/values")
    assert values in hashed
    hashed.clear()
    assert panel(bars, tmp_path / "kept").fingerprint() == first.fingerprint()
    assert values not in hashed
    values.touch()
    assert panel(bars, tmp_path / "kept").fingerprint() == first.fingerprint()
    assert values in hashed


def test_a_damaged_file_with_the_size_and_time_of_before_is_built_again(
    bars: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    first = panel(bars, tmp_path / "kept")
    (values,) = (tmp_path / "kept").glob("*/values")
    content, status = bytearray(values.read_bytes()), values.stat()
    content[10] ^= 1
    time.sleep(0.05)  # the file system's clock ticks
    values.write_bytes(content)
    os.utime(values, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(panel(bars, tmp_path / "kept").values, first.values)


def test_the_hash_of_a_large_file_is_recorded_until_the_file_changes(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LARGE_BYTES", 1)
    path = tmp_path / "a.npz"
    path.write_bytes(b"one")
    first = store.hash_of(path, tmp_path / "cache")
    assert store.hash_of(path, tmp_path / "cache") == first
    assert hashed == [path]
    time.sleep(0.05)  # the file system's clock ticks
    path.write_bytes(b"two")
    assert store.hash_of(path, tmp_path / "cache") != first
    assert store.hash_of(path, path / "no folder") == store.hash_of(path)


@pytest.mark.parametrize("harm", ["flipped", "cut", "deleted", "facts"])
def test_damaged_arrays_are_built_again(bars: Path, tmp_path: Path, harm: str) -> None:
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


def test_a_folder_that_cannot_be_used_is_refused(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(UserError, match=r"^data\.panel_cache=.*kept: cannot be used"):
        panel(bars, tmp_path / "kept")


def test_settings_that_do_not_change_the_rows_share_one_file(bars: Path, tmp_path: Path) -> None:
    panel(bars, tmp_path / "kept")
    overrides = ("data=csv", f"data.dir={bars}", "data.tickers=all", f"data.panel_cache={tmp_path / 'kept'}")
    load_panel(compose.compose(*overrides, "data.window=9", "data.scaler=global"))
    assert len(list((tmp_path / "kept").glob("*/facts.json"))) == 1
    load_panel(compose.compose(*overrides, "data.window=9", "data.horizon=2"))
    assert len(list((tmp_path / "kept").glob("*/facts.json"))) == 2


def test_empty_arrays_and_days_are_stored(tmp_path: Path) -> None:
    def build(writer: store.Writer) -> dict[str, Any]:
        writer.append("empty", np.empty((0, 3)))
        writer.append("days", np.arange(3).astype("datetime64[D]"))
        return {}

    found = store.get_or_build(tmp_path, "x", build)
    assert found.array("empty", mapped=True).shape == (0, 3)
    assert found.array("days").dtype == "datetime64[D]"
