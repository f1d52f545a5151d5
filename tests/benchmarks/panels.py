"""Large panels: 500 stocks pooled, and arrays that do not fit into memory. Reads Linux's cgroups and /proc."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks.measuring import ROOT, Figure, python, seconds_of

_STOCKS, _DAYS = 500, 2500
_WINDOW, _WIDTH = 60, 5
_FACTORS, _LOOKBACK = 158, 60
_LARGE_BYTES, _SMALL_BYTES, _LIMIT_BYTES = 4_000_000_000, 400_000_000, 1_500_000_000
_BATCH, _BATCHES = 4096, 2000
_CGROUPS = Path("/sys/fs/cgroup")


def pooled() -> Iterator[Figure]:
    """Loading 500 simulated stocks of 2,500 days from a file each, and the memory of a run of them."""
    with tempfile.TemporaryDirectory() as folder:
        python("-m", __name__, "stocks", cwd=folder)
        settings = ("data=csv", "data.dir=bars", "data.panel_cache=kept", "report=false", "trainer.epochs=1")
        for name, most in (("for the first time", 60.0), ("from `data.panel_cache`", 4.0)):
            seconds = float(python("-m", __name__, "load", *settings, "data.tickers=all", cwd=folder))
            yield Figure(f"reading {_STOCKS} files of {_DAYS:,} days, {name}", seconds, "s", most=most)
        two, every = (
            _peak_mb(str(ROOT / "run.py"), *settings, tickers, f"hydra.run.dir=run{number}", cwd=folder)
            for number, tickers in enumerate(("data.tickers=[S000,S001]", "data.tickers=all"))
        )
    panel_mb = _STOCKS * (_DAYS - 1) * (4 * _WIDTH + 8 + 8) / 1e6  # features, target, date
    note = f"{every - two:.0f} MB against {panel_mb:.0f} MB"
    yield Figure(
        f"peak memory of a run of {_STOCKS} stocks, less that of two, over the size of the panel",
        (every - two) / panel_mb,
        "×",
        most=3.0,
        note=note,
    )


def factors() -> Iterator[Figure]:
    """The 158 factors of Alpha158 of 500 simulated stocks of 2,500 days, computed and then read from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        python("-m", __name__, "stocks", cwd=folder)
        settings = ("data=csv", "data.dir=bars", "data.panel_cache=kept", "features=alpha158", "data.window=1")
        two, every = (
            _peak_mb("-m", __name__, "load", *settings, tickers, cwd=folder)
            for tickers in ("data.tickers=[S000,S001]", "data.tickers=all")
        )
        panel_mb = _STOCKS * (_DAYS - _LOOKBACK) * (4 * _FACTORS + 8 + 8) / 1e6  # features, target, date
        yield Figure(
            f"peak memory of making `alpha158` of {_STOCKS} stocks, less that of two, over the size of the panel",
            (every - two) / panel_mb,
            "×",
            most=3.0,
            note=f"{every - two:.0f} MB against {panel_mb:.0f} MB",
        )
        seconds = float(python("-m", __name__, "load", *settings, "data.tickers=all", cwd=folder))
        yield Figure(f"reading `alpha158` of {_STOCKS} stocks from `data.panel_cache`", seconds, "s", most=2.0)


def beyond_memory() -> Iterator[Figure]:
    """4 GB of windows under a memory limit of 1.5 GB, against what fits, in a limit of the same size."""
    with tempfile.TemporaryDirectory() as folder, _memory_limit() as group:
        if group is None:
            print("beyond_memory: skipped, no memory cgroup can be made here", file=sys.stderr)
            return
        speeds = {}
        for name, size, settings in (("large", _LARGE_BYTES, ["data.memory_limit=1"]), ("small", _SMALL_BYTES, [])):
            _write_windows(Path(folder) / f"{name}.npz", size)
            epochs = -(-_BATCHES * _BATCH // int(0.9 * size / (_WINDOW * _WIDTH * 4)))
            arguments = [
                str(ROOT / "run.py"),
                "data=npz",
                f"data.path={name}.npz",
                *("model=linear", f"trainer.batch_size={_BATCH}", f"trainer.epochs={epochs}", "trainer.patience=null"),
                *("report=false", "data.panel_cache=kept", f"hydra.run.dir={name}", *settings),
            ]
            _run(arguments, folder, group)
            timing = json.loads((Path(folder) / name / "metrics.json").read_text())["timing"]
            speeds[name] = timing["samples_per_second"]
            if name == "large":
                file = next(Path(folder).glob("kept/*/values"))
                seconds = float(_run(["-m", __name__, "read", str(file)], folder, group))
                speeds["disk"] = file.stat().st_size / (_WINDOW * _WIDTH * 4) / seconds
    note = f"{speeds['large']:,.0f} samples/s against {speeds['small']:,.0f}"
    yield Figure(
        "samples/s of training from a file (4 GB, memory limit 1.5 GB), over those in memory",
        speeds["large"] / speeds["small"],
        "×",
        least=0.5,
        note=note,
    )
    yield Figure(
        "the disk's own limit: reading that file from its start to its end, over training on those in memory",
        speeds["disk"] / speeds["small"],
        "×",
        note=f"{speeds['disk']:,.0f} samples/s",
    )


def _run(arguments: list[str], folder: str, group: Path) -> str:
    """The output of `python …` of the repository's, within the cgroup."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=environment, preexec_fn=enter, check=True, stdout=subprocess.PIPE, text=True
    )
    return ended.stdout


def _read(path: str) -> None:
    """Read a file from its start to its end, none of it from the memory that other programs left it in."""
    with Path(path).open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        block = bytearray(2**22)
        while file.readinto(block):
            pass


@contextlib.contextmanager
def _memory_limit() -> Iterator[Path | None]:
    """A cgroup with the limit; None where none can be made."""
    first = (_CGROUPS / "memory").is_dir()  # of cgroups' first version, which has a folder for each resource
    parent, limit = (_CGROUPS / "memory", "memory.limit_in_bytes") if first else (_CGROUPS, "memory.max")
    group = parent / f"stockml-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(_LIMIT_BYTES))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def _peak_mb(*arguments: str, cwd: str) -> float:
    """Peak resident memory of `python …` of the repository's."""
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", program, sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(found.stdout) * 1024 / 1e6


def _write_windows(path: Path, size: int) -> None:
    """Random windows and targets, block by block."""
    rng, n = np.random.default_rng(0), size // (_WINDOW * _WIDTH * 4)

    def write(archive: zipfile.ZipFile, key: str, *shape: int) -> None:
        with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
            head = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, head)
            for start in range(0, shape[0], 50_000):
                block = min(50_000, shape[0] - start), *shape[1:]
                file.write(rng.standard_normal(block, dtype=np.float32).tobytes())

    with zipfile.ZipFile(path, "w") as archive:
        for part, samples in (("train", n - n // 100), ("test", n // 100)):
            write(archive, f"X_{part}", samples, _WINDOW, _WIDTH)
            write(archive, f"y_{part}", samples)


def _write_stocks() -> None:
    """`bars/S000.csv` and so on."""
    import pandas as pd

    from stockml import compose
    from stockml.data.sources.simulated.simulator import simulate

    figures = compose.compose().stock.simulator
    assert figures is not None
    Path("bars").mkdir()
    days = np.busday_offset("2010-01-01", np.arange(_DAYS), roll="forward")
    for number in range(_STOCKS):
        columns, _ = simulate(figures, f"S{number:03}", _DAYS, 0, 0.09)
        table = pd.DataFrame({"Date": days, **{name.title(): values for name, values in columns.items()}})
        table.to_csv(f"bars/S{number:03}.csv", index=False)


if __name__ == "__main__":
    if sys.argv[1] == "stocks":
        _write_stocks()
    elif sys.argv[1] == "read":
        print(seconds_of(lambda: _read(sys.argv[2])))
    else:
        import torch  # noqa: F401

        from stockml import compose
        from stockml.data import dataset

        config = compose.compose(*sys.argv[2:])
        print(seconds_of(lambda: dataset.prepare(config)))
