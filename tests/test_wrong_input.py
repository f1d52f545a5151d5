"""Whatever a user types or supplies wrongly is answered in a line a fault that says what, where and what to do."""

from __future__ import annotations

import datetime
import functools
import io
import json
import os
import pickle
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

RUN_PY = Path(__file__).parents[1] / "run.py"
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


class _Code:
    """Touches a file when it is unpickled: a row that executed it would leave something behind."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)


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


TYPED = [
    # keys
    pytest.param("trainer.lrr=0.1", ["trainer.lrr: no such key; did you mean trainer.lr?"], id="typo-in-key"),
    pytest.param("epochs=3", ["epochs: no such key; did you mean trainer.epochs?"], id="key-without-its-group"),
    pytest.param("stok=AAPL", ["stok: no such key; did you mean stock?"], id="typo-in-group"),
    pytest.param("+trainer.lrr=1", ["trainer.lrr: no such key; did you mean trainer.lr?"], id="plus-typo"),
    pytest.param("++lr=1", ["lr: no such key; did you mean trainer.lr?"], id="two-plus-typo"),
    pytest.param("+trainer.lr=0.1", ["+trainer.lr=0.1: exists already; write it without the plus"], id="plus-known"),
    pytest.param("+model._target_=os.system", ["model._target_: no such key"], id="plus-code"),
    pytest.param(
        "model=linear model.hidden_dim=3", ["model.hidden_dim: no such key; known here: name"], id="key-of-mlp"
    ),
    pytest.param("data=csv data.dir=. data.days=9", ["data.days: no such key; …data=simulated"], id="key-of-simulated"),
    pytest.param("~trainer.lr", ["trainer.lr: missing"], id="deleted-key"),
    pytest.param("hydra.run.dri=x", ["hydra.run.dri: Hydra has no such setting; … --cfg hydra"], id="typo-hydra"),
    pytest.param("+hydra.run.a=1", ["hydra.run.a: Hydra has no such setting; … --cfg hydra"], id="plus-hydra"),
    pytest.param("++hydra.run.a=1", ["hydra.run.a: Hydra has no such setting; … --cfg hydra"], id="two-plus-hydra"),
    pytest.param("hydra.mode=FAST", ["hydra.mode=FAST…expected one of [RUN, MULTIRUN]"], id="hydra-value"),
    # choices
    pytest.param("stock=APPL", ["stock=APPL: must be one of AAPL, …XOM; did you mean AAPL?"], id="unknown-stock"),
    pytest.param("stock=aapl", ["stock=aapl: must be one of AAPL, …XOM; did you mean AAPL?"], id="stock-lower-case"),
    pytest.param("model=mpl", ["model=mpl: must be one of mlp, …tsmixer; did you mean mlp?"], id="unknown-model"),
    pytest.param("model.name=os.system", ["model.name=os.system: must be one of mlp, "], id="model-names-code"),
    pytest.param(
        "data=cvs", ["data=cvs: must be one of csv, npz, simulated, yahoo; did you mean csv?"], id="unknown-source"
    ),
    pytest.param("trainer=dddp", ["trainer=dddp: must be one of ddp, single; did you mean ddp?"], id="unknown-trainer"),
    pytest.param("hardware=gpu", ["hardware=gpu: must be one of auto, cpu, cuda, mps"], id="unknown-hardware"),
    pytest.param("+experiment=quik", ["experiment=quik: must be …; did you mean quick?"], id="unknown-experiment"),
    pytest.param("experiment=quick", ["experiment=quick: …added with a plus: +experiment=quick"], id="no-plus"),
    pytest.param("task=fly", ["task=fly: must be …train"], id="unknown-task"),
    pytest.param("stock=null", ["stock=null: must be one of AAPL, "], id="no-stock"),
    # values
    pytest.param("trainer.optimizer=adm", ["trainer.optimizer=adm: must be one of …; did you mean adam?"], id="typo"),
    pytest.param("trainer.lr=fast", ["trainer.lr=fast: must be a number > 0"], id="text-for-number"),
    pytest.param("trainer.epochs=1.5", ["trainer.epochs=1.5: must be a whole number ≥ 1"], id="fraction-for-whole"),
    pytest.param("seed=null", ["seed=null: must be a whole number ≥ 0"], id="null-for-number"),
    pytest.param("trainer.shuffle=1", ["trainer.shuffle=1: must be true or false"], id="number-for-bool"),
    pytest.param("stock.ticker=123", ["stock.ticker=123: must be text; quote it: "], id="number-for-text"),
    pytest.param("stock.features=clos", ["stock.features=clos: must be a list of open, "], id="text-for-list"),
    pytest.param("trainer.lr.x=1", ["trainer.lr={…}: must be a number > 0"], id="group-for-number"),
    pytest.param("trainer.epochs=0", ["trainer.epochs=0: must be a whole number ≥ 1"], id="zero-epochs"),
    pytest.param("trainer.lr=nan", ["trainer.lr=nan: must be a number > 0"], id="nan-lr"),
    pytest.param("model.dropout=1", ["model.dropout=1: must be a number ≥ 0 and < 1"], id="drops-everything"),
    pytest.param("seed=4294967296", ["seed=4294967296: must be …≤ 4294967295"], id="seed-beyond-32-bits"),
    pytest.param(
        "data.test_start=2020-02-30", ["data.test_start=2020-02-30: must be a date, YYYY-MM-DD"], id="no-date"
    ),
    pytest.param("stock.features=[]", ["stock.features: must name at least one feature"], id="no-features"),
    pytest.param("stock.features=[close,close]", ["stock.features: …names a feature twice"], id="feature-twice"),
    pytest.param(
        "stock.ticker=a/b", ["stock.ticker: 'a/b' is not a file name; a folder belongs in data.dir"], id="path"
    ),
    pytest.param("'stock.name=${nope}'", ["stock.name: Interpolation key 'nope' not found"], id="interpolation"),
    # combinations
    pytest.param(
        "hardware=cpu hardware.precision=bf16", ["hardware.precision: bf16 needs hardware=cuda"], id="bf16-cpu"
    ),
    pytest.param("hardware=mps hardware.precision=fp64", ["hardware.precision: mps has no fp64; take "], id="fp64-mps"),
    pytest.param(
        "hardware=cuda",
        ["hardware.device=cuda: no CUDA GPU …; take hardware=cpu or hardware=auto"],
        marks=NO_GPU,
        id="cuda-without-gpu",
    ),
    pytest.param(
        "hardware.precision=bf16", ["hardware.precision=bf16: …take fp32"], marks=NO_GPU, id="bf16-without-gpu"
    ),
    pytest.param("data=csv", ["data.dir: needed with data=csv, …data.dir=FOLDER"], id="csv-without-folder"),
    pytest.param("data=csv data.path=a data.dir=b", ["data.path: …one of the two"], id="csv-file-and-folder"),
    pytest.param("data=csv data.dir=. data.date_format=%d", ["data.date_format: '%d' must have a day"], id="no-form"),
    pytest.param("data=csv data.dir=", ["data.dir: needed with data=csv, …data.dir=FOLDER"], id="csv-folder-empty"),
    pytest.param("data=npz", ["data.path: …either data.path=FILE.npz or data.dir=FOLDER"], id="npz-without-file"),
    pytest.param("data=npz data.path=", ["data.path: …either data.path=FILE.npz or data.dir=FOLDER"], id="npz-empty"),
    pytest.param("data=npz data.path=a data.dir=b", ["data.path: …one of the two"], id="npz-file-and-folder"),
    pytest.param("stock.ticker=NVDA", ["stock.ticker: 'NVDA' has no simulator settings; …data=csv"], id="no-figures"),
    pytest.param("data.days=50", ["data.days: 50 days are too few …60 days, …; raise it, or lower"], id="too-few-days"),
    pytest.param(
        "data.start=2021-01-01 data.end=2020-01-01",
        ["data.end: 2020-01-01 must come after start (2021-01-01)"],
        id="end-before-start",
    ),
    pytest.param("stock.simulator.garch.beta=2", ["stock.simulator.garch…beta must be below 1"], id="explosive"),
    pytest.param("stock.simulator.idio_vol_percent=1e5", ["stock.simulator: …overflow"], id="overflowing-figures"),
    # several processes
    pytest.param("trainer.world_size=2", ["trainer.world_size: no such key; it belongs to trainer=ddp"], id="no-ddp"),
    pytest.param(
        "trainer=ddp trainer.world_size=0", ["trainer.world_size=0: must be a whole number ≥ 1 or auto"], id="no-rank"
    ),
    pytest.param(
        "trainer=ddp trainer.world_size=9999",
        ["trainer.world_size=9999: more ranks than the 1,770 samples of train; take …auto"],
        marks=NO_GPU,
        id="more-ranks-than-samples",
    ),
    pytest.param("trainer=ddp hardware=mps", ["trainer.name: ddp does not work on mps; take hardware=cpu"], id="mps"),
    pytest.param(
        "trainer=ddp trainer.world_size=2 hardware=cuda",
        ["hardware.device=cuda: no CUDA GPU …; take hardware=cpu or hardware=auto"],
        marks=NO_GPU,
        id="ddp-without-gpu",
    ),
    pytest.param("trainer=ddp trainer.nnodes=2", ["trainer.rdzv_endpoint: …=HOST:PORT"], id="nodes-without-endpoint"),
    pytest.param(
        "trainer=ddp trainer.nnodes=2 trainer.rdzv_endpoint=host",
        ["trainer.rdzv_endpoint: 'host' is not of the form host:port"],
        id="endpoint-without-port",
    ),
    pytest.param(
        "trainer=ddp trainer.nnodes=2 trainer.rdzv_endpoint=h:1 trainer.node_rank=2 trainer.world_size=3",
        ["trainer.node_rank: 2 is too high; 2 nodes are numbered from 0", "trainer.world_size: 3 ranks cannot be sha"],
        id="node-and-ranks-do-not-fit",
    ),
    pytest.param(
        "trainer=ddp trainer.world_size=4 trainer.global_batch_size=3",
        ["trainer.global_batch_size: 3 samples are too few for 4 ranks; raise it, or lower trainer.world_size"],
        id="batch-smaller-than-ranks",
    ),
    pytest.param(
        "trainer=ddp trainer.launcher=mpi", ["trainer.launcher=mpi: must be one of local, torchrun"], id="launcher"
    ),
    # grammar, flags, sweeps
    pytest.param("trainer.lr", ["'trainer.lr': not of the form key=value"], id="no-value"),
    pytest.param("=3", ["'=3': not of the form key=value"], id="no-key"),
    pytest.param("'trainer.lr=[1,'", ["'trainer.lr=[1,': not of the form key=value …quote"], id="open-bracket"),
    pytest.param("--epochs 3", ["command line: …--epochs; python run.py --help"], id="unknown-flag"),
    pytest.param("--cfg jbo", ["command line: …'jbo' (choose from …job…"], id="wrong-flag-value"),
    pytest.param(
        "-cp nowhere -cn config", ["nowhere/config.yaml: there is no such saved config"], id="no-saved-config"
    ),
    pytest.param("-cd nowhere", ["--config-dir nowhere: there is no such folder"], id="no-config-folder"),
    pytest.param("--experimental-rerun x.pkl", ["--experimental-rerun: executes a pickle; …-cp"], id="pickled-rerun"),
    pytest.param(
        "trainer.lr=0.1,0.2", ["trainer.lr=0.1,0.2: several values make a sweep; add -m"], id="sweep-without-m"
    ),
    pytest.param("-m seed=1,-1", ["seed=-1: must be a whole number ≥ 0"], id="one-bad-job"),
    pytest.param(
        "-m stock=AAPL,APPL", ["stock=APPL: must be one of …; did you mean AAPL?"], id="unknown-stock-in-sweep"
    ),
    pytest.param("-m 'stock=glob(Z*)'", ["stock=glob(Z*): …no value"], id="glob-of-nothing"),
    pytest.param("-m 'seed=range(0)'", ["seed=range(0): …no value"], id="range-of-nothing"),
    pytest.param("-m seed=1,2 hydra.sweep.subdir=x", ["hydra.sweep.subdir=x: jobs are named …leave"], id="subdir"),
    pytest.param("-m seed=1,2 hydra.run.dir=x", ["hydra.run.dir=x: …hydra.sweep.dir=FOLDER"], id="run-dir-in-sweep"),
    pytest.param("-m seed=1,2 trainer.resume=x", ["x/.hydra/config.yaml: there is no such"], id="resume-in-sweep"),
    pytest.param("-m seed=1,2 hydra.launcher.n_jobs=0", ["hydra.launcher.n_jobs=0: must be …≥ 1"], id="no-jobs"),
    pytest.param("-m hydra/launcher=jobllib", ["hydra/launcher=jobllib: …did you mean joblib?"], id="unknown-launcher"),
    pytest.param("-m seed=1,2 task=report", ["task=report: is no task for a sweep; …-m"], id="task-in-sweep"),
    pytest.param("task=report", ["run: needed with task=report…run=FOLDER"], id="report-of-nothing"),
    pytest.param("task=report run=x", ["x: holds neither a run nor a sweep; …multirun/"], id="report-of-nothing-there"),
    pytest.param(
        "task=reproduce run=x", ["x/.hydra/config.yaml: there is no such saved config"], id="reproduce-nothing"
    ),
    pytest.param("task=audit run=x", ["x/.hydra/config.yaml: there is no such saved config"], id="audit-of-nothing"),
    pytest.param(
        "task=audit audit.plant=future", ["audit.plant=future: …; did you mean future_return?"], id="unknown-leak"
    ),
    pytest.param("audit.plant=future_return", ["audit.plant=…task=audit alone; leave it out"], id="leak-in-training"),
    pytest.param(
        "task=audit data=npz data.path=a.npz audit.plant=random_split",
        ["audit.plant=…needs daily bars"],
        id="leak-in-npz",
    ),
    pytest.param(
        "task=audit data.days=67 audit.plant=label_over_boundary",
        ["simulator …too few …or a lower data.window"],
        id="audit-of-too-few-bars",
    ),
    pytest.param("run=x", ["run=x: task=train makes a folder of its own"], id="run-without-task"),
    pytest.param("-m 'trainer.lr=interval(0,1)'", ["trainer.lr=interval(0,1): …range"], id="interval-without-sweeper"),
    pytest.param(
        "-m '+experiment=glob(*)'",
        [
            "experiment=all_stocks: sets hydra.mode, hydra.sweeper.params",
            "experiment=tune_mlp: sets hydra.mode, hydra.sweeper._target_",
        ],
        id="experiments-that-set-hydra",
    ),
    pytest.param(
        "-m +experiment=all_stocks,quick",
        ["experiment=all_stocks: sets hydra.mode, …by itself"],
        id="one-that-sets-hydra",
    ),
    pytest.param(
        "-m model=linear,mlp model.hidden_dim=8",
        ["model.hidden_dim: no such key; …(with model=linear)"],
        id="key-of-one-job",
    ),
    pytest.param(
        "-m --cfg job seed=1,2", ["command line: --cfg shows one config, and -m …leave out one"], id="cfg-of-a-sweep"
    ),
    pytest.param("-m hydra.job.chdir=true seed=1,2", ["hydra.job.chdir=true: …leave it out"], id="chdir-in-sweep"),
    pytest.param("hydra.job.chdir=true", ["hydra.job.chdir=true: …leave it out"], id="chdir"),
    pytest.param(
        "+hydra.callbacks.p._target_=nope.Nope", ["hydra.callbacks.p: cannot be made (…nope.Nope"], id="no-callback"
    ),
    pytest.param(
        "-m seed=1,2 +hydra.callbacks.p._target_=nope.Nope",
        ["hydra.callbacks.p: cannot be made"],
        id="no-callback-in-sweep",
    ),
    pytest.param(
        "+hydra.callbacks.p._target_=pathlib.Path.nope", ["hydra.callbacks.p: cannot be made"], id="no-attribute"
    ),
    pytest.param(
        "-m seed=1,2 hydra/launcher=basic,joblib",
        ["hydra/launcher=basic,joblib: is Hydra's own; …one value"],
        id="launchers",
    ),
    pytest.param(
        "+experiment=tune_mlp '+hydra.sweeper.params.trainer.weight_decay=choice(0,1)'",
        ["…: is Hydra's own; …type it by itself: 'trainer.weight_decay=choice(0,1)'"],
        id="params-typed",
    ),
    pytest.param("'seed=${oc.env:STOCKML_NO_SUCH}'", ["seed: …STOCKML_NO_SUCH"], id="no-such-variable"),
    pytest.param(
        "'hydra.run.dir=${oc.env:STOCKML_NO_SUCH}'", ["hydra.run.dir: …STOCKML_NO_SUCH"], id="no-such-variable-in-hydra"
    ),
    pytest.param("-m seed=1,2 'hydra.sweep.dir=${nope}'", ["hydra.sweep.dir: …nope"], id="no-such-key-in-hydra"),
    pytest.param("data.window.x.y=3 '~data.nope'", ["Could not delete …data.nope"], id="deletes-nothing"),
    # several at once
    pytest.param(
        "trainer.lr=fast trainer.epochs=0 model=mpl stok=AAPL data.window=0",
        [
            "model=mpl: …did you mean mlp?",
            "stok: …stock?",
            "data.window=0: ",
            "trainer.epochs=0: ",
            "trainer.lr=fast: ",
        ],
        id="five-faults",
    ),
    pytest.param("a b", ["'a': not of the form key=value", "'b': not of the form key=value"], id="two-without-value"),
    pytest.param(
        "-m trainer.lr=0,0.1 seed=-1,0",
        ["seed=-1: must be a whole number ≥ 0", "trainer.lr=0: must be a number > 0"],
        id="two-faults-over-four-jobs",
    ),
]


@pytest.mark.parametrize(("typed", "says"), TYPED)
def test_a_wrong_command_line_is_told_fault_by_fault(
    typed: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, nothing, typed, says)


FILES_OF_CONF = [
    (
        "experiment",
        "# @package _global_\ntrainer:\n\tepochs: 1\n",
        "+experiment=own",
        "own.yaml, line 3: is no YAML (…'\\t'",
    ),
    (
        "experiment",
        "trainer:\n  epochs: 1\n",
        "+experiment=own",
        "own.yaml: its first line must be '# @package _global_'",
    ),
    ("experiment", "# @package _global_\n- 1\n", "+experiment=own", "own"),
    ("experiment", "# @package _global_\ndefaults: [nope]\n", "+experiment=own", "nope"),
    ("experiment", "# @package _global_\ntrainer: {lr: '${'}\n", "+experiment=own", "own"),
    ("experiment", b"# @package _global_\n\xff\xfe", "+experiment=own", "own"),
    (
        "stock",
        "ticker: NVDA\nname: Nvidia\nfeatures: [close, volume]\n",
        "stock=own",
        "'NVDA' has no simulator figures",
    ),
    ("model", "name: [mlp\n", "model=own", "own.yaml, line 2: is no YAML"),
]


@pytest.mark.parametrize(("group", "content", "typed", "says"), FILES_OF_CONF)
def test_what_is_wrong_with_a_user_s_own_conf_is_told_by_its_file(
    group: str, content: str | bytes, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own", group).mkdir(parents=True)
    Path("own", group, "own.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    for sweep in ("", "-m seed=1,2 "):
        assert_refused(capsys, nothing, f"{sweep}-cd own {typed}", [says])


def test_an_own_stock_needs_no_figures_to_simulate_it_by() -> None:
    Path("own/stock").mkdir(parents=True)
    Path("own/stock/own.yaml").write_text("ticker: NVDA\nname: Nvidia\nfeatures: [close, volume]\n")
    bars()()
    assert cli.main(shlex.split(f"-cd own stock=own data.path=AAPL.csv {BARS} data.dir=null")) == 0


@pytest.mark.parametrize(
    "typed",
    [
        "seed=1 -m stock=AAPL,TSLA",
        "'data.test_ratio=${data.valid_ratio}'",
        "-m 'hydra.sweep.dir=out/${model.name}' seed=1,2",
        "'seed=${oc.env:STOCKML_SEED}' 'trainer.shuffle=${oc.env:STOCKML_TRUE}' 'trainer.lr=${oc.env:STOCKML_LR}'",
        "'trainer.patience=${oc.env:STOCKML_NULL}' 'data.seed=${seed}' 'seed=${oc.env:STOCKML_SEED}'",
        "-m 'seed=${oc.env:STOCKML_SEED},2'",
    ],
)
def test_interpolations_are_taken_and_saved_as_what_they_stand_for(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"SEED": "7", "TRUE": "true", "LR": "1e-3", "NULL": "null"}.items():
        monkeypatch.setenv(f"STOCKML_{name}", text)
    assert cli.main(shlex.split(f"{SIMULATED} report=false {typed}")) == 0
    for path in Path().glob("**/.hydra/*.yaml"):
        assert "${" not in path.read_text(), path
    for path in Path().glob("**/config.json"):
        config = json.loads(path.read_text())["config"]
        assert isinstance(config["seed"], int) and config["data"]["seed"] in (0, 7)
    assert cli.main(["task=reproduce", f"run={next(Path().glob('**/config.json')).parent}", "report=false"]) == 0


def test_a_path_may_name_the_stock(market: Path) -> None:
    typed = [*shlex.split(BARS)[2:], "data=csv", f"data.path={market}/ohlcv/${{stock.ticker}}.csv", "report=false"]
    assert cli.main([*typed, "stock=XOM", "hydra.run.dir=run", "data.start=2020-01-01"]) == 0
    assert json.loads(Path("run/config.json").read_text())["config"]["data"]["path"].endswith("/XOM.csv")


def test_a_working_folder_that_is_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    try:
        assert cli.main([]) == 2
        assert_told(capsys.readouterr().err, ["folder …is gone; …cd FOLDER"])
    finally:
        os.chdir("/")


NPZ = [
    # files
    pytest.param(nothing, "data.path=…a.npz: there is no such file", id="no-file"),
    pytest.param(file("a.npz", b""), "a.npz: is not a readable npz file…np.savez", id="empty"),
    pytest.param(file("a.npz", "Date,Close\n"), "a.npz: is not a readable npz file…np.savez", id="text"),
    pytest.param(file("a.npz", bytes(range(256))), "a.npz: is not a readable npz file…np.savez", id="binary"),
    pytest.param(file("a.npz", cut(packed(), 0.5)), "a.npz: is not a readable npz file…truncated", id="truncated"),
    pytest.param(file("a.npz", packed().replace(b"<f8", b"<q9")), "a.npz: is not a readable npz file ", id="damaged"),
    pytest.param(file("a.npz", saved(np.ones(9))), "a.npz: is not a readable npz file…X_train, …np.savez", id="npy"),
    pytest.param(file("a.npz", pickle.dumps(_Code())), "a.npz: is not a readable npz file…np.savez", id="pickle"),
    pytest.param(npz(y_train=np.array([_Code()] * 50)), "a.npz: …pickled …save plain arrays", id="pickled-objects"),
    pytest.param(
        file("a.npz", zipped(**dict.fromkeys(sound_arrays(), "1"))), "a.npz: X_train is not an array", id="zip-of-texts"
    ),
    # keys, shapes, types
    pytest.param(npz(X_test=None, y_test=None), "a.npz: has no X_test, y_test; …this one has X_train, y", id="keys"),
    pytest.param(npz(X_train=np.ones((50, 5))), "a.npz: X_train has shape (50, 5); must be (N, T, F)", id="flat-X"),
    pytest.param(npz(y_test=np.ones(19)), "a.npz: X_test has 20 samples, y_test 19; they must be equal", id="lengths"),
    pytest.param(
        npz(X_train=np.ones((0, 5, 2)), y_train=np.ones(0)), "X_train has shape (0, 5, 2): it is empty", id="no-samples"
    ),
    pytest.param(npz(X_train=np.ones((2, 5, 2)), y_train=np.ones(2)), "split too small (train 1, ", id="two-samples"),
    pytest.param(npz(y_train=np.array(["up"] * 50)), "a.npz: y_train is of type <U2; must be numbers", id="strings"),
    # numbers
    pytest.param(poked("X_train", (3, 2, 1), np.nan), "a.npz: X_train …NaN…at [3, 2, 1]; fill or drop", id="nan"),
    pytest.param(poked("X_test", (3, 2, 1), 1e39), "a.npz: X_test …at [3, 2, 1]; fill or drop", id="beyond-float32"),
    pytest.param(npz(X_train=np.ones((50, 5, 2))), "a.npz: feature x0 never changes in train", id="constant-feature"),
    pytest.param(npz(y_train=np.ones(50)), "a.npz: the target never changes in train (always 1)", id="constant-target"),
]


@pytest.mark.parametrize(("making", "says"), NPZ)
def test_wrong_arrays_are_told_by_file_and_key(making: Making, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, making, ARRAYS, [says])


CSV = [
    # files
    pytest.param(nothing, "data.dir=…: holds no AAPL.csv, …; it holds no csv", id="no-file"),
    pytest.param(file("AAPL.csv", ""), "AAPL.csv: …empty…", id="empty"),
    pytest.param(file("AAPL.csv", b"PK\x03\x04\xff\xfe"), "AAPL.csv: is not a text file …as UTF-8 CSV", id="binary"),
    pytest.param(
        file("AAPL.csv", cut(text(table()).encode(), 0.51)), "AAPL.csv, line 32: has fewer cells than", id="truncated"
    ),
    pytest.param(file("AAPL.parquet", b"PAR1"), "AAPL.parquet: cannot be read", id="truncated-parquet"),
    # shape
    pytest.param(bars(days=0), "AAPL.csv: holds no bars, only the names", id="names-alone"),
    pytest.param(bars(days=8), "AAPL.csv: 8 bars are too few for …; more bars, or a lower data.window", id="too-few"),
    pytest.param(renamed("Close", "Clothes"), "AAPL.csv: has no column Close; it has Date, Open", id="no-close"),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(None), [[*row, row[4]] for row in rows])),
        "AAPL.csv: …Close twice",
        id="column-twice",
    ),
    pytest.param(bars(lambda rows: rows.pop(0)), "AAPL.csv: has no column Date, Open, High", id="no-names"),
    pytest.param(
        bars(lambda rows: rows[4].append("9")),
        "AAPL.csv, line 5: has more cells than the 6 names; fix",
        id="field-too-many",
    ),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(1, None), [[*row, "9"] for row in rows[1:]])),
        "AAPL.csv, line 2: has more cells than the 6 names (60 bad rows",
        id="name-too-few",
    ),
    pytest.param(bars(lambda rows: rows[4].pop()), "AAPL.csv, line 5: has fewer cells than", id="field-too-few"),
    pytest.param(bars(lambda rows: rows.insert(4, [])), "AAPL.csv, line 5: is blank; fix", id="blank-line"),
    # cells
    pytest.param(cell(5, "Close", "n/a"), "AAPL.csv, line 5: Close is 'n/a', no number …fix or delete", id="no-number"),
    pytest.param(cell(5, "Close", ""), "AAPL.csv, line 5: Close is empty, no number …fix or delete", id="empty-cell"),
    pytest.param(cell(5, "Close", "1e39"), "AAPL.csv, line 5: Close is …fix or delete", id="beyond-float32"),
    pytest.param(cell(5, "Close", "1e-300"), "AAPL.csv, line 5: Close is …fix or delete", id="below-float32"),
    pytest.param(cell(5, "Low", "-3"), "AAPL.csv, line 5: Low is '-3', must be above 0; fix or delete", id="negative"),
    pytest.param(cell(5, "Close", '"9'), "AAPL.csv: cannot be read", id="open-quote"),
    pytest.param(whole_column("Volume", "0"), "AAPL.csv: feature volume never changes in train", id="constant-volume"),
    pytest.param(whole_column("Close", "5"), "AAPL.csv: feature close never changes in train", id="constant-close"),
    # dates
    pytest.param(cell(5, "Date", "soon"), "AAPL.csv, line 5: Date is 'soon'; must be a date, Y-M-D, or", id="no-date"),
    pytest.param(cell(5, "Date", "2020-01"), "AAPL.csv, line 5: Date is '2020-01'; must be", id="month-alone"),
    pytest.param(
        cell(5, "Date", "2020-01-03"),
        "AAPL.csv, line 5: …comes twice; there must be one line per day",
        id="twice",
    ),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(5, 7), rows[6:4:-1])),
        "AAPL.csv, line 7: 2020-01-05 comes after 2020-01-06; …the oldest first",
        id="no-order",
    ),
]


@pytest.mark.parametrize(("making", "says"), CSV)
def test_wrong_bars_are_told_by_file_and_line(making: Making, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, making, BARS, [says])


MISFITS = [
    pytest.param(nothing, "data=csv data.dir=nope", "data.dir=…nope: there is no such folder", id="no-folder-of-bars"),
    pytest.param(nothing, "data=csv data.path=nope.csv", "data.path=…nope.csv: there is no such file", id="no-file"),
    pytest.param(nothing, f"data=csv data.dir={'a' * 300}", "aaa: cannot be read (", id="folder-name-too-long"),
    pytest.param(
        bars(),
        f"{BARS} stock.ticker=AAPPL",
        "data.dir=…: holds no AAPPL.csv, …; it holds AAPL; did you mean AAPL?",
        id="ticker-without-bars",
    ),
    pytest.param(
        npz(),
        "data=npz data.dir=. stock=XOM",
        "data.dir=…: holds no XOM.npz and no classification/XOM.npz; it holds a",
        id="ticker-without-arrays",
    ),
    pytest.param(
        npz(), f"{ARRAYS} stock=AAPL", "a.npz: has 2 features, but stock.features names 5 (open", id="features"
    ),
    pytest.param(
        bars(),
        f"{BARS} data.test_start=2030-01-01",
        "data.test_start=2030-01-01: must be after …and not after 2020-02-2",
        id="test-after-the-data",
    ),
    pytest.param(
        bars(),
        f"{BARS} data.valid_start=2010-01-01",
        "data.valid_start=2010-01-01: must be after 2020-01-0",
        id="validation-before-the-data",
    ),
    pytest.param(
        bars(),
        f"{BARS} data.start=2030-01-01",
        "AAPL.csv: no bars between data.start=2030-01-01 …; it holds 2020-01-01 to 2020-02-29",
        id="start-after-the-data",
    ),
    pytest.param(bars(), f"{BARS} data.valid_ratio=0.999", "too small (train 0, …; …data.valid_ratio", id="no-train"),
    pytest.param(bars(), f"{BARS} data.test_ratio=1e-6", "too small (…test 0); …data.test_ratio", id="no-test"),
    # where the run goes
    pytest.param(
        file("taken", ""),
        f"{SIMULATED} hydra.run.dir=taken",
        "taken: cannot make a run folder here (…); choose another with hydra.run.dir=FOLDER",
        id="file-in-the-way",
    ),
    pytest.param(
        file("outputs", ""), SIMULATED, "outputs: cannot make a run folder …hydra.run.dir", id="outputs-is-a-file"
    ),
    pytest.param(
        file("taken", ""),
        f"-m seed=1,2 {SIMULATED} hydra.sweep.dir=taken",
        "taken: cannot make …hydra.sweep.dir=FOLDER",
        id="file-in-the-sweep's-way",
    ),
    pytest.param(
        a_run(nothing),
        f"{SIMULATED} hydra.run.dir=old",
        "old: already holds a run; choose another hydra.run.dir, or continue it: trainer.resume=",
        id="run-in-the-way",
    ),
    # what is resumed
    pytest.param(nothing, "trainer.resume=nope", "nope…: there is no such …run folder", id="resume-nothing"),
    pytest.param(
        lambda: Path("old").mkdir(), "trainer.resume=old", "old…: there is no such …run folder", id="resume-empty"
    ),
    pytest.param(
        a_run(nothing), "trainer.resume=old", "trainer.resume=…old: that run is finished; raise trainer.ep", id="over"
    ),
    pytest.param(
        a_run(nothing),
        "trainer.resume=old trainer.epochs=2 trainer.lr=0.5 seed=7",
        "trainer.resume=…old: …its own settings, but seed, trainer.lr differ; leave them",
        id="resume-with-other-settings",
    ),
    pytest.param(
        bars_changed_since_a_run,
        "trainer.resume=old trainer.epochs=2",
        "trainer.resume=…old: the data have changed (…AAPL.csv); start a new run",
        id="resume-with-other-data",
    ),
    pytest.param(
        a_run(lambda: Path("old/result.json").write_text(json.dumps({"status": "running", "pid": os.getppid()}))),
        "trainer.resume=old trainer.epochs=2",
        "trainer.resume=…old: that run is still running",
        id="resume-a-running-run",
    ),
    pytest.param(
        a_run(nothing), "trainer.resume=old hydra.run.dir=b", "hydra.run.dir=b: …its own folder", id="resume-elsewhere"
    ),
    pytest.param(
        a_run(flipped_bit),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…CRC…); start the run again",
        id="one-bit-flipped",
    ),
    pytest.param(
        a_run(truncated("old/last.pt")),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…); start the run again",
        id="truncated-checkpoint",
    ),
    pytest.param(
        a_run(lambda: torch.save({"weights": _Code()}, "old/last.pt")),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…); start the run again",
        id="checkpoint-with-code",
    ),
    pytest.param(
        a_run(file("old/.hydra/config.yaml", "stock: {ticker: AA")),
        "trainer.resume=old trainer.epochs=2",
        "old/.hydra/config.yaml: cannot be read as a saved config (",
        id="truncated-saved-config",
    ),
    pytest.param(
        a_run(lambda: Path("old/config.json").write_text("{}")),
        "trainer.resume=old trainer.epochs=2",
        "old/config.json: ",
        id="facts-of-nothing",
    ),
]


@pytest.mark.parametrize(("making", "typed", "says"), MISFITS)
def test_what_does_not_fit_what_lies_there_is_told_and_nothing_is_touched(
    making: Making, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, making, typed, [says])


FAILING = [
    pytest.param("trainer.lr=1e30", "train loss became …in epoch 1, batch 2 of 4; …a lower trainer.lr", id="diverging"),
    pytest.param(
        "trainer.overfit_batches=1 trainer.lr=1e-9",
        "overfit_batches=1: the train loss ended at …not near zero …trainer.epochs",
        id="not-overfitting",
    ),
    pytest.param(
        "model.hidden_dim=100000000000000", "out of memory (…); lower …model.hidden_dim", id="model-beyond-memory"
    ),
]


@pytest.mark.parametrize(("typed", "says"), FAILING)
def test_a_run_that_fails_says_why_and_keeps_its_folder(
    typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(shlex.split(f"{SIMULATED} hardware=cpu hydra.run.dir=run {typed}"))
    err = capsys.readouterr().err
    assert_told(err, [says])
    assert status == 1
    result = json.loads(Path("run/result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"] == err.strip()


REAL = [
    pytest.param(nothing, "trainer.lrr=0.1 seed=-1", 2, ["seed=-1: must be", "trainer.lrr: …trainer.lr?"], id="typos"),
    pytest.param(cell(5, "Close", "abc"), BARS, 2, ["AAPL.csv, line 5: Close is 'abc', no number"], id="bars"),
    pytest.param(nothing, f"{SIMULATED} trainer.lr=1e30", 1, ["train loss became …trainer.lr"], id="diverging"),
]


def run_py(typed: str, prefix: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python run.py` in a process of its own."""
    command = [*(prefix or []), sys.executable, str(RUN_PY), *shlex.split(typed)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("making", "typed", "status", "says"), REAL)
def test_the_real_program_says_nothing_else_on_stderr(making: Making, typed: str, status: int, says: list[str]) -> None:
    making()
    before = contents()
    done = run_py(typed)
    assert_told(done.stderr, says)
    assert done.returncode == status
    if status == 2:
        assert contents() == before


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


DISKS = [
    pytest.param("ro", 2, "disk/run: cannot make a run folder here (Read-only …hydra.run.dir=FOLDER", id="read-only"),
    pytest.param("nr_inodes=2", 2, "disk/run: cannot make a run folder here (No space …hydra.run.dir", id="no-inode"),
    pytest.param("nr_inodes=4", 1, "disk/run: …No space left on device…hydra.run.dir", id="full-at-the-first-file"),
    pytest.param("size=40k", 1, "disk/run: …No space left on device…hydra.run.dir", id="full-at-the-checkpoint"),
]


@pytest.mark.parametrize(("options", "status", "says"), DISKS)
def test_a_disk_that_takes_no_run_is_told_and_keeps_no_part_of_one(options: str, status: int, says: str) -> None:
    done = run_py(f"{SIMULATED} model.hidden_dim=512 hydra.run.dir=disk/run", mounted(options))
    assert_told(done.stderr, [says])
    assert done.returncode == status
    assert Path("left").read_text() == ""
    assert "trainer.resume" not in done.stderr  # there is nothing to resume


@pytest.mark.parametrize(("making", "typed"), [(npz(), ARRAYS), (bars(), BARS), (nothing, SIMULATED)])
def test_what_the_rows_spoil_is_sound(making: Making, typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    making()
    assert cli.main(shlex.split(typed)) == 0
    assert capsys.readouterr().err == ""


def test_a_traceback_is_there_for_who_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert cli.main(["trainer.lrr=0.1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1] == "trainer.lrr: no such key; did you mean trainer.lr?"
