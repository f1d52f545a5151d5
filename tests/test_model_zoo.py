"""A short sample of `tests/campaigns/model_zoo.py`: what that campaign claims is really checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.campaigns.model_zoo import (
    Run,
    chosen,
    defaults_table,
    faults,
    found_table,
    rate_faults,
    rates_table,
    share,
    stocks_table,
    sweep,
)
from tests.campaigns.oracle import Gain

SHORT = ("model=ridge,mlp", "trainer.lr=1e-2,1e-3", "trainer.epochs=2", "data.days=600", "data.signal=strong")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that the campaign has made; tests only read it."""
    folder = tmp_path_factory.mktemp("zoo") / "sweep"
    sweep(folder, ["stock=AAPL", *SHORT])
    return folder


def test_validation_chooses_the_learning_rate(swept: Path) -> None:
    runs = [Run.of(path.parent) for path in swept.glob("*/metrics.json")]
    assert len(runs) == 4
    kept = {run.model: run for run in chosen(runs)}
    assert set(kept) == {"ridge", "mlp"}
    for model, run in kept.items():
        assert run.validation_loss == min(each.validation_loss for each in runs if each.model == model)
    assert all(f"`{model}`" in found_table(list(kept.values())) for model in kept)


def test_the_table_of_stocks_has_the_means_of_its_sweep(swept: Path) -> None:
    rows = pd.read_csv(swept / "summary.csv").assign(stock="AAPL")
    mlp = rows[rows["model"] == "mlp"]
    cell = f"{mlp['test_r2_zero'].mean():+.2%}<br>{mlp['test_ic'].mean():+.3f}"
    pool = mlp.drop(columns="stock").assign(test_ic=float("nan"))  # as the sweep of the pool has it
    header, _, ridge, of_mlp = stocks_table(pd.concat([rows, pool])).splitlines()
    assert header == "| R²_zero, IC | AAPL | pool | skill |"
    assert f"| {cell} | {cell.partition('<br>')[0]}<br>– |" in of_mlp and ridge.split(" | ")[2] == ""


def test_a_default_that_validation_does_not_choose_is_named() -> None:
    means = {("linear", 1e-3): -0.02, ("linear", 1e-4): -0.00159, ("linear", 3e-5): -0.0015, ("mlp", 1e-3): 0.0}
    rows = pd.DataFrame([
        {"model": model, "trainer.lr": lr, "val_r2": mean + noise, "skill": "worse" if lr == 1e-3 else "not shown"}
        for (model, lr), mean in means.items()
        for noise in (-0.01, 0.01)
    ])  # fmt: skip
    assert "| `linear` | -0.15%, 0 worse | -0.16%, 0 worse | -2.00%, 2 worse |" in rates_table(rows)
    assert rate_faults(rows) == ["linear: validation chooses the learning rate 0.0001, the default is 3e-05"]
    assert rate_faults(rows[rows["trainer.lr"] != 1e-4]) == []


def test_the_table_of_defaults_has_the_rows_of_its_sweep(swept: Path) -> None:
    rows = pd.read_csv(swept / "summary.csv").assign(stock="AAPL")
    header, _, *lines = defaults_table(rows).splitlines()
    assert len(lines) == len(rows)
    assert "`test_r2_zero`" in header and f"{rows['test_r2_zero'][0]:+.4f}" in "".join(lines)


def test_each_claim_that_does_not_hold_is_named() -> None:
    def run(signal: str, model: str, found: float, error: float = 0.001) -> Run:
        return Run(signal, model, 0, 1.0, Gain(found, error), 0.04)

    good = [
        run("strong", "linear", 0.0181),
        run("strong", "tcn", 0.03),
        run("interaction", "tcn", 0.01),
        run("interaction", "ridge", 0.001),
    ]
    assert share(good[:1]) == pytest.approx(0.4525)
    assert faults(good) == []
    of_tcn = "| `tcn` | 75%: 3.00% of 4.00% |  | 25%: 1.00% of 4.00% |  |"
    assert of_tcn in found_table([*good, run("strong", "lightgbm features=momentum", 0.02)]).splitlines()
    poor, blind, leaking = good.copy(), good.copy(), good.copy()
    poor[0] = replace(poor[0], test=Gain(0.0179, 0.001))
    assert faults(poor) == ["strong: 1 models reach 45% of the oracle's R²_zero, not 2"]
    blind[2] = replace(blind[2], test=Gain(0.0029, 0.001))
    assert faults(blind) == ["interaction: no model finds it"]
    trees = [*good, run("interaction", "lightgbm features=momentum", 0.0116)]
    assert faults(trees) == ["interaction: trees find 29% of the oracle's R²_zero, not 30%"]
    leaking[3] = replace(leaking[3], test=Gain(0.0031, 0.001))
    assert faults(leaking) == ["interaction, seed 0: ridge is +3.1 SE from 0"]
