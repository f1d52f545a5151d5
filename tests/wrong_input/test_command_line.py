"""A wrong command line is answered by a line for each fault that says what, where and what to do."""

from __future__ import annotations

import sys

import pytest

from tests.wrong_input.inputs import NO_GPU, assert_refused, nothing

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
        "model=linear model.hidden_dim=3",
        ["model.hidden_dim: no such key; known with model=linear: name"],
        id="key-of-mlp",
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
    pytest.param(
        "model=sklearn", ["model=sklearn: must be one of mlp, …; scikit-learn's are elastic_net, …"], id="sklearn"
    ),
    pytest.param(
        "model=lightgbm trainer=ddp hardware=cuda",
        [
            "trainer=ddp: model=lightgbm is fitted by one process; take trainer=single, and hardware.threads=N …",
            "hardware.device=cuda: model=lightgbm computes on the CPU; take hardware=cpu",
        ],
        id="trees-in-ranks-on-a-gpu",
    ),
    pytest.param(
        "model=random_forest trainer.loss=quantile trainer.quantile=0.1",
        ["trainer.loss=quantile: model=random_forest cannot minimise it; it takes only trainer.loss=mse"],
        id="loss-of-another-model",
    ),
    pytest.param(
        "model=lightgbm trainer.lr=0.1 trainer.batch_size=3",
        ["trainer.batch_size, trainer.lr: without effect on model=lightgbm: …; leave them out"],
        id="settings-of-steps",
    ),
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
    pytest.param(
        "intervals=[0.95,0.8]", ["intervals=[0.95, 0.8]: must be levels between 0 and 1, …"], id="falling-levels"
    ),
    pytest.param(
        "intervals=[80]", ["intervals=[80.0]: must be levels between 0 and 1, …[0.8,0.95], or []"], id="level-80"
    ),
    pytest.param(
        "portfolio.rule=quantile",
        ["portfolio.rule=quantile: compares the stocks of a day; name several, 'data.tickers=[AAPL,AMZN]', or …"],
        id="quantiles-of-one-stock",
    ),
    pytest.param("portfolio.quantile=0.6", ["portfolio.quantile=0.6: must be …"], id="more-than-half-bought"),
    pytest.param("portfolio.cost_bps=-1", ["portfolio.cost_bps=-1: must be …"], id="paid-for-trading"),
    pytest.param("intervals=0.8", ["intervals=0.8: must be a list of a number"], id="level-without-list"),
    pytest.param(
        "trainer.loss=quantile trainer.quantile=0.1 data=csv data.dir=x data.tickers=all data.target_normalize=csrank",
        ["trainer.loss=quantile: not with data.target_normalize=csrank, …"],
        id="quantile-of-ranks",
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
    pytest.param(
        "trainer.world_size=2", ["trainer.world_size: no such key; type trainer=ddp, which has it"], id="no-ddp"
    ),
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
    pytest.param(
        "-m '+hydra.sweeper.params.seed=\"1,2\"'", ["hydra.sweeper.params: …-m: seed=1,2"], id="sweeper-params"
    ),
    pytest.param("-m 'hydra.sweeper.params={seed: \"1,2\"}'", ["hydra.sweeper.params: …after -m: …"], id="all-params"),
    pytest.param("-m seed=1,2 hydra.run.dir=x", ["hydra.run.dir=x: …hydra.sweep.dir=FOLDER"], id="run-dir-in-sweep"),
    pytest.param("-m seed=1,2 trainer.resume=x", ["trainer.resume=x: there is no such"], id="resume-in-sweep"),
    pytest.param("-m seed=1,2 hydra.launcher.n_jobs=0", ["hydra.launcher.n_jobs=0: must be …≥ 1"], id="no-jobs"),
    pytest.param("-m hydra/launcher=jobllib", ["hydra/launcher=jobllib: …did you mean joblib?"], id="unknown-launcher"),
    pytest.param(
        "-m seed=0.5,1 hydra/launcher=ray hydra.launcher.adress=x hydra.launcher.retries=-1",
        [
            "hydra.launcher.adress: no such key; did you mean hydra.launcher.address?",
            "hydra.launcher.retries=-1: must be a whole number ≥ 0",
            "seed=0.5: must be a whole number",
        ],
        id="ray-settings",
    ),
    pytest.param(
        "-m seed=1,2 hydra/launcher=ray hydra.launcher.address=head",
        ["hydra.launcher.address: 'head' must be auto or of the form host:port"],
        id="ray-address",
    ),
    pytest.param(
        "-m seed=1,2 hydra/launcher=ray hydra.launcher.address=127.0.0.1:9 hydra.launcher.wait_seconds=0.1",
        ["hydra.launcher.address=127.0.0.1:9: no Ray cluster answers there within 0.1 s; …leave the setting out"],
        id="no-ray-cluster",
    ),
    pytest.param("-m seed=1,2 task=report", ["task=report: is no task for a sweep; …-m"], id="task-in-sweep"),
    pytest.param("task=report", ["run: needed with task=report…run=FOLDER"], id="report-of-nothing"),
    pytest.param("task=report run=x", ["x: holds neither a run nor a sweep; …multirun/"], id="report-of-nothing-there"),
    pytest.param("task=reproduce run=x", ["run=x: there is no such run folder"], id="reproduce-nothing"),
    pytest.param("task=explain", ["run: needed with task=explain…run=FOLDER"], id="explain-nothing"),
    pytest.param("task=explain run=x", ["run=x: there is no such run folder"], id="explain-nothing-there"),
    pytest.param(
        "explain.split=train explain.repeats=0 explain.samples=1",
        [
            "explain.split=train: must be one of validation, test",
            "explain.repeats=0: must be a whole number ≥ 1",
            "explain.samples=1: must be a whole number ≥ 100",
        ],
        id="explain-settings",
    ),
    pytest.param("task=audit run=x", ["run=x: there is no such run folder"], id="audit-of-nothing"),
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
        ["model.hidden_dim: no such key; known with model=linear: name (with model=linear)"],
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
    pytest.param("data.window.x.y=3 '~data.nope'", ["~data.nope: there is no such setting"], id="deletes-nothing"),
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


def test_ray_as_a_launcher_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_refused(
        capsys,
        nothing,
        "-m seed=1,2 hydra/launcher=ray",
        ["hydra/launcher=ray: needs ray: pip install 'stockml[ray]'"],
    )
