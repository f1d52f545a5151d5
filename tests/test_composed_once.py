"""A config is composed once: for what is run, for each job of a sweep, and in no job's process."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from stockml import cli, compose
from stockml.compose import repeats
from stockml.compose.combinations import Combinations
from stockml.compose.composing import Composer
from stockml.compose.hydra_private import ConfigLoaderImpl, new_loader
from stockml.config.conf_folder import CONF
from stockml.config.values import leaves
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars
from tests.tasks.test_train import identical

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=1", "report=false", "model=linear")


@pytest.fixture
def composings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line, the process, for each time that Hydra composes; the current folder is an empty one."""
    path = tmp_path / "composings"
    path.touch()
    load = ConfigLoaderImpl.load_configuration

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return load(self, *args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert cli.main([*QUICK, f"hydra.run.dir={folder}"]) == 0
    return folder


def processes(composings: Path) -> list[int]:
    return [int(line) for line in composings.read_text().split()]


@pytest.mark.parametrize(
    "typed",
    [
        QUICK,
        (*QUICK, "+experiment=quick", "seed=3", "+hydra.job.env_set.A=b"),
        ("task=predict", "run=RUN"),
        ("task=evaluate", "run=RUN"),
        ("task=reproduce", "run=RUN", "report=false"),
        ("-cp", "RUN/.hydra", "-cn", "config", "seed=9", "report=false"),
    ],
)
def test_a_command_line_is_composed_once(typed: tuple[str, ...], run: Path, composings: Path) -> None:
    copy = shutil.copytree(run, composings.with_name("copy"))
    assert cli.main([argument.replace("RUN", str(copy)) for argument in typed]) == 0
    assert processes(composings) == [os.getpid()]


@pytest.mark.parametrize(
    ("swept", "times"),
    [(("seed=1,2,3",), 1), (("stock=AAPL,TSLA", "seed=1,2"), 3), (("+experiment=quick,debug_overfit",), 3)],
)
def test_a_sweep_is_composed_once_and_each_job_at_most_once(
    swept: tuple[str, ...], times: int, composings: Path
) -> None:
    assert cli.main(["-m", *swept, *QUICK[:3], "trainer.overfit_batches=0", "report=false"]) == 0
    assert processes(composings) == [os.getpid()] * times


@pytest.mark.filterwarnings("ignore")  # optuna's own, of its database
def test_a_search_composes_no_trial_in_its_process(composings: Path) -> None:
    typed = ["+experiment=tune_mlp", "hydra.sweeper.n_trials=3", *QUICK[:-1]]
    assert cli.main(typed) == 0
    assert processes(composings) == [os.getpid()]


def hydras_own(composer: Composer, lines: list[str]) -> Any:
    """What Hydra composes under these overrides, those of unknown keys added by force."""
    return new_loader(CONF, None).load_configuration("config", composer.forced(composer.parse(lines)), RunMode.RUN)


GRIDS = [
    ["seed=1,2", "trainer.lr=1e-3,0.1", "model.dropout=0"],
    ["stock=AAPL,SP500", "model=mlp,gru", "model.hidden_dim=8,16"],
    ["+experiment=quick,debug_overfit", "trainer.epochs=7", "data.days=300,400"],
    ["~trainer.patience", "trainer.lr=1,2"],
    ["trainer.lr=1", "++trainer.lr=2", "seed=1,2"],
    ["~stock.simulator.garch", "stock.simulator.garch.alpha=1,2"],
    ["+new.deep.key=1,null", "++trainer.lr=3"],
    ["trainer.patience=null,3", "stock.features=[close],[close,volume]", "+x=[1,{a: 2}]"],
    ["data.test_ratio=0.1,0.2", "'data.valid_ratio=${data.test_ratio}'"],
    ["""stock.name='a b','it\\'s $x'""", 'stock.ticker="0700",ON', "seed='7'"],
    ["data=csv,yahoo", "data.window=5", "'data.start=2001-02-03'"],
    ["trainer=ddp,single", "trainer.world_size=2", "tracker=[tensorboard,mlflow]"],
    ["stock.simulator.garch={alpha: 0.1, beta: 0.2},{alpha: 0.3}", "trainer.lr=true"],
    ["'data.path=x/${stock.ticker}.csv'", "data=csv", "stock=XOM,JPM"],
    ["hydra.sweep.dir=x", "'+hydra.job.env_set.A=b'", "seed=1,2"],
    ["hydra.job.name='x${seed}'", "seed=1,2"],
]


@pytest.mark.parametrize("typed", GRIDS, ids=" ".join)
def test_every_job_is_what_hydra_composes(typed: list[str]) -> None:
    composer = Composer()
    overrides = composer.parse(text.strip("'") if text.startswith("'") else text for text in typed)
    jobs = Combinations().grid(composer, overrides)
    assert len(jobs) > 1
    composing = repeats.Composing(composer)
    for job in jobs:
        ours, own = composer.compose(job), hydras_own(composer, [str(o.input_line) for o in job])
        given, each = composing.compose(job), repeats.Composition.of(ours)  # given: its values set in another's
        assert (given.settings, types(given.settings)) == (each.settings, types(each.settings))
        for section in (given.hydra, each.hydra):
            section["run"], section["overrides"] = {}, {}  # the time of day; what a record is written with
            section["sweep"], section["runtime"]["output_dir"] = {}, ""
        assert given.hydra == each.hydra
        for composed in (ours, own):
            composed.hydra.overrides.task = []
            composed.hydra.job.update(name="", override_dirname="")
        assert OmegaConf.to_container(ours) == OmegaConf.to_container(own)
        assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(own)


def types(settings: dict[str, Any]) -> list[type]:
    """The types of all values: ours of a text that an interpolation stands for is one of its own."""
    return [type(value) for _, value in leaves(settings)]


def test_numbers_and_texts_are_set_in_one_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[object] = []
    compose_one = Composer.compose

    def counted(*given: Any) -> Any:
        composed.append(given)
        return compose_one(*given)

    monkeypatch.setattr(Composer, "compose", counted)
    command = compose.read(
        ["-m", "stock=AAPL,TSLA", "seed=range(9)", "trainer.patience=null,3", "data.target=close,log_return"]
    )
    assert command.sweep is not None and len(command.sweep.jobs) == 72
    assert len(composed) <= 2 + 1


def test_the_order_of_deletions_and_values_counts_as_in_hydra() -> None:
    composer = Composer()
    for lines in itertools.permutations(["~trainer.lr", "trainer.lr=3", "trainer.lr=4"]):
        try:
            own = hydras_own(composer, list(lines)).trainer
        except Exception:
            with pytest.raises(UserError):
                composer.compose(composer.parse(lines))
        else:
            assert composer.compose(composer.parse(lines)).trainer == own


@pytest.mark.parametrize(
    ("swept", "key"),
    [
        ("stock=shuffle(AAPL,JNJ,TSLA,XOM)", "stock.ticker"),
        ("trainer.lr=shuffle(0.0001,0.001,0.01,0.1)", "trainer.lr"),
        ("seed=shuffle(range(6))", "seed"),
    ],
)
def test_a_shuffled_grid_is_drawn_once(swept: str, key: str, composings: Path) -> None:
    assert cli.main(["-m", *QUICK, swept, "hydra.sweep.dir=x"]) == 0
    folders = [path.parent for path in Path("x").glob("*/config.json")]
    assert len(folders) == len({folder.name for folder in folders}) >= 4
    for folder in folders:
        config = OmegaConf.load(folder / ".hydra" / "config.yaml")
        value = OmegaConf.select(config, key)
        assert re.search(rf"(^|_){re.escape(f'{value:.4g}' if isinstance(value, float) else str(value))}$", folder.name)


def test_checking_a_sweep_does_not_depend_on_how_many_jobs_share_their_groups(composings: Path) -> None:
    command = compose.read(["-m", "stock=AAPL,TSLA", "seed=range(50)"])
    assert command.sweep is not None and len(command.sweep.jobs) == 100
    assert len(processes(composings)) == 3


def test_jobs_of_the_same_groups_are_composed_one_after_another_and_keep_their_places(
    composings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockml.compose.composing._MOST", 1)
    command = compose.read(["-m", "seed=range(4)", "stock=AAPL,TSLA"])
    assert command.sweep is not None
    jobs = [(job.config.seed, job.config.stock.ticker) for job in command.sweep.jobs if job.config is not None]
    assert jobs == [(seed, stock) for seed in range(4) for stock in ("AAPL", "TSLA")]
    assert len(processes(composings)) == 3


def test_a_large_sweep_is_announced_before_its_first_job_is_composed(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["-m", "seed=range(60)", "trainer.epochs=0", "stock=AAPL,TSLA"]
    assert cli.main(typed) == 2
    assert capsys.readouterr().out == "composing   120 jobs\n"
    assert cli.main([*typed[:1], "seed=range(9)", *typed[2:]]) == 2
    assert capsys.readouterr().out == ""


CALLBACK = """
from hydra.experimental.callback import Callback
from pathlib import Path
import os

class Notes(Callback):
    def __init__(self, path):
        self.path = path
    def _note(self, text):
        with open(self.path, "a") as file:
            file.write(text + "\\n")
    def on_run_start(self, config, **kwargs):
        self._note(f"run start {config.seed}")
    def on_run_end(self, config, job_return, **kwargs):
        self._note(f"run end {job_return.status.name}")
    def on_multirun_start(self, config, **kwargs):
        self._note("multirun start")
    def on_multirun_end(self, config, **kwargs):
        self._note("multirun end")
    def on_job_start(self, config, **kwargs):
        self._note(f"job start {config.seed} {os.environ.get('NOTED')}")
    def on_job_end(self, config, job_return, **kwargs):
        self._note(f"job end {config.seed} {job_return.status.name}")
"""


@pytest.mark.filterwarnings("ignore:hydra.utils.instantiate")  # Hydra 1.4 has it for programs, not for their users
def test_the_callbacks_of_a_user_are_called_as_hydra_calls_them(
    composings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "noting.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path / "site")
    notes = tmp_path / "notes"
    typed = ["+hydra.callbacks.n._target_=noting.Notes", f"+hydra.callbacks.n.path={notes}"]
    typed += ["+hydra.job.env_set.NOTED=yes", *QUICK]
    assert cli.main([*typed, "seed=5"]) == 0
    single = ["run start 5", "job start 5 yes", "job end 5 COMPLETED", "run end COMPLETED"]
    assert notes.read_text().splitlines() == single
    assert "NOTED" not in os.environ
    notes.unlink()
    assert cli.main(["-m", *typed, "seed=5,6"]) == 0
    of_jobs = [f"job {what}" for seed in (5, 6) for what in (f"start {seed} yes", f"end {seed} COMPLETED")]
    assert notes.read_text().splitlines() == ["multirun start", *of_jobs, "multirun end"]
    assert len(processes(composings)) == 2


def test_a_job_of_a_sweep_is_its_single_run(composings: Path, tmp_path: Path) -> None:
    write_bars(random_bars(300, ticker="^GSPC"), tmp_path / "bars")
    typed = ["data=csv", f"data.dir={tmp_path / 'bars'}", "data.window=10", *QUICK[2:], "stock.ticker='^GSPC'"]
    assert cli.main(["-m", *typed, "seed=1,2", "hydra.sweep.dir=x"]) == 0
    assert cli.main([*typed, "seed=2", "hydra.run.dir=y"]) == 0
    assert identical(Path("x/_GSPC-seed_2"), Path("y"))
