"""A model has a learning rate of its own where its file says so and nobody has named another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockml import compose
from stockml.config.conf_folder import CONF

DEFAULT, LINEAR = 1e-3, 3e-5


def test_the_default_of_a_model_holds_with_every_trainer() -> None:
    for trainer in ("trainer=single", "trainer=ddp"):
        assert compose.compose("model=linear", trainer).trainer.lr == LINEAR
        assert compose.compose("model=mlp", trainer).trainer.lr == DEFAULT


def test_only_models_that_exist_have_defaults_and_of_the_learning_rate_alone() -> None:
    usual = compose.compose().trainer
    for name in (path.stem for path in (CONF / "model/trainer").iterdir()):
        assert compose.compose(f"model={name}").trainer.lr != usual.lr
        assert compose.compose(f"model={name}", f"trainer.lr={usual.lr}").trainer == usual


@pytest.mark.parametrize(("typed", "lr"), [("trainer.lr=1e-4", 1e-4), ("+experiment=debug_overfit", 3e-2)])
def test_what_is_typed_wins(typed: str, lr: float) -> None:
    assert compose.compose(typed, "model=linear").trainer.lr == lr
    assert [job.trainer.lr for job in compose.read(["-m", "model=linear,mlp", typed]).jobs] == [lr, lr]


def test_each_job_of_a_sweep_or_search_has_that_of_its_model() -> None:
    assert [job.trainer.lr for job in compose.read(["-m", "model=linear,mlp"]).jobs] == [LINEAR, DEFAULT]
    rates = [job.trainer.lr for job in compose.read(["-m", "model=linear,mlp", "trainer.lr=0.1,0.2"]).jobs]
    assert rates == [0.1, 0.2, 0.1, 0.2]
    search = compose.read(["-m", "model=linear,mlp", "hydra/sweeper=optuna"]).trials
    assert search is not None
    trial = search.trial(["model=linear"], 0, set()).config
    assert trial is not None and trial.trainer.lr == LINEAR


def test_a_folder_of_the_user_s_own_has_the_last_word(tmp_path: Path) -> None:
    files = {
        "trainer/careful.yaml": "defaults: [/base/trainer@_here_]\nname: single\nlr: 0.1\n",
        "experiment/lines.yaml": "# @package _global_\ndefaults: [override /model: linear]\n",
        "model/lines.yaml": "name: linear\n",
        "model/slow_lines.yaml": "name: linear\n",
        "model/trainer/slow_lines.yaml": "lr: 0.2\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = {
        ("model=linear", "trainer=careful"): 0.1,
        ("+experiment=lines",): LINEAR,
        ("model=lines",): DEFAULT,
        ("model=slow_lines",): 0.2,
        ("model=slow_lines", "+experiment=debug_overfit"): 3e-2,
    }
    found = {typed: compose.read(["-cd", str(tmp_path), *typed]).jobs[0].trainer.lr for typed in expected}
    assert found == expected
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "default.yaml").write_text("# @package _global_\ntrainer: {lr: 0.3}\n")
    assert compose.read(["-cd", str(tmp_path), "model=linear"]).jobs[0].trainer.lr == 0.3


def test_a_saved_config_keeps_its_learning_rate(tmp_path: Path) -> None:
    """That of an earlier release, in which every model had the same."""
    saved = tmp_path / "run" / ".hydra" / "config.yaml"
    saved.parent.mkdir(parents=True)
    saved.write_text(compose.records(compose.compose("model=linear", f"trainer.lr={DEFAULT}"))["config.yaml"])
    for typed in (["-cp", str(saved.parent), "-cn", "config"], [f"trainer.resume={tmp_path / 'run'}"]):
        assert compose.read(typed).jobs[0].trainer.lr == DEFAULT
    assert compose.read(["-cp", str(saved.parent), "-cn", "config", "trainer.lr=0.1"]).jobs[0].trainer.lr == 0.1
