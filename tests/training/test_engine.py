"""The training loop: what it computes, and what must not change it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from stockml import compose, models
from stockml.config.root import Config
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from stockml.errors import RunError
from stockml.training import hardware, losses
from stockml.training.engine import Trainer
from stockml.training.flat_parameters import FlatParameters
from stockml.training.forecasting import forecast
from stockml.training.interface import AfterEpoch, Samples, TrainState, do_nothing
from stockml.training.random_streams import DROPOUT, INITIALISATION, ORDER, stream_seed
from stockml.training.sample_order import epoch_order


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(compose.compose("data.days=500", "data.window=10"))


def config(**changes: Any) -> Config:
    typed = ("model.dropout=0", "trainer.epochs=4", "trainer.patience=null", "trainer.lr=1e-3")
    whole = compose.compose("model=mlp_flat", *typed)
    return dataclasses.replace(whole, trainer=dataclasses.replace(whole.trainer, **changes))


class Setting:
    """A model, its trainer and its samples."""

    def __init__(self, data: Data, config: Config) -> None:
        self.config, self.data = config, data
        self.hardware = hardware.choose(config.hardware)
        torch.manual_seed(0)
        self.model = models.build(config.model, data.panel.window, 5).to(self.hardware.dtype)
        self.batches = Batches(data.panel, data.scaler, self.hardware.device, self.hardware.dtype)
        self.train, self.validation = (torch.from_numpy(rows) for rows in (data.split.train, data.split.validation))

    def fit(self, after_epoch: AfterEpoch = do_nothing, resumed: TrainState | None = None) -> TrainState:
        samples = Samples(self.batches, self.train, self.validation, self.data.scaler.target_std)
        trainer = Trainer(self.config.trainer, self.hardware, seed=self.config.seed)
        return trainer.fit(self.model, samples, after_epoch, resumed)

    def forecast(self, rows: torch.Tensor, chunk: int | None = None) -> torch.Tensor:
        return forecast(self.model, self.batches, rows, self.hardware, chunk)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_the_loop_computes_what_a_textbook_loop_does(data: Data, name: str, loss: str) -> None:
    setting = Setting(data, config(optimizer=name, loss=loss, weight_decay=0.01, shuffle=False, grad_clip_norm=0.5))
    torch.manual_seed(0)
    model = models.build(setting.config.model, data.panel.window, 5)
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    options = {"momentum": 0.9} if name == "sgd" else {}
    optimizer = kinds[name](model.parameters(), lr=1e-3, weight_decay=0.01, **options)
    losses: dict[str, nn.Module] = {"mse": nn.MSELoss(), "mae": nn.L1Loss(), "huber": nn.HuberLoss()}
    for _ in range(4):
        for rows in setting.train.split(64):
            x, y = setting.batches.gather(rows)
            optimizer.zero_grad()
            losses[loss](model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    fit = setting.fit()
    setting_weights = fit.weights
    expected = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.allclose(setting_weights, expected, atol=2e-6)
    assert not torch.equal(setting_weights, Setting(data, config()).fit().weights)


def test_the_best_epoch_is_restored(data: Data) -> None:
    setting = Setting(data, config(lr=0.03, epochs=6))
    seen: list[torch.Tensor] = []
    fit = setting.fit(lambda fit: seen.append(fit.weights.clone()))
    losses = [epoch.validation_loss for epoch in fit.history]
    best = fit.stopping.best_epoch
    assert losses[best - 1] == min(losses)
    assert best < len(losses)  # else nothing was restored
    assert torch.equal(torch.cat([p.detach().flatten() for p in setting.model.parameters()]), seen[best - 1])


def test_training_starts_at_the_train_mean(data: Data) -> None:
    for name in ("mlp", "mlp_flat", "linear"):
        setting = Setting(data, dataclasses.replace(config(), model=compose.compose(f"model={name}").model))
        scaled = setting.forecast(setting.train)
        assert torch.equal(scaled, torch.zeros_like(scaled))


def test_reported_losses_are_in_the_target_s_units(data: Data) -> None:
    for loss, power in (("mse", 2), ("mae", 1)):
        setting = Setting(data, config(loss=loss, epochs=1))
        fit = setting.fit()
        scaled = setting.forecast(setting.validation)
        forecasts = scaled.numpy() * data.scaler.target_std + data.scaler.target_mean
        error = abs(forecasts - data.panel.target[data.split.validation])
        assert fit.history[0].validation_loss == pytest.approx((error**power).mean(), rel=1e-5)


def test_the_quantile_loss_is_least_at_the_quantile_of_the_targets() -> None:
    targets = torch.randn(999, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for quantile in (0.1, 0.5, 0.8):
        loss = losses.loss_of(config(loss="quantile", quantile=quantile).trainer)
        every = [float(loss(value.expand(999), targets)) for value in targets]
        assert targets[every.index(min(every))] == targets.kthvalue(math.ceil(999 * quantile)).values


def test_forecasts_do_not_depend_on_how_many_are_computed_at_once(data: Data) -> None:
    setting = Setting(data, config())
    setting.fit()
    one, seven, many = (setting.forecast(setting.validation, chunk) for chunk in (1, 7, 1024))
    assert torch.allclose(one, many, atol=1e-6)
    assert torch.allclose(seven, many, atol=1e-6)


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone() -> None:
    rows = torch.arange(100)
    once = epoch_order(rows, 0, 3, True)
    torch.rand(7)
    assert torch.equal(once, epoch_order(rows, 0, 3, True))
    assert sorted(once.tolist()) == rows.tolist()
    assert not torch.equal(once, epoch_order(rows, 0, 4, True))
    assert not torch.equal(once, epoch_order(rows, 1, 3, True))
    assert torch.equal(rows, epoch_order(rows, 0, 3, False))


def test_each_purpose_epoch_and_rank_has_a_random_stream_of_its_own() -> None:
    streams: list[tuple[int, ...]] = [(INITIALISATION, seed) for seed in range(3)]
    streams += [(ORDER, seed, epoch) for seed in range(3) for epoch in range(1, 4)]
    streams += [(DROPOUT, seed, epoch, rank) for seed in range(3) for epoch in range(1, 4) for rank in range(3)]
    assert len({stream_seed(*stream) for stream in streams}) == len(streams)


def test_patience_ends_training_and_null_never_does(data: Data) -> None:
    patient = Setting(data, config(lr=0.05, patience=2, epochs=30)).fit()
    assert len(patient.history) == patient.stopping.best_epoch + 2 < 30
    assert len(Setting(data, config(lr=0.05, patience=None, epochs=30)).fit().history) == 30


def test_the_error_about_a_loss_that_is_not_finite_names_epoch_batch_and_remedy(data: Data) -> None:
    with pytest.raises(RunError, match=r"epoch 1, batch \d+ of \d+; .*trainer.lr"):
        Setting(data, config(optimizer="sgd", lr=1e20, loss="mse")).fit()


def test_buffers_are_saved_and_restored_with_the_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    parameters = FlatParameters(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    saved = parameters.copy()
    model(torch.randn(8, 3)).sum().backward()
    with torch.no_grad():
        parameters.flat.add_(1)
    assert not torch.equal(before["1.running_mean"], model.state_dict()["1.running_mean"])
    parameters.restore(saved)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "1.num_batches_tracked")
