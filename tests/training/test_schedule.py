"""The learning rate: the values of each schedule, and that training follows them, resumed or not."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stockml import compose, models
from stockml.data.dataset import Data, prepare
from stockml.errors import UserError
from stockml.training import schedule
from stockml.training.interface import TrainState
from tests.conftest import Run
from tests.tasks.test_train import resume
from tests.training.test_engine import Setting, config

SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "warm-up": {"warmup_epochs": 1.5},
    "cosine": {"schedule": "cosine", "warmup_epochs": 0.25},
    "plateau": {"schedule": "plateau", "plateau_patience": 1, "lr": 0.02},
}


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(compose.compose("data.days=500", "data.window=10"))


def all_rates(updates: int = 10, epochs: int = 6, **settings: Any) -> list[float]:
    trainer = config(epochs=epochs, lr=2.0, **settings).trainer
    return [rate for epoch in range(1, epochs + 1) for rate in schedule.rates(trainer, epoch, updates, [])]


def test_constant_is_constant() -> None:
    assert all_rates() == [2.0] * 60


def test_warm_up_rises_linearly_to_the_full_rate() -> None:
    rates = all_rates(warmup_epochs=1.5)
    assert rates[:15] == pytest.approx([2.0 * (step + 1) / 15 for step in range(15)])
    assert rates[15:] == [2.0] * 45


def test_cosine_is_torch_s() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    expected = []
    for _ in range(60):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert all_rates(schedule="cosine") == pytest.approx(expected)
    warmed = all_rates(schedule="cosine", warmup_epochs=1)
    assert warmed[9] == warmed[10] == 2.0
    assert 0 < warmed[-1] < 0.01


def test_plateau_halves_the_rate_whenever_its_patience_is_used_up() -> None:
    trainer = config(schedule="plateau", plateau_patience=2, lr=1.0, min_delta=0.01).trainer
    losses = [1.0, 0.9, 0.895, 0.91, 0.92, 0.93, 0.8, 0.81, 0.82]  # 0.895 is no better: by less than min_delta
    rates = [schedule.rates(trainer, epoch, 1, losses[: epoch - 1])[0] for epoch in range(1, 11)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("settings", SCHEDULES.values(), ids=SCHEDULES)
def test_each_update_uses_its_rate(data: Data, name: str, settings: dict[str, Any]) -> None:
    setting = Setting(data, config(optimizer=name, shuffle=False, **settings))
    torch.manual_seed(0)
    model = models.build(setting.config.model, data.panel.window, 5)
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    optimizer = kinds[name](model.parameters(), **({"momentum": 0.9} if name == "sgd" else {}))
    fit = setting.fit()
    losses = [epoch.validation_loss / data.scaler.target_std**2 for epoch in fit.history]
    rows = setting.train.split(64)
    for epoch in range(1, 5):
        rates = schedule.rates(setting.config.trainer, epoch, len(rows), losses[: epoch - 1])
        for rate, batch in zip(rates, rows, strict=True):
            x, y = setting.batches.gather(batch)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        assert fit.history[epoch - 1].lr == rates[-1]
    assert torch.allclose(fit.weights, torch.cat([p.detach().flatten() for p in model.parameters()]), atol=2e-6)


@pytest.mark.parametrize("settings", SCHEDULES.values(), ids=SCHEDULES)
def test_a_resumed_run_has_the_same_rates(data: Data, settings: dict[str, Any]) -> None:
    settings_of_run = config(epochs=6, **settings)
    states: list[dict[str, Any]] = []
    whole = Setting(data, settings_of_run).fit(lambda fit: states.append(copy.deepcopy(fit.to_dict())))
    again = Setting(data, settings_of_run).fit(resumed=TrainState.from_dict(states[2]))
    assert torch.equal(whole.weights, again.weights)
    assert [epoch.lr for epoch in whole.history] == [epoch.lr for epoch in again.history]
    assert (settings == {}) == (len({epoch.lr for epoch in whole.history}) == 1)


def test_history_has_the_rate_and_a_cosine_schedule_cannot_be_extended(run: Run, tmp_path: Path) -> None:
    run("a", "data.days=400", "trainer.epochs=3", "trainer.schedule=cosine")
    with (tmp_path / "a" / "history.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert 1e-3 > rates[0] > rates[1] > rates[2] > 0
    with pytest.raises(UserError, match=r"trainer\.epochs differs"):
        resume(tmp_path / "a", "trainer.epochs=6")


@pytest.mark.parametrize("trainer", ["single", "ddp"])
def test_schedules_that_never_act_are_refused(trainer: str) -> None:
    for typed, says in (
        (("trainer.warmup_epochs=3", "trainer.epochs=3"), "trainer.warmup_epochs: 3 must be below the 3 epochs"),
        (("trainer.schedule=plateau", "trainer.patience=2"), "trainer.plateau_patience: trainer.patience stops"),
    ):
        with pytest.raises(UserError) as found:
            compose.compose(f"trainer={trainer}", *typed)
        assert [line.startswith(says) for line in found.value.lines] == [True]
