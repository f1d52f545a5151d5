"""A ridge regression as a model: the baseline's own weights, and a run like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.evaluation import baselines
from stockml.tasks import fold_training
from stockml.training import checkpoint, engine, hardware
from tests.conftest import Run, command, metrics
from tests.tasks.test_train import identical, weights

SHORT = ("model=ridge", "data.days=500", "data.window=20")


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(compose.compose(*SHORT))


def fitted(data: Data, *typed: str) -> tuple[engine.TrainState, bool]:
    """What training comes to, and whether its forecasts are those of the ridge baseline."""
    config = compose.compose(*SHORT, "hardware=cpu", *typed)
    chosen = hardware.choose(config.hardware)
    model = fold_training.fresh_model(config, data, chosen.dtype)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
    fit = fold_training.fit_model(model, batches, config, data, chosen, lambda _: None)
    found, baseline = fold_training.forecasts_of(model, batches, data, chosen), baselines.ridge_forecasts(data, batches)
    return fit, all(np.allclose(f, baseline[part], atol=1e-5 * data.scaler.target_std) for part, f in found.items())


def test_its_forecasts_are_the_baseline_s_unless_alpha_is_set_otherwise(data: Data) -> None:
    fit, same = fitted(data)
    assert same
    alpha = fit.optimizer["alpha"]
    assert fitted(data, f"model.alpha={alpha}")[1]
    assert not fitted(data, f"model.alpha={alpha / 10}")[1]


def test_nothing_of_the_trainer_but_the_loss_has_a_meaning_for_it(data: Data) -> None:
    plain = fitted(data)[0]
    other = fitted(data, "trainer.lr=1", "trainer.epochs=3", "trainer.batch_size=7", "trainer.optimizer=sgd", "seed=1")
    assert plain.weights.equal(other[0].weights)
    assert len(plain.history) == len(other[0].history) == 1
    assert fitted(data, "trainer.loss=mae")[0].history != plain.history


def test_it_is_saved_reproduced_evaluated_forecast_with_and_continued_like_any_other(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", *SHORT)
    assert (tmp_path / "a" / "history.csv").read_text().count("\n") == 2
    assert "ridge" not in metrics(tmp_path / "a")["baselines"]  # it is not compared with itself
    for task in ("reproduce", "evaluate", "predict"):
        done = command(f"task={task}", "run=a", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), task
        assert task == "predict" or "identical" in done.stdout
    before = weights(tmp_path / "a")
    run("b", *SHORT)
    assert identical(tmp_path / "a", tmp_path / "b")
    assert command("trainer.resume=b", *SHORT, cwd=tmp_path).returncode == 0
    assert identical(tmp_path / "a", tmp_path / "b")
    assert set(before) == {"output.weight", "output.bias"}


def test_each_fold_of_a_walk_forward_run_has_its_own(run: Run, tmp_path: Path) -> None:
    run("a", *SHORT, "data.split=walk_forward", "data.folds=3")
    found = [checkpoint.load(tmp_path / "a" / "folds" / str(fold) / "best.pt")["state_dict"] for fold in range(3)]
    assert not found[0]["output.weight"].equal(found[1]["output.weight"])


def test_ranks_find_the_weights_of_one_process(run: Run, tmp_path: Path) -> None:
    run("a", *SHORT, "hardware.precision=fp64")
    ranks = ("trainer=ddp", "trainer.world_size=3", "hardware=cpu", "hardware.precision=fp64", "hydra.run.dir=b")
    assert command(*SHORT, *ranks, cwd=tmp_path).returncode == 0
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(np.allclose(one[name], other[name], rtol=1e-9, atol=1e-12) for name in one)


def test_what_has_no_meaning_for_it_is_told_before_anything_is_made(tmp_path: Path) -> None:
    done = command("model=ridge", "data.days=4000", "data.window=700", "trainer.overfit_batches=2", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["trainer.overfit_batches", "model=ridge"]
    assert list(tmp_path.iterdir()) == []
