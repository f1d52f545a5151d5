"""From a source to scaled samples: source → panel → split → scaler → batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockml.data import doctor
from stockml.data.features import price_scale
from stockml.data.features.feature_set import shown
from stockml.data.panel import Panel
from stockml.data.samples import from_bars
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.data.sources import loading
from stockml.data.spec import PanelSpec
from stockml.data.split import Rows, Split, split
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.bars import Floats


@dataclass(frozen=True)
class Data:
    """A scaled panel, its split, and its scaler."""

    panel: Panel
    split: Split
    scaler: Scaler
    fingerprint: str
    """Of the panel before it was scaled."""
    forecasts: Mapping[str, Mapping[str, Floats]] | None = None
    """Those of every baseline, by split and by name, where they are made already."""
    sealed: bool = False
    """Whether the test is neither forecast nor scored."""

    def span(self, rows: Rows) -> tuple[str, str]:
        """The first and the last day of some rows; empty texts for undated arrays."""
        return self.panel.date(rows[0]), self.panel.date(rows[-1])


def prepare(config: Config) -> Data:
    """Load, split and scale the config's data; of a walk-forward config the fold `data.fold`, 0 by default.

    Raises UserError for every fault of the data.
    """
    panel, before_test = load_panel(config)
    _refuse_quantiles_of_classes(config, panel)
    return _sealed(scale(panel, split(panel, config.data, before_test), _fit(config)), config)


def prepare_folds(config: Config) -> list[Data]:
    """One Data per fold of a walk-forward config, else a list of one; the data are read once."""
    panel, before_test = load_panel(config)
    _refuse_quantiles_of_classes(config, panel)
    splits = [split(panel, fold.data, before_test) for fold in config.each_fold()]
    copies = [panel if panel.mapped else _copy(panel) for _ in splits[1:]]  # each is scaled by itself
    each = zip([*copies, panel], splits, strict=True)
    return [_sealed(scale(own, parts, _fit(config)), config) for own, parts in each]


def _sealed(data: Data, config: Config) -> Data:
    return dataclasses.replace(data, sealed=config.test == "sealed")


def _refuse_quantiles_of_classes(config: Config, panel: Panel) -> None:
    if config.trainer.quantile is not None and panel.kind == "class":
        raise UserError(
            "trainer.loss=quantile: the target is a class, 0 or 1, which has no quantiles; take trainer.loss=mse"
        )


def _copy(panel: Panel) -> Panel:
    return dataclasses.replace(panel, values=panel.values.copy())


def _fit(config: Config) -> Callable[[Panel, Rows], Scaler]:
    data = config.data
    if not isinstance(data, BarsConfig) or data.scaler != "per_stock":
        return Scaler.fit
    return functools.partial(Scaler.fit, per_stock=True, fewest=data.min_scaler_samples)


def scale(panel: Panel, splits: Split, fit: Callable[[Panel, Rows], Scaler] = Scaler.fit) -> Data:
    """Scale the panel in place with what `fit` makes of its train rows. Raises UserError.

    The values of a mapped panel are not changed: they are scaled batch by batch as they are read.
    """
    fingerprint = panel.fingerprint()
    scaler = fit(panel, splits.train)
    if not panel.mapped:
        scaler.transform(panel)
    return Data(panel, splits, scaler, fingerprint)


def scaled_copy(panel: Panel, scaler: Scaler) -> Panel:
    """A scaled copy of the panel; a mapped panel itself, which is scaled batch by batch as it is read."""
    if panel.mapped:
        return panel
    copy = _copy(panel)
    scaler.transform(copy)
    return copy


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a sample, without loading dated bars. Raises UserError."""
    if isinstance(config.data, BarsConfig):
        return config.data.window, len(PanelSpec.of(config).features.names)
    return loading.sample_shape(config)


def load_panel(config: Config) -> tuple[Panel, int | None]:
    """The config's panel; for windowed arrays also the number of samples before the test split, else None.

    Raises UserError, also for errors that the data doctor finds.
    """
    data = config.data
    if not isinstance(data, BarsConfig):
        return loading.load_windows(config)
    if data.pooled:
        from stockml.data import pooled

        _refuse_pooled_levels(config, data)
        return pooled.load(config), None
    bars = loading.load_bars(config).between(data.start, data.end)
    data_warnings = doctor.labels(doctor.counts(bars, data.calendar))
    return dataclasses.replace(from_bars(bars, PanelSpec.of(config), data), data_warnings=data_warnings), None


def _refuse_pooled_levels(config: Config, data: BarsConfig) -> None:
    """UserError where stocks are compared by the level of adjusted prices. Simulated prices have no splits."""
    choices = (("transform", ("levels", "differences")), ("target", ("close", "difference")))
    given = [f"data.{key}={value}" for key, levels in choices if (value := getattr(data, key)) in levels]
    if given and not data.synthetic:
        raise UserError(
            f"{', '.join(given)}: not with data.tickers: adjusted prices are divided by every later split and "
            "dividend, so how high one stock's are beside another's is known only later; take data.transform=returns "
            "and a return as target, or train on each stock alone"
        )
    if given or data.synthetic:
        return
    spec = PanelSpec.of(config)
    expressions = {shown(name, one.text): one for name, one in spec.features.expressions.items()}
    if spec.target.expression is not None:
        expressions[f"data.target={data.target}"] = spec.target.expression
    if faults := price_scale.depending(expressions):
        why = (
            "depends on how high a stock's prices are, which later splits and dividends decide: in a pool of adjusted "
            "prices it knows the future; take a ratio, such as $close / Mean($close, 20)"
        )
        raise UserError(*(f"{fault}: {why}" for fault in faults))


def load_panel_to_forecast(config: Config) -> Panel:
    """The panel of the config's dated bars, with every full window as a sample, its target known or not.

    Raises UserError, also where the data are not dated bars.
    """
    data = config.data
    if not isinstance(data, BarsConfig):
        raise UserError(f"data.source={data.source}: forecasts need dated bars; name a source such as data=csv")
    if data.pooled:
        from stockml.data import pooled

        return pooled.load(config, to_forecast=True)
    return from_bars(loading.load_bars(config), PanelSpec.of(config), data, to_forecast=True)


def fit_scaler(config: Config, panel: Panel, train: Rows) -> Scaler:
    """The scaler of the config's settings, fitted on the train rows of an unscaled panel. Raises UserError."""
    return _fit(config)(panel, train)
