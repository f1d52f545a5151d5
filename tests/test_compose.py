"""What is typed becomes a checked config, and a saved config becomes the same one again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from stockml import cli, compose
from stockml.compose import grammar
from stockml.config.conf_folder import CONF
from stockml.config.values import plain
from stockml.data.settings import BarsConfig
from stockml.data.sources.simulated import SimulatedConfig
from stockml.errors import UserError
from stockml.models.settings import MLPConfig

EIGHT = {"AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM"}


def test_the_defaults_are_those_of_the_design() -> None:
    config = compose.compose()
    assert isinstance(config.model, MLPConfig) and isinstance(config.data, SimulatedConfig)
    assert (config.trainer.epochs, config.trainer.batch_size, config.trainer.lr) == (50, 64, 1e-3)
    assert (config.model.hidden_dim, config.model.dropout, config.trainer.patience) == (64, 0.1, 5)
    assert (config.seed, config.hardware.num_workers, config.data.window, config.data.horizon) == (42, 0, 60, 1)
    assert (config.data.target, config.data.transform) == ("log_return", "auto")
    assert (config.data.valid_ratio, config.data.test_ratio, config.data.signal) == (0.1, 0.2, "realistic")
    assert compose.compose("data.signal=null").data.signal is None  # type: ignore[attr-defined]


def test_a_glob_over_stocks_gives_exactly_the_eight() -> None:
    jobs = compose.read(["-m", "stock=glob(*)"]).jobs
    assert {job.stock.ticker for job in jobs} == EIGHT == {path.stem for path in (CONF / "stock").iterdir()}
    assert all(len(job.stock.features) == (1 if job.stock.ticker == "SP500" else 5) for job in jobs)


def test_a_sweep_is_every_point_of_its_grid() -> None:
    jobs = compose.read(["-m", "stock=AAPL,TSLA", "seed=range(3)", "+experiment=quick"]).jobs
    assert [(job.stock.ticker, job.seed) for job in jobs] == [(t, s) for t in ("AAPL", "TSLA") for s in range(3)]
    assert {job.trainer.epochs for job in jobs} == {3}


def test_a_ticker_without_a_file_brings_no_figures_of_another() -> None:
    stock = compose.compose("data=csv", "data.dir=.", "stock.ticker=NVDA").stock
    assert (stock.ticker, stock.name, stock.simulator) == ("NVDA", "", None)
    named = compose.compose("data=csv", "data.dir=.", "stock.ticker=NVDA", "stock.name=NVIDIA").stock
    assert named.name == "NVIDIA"
    with pytest.raises(UserError, match="no simulator settings"):
        compose.compose("stock.ticker=NVDA")


def test_paths_mean_the_same_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = plain(compose.compose("data=csv", "data.dir=bars").data)
    assert data["dir"] == str(tmp_path / "bars")


SAVED = [
    [],
    ["stock=SP500", "data.signal=null", "data.seed=3", "seed=0", "trainer.patience=null", "model=linear"],
    ["data=csv", "data.dir=some/where", "stock.ticker='0700'", "data.test_start=2020-01-01", "data.window=5"],
    ["data=npz", "data.path='a b,c=d.npz'", "trainer.lr=1e-5"],
    ["+experiment=debug_overfit", "hardware=cpu", "hardware.threads=2", "hardware.precision=fp64"],
    ["data=csv", "data.dir=.", "stock.ticker=X", r"""stock.name='it\'s \${a} \\ "q" [x], {y: 1} é'"""],
    ["model=mlp_flat", "model.hidden_dim=7", "stock.features=[close,volume]", "trainer.optimizer=sgd"],
]


@pytest.mark.parametrize("typed", SAVED)
def test_a_saved_config_becomes_the_same_config_again(
    typed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose.compose(*typed)
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "config.yaml").write_text(compose.records(config)["config.yaml"])
    monkeypatch.chdir(tmp_path)
    again = ["-cp", "run/.hydra", "-cn", "config"]
    assert compose.read(again).jobs == [config]
    assert compose.read([*again, "seed=9"]).jobs[0].seed == 9
    resumed = compose.read(["trainer.resume=run"])
    assert resumed.jobs[0].trainer.resume == str(tmp_path / "run") == str(resumed.folder)


def test_groups_can_be_switched_over_a_saved_config(tmp_path: Path) -> None:
    config = compose.compose("model=mlp_flat", "model.hidden_dim=7", "data.days=900", "trainer.lr=0.5")
    (tmp_path / "config.yaml").write_text(compose.records(config)["config.yaml"])
    again = compose.read(["-cp", str(tmp_path), "-cn", "config", "model=linear", "+experiment=quick"]).jobs[0]
    assert (again.model.name, again.trainer.lr, again.trainer.epochs) == ("linear", 0.5, 3)
    assert isinstance(again.data, SimulatedConfig) and again.data.days == 900


def test_a_saved_config_is_checked_like_what_is_typed(tmp_path: Path) -> None:
    text = compose.records(compose.compose())["config.yaml"]
    (tmp_path / "config.yaml").write_text(text.replace("epochs: 50", "epochs: many\n  momentum: 1"))
    with pytest.raises(UserError) as caught:
        compose.read(["-cp", str(tmp_path), "-cn", "config"])
    assert "trainer.momentum: no such key" in str(caught.value)
    assert "trainer.epochs=many: must be a whole number" in str(caught.value)


def test_a_folder_of_the_user_s_own_adds_choices(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer: {epochs: 7}\n")
    assert compose.read(["-cd", str(tmp_path), "+experiment=mine"]).jobs[0].trainer.epochs == 7


def test_no_config_can_name_code(tmp_path: Path) -> None:
    for key in ("+model._target_", "+_target_", "+data._target_"):
        with pytest.raises(UserError, match="no such key"):
            compose.compose(f"{key}=os.system")
    with pytest.raises(UserError, match="must be one of"):
        compose.compose("model.name=os:system")
    with pytest.raises(UserError, match="executes a pickle"):
        compose.read(["--experimental-rerun", str(tmp_path / "x.pickle")])


def test_dates_are_dates_whether_quoted_or_not() -> None:
    for typed in ("data.start=2001-02-03", "data.start='2001-02-03'", 'data.start="2001-02-03"'):
        data = compose.compose("data=csv", "data.dir=.", typed).data
        assert isinstance(data, BarsConfig) and str(data.start) == "2001-02-03"


PLUGIN = """
from dataclasses import dataclass
from torch import nn
from stockml.models import Family

@dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    scale: float = 0.5

class Model(nn.Module):
    def __init__(self, config, window, features):
        super().__init__()
        self.scale, self.output = config.scale, nn.Linear(features, 1)
    def forward(self, x):
        return self.output(x[:, -1] * self.scale).squeeze(-1)

FAMILY = Family(Config, "my_models:Model")
"""


def test_an_installed_package_adds_a_model_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "site"
    info = package / "my_models-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "my_models.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stockml.models]\nmine = my_models:FAMILY\nbroken = my_models:nothing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(package)
    assert cli.main(["model=mine", "model.scale=2", "+experiment=quick", "hydra.run.dir=run"]) == 0
    assert "mine, 6 parameters" in capsys.readouterr().out
    again = ["-cp", "run/.hydra", "-cn", "config"]
    assert cli.main([*again, "hydra.run.dir=again"]) == 0
    assert cli.main([*again, "model=mine", "model.scale=3", "hydra.run.dir=over"]) == 0
    for typed, says in (
        (["model=mine", "model.scael=2", "model.scale=x"], "model.scael: no such key; did you mean model.scale?"),
        (["model=mine", "model.scael=2", "model.scale=x"], "model.scale=x: must be a number"),
        (["model=broken"], "does not load"),
        (["model=mien"], "did you mean mine?"),
    ):
        assert cli.main(typed) == 2
        assert says in capsys.readouterr().err


def job_names(*typed: str) -> list[str]:
    sweep = compose.read(["-m", *typed]).sweep
    assert sweep is not None
    return [job.name for job in sweep.jobs]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("stock=AAPL,TSLA", ["AAPL", "TSLA"]),
        ("stock=AAPL", ["AAPL"]),
        ("trainer.lr=1e-3,0.1 stock=TSLA,AAPL", ["TSLA-lr_0.001", "AAPL-lr_0.001", "TSLA-lr_0.1", "AAPL-lr_0.1"]),
        ("+experiment=quick,debug_overfit", ["AAPL-experiment_quick", "AAPL-experiment_debug_overfit"]),
        ("seed=range(2) data.seed=3", ["AAPL-seed_0", "AAPL-seed_1"]),
        ("seed=1,2 data.seed=3,4", [f"AAPL-seed_{a}-data.seed_{b}" for a in (1, 2) for b in (3, 4)]),
        ("data=npz data.path=some/x.npz,some/y.npz", ["x", "y"]),
        ("data=csv data.dir=. stock.ticker='^GSPC',BRK.B", ["_GSPC", "BRK.B"]),
    ],
)
def test_a_job_is_named_by_what_is_swept(typed: str, names: list[str]) -> None:
    assert job_names(*typed.split()) == names


AWKWARD = [
    ["data=csv", "data.dir=.", "stock.ticker=AAPL,AAPL,AAPL_2"],
    ["data=csv", "data.dir=.", "stock.ticker=AAPL,AAPL_2,AAPL"],
    ["data=csv", "data.dir=.", "stock.ticker='A B','A,B',A_B,'A B'"],
    ["data=npz", "data.path=a/x.npz,b/x.npz"],
    ["data=csv", "data.dir=.", "stock.ticker=X", f"stock.name={'x' * 300},{'x' * 299}y"],
    ["data=csv", "data.dir=.", "stock.ticker=aapl,AAPL", "stock.name='ü;$(rm)','..'"],
    ["trainer.lr=1e-3,0.001", "stock.features=[close],[close,volume]"],
]


@pytest.mark.parametrize("typed", AWKWARD)
def test_no_two_jobs_share_a_name_and_every_name_can_be_typed(typed: list[str]) -> None:
    names = job_names(*typed)
    assert len(set(names)) == len(names) > 1
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) and len(name) <= 100 for name in names)
    for name in names:
        (override,) = grammar.parse([f"hydra.sweep.subdir={name}"])
        assert override.value() == name and shlex.quote(name) in (name, f"'{name}'")


def test_names_that_would_be_one_differ_by_a_hash() -> None:
    names = job_names("data=csv", "data.dir=.", "stock.ticker='A B','A,B',C")
    assert [bool(re.fullmatch(r"A_B-[0-9a-f]{8}", name)) for name in names] == [True, True, False]
    assert names[2] == "C"


def test_the_batch_of_all_stocks_is_a_sweep_by_its_name_alone() -> None:
    seven = "AAPL,AMZN,JNJ,JPM,MSFT,TSLA,XOM"
    by_name = compose.read(["+experiment=all_stocks", "seed=3"])
    typed = compose.read(["-m", f"stock={seven}", "seed=3"])
    assert by_name.jobs == typed.jobs
    assert by_name.sweep is not None and [job.name for job in by_name.sweep.jobs] == seven.split(",")
    narrowed = compose.read(["+experiment=all_stocks", "stock=XOM,AAPL"]).sweep
    assert narrowed is not None and [job.name for job in narrowed.jobs] == ["XOM", "AAPL"]
