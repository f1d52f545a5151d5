"""Models of LightGBM and scikit-learn are those that their libraries fit when they are called directly."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import ElasticNet
from sklearn.svm import SVR
from torch import nn

from stockml import compose, models
from stockml.config.root import Config
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.errors import UserError
from stockml.models import lightgbm_trees
from stockml.tasks import fold_training
from stockml.training import checkpoint, hardware
from stockml.training.interface import AfterEpoch, TrainState, do_nothing

SHORT = ("data.days=600", "data.window=8", "data.signal=strong", "hardware=cpu")
DRAWING = ("model.feature_fraction=0.5", "model.bagging_fraction=0.8", "model.bagging_freq=1")
SMALL = ("model.min_data_in_leaf=20", "model.num_leaves=8", "model.rounds=20", "trainer.min_delta=0")
SKLEARN = [name for name, family in models.BUILT_IN.items() if family.build.startswith("stockml.models.estimators:")]


class Setting:
    """A model on a short panel, and what its library is called with directly."""

    def __init__(self, *typed: str) -> None:
        self.config: Config = compose.compose(*SHORT, *typed)
        self.data: Data = prepare(self.config)
        self.hardware = hardware.choose(self.config.hardware)
        self.batches = Batches(self.data.panel, self.data.scaler, self.hardware.device, self.hardware.dtype)
        self.model: Any = fold_training.fresh_model(self.config, self.data, self.hardware.dtype)

    def fit(self, after_epoch: AfterEpoch = do_nothing, resumed: TrainState | None = None) -> TrainState:
        trainer = fold_training.trainer_for(self.config, self.hardware)
        return trainer.fit(self.model, fold_training.samples_of(self.data, self.batches), after_epoch, resumed)

    def arrays(self, split: str, days: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and scaled targets, cut from the scaled panel."""
        panel, rows = self.data.panel, self.data.split.by_name()[split]
        x = np.stack([panel.values[row - days + 1 : row + 1].ravel() for row in rows])
        return x, self.batches.target.numpy()[rows]

    def forecasts(self, model: nn.Module | None = None) -> NDArray[Any]:
        x = self.batches.windows(torch.from_numpy(self.data.split.test))
        return (model or self.model)(x).numpy()  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def directly(setting: Setting, rounds: int, days: int = 8, **options: Any) -> lightgbm.Booster:
    """LightGBM called with the same arrays and parameters."""
    trainer, model = setting.config.trainer, setting.config.model
    names = ("learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction", "bagging_freq")
    parameters = {
        "objective": {"mse": "regression", "mae": "regression_l1"}.get(trainer.loss, trainer.loss),
        "alpha": trainer.quantile or 1.0,
        **{name: getattr(model, name) for name in (*names, "lambda_l2")},
        **{"seed": setting.config.seed, "num_threads": 1, "deterministic": True, "force_col_wise": True},
        "verbosity": -1,
    }
    x, y = setting.arrays("train", days)
    data = lightgbm.Dataset(x, y, feature_name=[f"{f}@{-d}" for d in range(days)[::-1] for f in FEATURES])
    found = lightgbm.train(parameters, data, rounds, **options)
    assert isinstance(found, lightgbm.Booster)
    return found


FEATURES = ("open", "high", "low", "close", "volume")


@pytest.mark.parametrize(
    ("typed", "days", "copied"),
    [
        ((), 8, True),
        (("model.days=1", *DRAWING), 1, False),
        (("model.days=3", "trainer.loss=mae", "seed=7"), 3, False),
        (("trainer.loss=huber", *DRAWING), 8, True),
        (("trainer.loss=quantile", "trainer.quantile=0.1"), 8, False),
    ],
)
def test_lightgbm_is_what_lightgbm_makes_of_the_same_arrays(
    typed: tuple[str, ...], days: int, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not copied:
        monkeypatch.setattr(lightgbm_trees, "_MOST_COPIED_BYTES", 0)
    setting = Setting("model=lightgbm", *SMALL, "trainer.patience=null", *typed)
    state = setting.fit()
    best = state.stopping.best_epoch
    assert len(state.history) == 20
    booster = directly(setting, best, days)
    own, other = (b.model_to_string().partition("\nparameters:") for b in (setting.model.fitted, booster))
    assert own[0] == other[0]  # the parameters that are noted after the trees name the most rounds
    x, _ = setting.arrays("test", days)
    assert setting.forecasts().tolist() == np.asarray(booster.predict(x)).astype(np.float32).tolist()


def test_rounds_are_epochs_and_training_ends_as_patience_says() -> None:
    setting = Setting("model=lightgbm", *SMALL, "model.rounds=200", "trainer.patience=4")
    epochs: list[int] = []
    state = setting.fit(lambda state: epochs.append(state.history[-1].epoch))
    losses = [epoch.validation_loss for epoch in state.history]
    best = state.stopping.best_epoch
    assert epochs == list(range(1, best + 5)) and losses[best - 1] == min(losses)
    assert setting.model.fitted.num_trees() == state.optimizer["trees"] == best
    x, y = setting.arrays("validation", 8)
    mse = np.square(setting.model.fitted.predict(x) - y).mean() * setting.data.scaler.loss_std**2
    assert mse == pytest.approx(losses[best - 1], rel=1e-6)


class Stop(Exception):
    """What a signal raises."""


def test_an_interrupted_booster_goes_on_to_the_bit() -> None:
    whole = Setting("model=lightgbm", *SMALL, "trainer.patience=null")
    expected, saved = whole.fit(), []

    def interrupt(state: TrainState) -> None:
        if len(state.history) == 7:
            saved.append(bytes(checkpoint.to_bytes(state.to_dict())))
            raise Stop

    setting = Setting("model=lightgbm", *SMALL, "trainer.patience=null")
    with pytest.raises(Stop):
        setting.fit(interrupt)
    again = Setting("model=lightgbm", *SMALL, "trainer.patience=null")
    state = again.fit(resumed=TrainState.from_dict(checkpoint.load(io.BytesIO(saved[0]))))
    losses = [[(e.epoch, e.train_loss, e.validation_loss, e.best_epoch) for e in s.history] for s in (state, expected)]
    assert losses[0] == losses[1]
    assert again.forecasts().tolist() == whole.forecasts().tolist()
    finished = TrainState.from_dict(checkpoint.load(io.BytesIO(checkpoint.to_bytes(state.to_dict()))))
    restored = Setting("model=lightgbm", *SMALL, "trainer.patience=null")
    assert restored.fit(resumed=finished).history == state.history
    assert restored.forecasts().tolist() == whole.forecasts().tolist()


def test_a_loaded_booster_is_gone_on_from_as_by_lightgbm_itself() -> None:
    setting, more = Setting("model=lightgbm", *SMALL), Setting("model=lightgbm", *SMALL, "model.learning_rate=0.02")
    setting.fit()
    first = setting.model.fitted
    more.model.load_state_dict(setting.model.state_dict())
    state = more.fit()
    x, _ = more.arrays("test", 8)
    directly_made = directly(more, state.stopping.best_epoch, init_model=first)
    assert more.model.fitted.num_trees() == first.num_trees() + state.stopping.best_epoch
    assert more.forecasts().tolist() == np.asarray(directly_made.predict(x)).astype(np.float32).tolist()


def test_contributions_add_up_to_the_forecast_and_earlier_days_have_none() -> None:
    setting = Setting("model=lightgbm", *SMALL, "model.days=3")
    setting.fit()
    x = setting.batches.windows(torch.from_numpy(setting.data.split.test))
    found = setting.model.contributions(x)
    expected = setting.forecasts() - found.sum((1, 2)).numpy()
    assert found.shape == x.shape and not found[:, :5].any()
    assert np.allclose(expected, expected[0], atol=1e-6)


ESTIMATORS: dict[str, tuple[tuple[str, ...], Any]] = {
    "random_forest": (
        ("model.n_estimators=5",),
        RandomForestRegressor(5, min_samples_leaf=50, max_features=0.3, random_state=42),
    ),
    "extra_trees": (
        ("model.n_estimators=5", "model.max_depth=4"),
        ExtraTreesRegressor(5, max_depth=4, min_samples_leaf=50, max_features=0.3, random_state=42),
    ),
    "elastic_net": (("model.alpha=0.02",), ElasticNet(alpha=0.02)),
    "svr": ((), SVR(C=0.01)),
    "hist_gradient_boosting": (
        ("model.max_iter=9", "trainer.patience=2", "trainer.loss=quantile", "trainer.quantile=0.2"),
        HistGradientBoostingRegressor(
            loss="quantile",
            quantile=0.2,
            max_iter=9,
            learning_rate=0.05,
            min_samples_leaf=100,
            early_stopping=True,
            n_iter_no_change=2,
            tol=1e-4,
            random_state=42,
        ),
    ),
}


@pytest.mark.parametrize("name", SKLEARN)
def test_an_estimator_is_what_scikit_learn_makes_of_the_same_arrays_and_is_restored(name: str) -> None:
    typed, estimator = ESTIMATORS[name]
    setting = Setting(f"model={name}", "model.days=3", *typed)
    setting.fit()
    (x, y), (x_valid, y_valid) = (setting.arrays(split, 3) for split in ("train", "validation"))
    boosted = {"X_val": x_valid, "y_val": y_valid} if name == "hist_gradient_boosting" else {}
    estimator.fit(x, y, **boosted)
    expected = estimator.predict(setting.arrays("test", 3)[0]).astype(np.float32).tolist()
    assert len(set(expected)) > 1
    assert setting.forecasts().tolist() == expected
    content = checkpoint.to_bytes({"state_dict": dict(setting.model.state_dict())})
    again = Setting(f"model={name}", "model.days=3", *typed).model
    again.load_state_dict(checkpoint.load(io.BytesIO(content))["state_dict"])
    assert setting.forecasts(again).tolist() == expected


def test_the_alpha_of_an_elastic_net_is_the_best_on_validation() -> None:
    setting = Setting("model=elastic_net", "model.days=2")
    alpha = setting.fit().optimizer["alpha"]
    (x, y), (x_valid, y_valid) = (setting.arrays(split, 2) for split in ("train", "validation"))
    errors = [
        np.square(ElasticNet(alpha=a).fit(x, y).predict(x_valid) - y_valid).mean()
        for a in (alpha, alpha / 2, alpha * 2)
    ]
    assert errors[0] == min(errors)


class Harmful:
    """A type that no checkpoint may hold."""


def bytes_of(content: bytes) -> dict[str, torch.Tensor]:
    return {"_extra_state": torch.frombuffer(bytearray(content), dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("lightgbm", b"tree\n\xff", "utf-8"),
        ("lightgbm", b"import os", "it is not LightGBM's text"),
        ("svr", b"PK nonsense", "not a zip file"),
        ("svr", skops.io.dumps(Harmful()), "Harmful"),
        ("svr", skops.io.dumps(ElasticNet()), "it is a ElasticNet, not a SVR"),
        ("elastic_net", skops.io.dumps(ElasticNet().fit([[1.0], [2.0]], [1, 2])), "it has 1 inputs, not 6"),
    ],
)
def test_a_checkpoint_with_anything_else_is_refused_in_a_line(name: str, content: bytes, reason: str) -> None:
    model = models.build(dataclasses.replace(compose.compose(f"model={name}").model), 3, 2)
    with pytest.raises(UserError) as found:
        model.load_state_dict(bytes_of(content))
    (line,) = found.value.lines
    assert line.startswith(f"model={name}: the checkpoint holds no such model (") and reason in line


@pytest.mark.parametrize("changed", ["left_child=77777", "right_child=-99", "split_feature=999", "num_leaves=9"])
def test_a_damaged_tree_is_refused_before_lightgbm_reads_beyond_its_arrays(changed: str) -> None:
    setting = Setting("model=lightgbm", *SMALL)
    setting.fit()
    text = setting.model.state_dict()["_extra_state"].numpy().tobytes().decode()
    name, _, value = changed.partition("=")
    damaged = re.sub(rf"(?m)^{name}=\S+", f"{name}={value}", text, count=1)
    with pytest.raises(UserError, match="its tree 0 is damaged"):
        setting.model.load_state_dict(bytes_of(damaged.encode()))


@pytest.mark.parametrize("name", ["lightgbm", "svr"])
def test_an_empty_checkpoint_is_no_model(name: str) -> None:
    model = models.build(compose.compose(f"model={name}").model, 60, 5)
    with pytest.raises(UserError, match="the checkpoint holds no such model"):
        model.load_state_dict({"_extra_state": torch.zeros(0, dtype=torch.uint8)})


def test_a_booster_of_other_inputs_is_refused() -> None:
    setting = Setting("model=lightgbm", *SMALL)
    setting.fit()
    other = models.build(setting.config.model, 8, 4)
    with pytest.raises(UserError, match="it has 40 inputs, not 32"):
        other.load_state_dict(setting.model.state_dict())
