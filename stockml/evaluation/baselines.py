"""The register of baselines: the naive forecasts that a model must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.evaluation.truth import Floats, target
from stockml.evaluation.volatility import volatility
from stockml.models.settings import MOST_RIDGE_INPUTS

if TYPE_CHECKING:
    from stockml.data.batches import Batches
    from stockml.data.dataset import Data
    from stockml.data.panel import Kind, Panel
    from stockml.data.split import Rows

_ALL: frozenset[Kind] = frozenset({"return", "level", "class"})
_RETURNS: frozenset[Kind] = frozenset({"return"})
_LEVELS: frozenset[Kind] = frozenset({"level"})


@dataclass(frozen=True)
class Baseline:
    """A naive forecast."""

    name: str
    """Its key in metrics.json and its column in baselines.csv."""
    function: Callable[..., Any]
    """Of (panel, train_mean), train's mean at each row (R,): forecasts (R,) made at the end of every row. Of a baseline
    that is fitted, of (data, batches): forecasts (N,) by split. None where these data do not allow it."""
    kinds: frozenset[Kind] = _ALL
    """The kinds of target that it forecasts."""
    direction_only: bool = False
    """Whether its forecasts are nothing but a direction: it has a hit rate and no error."""
    fitted: bool = False
    """Whether it is fitted on the train split's windows."""
    drift_of: frozenset[Kind] = frozenset()
    """The kinds of target of which it knows the drift and no more: a model without skill may do as well as it."""

    @property
    def may_be_best(self) -> bool:
        """Whether it may be chosen as the best baseline, by its squared error on validation."""
        return not self.direction_only


def forecasts(data: Data, batches: Batches, model: str = "") -> dict[str, dict[str, Floats]]:
    """Forecasts (N,) of every baseline for this kind of target, by split and by name, in the target's units.

    A model that is itself a baseline, by its name, is not compared with itself.
    """
    if data.forecasts is not None:
        return {split: {name: y for name, y in of.items() if name != model} for split, of in data.forecasts.items()}
    found: dict[str, dict[str, Floats]] = {split: {} for split, _ in scored_splits(data)}
    for name, values in naive(data.panel, data.scaler.train_mean(data.panel)):
        if name != model:
            for split, rows in scored_splits(data):
                found[split][name] = values[rows]
    for baseline in _of_kind(data.panel.kind, fitted=True):
        if baseline.name != model and (by_split := baseline.function(data, batches)) is not None:
            for split, values in by_split.items():
                found[split][baseline.name] = values
    return found


def quantile_forecasts(data: Data, quantile: float) -> dict[str, dict[str, Floats]]:
    """Forecasts (N,) of a quantile, by split and by name, in the target's units.

    train_quantile: the quantile of the train split's changes; of a target without a price, of the target itself.
    scaled_quantile: the quantile of its changes in units of the volatility known on their day, times that of the day.
    Both of the stock, or of all stocks where it has no train samples. Of levels there is persistence too.
    """
    panel, train = data.panel, data.split.train
    constant_level = panel.last is not None and not panel.relative and panel.target_name != "close"

    def of_stocks(values: Floats, rows: Rows) -> Floats:
        found = np.full(len(rows), np.quantile(values[np.isfinite(values)], quantile))
        for span in panel.spans() if panel.stocks is not None else ():
            own = values[(train >= span.start) & (train < span.stop)]
            if np.isfinite(own).any():
                found[(rows >= span.start) & (rows < span.stop)] = np.quantile(own[np.isfinite(own)], quantile)
        return found

    of_train = target(panel, train)
    changes, spread = of_train.changes(of_train.y_true), volatility(panel, train)
    found: dict[str, dict[str, Floats]] = {}
    for split, rows in scored_splits(data):
        truth, sigma = target(panel, rows), volatility(panel, rows)
        sigma = np.where(np.isfinite(sigma), sigma, np.sqrt(np.square(changes).mean()))
        constant = of_stocks(panel.target[train] if constant_level else changes, rows)
        found[split] = {
            "train_quantile": constant if constant_level else truth.of_changes(constant),
            "scaled_quantile": truth.of_changes(sigma * of_stocks(changes / spread, rows)),
            **({} if truth.last is None else {"persistence": truth.last}),
        }
    return found


def naive(panel: Panel, train_mean: Floats) -> Iterator[tuple[str, Floats]]:
    """The baselines that are not fitted, one by one: name, and forecasts (R,) at the end of every row.

    `train_mean` (R,) is the mean of the train split's targets at each row, which differs between stocks.
    """
    for baseline in _of_kind(panel.kind, fitted=False):
        if (values := baseline.function(panel, train_mean)) is not None:
            yield baseline.name, values


def fitted_names() -> list[str]:
    """The baselines that need a train split."""
    return [baseline.name for baseline in BASELINES.values() if baseline.fitted]


def is_direction_only(name: str) -> bool:
    """Whether the forecasts of the baseline of that name are nothing but a direction."""
    return name in BASELINES and BASELINES[name].direction_only


def may_be_best(name: str) -> bool:
    """Whether the baseline of that name may be chosen as the best one; a name that is not registered may."""
    return name not in BASELINES or BASELINES[name].may_be_best


def drifts(kind: Kind, *, reverts: bool = False) -> list[str]:
    """The baselines that know the drift of this kind of target and no more; the train mean, if it reverts to that."""
    return [
        baseline.name
        for baseline in BASELINES.values()
        if kind in baseline.drift_of or (reverts and baseline.function is _train_mean)
    ]


def known_drift(forecasts: Mapping[str, Floats]) -> Floats | None:
    """Among forecasts by baseline, that of the mean change of all days known by then; None where there is none."""
    return next((forecasts[name] for name in ("expanding_mean", "persistence_with_drift") if name in forecasts), None)


def scored_splits(data: Data) -> list[tuple[str, Rows]]:
    """The splits that are forecast and scored, without a sealed test, and the rows in which their samples end."""
    return [("validation", data.split.validation), *([] if data.sealed else [("test", data.split.test)])]


def ridge_forecasts(data: Data, batches: Batches) -> dict[str, Floats]:
    """Forecasts (N,) of a ridge regression on the model's windows, by scored split, in the target's units."""
    import torch

    from stockml.data.batches import tensor
    from stockml.models import fitted_whole, ridge

    rows_of = {name: tensor(rows).to(batches.storage_device) for name, rows in data.split.by_name().items()}
    train, validation = (ridge.Sums.over_rows(batches, rows_of[split]) for split in ("train", "validation"))
    fitted = ridge.fit(train, validation)
    found = {}
    for split, rows in scored_splits(data):
        scaled = torch.empty(len(rows), dtype=torch.float64)
        for chunk, result in zip(
            rows_of[split].split(fitted_whole.CHUNK), scaled.split(fitted_whole.CHUNK), strict=True
        ):
            result.copy_(fitted.forecast(batches.windows(chunk).cpu()))
        found[split] = data.scaler.inverse_transform(scaled.numpy(), data.panel, rows)
    return found


def _of_kind(kind: Kind, *, fitted: bool) -> list[Baseline]:
    return [baseline for baseline in BASELINES.values() if kind in baseline.kinds and baseline.fitted == fitted]


def _zero(panel: Panel, _train_mean: Floats) -> Floats:
    return np.broadcast_to(0.0, panel.target.shape)


def _train_mean(_panel: Panel, train_mean: Floats) -> Floats:
    return train_mean


def _expanding_mean(panel: Panel, _train_mean: Floats) -> Floats | None:
    """The mean of all returns of the stock that are known at the end of each row; dated returns only."""
    past_return = panel.past_return
    return None if past_return is None else _mean_so_far(past_return, panel)


def _persistence_with_drift(panel: Panel, _train_mean: Floats) -> Floats | None:
    """The last value, and the mean of all its changes that are known at the end of each row; dated levels only."""
    last, reach = panel.last, panel.reach
    if last is None or panel.dates is None or not reach:
        return None
    changes = np.full(len(last), np.nan)
    for rows in panel.spans():
        before, after = last[rows][:-reach], last[rows][reach:]
        changes[rows][reach:] = after / before - 1 if panel.relative else after - before
    drift = _mean_so_far(changes, panel)
    return last * (1 + drift) if panel.relative else last + drift


def _mean_so_far(changes: Floats, panel: Panel) -> Floats:
    """(R,) the mean of each stock's changes (R,), up to and with each row."""
    mean = np.empty(len(changes))
    for rows in panel.spans():
        known = np.isfinite(changes[rows])
        np.cumsum(np.where(known, changes[rows], 0.0), out=mean[rows])
        mean[rows] /= np.maximum(1, known.cumsum())
    return mean


def _last_return(panel: Panel, _train_mean: Floats) -> Floats | None:
    """The last return that is known at the end of each row; 0 until one is, as the mean of none; dated returns only."""
    return None if (known := panel.past_return) is None else np.nan_to_num(known)


def _persistence(panel: Panel, _train_mean: Floats) -> Floats | None:
    return panel.last


def _majority_class(_panel: Panel, train_mean: Floats) -> Floats:
    return np.where(train_mean >= 0.5, 1.0, 0.0)


def _always_up(panel: Panel, _train_mean: Floats) -> Floats | None:
    if panel.kind == "level" and panel.last is None:
        return None
    return np.broadcast_to(1.0, panel.target.shape) if panel.last is None else panel.last + 1


def _ridge(data: Data, batches: Batches) -> dict[str, Floats] | None:
    return ridge_forecasts(data, batches) if batches.window * batches.width <= MOST_RIDGE_INPUTS else None


BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("zero", _zero, _RETURNS, drift_of=_RETURNS),
        Baseline("train_mean", _train_mean, drift_of=_ALL - _LEVELS),
        Baseline("expanding_mean", _expanding_mean, _RETURNS, drift_of=_RETURNS),
        Baseline("last_return", _last_return, _RETURNS),
        Baseline("persistence", _persistence, _LEVELS),
        Baseline("persistence_with_drift", _persistence_with_drift, _LEVELS, drift_of=_LEVELS),
        Baseline("majority_class", _majority_class, frozenset({"class"}), direction_only=True),
        Baseline("always_up", _always_up, frozenset({"return", "level"}), direction_only=True),
        Baseline("ridge", _ridge, fitted=True),
    )
}
"""Every baseline by its name: adding one is one entry."""
