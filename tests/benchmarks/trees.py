"""LightGBM on a large pool: a run's fit beside LightGBM called directly on the same arrays. Reads Linux's /proc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import lightgbm
import numpy as np
import torch

from stockml import compose
from stockml.data.batches import Batches
from stockml.data.dataset import scale
from stockml.data.panel import Panel
from stockml.data.split import Split
from stockml.models.fitted_whole import FitContext
from stockml.models.lightgbm_trees import parameters
from stockml.models.settings import LightGBMConfig
from stockml.tasks import fold_training
from stockml.training import hardware
from tests.benchmarks.measuring import ROOT, Figure, python, seconds_of
from tests.benchmarks.memory import resident_mb

_STOCKS, _DAYS, _FACTORS = 500, 2500, 158
_ROUNDS, _ROUNDS_OF_MEASURING = 30, 2
_PANEL_MB = _STOCKS * _DAYS * _FACTORS * 4 / 1e6


def trees() -> Iterator[Figure]:
    """Time and memory of `model=lightgbm model.days=1`, over those of LightGBM itself."""
    found: dict[str, list[list[float]]] = {name: [] for name in ("direct", "stockml")}
    for _ in range(_ROUNDS_OF_MEASURING):
        for name, of_name in found.items():
            of_name.append([float(text) for text in python("-m", __name__, name, cwd=str(ROOT)).split()])
    seconds, peaks = ({name: min(run[i] for run in runs) for name, runs in found.items()} for i in (0, 1))
    panel = f"{_STOCKS} stocks of {_DAYS:,} days and {_FACTORS} features"
    yield Figure(
        f"fitting `lightgbm` to {panel}, over LightGBM itself",
        seconds["stockml"] / seconds["direct"],
        "×",
        most=1.15,
        note=f"{seconds['stockml']:.0f} s",
    )
    beyond = (peaks["stockml"] - peaks["direct"]) / _PANEL_MB
    yield Figure("its peak memory, panel included, less LightGBM's own, over the panel", beyond, "×", most=1.5)


def _measure(name: str) -> tuple[float, float]:
    """Seconds of a fit, and its peak memory in MB: with the panel, or beyond the arrays that LightGBM is given."""
    config = compose.compose("model=lightgbm", "model.days=1", f"model.rounds={_ROUNDS}", "hardware=cpu", "seed=1")
    config = replace(config, trainer=replace(config.trainer, patience=None))
    rng, rows = np.random.default_rng(0), np.arange(_STOCKS * _DAYS)
    before_mb = resident_mb("VmRSS")
    values = rng.standard_normal((len(rows), _FACTORS), dtype=np.float32)
    target = values[:, 0] * 0.1 + rng.standard_normal(len(rows), dtype=np.float32)
    edge = [int(len(rows) * share) for share in (0.7, 0.8)]
    features = tuple(f"f{number}" for number in range(_FACTORS))
    if name == "direct":
        context = FitContext(config.trainer, config.seed, torch.get_num_threads(), lambda _: None, lambda *_: False)
        settings = parameters(cast("LightGBMConfig", config.model), context)
        parts = [(values[a:b], target[a:b]) for a, b in ((0, edge[0]), (edge[0], edge[1]))]

        def fit() -> object:
            train = lightgbm.Dataset(*parts[0], params=settings)
            data = [train, lightgbm.Dataset(*parts[1], reference=train, params=settings)]
            return lightgbm.train(settings, train, _ROUNDS, data)

        before_mb = resident_mb("VmRSS")
    else:
        panel = Panel("pool", "made in memory", features, values, 1, target.astype(np.float64), "return", rows, ())
        data = scale(panel, Split(rows[: edge[0]], rows[edge[0] : edge[1]], rows[edge[1] :], purged=0))
        chosen = hardware.choose(config.hardware)
        batches = Batches(data.panel, data.scaler, chosen.device, chosen.dtype)
        model = fold_training.fresh_model(config, data, chosen.dtype)

        def fit() -> object:
            trainer = fold_training.trainer_for(config, chosen)
            return trainer.fit(model, fold_training.samples_of(data, batches))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    return seconds_of(fit), resident_mb("VmHWM") - before_mb


if __name__ == "__main__":
    print(*_measure(sys.argv[1]))
