"""Training and forecasting from Python."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
from hydra import version
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

from stockml import Result, RunError, UserError, cli, predict, train
from stockml.compose import isolated_hydra_state, read, setting
from stockml.reporting import drawing
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, Request, reproduce
from tests.conftest import ROOT, metrics, random_bars, write_bars
from tests.tasks.test_train import identical

QUICK = {"data.days": 300, "data.window": 10, "report": False}
"""With `experiment="quick"`: a run of half a second."""


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_bars(random_bars(300, ticker="NA"), folder)
    return folder


@pytest.fixture(scope="module")
def market_like(bars: Path) -> Result:
    """A run on bars of the user's own, to be read only: of a ticker that pandas would take for a missing value."""
    settings = {"data.dir": bars, "stock.ticker": "NA", "data.window": 10, "report": False}
    return train(data="csv", experiment="quick", folder=bars / "run", settings=settings, quiet=True)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on simulated bars, to be read only."""
    folder = tmp_path_factory.mktemp("simulated") / "run"
    return train(stock="TSLA", model="mlp_flat", experiment="quick", seed=7, folder=folder, settings=QUICK, quiet=True)


def test_the_numbers_and_files_are_those_of_the_command_line(simulated: Result, tmp_path: Path) -> None:
    typed = ["stock=TSLA", "model=mlp_flat", "+experiment=quick", "seed=7", "data.days=300", "data.window=10"]
    assert cli.main([*typed, "report=false", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert identical(simulated.folder, tmp_path / "run")
    names, others = ({str(p.relative_to(f)) for p in f.rglob("*")} for f in (simulated.folder, tmp_path / "run"))
    assert names == others
    for name in ("predictions.csv", "baselines.csv", ".hydra/config.yaml"):
        assert (simulated.folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_its_run_is_reproduced_as_any_other(
    simulated: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("task=reproduce", f"run={simulated.folder}", f"hydra.run.dir={tmp_path / 'again'}", "report=false")
    with isolated_hydra_state():
        command = read(typed, TASKS)
        reproduce.run(
            command.jobs[0], Request(RunLocation(exact=command.folder), command.records, typed, command.conf_changes)
        )
    printed = capsys.readouterr().out
    assert "same config, data, code, versions and device" in printed
    assert printed.endswith("reproduced: identical\n")


def test_a_run_from_a_thread_and_after_another_one_has_the_same_numbers(simulated: Result, tmp_path: Path) -> None:
    def again() -> None:
        train(stock="AAPL", model="gru", experiment="quick", folder=tmp_path / "other", settings=QUICK, quiet=True)
        config = {"stock": "TSLA", "model": "mlp_flat", "experiment": "quick"}
        train(**config, seed=7, folder=tmp_path / "again", settings=QUICK, quiet=True)

    thread = threading.Thread(target=again)
    thread.start()
    thread.join()
    assert identical(simulated.folder, tmp_path / "again")


def test_ranks_are_started_and_are_as_good_as_one_process(simulated: Result, tmp_path: Path) -> None:
    settings = {**QUICK, "trainer.world_size": 1}
    config = {"stock": "TSLA", "model": "mlp_flat", "trainer": "ddp", "experiment": "quick"}
    found = train(**config, seed=7, folder=tmp_path / "run", settings=settings, quiet=True)
    pd.testing.assert_frame_equal(found.predictions, simulated.predictions, check_exact=True)


def test_what_was_interrupted_goes_on_from_its_result(tmp_path: Path) -> None:
    half = train(experiment="quick", folder=tmp_path / "run", settings={**QUICK, "trainer.epochs": 1}, quiet=True)
    whole = train(settings={"trainer.resume": half, "trainer.epochs": 2, "report": False}, quiet=True)
    assert whole.folder == half.folder
    assert whole.history["epoch"].tolist() == [1, 2]


def test_a_quiet_run_prints_nothing_and_any_other_what_the_command_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(experiment="quick", settings=QUICK, quiet=True)
    predict(run, quiet=True)
    assert capfd.readouterr() == ("", "")
    assert run.folder.parent == tmp_path / "outputs"
    told = train(experiment="quick", settings=QUICK)
    printed = capfd.readouterr().out
    log = (told.folder / "train.log").read_text().splitlines()
    assert [line[len("2024-01-15 12:34:56 ") :] for line in log] == printed.splitlines()
    assert printed.startswith("SIMULATED DATA (synthetic: true)")
    predict(told)
    assert capfd.readouterr().out.startswith("SIMULATED DATA (synthetic: true)")


def test_every_fault_is_told_at_once_and_no_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"--cfg": "job", "data.days": {}, "trainer.epoch": 3, "trainer.lr": "1e-3", "trainer.patience": True}
    with pytest.raises(UserError) as caught:
        train(stock="APPL", seed=-1, settings=settings)
    told = "\n".join(caught.value.lines)
    for key in ("'--cfg'", "data.days", "trainer.epoch:", "trainer.lr", "trainer.patience", "stock=APPL", "seed=-1"):
        assert any(line.startswith(key) for line in caught.value.lines), (key, told)
    assert "did you mean AAPL?" in told and "did you mean trainer.epochs?" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"experiment": "all_stocks"}, "a sweep was asked for: call train once for each"),
        ({"settings": {"task": "audit"}}, "task=audit: this is train(); type it"),
        ({"trainer": "ddp", "settings": {"trainer.nnodes": 2, "trainer.rdzv_endpoint": "localhost:1"}}, "one machine"),
    ],
)
def test_what_is_not_one_run_is_refused_with_what_to_do(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        train(**arguments)
    assert told in str(caught.value)


def test_a_worker_of_torchrun_is_not_ended_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="started this process as a worker"):
        train(trainer="ddp", settings=QUICK)


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("trainer.epochs", np.int64(3), 3),
        ("trainer.lr", np.float64(1e-5), 1e-5),
        ("trainer.lr", np.array(0.1), 0.1),
        ("trainer.shuffle", np.bool_(False), False),
        ("trainer.patience", None, None),
        ("hardware.threads", "auto", "auto"),
        ("data.start", datetime.date(2001, 2, 3), datetime.date(2001, 2, 3)),
        ("data.end", pd.Timestamp("2001-02-03"), datetime.date(2001, 2, 3)),
        ("data.end", pd.Timestamp("2001-02-03 04:05"), datetime.datetime(2001, 2, 3, 4, 5)),
        ("data.tickers", ("AAPL", "0700"), ("AAPL", "0700")),
        ("data.panel_cache", "1e3", str(Path("1e3").absolute())),
        ("data.panel_cache", Path("/a b/${c},'d'"), "/a b/${c},'d'"),
    ],
)
def test_a_value_of_pythons_is_the_value_that_the_config_gets(key: str, value: object, meant: object) -> None:
    (config,) = read([setting(key, value)]).jobs
    section, name = key.split(".")
    assert getattr(getattr(config, section), name) == meant


def test_nothing_global_is_other_after_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a program that uses Hydra itself, with another version's rules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    store, threads = ConfigStore.instance(), torch.get_num_threads()
    theirs = ConfigNode("theirs", OmegaConf.create({"name": "theirs"}), "model", None, None)
    monkeypatch.setitem(store.repo, "model", {"theirs.yaml": theirs})

    def state() -> list[object]:
        handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
        flags = [torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark, torch.get_num_threads()]
        random = [torch.get_rng_state().tolist(), str(np.random.get_state())]
        of_hydra = [GlobalHydra.instance().hydra, HydraConfig.instance().cfg, str(sorted(store.repo["hydra"]))]
        launchers = str(store.repo["hydra"]["launcher"]["basic.yaml"].node)
        resolvers = dict(BaseContainer._resolvers)
        base = version.getbase()
        argv, environment = list(sys.argv), dict(os.environ)
        environment.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch's own, once its compiler is imported
        return [*handlers, *flags, *random, *of_hydra, launchers, resolvers, base, argv, environment, Path.cwd()]

    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2", job_name="theirs"):
        torch.set_num_threads(threads + 1)
        torch.backends.cudnn.benchmark = True
        try:
            before = state()
            run = train(experiment="quick", settings={**QUICK, "hardware.deterministic": True}, quiet=True)
            predict(run, quiet=True)
            with pytest.raises(UserError, match="model=theirs: must be one of"):
                train(model="theirs")
            with pytest.raises(RunError):
                train(settings={**QUICK, "trainer.optimizer": "sgd", "trainer.lr": 1e30}, quiet=True)
            assert state() == before
            assert ConfigStore.instance() is store
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = False


def test_a_result_tells_what_its_folder_holds(market_like: Result) -> None:
    assert Result(str(market_like.folder)).metrics == market_like.metrics
    own = ("timing", "looks", "verdict")
    told = {key: value for key, value in market_like.metrics.items() if key not in own}
    assert told == {key: value for key, value in metrics(market_like.folder).items() if key not in own}
    assert market_like.verdict == market_like.metrics["verdict"]
    assert (market_like.config.stock.ticker, market_like.config.trainer.epochs) == ("NA", 3)
    assert market_like.history["epoch"].tolist() == [1, 2, 3]


INTERVALS = ["lower_80", "upper_80", "lower_95", "upper_95"]


def test_predictions_are_read_to_the_last_digit_with_their_dates_and_tickers(market_like: Result) -> None:
    frame = market_like.predictions
    assert list(frame) == [
        "sample",
        "ticker",
        "date",
        "split",
        "y_true",
        "y_pred",
        *INTERVALS,
        "volatility",
        "next_return",
    ]
    assert frame[INTERVALS].notna().all(axis=1).tolist() == (frame["split"] == "test").tolist()
    assert set(frame["ticker"]) == {"NA"} and pd.api.types.is_datetime64_any_dtype(frame["date"])
    test = frame[frame["split"] == "test"]
    assert np.square(test["y_true"] - test["y_pred"]).mean() == pytest.approx(
        market_like.metrics["test"]["mse"], rel=1e-12, abs=0
    )
    rows = (market_like.folder / "predictions.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[5]) for row in rows] == frame["y_pred"].tolist()
    ridge = market_like.baselines.loc[market_like.baselines["split"] == "test", "ridge"]
    error = np.square(test["y_true"] - ridge).mean()
    assert error == pytest.approx(market_like.metrics["baselines"]["ridge"]["test"]["mse"], rel=1e-12, abs=0)


def test_forecasts_are_those_that_the_task_writes_the_day_to_come_among_them(
    market_like: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = predict(market_like, settings={"data.end": None})
    assert capsys.readouterr().out == ""  # there is nothing that one should know
    assert list(frame) == ["date", "target_date", "ticker", "y_pred", *INTERVALS, "y_true"]
    rows = [row.split(",") for row in (market_like.folder / "forecasts.csv").read_text().splitlines()[1:]]
    assert [(date, ticker, float(y)) for date, _, ticker, y, *_ in rows] == [
        (str(date.date()), ticker, y)
        for date, ticker, y in zip(frame["date"], frame["ticker"], frame["y_pred"], strict=True)
    ]
    known = market_like.predictions.query("split == 'test'")
    for column in ("y_pred", *INTERVALS):
        assert frame[column].tolist()[:-1] == known[column].tolist()
    assert np.isnan(frame["y_true"].iloc[-1]) and frame["target_date"].iloc[-1] > frame["date"].iloc[-1]


def test_each_fold_of_a_walk_forward_run_has_its_history(bars: Path, tmp_path: Path) -> None:
    settings = {"data.dir": bars, "stock.ticker": "NA", "data.window": 10, "data.split": "walk_forward"}
    settings |= {"data.folds": 2, "trainer.epochs": 1, "report": False}
    run = train(data="csv", model="linear", folder=tmp_path / "run", settings=settings, quiet=True)
    assert run.history[["fold", "epoch"]].to_numpy().tolist() == [[0, 1], [1, 1]]
    assert run.table("folds.csv")["fold"].tolist() == [0, 1]


def test_a_notebook_shows_scores_and_verdict_and_that_data_are_simulated(
    simulated: Result, market_like: Result
) -> None:
    for run in (simulated, market_like):
        shown, told = run._repr_html_(), repr(run)
        assert run.verdict in shown
        assert f"<td>{run.metrics['test']['mse']:#.4g}</td>" in shown and "<td>ridge" in shown
        assert "\n" not in told and f"{run.metrics['test']['mse']:#.4g}" in told and str(run.folder) in told
        assert ("synthetic: true" in shown) == ("synthetic: true" in told) == run.synthetic == (run is simulated)


def test_what_a_notebook_shows_is_text_however_much_it_looks_like_html(bars: Path, tmp_path: Path) -> None:
    settings = {"stock.ticker": "<b>", "data.path": bars / "NA.csv", "data.window": 10, "report": False}
    folder = tmp_path / "<i>"
    shown = train(data="csv", experiment="quick", folder=folder, settings=settings, quiet=True)._repr_html_()
    assert "&lt;b&gt;" in shown and "&lt;i&gt;" in shown and "<b>" not in shown and "<i>" not in shown


def test_plots_are_those_of_the_page_and_a_notebook_shows_them(simulated: Result) -> None:
    plots = simulated.plots()
    assert set(plots) >= {"losses", "predicted", "cumulative", "timeline"}
    assert all(isinstance(figure, Figure) for figure in plots.values())
    figure: Any = plots["losses"]
    assert any("synthetic: true" in text.get_text() for text in figure.texts)
    assert figure._repr_png_().startswith(b"\x89PNG")
    with drawing.style():
        assert figure._repr_png_() == drawing.png(simulated.plot("losses"))
    with pytest.raises(UserError, match="did you mean losses"):
        simulated.plot("loses")


def test_without_matplotlib_a_plot_says_what_to_install(simulated: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'stockml\[report\]'"):
        simulated.plots()


def test_a_run_that_failed_can_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"trainer\.lr"):
        settings = {**QUICK, "trainer.optimizer": "sgd", "trainer.lr": 1e30}
        train(folder=tmp_path / "run", settings=settings, quiet=True)
    run = Result(tmp_path / "run")
    assert run.status == "failed" and "failed" in repr(run) and "failed" in run._repr_html_()
    with pytest.raises(UserError, match=r"metrics\.json"):
        _ = run.metrics
    with pytest.raises(UserError, match="holds no run"):
        Result(tmp_path)


def test_importing_stockml_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); import stockml; assert 'train' in dir(stockml)\n"
        "assert {m for m in set(sys.modules) - before if m.startswith('stockml.')} == set()\n"
        "from stockml import Result, RunError, UserError, predict, train\n"
        "heavy = {'torch', 'pandas', 'numpy', 'hydra', 'omegaconf', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
