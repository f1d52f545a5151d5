"""An ensemble: models that differ by seed, whose forecasts are averaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stockml import compose
from stockml.errors import UserError
from stockml.reporting import predictions_file as written
from stockml.result import Result
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, predict, train
from stockml.training import checkpoint
from tests.tasks.test_train import resume

QUICK = ("report=false", "+experiment=quick", "model=mlp_flat", "data.days=400")
MEMBERS = 3


def trained(folder: Path, *overrides: str) -> Path:
    config = compose.compose(*QUICK, *overrides)
    train.run(config, RunLocation(exact=folder), compose.records(config))
    return folder


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an ensemble, to be read only."""
    return trained(tmp_path_factory.mktemp("ensemble") / "run", f"trainer.ensemble={MEMBERS}", "seed=7")


def test_an_ensemble_forecasts_the_mean_of_the_runs_of_its_seeds(ensemble: Path, tmp_path: Path) -> None:
    alone = [trained(tmp_path / str(seed), f"seed={seed}") for seed in range(7, 7 + MEMBERS)]
    for number, path in enumerate(alone):
        assert (ensemble / "members" / str(number) / "best.pt").read_bytes() == (path / "best.pt").read_bytes()
    whole, parts = written.read(RunFolder(ensemble)), [written.read(RunFolder(path)) for path in alone]
    for part, scored in whole.items():
        members = np.array([of[part].model for of in parts])
        assert members.std(axis=0).min() > 0
        np.testing.assert_allclose(scored.model, members.mean(axis=0), rtol=1e-5, atol=1e-8)


def test_an_ensemble_is_saved_as_one_model(ensemble: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = checkpoint.load(ensemble / "best.pt")
    assert len(state["epoch"]) == MEMBERS
    first = checkpoint.load(ensemble / "members" / "0" / "best.pt")
    for name, weights in first["state_dict"].items():
        assert torch.equal(state["state_dict"][f"members.0.{name}"], weights)
    predict.run(compose.compose("task=predict", f"run={ensemble}", tasks=TASKS))
    capsys.readouterr()
    test = written.read(RunFolder(ensemble))["test"]
    lines = (ensemble / "forecasts.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[3]) for line in lines][: len(test.rows)] == test.model.tolist()


def test_an_ensembles_validation_loss_is_of_its_own_forecasts(ensemble: Path) -> None:
    metrics = json.loads((ensemble / "metrics.json").read_text())
    assert metrics["validation_loss"] == pytest.approx(metrics["validation"]["mse"], rel=1e-6)


def test_an_interrupted_ensemble_is_continued_to_the_same_result(ensemble: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ensemble, broken)
    for path in (broken / "members" / "2", broken / "best.pt", broken / "metrics.json", broken / "predictions.csv"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (broken / "members" / "1" / "last.pt").unlink()  # previous.pt, of the epoch before, takes over
    result = json.loads((broken / "result.json").read_text())
    (broken / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    resume(broken)
    for name in ("best.pt", "predictions.csv"):
        assert (broken / name).read_bytes() == (ensemble / name).read_bytes()


def test_an_ensemble_of_a_model_without_randomness_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^trainer\.ensemble: model=ridge is the same with every seed"):
        trained(tmp_path / "run", "model=ridge", "trainer.ensemble=2")
    assert not (tmp_path / "run").exists()


def test_an_ensembles_history_has_its_members(ensemble: Path) -> None:
    history = Result(ensemble).history
    assert history.groupby("member")["epoch"].apply(list).to_dict() == {n: [1, 2, 3] for n in range(MEMBERS)}
