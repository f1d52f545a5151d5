"""Wrong inputs to make, and what is said of each: status 2, a line for each fault, nothing changed."""

from __future__ import annotations

import datetime
import functools
import io
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stockml import cli
from tests.wrong_input import remedies

RUN_PY = Path(__file__).parents[2] / "run.py"
ARRAYS = "data=npz data.path=a.npz trainer.epochs=1"
BARS = "data=csv data.dir=. data.window=5 trainer.epochs=1"
SIMULATED = "data.days=300 data.window=5 trainer.epochs=1"
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here, so asking for one is right")

Making = Callable[[], object]
"""Makes what lies in the current folder before the command is typed."""


def nothing() -> None:
    """An empty folder."""


def file(name: str, content: bytes | str) -> Making:
    """A file of these bytes."""
    return lambda: Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def table(days: int = 60) -> list[list[str]]:
    """The cells of a sound table of bars, the names of its columns first; row i is the file's line i + 1."""
    first = datetime.date(2020, 1, 1)
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, days)))
    return [
        ["Date", "Open", "High", "Low", "Close", "Volume"],
        *(
            [str(first + datetime.timedelta(day)), *(f"{price + i:.2f}" for i in (0, 2, -2, 1)), f"{1e6 * price:.0f}"]
            for day, price in enumerate(prices)
        ),
    ]


def text(rows: list[list[str]]) -> str:
    """A table as CSV."""
    return "".join(",".join(row) + "\n" for row in rows)


def bars(edit: Callable[[list[list[str]]], object] = len, days: int = 60) -> Making:
    """AAPL.csv, sound but for the edit."""

    def make() -> None:
        rows = table(days)
        edit(rows)
        Path("AAPL.csv").write_text(text(rows))

    return make


def cell(line: int, column: str, content: str) -> Making:
    """AAPL.csv, sound but for one cell."""
    return bars(lambda rows: rows[line - 1].__setitem__(rows[0].index(column), content))


def whole_column(column: str, content: str) -> Making:
    """AAPL.csv with the same in every cell of a column."""
    return bars(lambda rows: [row.__setitem__(rows[0].index(column), content) for row in rows[1:]])


def renamed(column: str, name: str) -> Making:
    """AAPL.csv with another name over a column."""
    return bars(lambda rows: rows[0].__setitem__(rows[0].index(column), name))


def sound_arrays() -> dict[str, Any]:
    """50 + 20 windows of 5 days and 2 features."""
    rng = np.random.default_rng(0)
    shapes = {"X_train": (50, 5, 2), "y_train": (50,), "X_test": (20, 5, 2), "y_test": (20,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def packed(**changed: Any) -> bytes:
    """The bytes of an npz file, sound but for the changed arrays; None leaves one out."""
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in {**sound_arrays(), **changed}.items() if array is not None})
    return content.getvalue()


def npz(**changed: Any) -> Making:
    """a.npz, sound but for the changed arrays; None leaves one out."""
    return file("a.npz", packed(**changed))


def poked(name: str, index: tuple[int, ...], value: float) -> Making:
    """a.npz, sound but for one number."""
    array = sound_arrays()[name]
    array[index] = value
    return npz(**{name: array})


def zipped(**members: str) -> bytes:
    """The bytes of a zip file of texts."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def saved(array: Any) -> bytes:
    """The bytes of an npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def cut(content: bytes, share: float) -> bytes:
    """The first part of the bytes."""
    return content[: int(share * len(content))]


@functools.cache
def finished_run() -> dict[str, bytes]:
    """The files of a run in the folder `old`."""
    assert cli.main([*shlex.split(SIMULATED), "hydra.run.dir=old"]) == 0
    return {str(path): path.read_bytes() for path in Path("old").rglob("*") if path.is_file()}


def a_run(harm: Making) -> Making:
    """A finished run in the folder `old`, and what has happened to it since."""

    def make() -> None:
        for name, content in finished_run().items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        harm()

    return make


def bars_changed_since_a_run() -> None:
    """A finished run in the folder `old`, whose AAPL.csv has another price in it since."""
    bars()()
    assert cli.main([*shlex.split(BARS), "hydra.run.dir=old"]) == 0
    cell(40, "Close", "3")()


def flipped_bit() -> None:
    """One bit of the weights in the last checkpoint is another."""
    path = Path("old/last.pt")
    weights = torch.load(path, weights_only=True)["weights"].numpy().tobytes()
    assert weights in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(weights, bytes([weights[0] ^ 1]) + weights[1:]))


def truncated(name: str) -> Making:
    """Half of a file is lost."""
    return lambda: Path(name).write_bytes(cut(Path(name).read_bytes(), 0.5))


def reweighted(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Making:
    """The weights in a checkpoint are others, in a file that is sound."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def make() -> None:
        state = torch.load(name, weights_only=True)
        weights = {key: changed(value) for key, value in state.get("state_dict", {}).items()}
        torch.save({**{k: changed(v) for k, v in state.items()}, **({"state_dict": weights} if weights else {})}, name)

    return make


class _Code:
    """Touches a file when it is unpickled: a row that executed it would leave something behind."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def contents() -> dict[str, bytes]:
    """Every path below the current folder, and what it holds."""
    return {str(p): b"" if p.is_dir() else p.read_bytes() for p in sorted(Path().rglob("*"))}


def assert_told(err: str, says: list[str]) -> None:
    """Stderr holds one line a fault and nothing else; in `says` the sign … stands for anything."""
    lines = err.splitlines()
    assert "Traceback" not in err
    assert "fault of stockml's own" not in err
    assert len(lines) == len(says), err
    for line, wanted in zip(lines, says, strict=True):
        assert re.search(".*".join(map(re.escape, wanted.split("…"))), line), f"{line}\nshould say\n{wanted}"


def assert_refused(capsys: pytest.CaptureFixture[str], making: Making, typed: str, says: list[str]) -> None:
    """Status 2, the lines, nothing trained, nothing left behind and nothing changed."""
    making()
    before = contents()
    capsys.readouterr()
    status = cli.main(shlex.split(typed))
    out, err = capsys.readouterr()
    assert_told(err, says)
    assert status == 2
    assert "Traceback" not in out
    assert "epoch 1/" not in out
    assert contents() == before
    remedies.assert_they_lead_on(capsys, shlex.split(typed), err)


def run_py(typed: str, prefix: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python run.py` in a process of its own."""
    command = [*(prefix or []), sys.executable, str(RUN_PY), *shlex.split(typed)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def mounted(options: str) -> list[str]:
    """A prefix that runs a command with a tmpfs on ./disk, seen by nobody else; ./left lists what is on it last."""
    Path("disk").mkdir()
    script = 'mount -t tmpfs -o "$0" tmpfs disk; "$@"; status=$?; find disk -mindepth 1 > left; exit $status'
    for rights in (["--mount"], ["--mount", "--map-root-user"]):
        unshare = ["unshare", *rights]
        if shutil.which("unshare") and not subprocess.call(
            [*unshare, "mount", "-t", "tmpfs", "-o", options, "tmpfs", "disk"], stderr=subprocess.DEVNULL
        ):
            return [*unshare, "sh", "-c", script, options]
    pytest.skip("this machine lets no one mount a tmpfs")
