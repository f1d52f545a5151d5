"""A run's trained models, put to use on bars that may be others than it was trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stockml import models
from stockml.config.root import Config, identity
from stockml.config.values import differences, list_stocks
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.runs.old_releases import require_baselines
from stockml.tasks import run_metadata
from stockml.training import checkpoint, engine, hardware

if TYPE_CHECKING:
    from stockml.data.panel import Panel
    from stockml.data.split import Rows
    from stockml.evaluation.metrics import Floats
    from stockml.runs.folder import RunFolder


@dataclass(frozen=True)
class Fold:
    """One model, with what it needs to forecast."""

    model: torch.nn.Module
    shape: tuple[int, int]
    """(T, F) of its windows."""
    scaler: Scaler
    first_day: np.datetime64 | None
    """Of its test: the first one that it may be judged by; None for undated arrays."""


@dataclass(frozen=True)
class Fitted:
    """A run's models: one, or one a fold."""

    config: Config
    """The run's own, but for the hardware."""
    folds: tuple[Fold, ...]
    chosen: hardware.Hardware

    @classmethod
    def of(cls, folder: RunFolder, config: Config) -> Fitted:
        """The models of a finished run, on the hardware of `config`; UserError where they cannot be rebuilt."""
        if folder.outcome() != "ok":
            raise UserError(f"{folder.path}: did not end well ({folder.outcome()}); its model is not to be used")
        require_baselines(folder.path)
        own = dataclasses.replace(run_metadata.saved_config(folder), hardware=config.hardware)
        chosen = hardware.choose(own.hardware)
        spans = folder.read_json("config.json")["data"]
        paths = [f"folds/{number}" for number in range(len(spans.get("folds", [])))] or ["."]
        parts = spans.get("folds", [spans])
        folds = [_fold(folder, path, own, part["spans"], chosen) for path, part in zip(paths, parts, strict=True)]
        size = sum(p.numel() for p in folds[0].model.parameters())
        hardware.set_up(own.hardware, size * own.trainer.batch_size)
        return cls(own, tuple(folds), chosen)

    def bars_panel(self, config: Config) -> Panel:
        """The panel of dated bars that `config` names, with the run's own features and windows; unscaled.

        Its samples are all full windows, with or without a known target. UserError where the run or the data are not
        dated, where a feature is missing, or where there is no full window.
        """
        own, given = self.config.data, config.data
        if not isinstance(own, BarsConfig) or not isinstance(given, BarsConfig):
            raise UserError(
                f"data.source={given.source}: forecasts need dated bars, and a run that was trained on such"
            )
        shape = {name: getattr(own, name) for name in ("window", "horizon", "target", "transform")}
        stock = dataclasses.replace(config.stock, features=self.config.stock.features)
        config = dataclasses.replace(config, data=dataclasses.replace(given, **shape), stock=stock)
        panel = dataset.panel_to_forecast(config)
        unknown = self.unknown(panel)
        if not unknown:
            return panel
        tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
        if len(unknown) == len(tickers):
            raise UserError(
                f"{list_stocks(unknown)}: the run scaled each stock by itself, and these were not among them; "
                "train with data.scaler=global to forecast others"
            )
        assert panel.stocks is not None
        known = np.isin(tickers, unknown, invert=True)[panel.stocks.of(panel.samples)]
        return dataclasses.replace(panel, samples=panel.samples[known])

    def unknown(self, panel: Panel) -> list[str]:
        """The panel's stocks that the run, where it scaled each by itself, has no figures of."""
        scaled = self.folds[-1].scaler.stocks
        tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
        return [] if scaled is None else [ticker for ticker in tickers if ticker not in scaled]

    def forecast(self, panel: Panel, rows: Rows) -> Floats:
        """Forecasts (N,) in the target's own units of the samples that end in `rows`, each by the latest fold's model
        whose test had begun by then."""
        forecasts = np.empty(len(rows))
        for fold, chosen in zip(self.folds, self._shares(panel, rows), strict=True):
            if not chosen.any():
                continue
            scaled = dataclasses.replace(panel, values=panel.values.copy())
            fold.scaler.transform(scaled)
            batches = Batches(scaled, fold.scaler, self.chosen.device, self.chosen.dtype)
            found = engine.forecast(fold.model, batches, torch.from_numpy(rows[chosen]), self.chosen)
            forecasts[chosen] = fold.scaler.inverse_transform(found.numpy(), panel, rows[chosen])
        return forecasts

    def _shares(self, panel: Panel, rows: Rows) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        """For each fold, which of the rows its model forecasts."""
        if len(self.folds) == 1 or panel.dates is None:
            return [np.ones(len(rows), dtype=bool)]
        first_days = np.array([fold.first_day for fold in self.folds])
        numbers = np.maximum(0, np.searchsorted(first_days, panel.dates[rows], side="right") - 1)
        return [numbers == number for number in range(len(self.folds))]

    def check_own_settings(self, config: Config) -> None:
        """UserError where `config` asks for other settings than the run was trained with, other than of its data."""
        changed = differences(identity(self.config), identity(config))
        keys = [key for key in changed if not key.startswith(("hardware.", *_OF_OTHER_DATA))]
        if self.config.data.source == config.data.source:
            keys += [key for key in changed if key in _OF_SAMPLES]
            keys += [key for key in changed if key == "stock.features"]
        if keys:
            raise UserError(
                f"{', '.join(keys)}: the run's own are used; leave {'it' if len(keys) == 1 else 'them'} out"
            )


_OF_OTHER_DATA = ("data.", "stock.")
_OF_THE_BARS = ("start", "end", "calendar", "tickers")
_OF_SAMPLES = {f"data.{f.name}" for f in dataclasses.fields(BarsConfig) if f.name not in _OF_THE_BARS}


def _fold(folder: RunFolder, path: str, config: Config, spans: dict[str, Any], chosen: hardware.Hardware) -> Fold:
    state = checkpoint.load(folder.path / path / "best.pt")
    shape = (state["window"], len(state["features"]))
    model = models.averaged([models.build(config.model, *shape) for _ in config.each_member()]).to(chosen.dtype)
    model.load_state_dict(state["state_dict"])
    first_day = np.datetime64(spans["test"][0], "D") if spans["test"] else None
    return Fold(model.to(chosen.device), shape, Scaler.from_dict(state["scaler"]), first_day)
