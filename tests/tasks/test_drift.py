"""A model that knows no more than the drift of its stocks has no skill, in whatever mode it is trained and judged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from tests.conftest import random_bars, write_bars

POOL = "data.tickers=[A,B,C]"
MODES = {
    "single": ("stock.ticker=A",),
    "pool": (POOL,),
    "mapped": (POOL, "data.memory_limit=0"),
    "walk-forward": ("stock.ticker=A", "data.split=walk_forward", "data.folds=3"),
    "ensemble": (POOL, "trainer.ensemble=2"),
    "ranks": ("stock.ticker=A", "trainer=ddp", "trainer.world_size=2"),
}
KNOWS_THE_DRIFT = ("model=linear", "trainer.epochs=1", "trainer.lr=1e-9", "data.test_ratio=0.4", "data.window=10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that rise by 0.4 % a day on average, an annual Sharpe ratio of 6."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate("ABC"):
        bars = random_bars(1000, seed, ticker)
        drift = np.exp(0.004 * np.arange(1000))
        columns = {name: value if name == "volume" else value * drift for name, value in bars.columns.items()}
        write_bars(dataclasses.replace(bars, columns=columns), folder)
    return folder


@pytest.mark.parametrize(("mode", "horizon"), [("single", 1), *((mode, 5) for mode in MODES)])
def test_who_knows_only_the_drift_beats_zero_and_has_no_skill(
    mode: str, horizon: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ("data=csv", f"data.dir={folder}", "report=false", f"data.horizon={horizon}", "hydra.run.dir=run")
    assert cli.main([*typed, *KNOWS_THE_DRIFT, *MODES[mode]]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["significance"]["r2_zero_interval"][0] > 0
    assert metrics["skill"] == "not shown"
    assert {"train_mean", "expanding_mean"} <= metrics["significance"]["against"].keys()
