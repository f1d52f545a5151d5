"""trainer.init_from and trainer.warm_start: training that starts with the weights of an earlier run, or fold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stockml import cli, compose
from stockml.errors import UserError
from stockml.reporting import predictions_file as written
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import train
from stockml.training import checkpoint
from tests.conftest import metrics
from tests.tasks.test_train import resume

QUICK = ("+experiment=quick", "report=false", "data.days=300", "data.window=10", "model=mlp_flat")
WALK = ("data.split=walk_forward", "data.folds=3")


def made(folder: Path, *overrides: str) -> Path:
    config = compose.compose(*QUICK, *overrides)
    train.run(config, RunLocation(exact=folder), compose.records(config))
    return folder


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(path / "best.pt")["state_dict"]
    return found


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, to be read only."""
    return made(tmp_path_factory.mktemp("old") / "old")


@pytest.fixture(scope="module")
def new(old: Path) -> Path:
    """A run that started with the weights of `old`, to be read only."""
    return made(old.parent / "new", f"trainer.init_from={old}", "seed=1")


@pytest.mark.parametrize(
    ("kind", "each"),
    [
        ((), {"": "old"}),
        (("trainer.ensemble=2",), {"members/0": "old/members/0", "members/1": "old/members/1"}),
        (WALK, {"folds/0": "old/folds/2", "folds/1": "old/folds/2"}),
        ((*WALK, "trainer.warm_start=true"), {"folds/0": "old/folds/2", "folds/1": "new/folds/0"}),
        ((*WALK, "trainer.warm_start=true", "trainer.ensemble=2"), {"folds/2/members/1": "new/folds/1/members/1"}),
    ],
)
def test_training_starts_with_the_weights_of(kind: tuple[str, ...], each: dict[str, str], tmp_path: Path) -> None:
    made(tmp_path / "old", *kind)
    # With such a rate, the weights hardly leave where they start.
    made(tmp_path / "new", *kind, f"trainer.init_from={tmp_path / 'old'}", "seed=7", "trainer.lr=1e-30")
    for name, start in each.items():
        started = weights(tmp_path / start)
        assert all(torch.equal(values, started[key]) for key, values in weights(tmp_path / "new" / name).items())


def test_the_hash_is_of_the_weights_and_not_of_their_file(old: Path, new: Path, tmp_path: Path) -> None:
    link = json.loads((new / "config.json").read_text())["init_from"]
    copy = Path(shutil.copytree(old, tmp_path / "copy"))
    checkpoint.save(RunFolder(copy), "best.pt", {**checkpoint.load(copy / "best.pt"), "epoch": 99})
    assert (copy / "best.pt").read_bytes() != (old / "best.pt").read_bytes()
    assert link == {"run": str(old), "sha256": checkpoint.content_hash(weights(copy))}
    for key, values in weights(old).items():
        changed = {**weights(old), key: torch.nextafter(values, values + 1)}
        assert checkpoint.content_hash(changed) != link["sha256"]


def test_a_reproduction_needs_the_same_weights_wherever_they_lie(
    old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(old, tmp_path / "copy"))

    def reproduce(*typed: str) -> int:
        capsys.readouterr()
        return cli.main(["task=reproduce", f"run={new}", f"hydra.run.dir={tmp_path / 'again'}", *typed])

    assert reproduce(f"trainer.init_from={copy}") == 0
    assert "\nconfig " not in capsys.readouterr().out
    assert (tmp_path / "again" / "best.pt").read_bytes() == (new / "best.pt").read_bytes()
    shutil.rmtree(tmp_path / "again")
    state = checkpoint.load(copy / "best.pt")
    state["state_dict"] = {name: values + 1 for name, values in state["state_dict"].items()}
    checkpoint.save(RunFolder(copy), "best.pt", state)
    assert reproduce(f"trainer.init_from={copy}") == 1
    assert f"the weights that it started with have changed (trainer.init_from={copy}); nothing was trained" in (
        capsys.readouterr().err
    )
    shutil.rmtree(copy)
    assert reproduce(f"trainer.init_from={copy}") == 2
    assert capsys.readouterr().err == f"{copy}: holds no run (there is no config.json); name a folder under outputs/\n"
    assert not (tmp_path / "again").exists()


def test_an_interrupted_run_goes_on_only_from_the_same_weights(old: Path, new: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(new, tmp_path / "run"))
    (run / "previous.pt").replace(run / "last.pt")
    for name in ("metrics.json", "predictions.csv"):
        (run / name).unlink()
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    facts = (run / "config.json").read_text()
    (run / "config.json").write_text(facts.replace(json.loads(facts)["init_from"]["sha256"], "0"))
    with pytest.raises(UserError, match="the weights that it started with have changed"):
        resume(run)
    (run / "config.json").write_text(facts)
    resume(run)
    assert (run / "predictions.csv").read_bytes() == (new / "predictions.csv").read_bytes()


def test_an_interrupted_walk_with_warm_starts_is_continued_and_reproduced_to_the_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = made(tmp_path / "walk", *WALK, "trainer.warm_start=true")
    broken = Path(shutil.copytree(walk, tmp_path / "broken"))
    for path in (broken / "folds" / "1", broken / "folds" / "2"):
        shutil.rmtree(path)
    for name in ("metrics.json", "predictions.csv"):
        (broken / name).unlink()
    result = json.loads((broken / "result.json").read_text())
    (broken / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    resume(broken)
    assert (broken / "predictions.csv").read_bytes() == (walk / "predictions.csv").read_bytes()
    assert cli.main(["task=reproduce", f"run={walk}", f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert metrics(tmp_path / "again") == metrics(walk)
    cold = written.read(RunFolder(made(tmp_path / "cold", *WALK)))["test"]
    assert cold.folds is not None
    differs = cold.model != written.read(RunFolder(walk))["test"].model
    assert not differs[cold.folds == 0].any() and np.mean(differs[cold.folds > 0]) > 0.9


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (("model.hidden_dim=4",), "its weights are of another model (model.hidden_dim: 64 there, 4 here)"),
        (("model=linear",), "model.name: mlp_flat there, linear here"),
        (("data.window=5", "trainer.ensemble=2"), "trainer.ensemble: 1 there, 2 here; data.window: 10 there, 5 here"),
        (("stock.features=[close,open]",), "features: [open, high, low, close, volume] there, [close, open] here"),
        (("model=ridge",), "trainer.init_from: model=ridge is computed from its data alone, from no weights"),
    ],
)
def test_weights_of_another_model_are_refused_by_what_differs(
    old: Path, tmp_path: Path, overrides: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(UserError) as refused:
        made(tmp_path / "run", f"trainer.init_from={old}", *overrides)
    assert fault in str(refused.value) and len(refused.value.lines) == 1
    assert not (tmp_path / "run").exists()
