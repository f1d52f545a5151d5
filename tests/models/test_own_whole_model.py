"""An installed package adds a model that is fitted whole, which is used like any other."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from tests.conftest import command

MODULE = """
from dataclasses import dataclass
import torch
from torch import nn
from stockml.models import Family, ModelConfig, bounded

@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    scale: float = bounded(above=0, default=0.5)

class ScaledMean(nn.Module):
    def __init__(self, config, window, features):
        super().__init__()
        self.scale = config.scale
        self.register_buffer("forecast", torch.zeros(()))
    def forward(self, x):
        return self.forecast.expand(len(x))
    def fit_whole(self, train, validation, context):
        sums = torch.zeros(2, dtype=torch.float64)
        for _, y in validation:
            sums += torch.tensor([float(y.sum()), len(y)])
        context.all_reduce(sums)
        self.forecast.fill_(float(self.scale * sums[0] / sums[1]))
        return {"samples": int(sums[1])}

FAMILY = Family(Config, "scaled_mean:ScaledMean", fitted_whole=True)
"""
TYPED = ("model=scaled_mean", "data.days=400", "hardware=cpu")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the package is installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "scaled_mean-1.0.dist-info"
    info.mkdir()
    (site / "scaled_mean.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scaled_mean\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stockml.models]\nscaled_mean = scaled_mean:FAMILY\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}


def validation_forecasts(run: Path) -> list[float]:
    with (run / "predictions.csv").open() as file:
        return [float(row["y_pred"]) for row in csv.DictReader(file) if row["split"] == "validation"]


def test_it_is_trained_reproduced_and_used_and_ranks_agree(tmp_path: Path, env: dict[str, str]) -> None:
    done = command(*TYPED, "hydra.run.dir=one", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    samples = json.loads((tmp_path / "one" / "metrics.json").read_text())["validation"]["n"]
    assert "epoch 1/1" in done.stdout and f"scaled_mean samples {samples}\n" in done.stdout
    for task in ("reproduce", "predict"):
        done = command(f"task={task}", "run=one", cwd=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, ""), task
    ranks = ("trainer=ddp", "trainer.world_size=2", "hydra.run.dir=two")
    assert command(*TYPED, *ranks, cwd=tmp_path, env=env).returncode == 0
    one, two = (validation_forecasts(tmp_path / name) for name in ("one", "two"))
    assert len(set(one)) == 1
    assert one == pytest.approx(two, rel=1e-6)


def test_settings_without_meaning_for_it_are_refused(tmp_path: Path, env: dict[str, str]) -> None:
    done = command(*TYPED, "trainer.overfit_batches=2", "trainer.ensemble=2", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["trainer.overfit_batches", "trainer.ensemble"]
    assert list(tmp_path.iterdir()) == []
