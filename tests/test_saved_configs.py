"""A saved config is data: nothing in a folder from elsewhere is evaluated, imported, connected to or written to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stockml import Result, cli, compose, predict, train
from stockml.compose import grammar
from stockml.errors import UserError
from stockml.tasks import TASKS
from tests.hostile.witnesses import SECRET, listening

QUICK = ("data.days=300", "data.window=10", "trainer.epochs=1", "report=false", "model=linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and a sweep."""
    folder = tmp_path_factory.mktemp("made")
    assert cli.main([*QUICK, f"hydra.run.dir={folder / 'run'}"]) == 0
    assert cli.main(["-m", *QUICK, "seed=1,2", f"hydra.sweep.dir={folder / 'sweep'}"]) == 0
    return folder


def poison(run: Path, address: str, elsewhere: Path) -> None:
    """Make of a run's folder one that tries everything."""
    path = run / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["stock"]["name"] = "${oc.env:SECRET} ${now:%Y} ${hydra:runtime.cwd} ${seed}"
    config["tracker"] = {"mlflow": True, "csv": False, "tensorboard": False, "experiment": "x", "wait_seconds": 1}
    config["tracker"]["uri"] = f"{address}/${{oc.env:SECRET}}"
    config["data"]["panel_cache"] = str(elsewhere / "panels")
    config["hardware"]["num_workers"] = 3
    config["trainer"]["resume"] = str(elsewhere / "resumed")
    config["task"] = "fetch"
    config["run"] = str(elsewhere / "task")
    config["report"] = True
    config["hydra"] = {
        "callbacks": {"p": {"_target_": "pathlib.Path.touch", "self": str(elsewhere / "callback")}},
        "run": {"dir": str(elsewhere / "run")},
        "sweep": {"dir": str(elsewhere / "sweep")},
        "searchpath": [f"file://{elsewhere}"],
        "launcher": {"_target_": "os.system"},
        "mode": "MULTIRUN",
        "job": {"env_set": {"POISONED": "yes"}, "chdir": True},
        "job_logging": {"root": {"handlers": []}},
    }
    path.write_text(yaml.safe_dump(config))
    lines = ["model=linear", "stock.name=${oc.env:SECRET}", f"hydra.run.dir={elsewhere}/run", "hydra.mode=MULTIRUN"]
    lines += ["+hydra.callbacks.p._target_=os.system", f"tracker.uri={address}/x", "+experiment=all_stocks"]
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(lines))
    follow = {"csv": True, "tensorboard": True, "mlflow": False, "uri": f"{address}/${{oc.env:SECRET}}"}
    (run / "tracker.json").write_text(json.dumps({**follow, "experiment": "x", "wait_seconds": 1}))


@pytest.fixture
def poisoned(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the poisoned run and sweep; afterwards nothing of what they try must have happened."""
    copy, elsewhere, cwd = tmp_path / "copy", tmp_path / "elsewhere", tmp_path / "cwd"
    shutil.copytree(made, copy)
    elsewhere.mkdir()
    cwd.mkdir()
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.chdir(cwd)
    with listening() as (address, heard):
        for run in (copy / "run", copy / "sweep" / "AAPL-seed_1", copy / "sweep" / "AAPL-seed_2"):
            poison(run, address, elsewhere)
        yield copy
    assert heard == []
    assert list(elsewhere.iterdir()) == []
    for path in (path for folder in (copy, cwd) for path in folder.rglob("*") if path.is_file()):
        assert SECRET not in path.read_text(errors="replace"), path


NAME = "${oc.env:SECRET} ${now:%Y} ${hydra:runtime.cwd} ${seed}"


@pytest.mark.parametrize(
    ("typed", "status"),
    [
        (("task=reproduce", "run=COPY/run", "report=false"), 0),
        (("task=reproduce", "run=COPY/sweep", "report=false"), 0),
        (("-cp", "COPY/run/.hydra", "-cn", "config", "report=false", "hydra.run.dir=again"), 0),
        (("task=predict", "run=COPY/run"), 0),
        (("task=evaluate", "run=COPY/run"), 0),
        (("task=audit", "run=COPY/run"), 0),
        (("task=doctor", "run=COPY/run"), None),
        (("trainer.resume=COPY/run", "trainer.epochs=2", "stock.name='Apple Inc.'", "report=false"), 0),
        (("-m", "-cp", "COPY/run/.hydra", "-cn", "config", "seed=3,4", "report=false", "hydra.sweep.dir=s"), 0),
    ],
)
def test_a_folder_from_elsewhere_does_nothing_but_name_an_experiment(
    typed: tuple[str, ...], status: int | None, poisoned: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = cli.main([argument.replace("COPY", str(poisoned)) for argument in typed])
    out, err = capfd.readouterr()
    assert SECRET not in out + err and "Traceback" not in out + err and "127.0.0.1" not in out + err
    assert status in (None, found), err
    assert "hydra.callbacks, hydra.run" in out.replace("hydra.job, ", "") or "hydra.callbacks" in out
    assert out.count("not taken from a saved config") == (2 if "COPY/sweep" in " ".join(typed) else 1)
    if "-cn" in typed and "-m" not in typed:
        assert Result("again").config.stock.name == NAME


def test_from_python_too_a_saved_config_is_data(poisoned: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = {"trainer.resume": poisoned / "run", "trainer.epochs": 2, "stock.name": "Apple Inc.", "report": False}
    run = train(settings=settings)
    predict(run)
    assert SECRET not in "".join(capfd.readouterr())
    assert (run.folder / "tensorboard").exists()  # which trackers are on, the run may say


def test_what_says_where_is_this_installation_s_or_what_was_typed(
    poisoned: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    again = ["-cp", str(poisoned / "run" / ".hydra"), "-cn", "config"]
    config = compose.read(again, TASKS).jobs[0]
    assert config.data.panel_cache == str(tmp_path / "mine" / "stockml" / "panels")
    assert (config.hardware.num_workers, config.report, config.task, config.run) == (0, "auto", "train", None)
    assert config.tracker is not None and not config.tracker.names() and config.tracker.uri == "sqlite:///mlflow.db"
    assert config.trainer.resume is None
    typed = compose.read([*again, "hardware.num_workers=2", "tracker=mlflow", "tracker.uri=sqlite:///x"], TASKS).jobs[0]
    assert typed.hardware.num_workers == 2 and typed.tracker is not None
    assert (typed.tracker.uri, typed.tracker.names()) == ("sqlite:///x", ["mlflow"])


@pytest.mark.parametrize("task", ["reproduce", "evaluate", "predict"])
def test_another_cache_makes_no_other_run(
    task: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(made / "run", tmp_path / "run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    assert cli.main([f"task={task}", f"run={copy}", *(["report=false"] if task == "reproduce" else [])]) == 0
    out = capsys.readouterr().out
    assert {"reproduce": "same config, data, code", "evaluate": "identical to its metrics", "predict": "forecasts"}[
        task
    ] in out


def test_a_sweep_is_continued_and_a_run_resumed_with_another_cache(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cli.main(["-m", *QUICK, "seed=1,2,3", f"hydra.sweep.dir={tmp_path / 'copy' / 'sweep'}"]) == 0
    assert cli.main([f"trainer.resume={tmp_path / 'copy' / 'run'}", "trainer.epochs=2", "report=false"]) == 0


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BOMB, "alias"),
        ("a: &a {b: *a}", "alias"),
        (f"a: {'[' * 3000}{']' * 3000}", "cannot be read as a saved config"),
        ("x: [" + "1," * 30000 + "1]", "more than 20,000 values"),
        ("x: '" + "y" * 2_000_000 + "'", "larger than"),
        ("seed: !!python/object/apply:os.system [touch executed]", "cannot be read"),
        ("seed: 1\n\tx: 2", "is no YAML"),
        ("- seed", "is not a run's saved config"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_saved_config_is_refused_at_once(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        compose.read(["-cp", str(tmp_path), "-cn", "config"])
    assert str(tmp_path / "config.yaml") in str(caught.value) and says in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


@pytest.mark.parametrize("text", ["${a}", r"\${a}", r"\\${a}", "a$b", r"a\b", r"\\\${", "${oc.env:X}${y}", "it's \\"])
def test_any_text_is_read_back_as_it_was_saved(text: str, tmp_path: Path) -> None:
    assert grammar.from_literal(grammar.literal(text)) == text
    config = compose.compose("data=csv", "data.dir=.", "stock.ticker=X", f"stock.name={grammar.quote(text)}")
    assert config.stock.name == text
    (tmp_path / "config.yaml").write_text(compose.records(config)["config.yaml"])
    assert compose.read(["-cp", str(tmp_path), "-cn", "config"]).jobs[0] == config


def test_interpolations_that_were_typed_see_the_saved_values(made: Path) -> None:
    again = ["-cp", str(made / "run" / ".hydra"), "-cn", "config", "stock=XOM", "stock.name=${stock.ticker}-${seed}"]
    assert compose.read(again).jobs[0].stock.name == "XOM-42"


def test_an_own_file_of_an_experiment_wins_over_saved_values_where_it_says_something(
    made: Path, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    base = "# @package _global_\ntrainer: {lr: 0.25}\n"
    (tmp_path / "experiment" / "base.yaml").write_text(base)
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [base, {override /model: gru}]\ndata: {window: 10}\ntrainer: {epochs: 50}\n"
    )
    saved = ["-cp", str(made / "run" / ".hydra"), "-cn", "config", "-cd", str(tmp_path), "+experiment=mine"]
    config = compose.read(saved).jobs[0]
    assert (config.trainer.lr, config.trainer.epochs, config.model.name) == (0.25, 50, "gru")
    assert config.data.days == 300  # type: ignore[attr-defined]
