"""Models that are fitted whole: a ridge regression has the baseline's weights, and a run like any other."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stockml import compose
from stockml.data.batches import Batch, Batches
from stockml.data.dataset import Data, prepare
from stockml.errors import UserError
from stockml.evaluation import baselines
from stockml.models.fitted_whole import FitContext
from stockml.tasks import fold_training
from stockml.training import checkpoint, hardware
from stockml.training.engine import Trainer
from stockml.training.interface import ModelTrainer, Samples, TrainState
from stockml.training.whole_trainer import WholeTrainer
from tests.conftest import Run, command, metrics
from tests.tasks.test_train import identical, weights

SHORT = ("model=ridge", "data.days=500", "data.window=20")


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(compose.compose(*SHORT))


def fitted(data: Data, *typed: str) -> tuple[TrainState, bool]:
    """The state after training, and whether the model's forecasts are those of the ridge baseline."""
    config = compose.compose(*SHORT, "hardware=cpu", *typed)
    chosen = hardware.choose(config.hardware)
    model = fold_training.fresh_model(config, data, chosen.dtype)
    batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
    state = fold_training.trainer_for(config, chosen).fit(model, fold_training.samples_of(data, batches))
    forecasts, baseline = (
        fold_training.forecasts_of(model, batches, data, chosen),
        baselines.ridge_forecasts(data, batches),
    )
    return state, all(
        np.allclose(of_split, baseline[split], atol=1e-5 * data.scaler.target_std)
        for split, of_split in forecasts.items()
    )


def test_a_ridge_forecasts_what_the_baseline_does_unless_alpha_is_set(data: Data) -> None:
    state, same = fitted(data)
    assert same
    alpha = state.optimizer["alpha"]
    assert fitted(data, f"model.alpha={alpha}")[1]
    assert not fitted(data, f"model.alpha={alpha / 10}")[1]


def test_a_ridge_is_the_same_with_every_seed(data: Data) -> None:
    plain, other = fitted(data)[0], fitted(data, "seed=1")[0]
    assert plain.weights.equal(other.weights)
    assert len(plain.history) == len(other.history) == 1


def test_it_is_saved_reproduced_evaluated_used_and_resumed_like_any_other(
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


WITHOUT = "without effect on model=ridge: its weights are computed at once, not step by step"


@pytest.mark.parametrize(
    ("typed", "notes"),
    [
        (["model=ridge", "trainer=ddp", "trainer.world_size=2", "seed=3"], []),
        (["model=ridge", "+experiment=quick"], []),  # which is made for every model
        (["model=mlp", "trainer.lr=1"], []),
        (["-m", "model=mlp,ridge", "trainer.lr=1e-3,1e-4"], [f"trainer.lr: {WITHOUT}"]),
        (["-m", "model=mlp,gru", "trainer.lr=1e-3,1e-4"], []),
        (["model=lightgbm", "trainer.patience=3", "trainer.loss=huber"], []),
    ],
)
def test_typed_settings_that_some_job_uses_are_at_most_named_in_a_note(typed: list[str], notes: list[str]) -> None:
    found = compose.read(typed)
    assert list(found.notes) == notes
    assert len(found.jobs) == (4 if "-m" in typed else 1)


@pytest.mark.parametrize(
    ("typed", "faults"),
    [
        (["model=ridge", "trainer.lr=1"], [f"trainer.lr: {WITHOUT}; leave it out"]),
        (
            ["model=ridge", "trainer.shuffle=false", "trainer.lr=1"],
            [f"trainer.lr, trainer.shuffle: {WITHOUT}; leave them out"],
        ),
        (
            ["model=ridge", "trainer=ddp", "trainer.global_batch_size=8"],
            [f"trainer.global_batch_size: {WITHOUT}; leave it out"],
        ),
        (["-m", "model=ridge", "seed=1,2", "trainer.lr=1"], [f"trainer.lr: {WITHOUT}; leave it out"]),
        (
            ["model=ridge", "trainer.loss=mae"],
            ["trainer.loss=mae: model=ridge cannot minimise it; it takes only trainer.loss=mse"],
        ),
    ],
)
def test_typed_settings_that_no_job_uses_are_refused(typed: list[str], faults: list[str]) -> None:
    with pytest.raises(UserError) as found:
        compose.read(typed)
    assert list(found.value.lines) == faults


def test_each_fold_of_a_walk_forward_run_has_its_own_weights(run: Run, tmp_path: Path) -> None:
    run("a", *SHORT, "data.split=walk_forward", "data.folds=3")
    found = [checkpoint.load(tmp_path / "a" / "folds" / str(fold) / "best.pt")["state_dict"] for fold in range(3)]
    assert not found[0]["output.weight"].equal(found[1]["output.weight"])


def test_ranks_compute_the_weights_of_one_process(run: Run, tmp_path: Path) -> None:
    run("a", *SHORT, "hardware.precision=fp64")
    ranks = ("trainer=ddp", "trainer.world_size=3", "hardware=cpu", "hardware.precision=fp64", "hydra.run.dir=b")
    assert command(*SHORT, *ranks, cwd=tmp_path).returncode == 0
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(np.allclose(one[name], other[name], rtol=1e-9, atol=1e-12) for name in one)


def test_settings_without_meaning_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    for typed, fault in (("trainer.overfit_batches=2", "trainer.overfit_batches"), ("data.window=700", "model=ridge")):
        done = command("model=ridge", "data.days=4000", typed, cwd=tmp_path)
        assert done.returncode == 2
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == [fault]
    assert list(tmp_path.iterdir()) == []


class Median(nn.Module):
    """Forecasts the median of the train targets; a part of its state is no floating-point tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("median", torch.zeros(()))
        self.register_buffer("samples", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.median.expand(len(x))  # type: ignore[operator]

    def fit_whole(
        self, train: Iterable[Batch], validation: Iterable[Batch], context: FitContext
    ) -> dict[str, float | int | str]:
        targets = [torch.cat([y for _, y in part]) for part in (train, validation)]
        assert targets[0].equal(torch.cat([y for _, y in train]))  # it can be iterated again
        self.median.copy_(targets[0].median())  # type: ignore[operator]
        self.samples.fill_(len(targets[0]))  # type: ignore[operator]
        context.all_reduce(self.samples)  # type: ignore[arg-type]
        return {"validation_samples": len(targets[1])}


def test_a_model_without_parameters_is_fitted_and_resumed_with_all_of_its_state(data: Data) -> None:
    chosen = hardware.choose(compose.compose("hardware=cpu").hardware)
    samples = fold_training.samples_of(data, Batches(data.panel, data.scaler, chosen.device, chosen.dtype))
    trainer = WholeTrainer(compose.compose().trainer, chosen)
    model, states = Median(), list[dict[str, object]]()
    state = trainer.fit(model, samples, lambda state: states.append(state.to_dict()))
    assert state.optimizer == {"validation_samples": len(data.split.validation)}
    content = bytes(checkpoint.to_bytes(states[0]))
    again = Median()
    trainer.fit(again, samples, resumed=TrainState.from_dict(checkpoint.load(io.BytesIO(content))))
    assert int(again.samples) == len(data.split.train)  # type: ignore[arg-type]
    assert float(again.median) == float(model.median) != 0  # type: ignore[arg-type]


def test_both_trainers_have_the_same_interface(data: Data) -> None:
    config = compose.compose(*SHORT, "hardware=cpu")
    chosen = hardware.choose(config.hardware)
    samples: Samples = fold_training.samples_of(data, Batches(data.panel, data.scaler, chosen.device, chosen.dtype))
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, epochs=1))
    trainers: list[ModelTrainer] = [Trainer(config.trainer, chosen), WholeTrainer(config.trainer, chosen)]
    for trainer in trainers:
        model = fold_training.fresh_model(config, data, chosen.dtype)
        assert len(trainer.fit(model, samples).history) == trainer.epochs == 1
