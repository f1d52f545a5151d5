"""A run's trained models, which forecast the run's data or other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stockml import models
from stockml.config.root import Config, identity
from stockml.config.values import differences, is_within, list_names, list_stocks
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.data.features.expressions import parse
from stockml.data.features.feature_set import MISSING_ADVICE
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.runs.members import members
from stockml.runs.old_releases import require_baselines
from stockml.tasks import run_metadata
from stockml.training import checkpoint, hardware
from stockml.training.forecasting import forecast

if TYPE_CHECKING:
    from stockml.data.panel import Panel
    from stockml.data.split import Rows
    from stockml.evaluation.truth import Floats
    from stockml.runs.folder import RunFolder


@dataclass(frozen=True)
class FoldPredictor:
    """The model of a run or of one of its folds, with its scaler."""

    model: torch.nn.Module
    shape: tuple[int, int]
    """(T, F) of its windows."""
    scaler: Scaler
    first_day: np.datetime64 | None
    """First day of its test; None for undated arrays."""


@dataclass(frozen=True)
class Predictor:
    """A run's models: one per fold."""

    config: Config
    """The run's own, except for the hardware."""
    folds: tuple[FoldPredictor, ...]
    chosen: hardware.Hardware
    facts: Mapping[str, Any]
    """The section `data` of its config.json."""

    @classmethod
    def load(cls, folder: RunFolder, config: Config) -> Predictor:
        """Load the models of a finished run on the hardware of `config`; UserError where they cannot be rebuilt."""
        if folder.outcome() != "ok":
            raise UserError(f"{folder.path}: is not finished ({folder.ending}); its model cannot be used")
        require_baselines(folder.path)
        own = dataclasses.replace(run_metadata.saved_config(folder), hardware=config.hardware)
        chosen = hardware.choose(own.hardware)
        spans = folder.read_json("config.json")["data"]
        paths = [f"folds/{number}" for number in range(len(spans.get("folds", [])))] or ["."]
        each = spans.get("folds", [spans])
        folds = [_load_fold(folder, path, own, fold["spans"], chosen) for path, fold in zip(paths, each, strict=True)]
        size = sum(p.numel() for p in folds[0].model.parameters())
        hardware.set_up(own.hardware, size * own.trainer.batch_size)
        return cls(own, tuple(folds), chosen, spans)

    def bars_panel(self, config: Config) -> Panel:
        """The unscaled panel of the config's dated bars, with the run's features and windows.

        Its samples are all full windows, with or without a known target. Raises UserError where the run or the data are
        not dated, where a feature is missing, or where there is no full window.
        """
        own, given = self.config.data, config.data
        if not isinstance(own, BarsConfig) or not isinstance(given, BarsConfig):
            raise UserError(
                f"data.source={given.source}: forecasts need dated bars, and a run that was trained on dated bars"
            )
        shape = {name: getattr(own, name) for name in _WINDOW_SETTINGS}
        if own.transform == "auto":
            shape["transform"] = self.facts.get("transform", "returns")
        stock = dataclasses.replace(config.stock, features=self.config.stock.features)
        data = dataclasses.replace(given, **shape)
        config = dataclasses.replace(config, data=data, features=self.config.features, stock=stock)
        try:
            panel = dataset.load_panel_to_forecast(config)
        except UserError as error:  # the run's own settings are used
            remedy = "fill these days in the file, or train again with features.missing=drop, ffill or zero"
            raise UserError(*(line.replace(MISSING_ADVICE, remedy) for line in error.lines)) from error
        if self.facts["kind"] == "level" and panel.relative != self.facts["relative"]:
            if self.facts["relative"]:
                raise UserError(
                    f"{panel.origin}: has prices below 0, and the run was trained on prices above 0, whose changes are "
                    "relative; train again on these"
                )
            panel = dataclasses.replace(panel, relative=False)
        unknown = self.unknown(panel)
        if not unknown:
            return panel
        tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
        if len(unknown) == len(tickers):
            raise UserError(
                f"{list_stocks(unknown)}: the run scales each stock by itself, and has no scaler for these; "
                "train with data.scaler=global to forecast other stocks"
            )
        assert panel.stocks is not None
        known = np.isin(tickers, unknown, invert=True)[panel.stocks.of(panel.samples)]
        return dataclasses.replace(panel, samples=panel.samples[known])

    def unknown(self, panel: Panel) -> list[str]:
        """The panel's stocks that the run has no scaler for, if it scales each by itself."""
        scaled = self.folds[-1].scaler.stocks
        tickers = [panel.ticker] if panel.stocks is None else panel.stocks.tickers
        return [] if scaled is None else [ticker for ticker in tickers if ticker not in scaled]

    def other_comparisons(self, folder: RunFolder, panel: Panel) -> list[str]:
        """A warning where features compare stocks, and the panel's are others than the run's."""
        columns = self.config.features.columns.items()
        names = [name for name, text in columns if parse(text).cross_sectional] if panel.stocks is not None else []
        trained = folder.read_json("config.json")["data"].get("tickers", {})
        here = () if panel.stocks is None else panel.stocks.tickers
        missing = [ticker for ticker in trained if ticker not in here]
        further = [ticker for ticker in here if ticker not in trained]
        if not names or not (missing or further):
            return []
        others = [f"without {list_stocks(missing)}"] if missing else []
        others += [f"with {list_stocks(further)}"] if further else []
        return [
            f"{list_names(names)}: compare{'s' if len(names) == 1 else ''} the stocks of a day: {' and '.join(others)} "
            "the values are others than in training; name the run's stocks in data.tickers"
        ]

    def forecast(self, panel: Panel, rows: Rows) -> Floats:
        """Forecasts (N,), in the target's units, of the samples that end in `rows`.

        Each is made by the last fold whose test had begun by then.
        """
        forecasts = np.empty(len(rows))
        for fold, own in zip(self.folds, self._rows_of_folds(panel, rows), strict=True):
            if not own.any():
                continue
            scaled = dataset.scaled_copy(panel, fold.scaler)
            batches = Batches(scaled, fold.scaler, self.chosen.device, self.chosen.dtype)
            found = forecast(fold.model, batches, torch.from_numpy(rows[own]), self.chosen)
            forecasts[own] = fold.scaler.inverse_transform(found.numpy(), panel, rows[own])
        return forecasts

    def _rows_of_folds(self, panel: Panel, rows: Rows) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        """(N,) for each fold: which of the rows its model forecasts."""
        if len(self.folds) == 1 or panel.dates is None:
            return [np.ones(len(rows), dtype=bool)]
        first_days = np.array([fold.first_day for fold in self.folds])
        numbers = np.maximum(0, np.searchsorted(first_days, panel.dates[rows], side="right") - 1)
        return [numbers == number for number in range(len(self.folds))]

    def check_own_settings(self, config: Config) -> None:
        """Raise UserError where `config` changes settings of the run other than those of other data."""
        changed = differences(identity(self.config), identity(config))
        keys = [key for key in changed if not key.startswith(("hardware.", *_DATA_SECTIONS))]
        if self.config.data.source == config.data.source:
            keys += [key for key in changed if is_within(key, SAMPLE_SETTINGS)]
            keys += [key for key in changed if key == "stock.features"]
        if keys:
            raise UserError(
                f"{', '.join(keys)}: the run's own settings are used; leave {'it' if len(keys) == 1 else 'them'} out"
            )


def each_member(folder: RunFolder, config: Config) -> list[tuple[RunFolder, Config, float]]:
    """The runs that forecast in a run, the config and the weight of each: the members of a combined run, or itself.

    A member's config is its own, with what `config` changes of the combined run's. UserError where a file is broken, or
    the test is sealed.
    """
    run_metadata.require_open(folder)
    base, found = run_metadata.saved_config(folder), members(folder)
    each = [(of.folder, _changed(run_metadata.saved_config(of.folder), base, config), of.weight) for of in found]
    return each or [(folder, config, 1.0)]


def named_by_file(folder: RunFolder, config: Config) -> Config:
    """The config under the ticker of its file, where that is another stock's than the run's and no stock was typed."""
    own = run_metadata.saved_config(folder)
    then, path = (getattr(of.data, "path", None) for of in (own, config))
    was_named = then is not None and _ticker_of(then) != own.stock.ticker  # otherwise than its file
    if not path or path == then or was_named or config.stock.ticker != own.stock.ticker:
        return config
    if getattr(config.data, "tickers", ()) or _ticker_of(path) == own.stock.ticker:
        return config
    return dataclasses.replace(config, stock=dataclasses.replace(config.stock, ticker=_ticker_of(path), name=""))


def _ticker_of(path: str) -> str:
    return Path(path.removesuffix(".gz")).stem


def _changed(own: Any, base: Any, asked: Any) -> Any:
    """A config, or a section, with the settings in which `asked` differs from `base`."""
    if asked == base:
        return own
    if not dataclasses.is_dataclass(asked) or isinstance(asked, type) or not type(own) is type(base) is type(asked):
        return asked
    names = [spec.name for spec in dataclasses.fields(asked)]
    return dataclasses.replace(own, **{n: _changed(*(getattr(of, n) for of in (own, base, asked))) for n in names})


_WINDOW_SETTINGS = (
    "window",
    "horizon",
    "target",
    "benchmark",
    "transform",
    "max_gap",
    "lag",
    "context",
    "context_max_age",
)
_DATA_SECTIONS = ("data.", "stock.")
_BARS_SETTINGS = ("start", "end", "calendar", "tickers", "on_bad_stock")
SAMPLE_SETTINGS = {f"data.{f.name}" for f in dataclasses.fields(BarsConfig) if f.name not in _BARS_SETTINGS}
"""What makes samples of bars: the data settings that do not say which bars."""


def _load_fold(
    folder: RunFolder, path: str, config: Config, spans: dict[str, Any], chosen: hardware.Hardware
) -> FoldPredictor:
    file = folder.path / path / "best.pt"
    state = checkpoint.load_best(file)
    try:
        shape, scaler = (state["window"], len(state["features"])), Scaler.from_dict(state["scaler"])
        model = models.averaged([models.build(config.model, *shape) for _ in config.each_member()]).to(chosen.dtype)
        model.load_state_dict(state["state_dict"])
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:  # RuntimeError: weights of other shapes
        raise UserError(checkpoint.misfit(file, error)) from error
    first_day = np.datetime64(spans["test"][0]) if spans["test"] else None
    return FoldPredictor(model.to(chosen.device), shape, scaler, first_day)
