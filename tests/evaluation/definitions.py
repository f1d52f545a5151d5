"""Every number of metrics.json, folds.csv and stocks.csv, computed from samples and forecasts, without code of stockml.

Each definition is that of stockml/evaluation/README.md and the papers that it names. Samples are frames with the
columns ticker, day, y, last and drift, in order of day; forecasts are arrays of the same length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

Floats = NDArray[np.float64]
Scores = dict[str, Any]

DIRECTION_ONLY = ("always_up", "majority_class")
DRIFTS = {
    "return": ["zero", "train_mean", "expanding_mean"],
    "level": ["zero", "persistence_with_drift"],
    "class": ["train_mean"],
}
"""The rival without skill, then the others that know the drift and no more."""
COLUMNS = ("mse", "mae", "r2", "r2_zero", "r2_ct", "hit_rate", "ic")
"""Of folds.csv and stocks.csv, for validation and test."""


def changes(part: pd.DataFrame, y: Floats, kind: str) -> Floats:
    """Of levels, the change since the last known value; anything else as it is."""
    return y / part["last"].to_numpy() - 1 if kind == "level" else y


def scores(part: pd.DataFrame, forecast: Floats, kind: str, *, pooled: bool, direction_only: bool = False) -> Scores:
    """Every metric of a forecast."""
    y = part["y"].to_numpy()
    r, f, drift = (changes(part, values, kind) for values in (y, forecast, part["drift"].to_numpy()))
    found: Scores = {
        "n": len(part),
        "mse": np.mean((y - forecast) ** 2),
        "mae": np.mean(abs(y - forecast)),
        "rmse": np.sqrt(np.mean((y - forecast) ** 2)),
        "r2": _r2(y, forecast, y.mean()),
        "r2_zero": None if kind == "class" else _r2(r, f, 0.0),
        "r2_ct": None if kind == "class" else _r2(r, f, drift),
        "hit_rate": _hit_rate(r, f, kind),
        "ic": None if min(np.ptp(r), np.ptp(f)) < 1e-12 else stats.pearsonr(r, f).statistic,
    }
    if kind == "class":
        found |= _of_classes(y.astype(bool), forecast)
    if pooled:
        for name, ratio, rank in (("daily_ic", "icir", False), ("daily_rank_ic", "rank_icir", True)):
            daily = _daily_correlations(part, r, f, rank=rank)
            found[name] = daily.mean() if len(daily) else None
            found[ratio] = daily.mean() / daily.std(ddof=1) if len(daily) > 1 else None
    if direction_only:
        return {name: value if name in ("n", "hit_rate", "mcc") else None for name, value in found.items()}
    return found


def _r2(r: Floats, f: Floats, rival: Floats | float) -> float | None:
    against = np.sum((r - rival) ** 2)
    return 1 - np.sum((r - f) ** 2) / against if against > 0 else None


def _of_classes(ones: NDArray[np.bool_], forecast: Floats) -> Scores:
    p = np.clip(forecast, 1e-6, 1 - 1e-6)
    up, pairs = forecast >= 0.5, forecast[ones][:, None] - forecast[~ones]
    tp, tn, fp, fn = (float(np.sum(of)) for of in (ones & up, ~ones & ~up, ~ones & up, ones & ~up))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "log_loss": -np.mean([math.log(a if one else 1 - a) for one, a in zip(ones, p, strict=True)]),
        "auc": np.mean((pairs > 0) + 0.5 * (pairs == 0)) if pairs.size else None,
        "brier": np.mean((ones - forecast) ** 2),
        "mcc": (tp * tn - fp * fn) / math.sqrt(product) if product else None,
    }


def _hit_rate(r: Floats, f: Floats, kind: str) -> float | None:
    if kind == "class":
        return float(np.mean([(a >= 0.5) == (b >= 0.5) for a, b in zip(r, f, strict=True)]))
    hits = [np.sign(a) == np.sign(b) for a, b in zip(r, f, strict=True) if a != 0]
    return float(np.mean(hits)) if hits and f.any() else None


def _daily_correlations(part: pd.DataFrame, r: Floats, f: Floats, *, rank: bool) -> Floats:
    """Pearson's or Spearman's, between the stocks of each day: three or more, that differ in both."""
    found, days = [], part["day"].to_numpy()
    for day in np.unique(days):
        a, b = r[days == day], f[days == day]
        if len(a) >= 3 and min(np.ptp(a), np.ptp(b)) > 1e-12:
            found.append((stats.spearmanr(a, b) if rank else stats.pearsonr(a, b)).statistic)
    return np.array(found)


class Mean:
    """The mean of a daily series whose values overlap over h days, with the error of Lazarus, Lewis, Stock & Watson."""

    def __init__(self, x: Floats, h: int) -> None:
        n = len(x)
        self.df = min(math.floor(0.41 * n ** (2 / 3)), n // (2 * h))
        self.mean, self.se = float(x.mean()), math.nan
        if self.df >= 4:
            t = np.arange(1, n + 1)
            cosines = [
                math.sqrt(2 / n) * np.sum(x * np.cos(math.pi * j * (t - 0.5) / n)) for j in range(1, self.df + 1)
            ]
            self.se = math.sqrt(np.mean(np.square(cosines)) / n)

    @property
    def test(self) -> dict[str, float | None]:
        if math.isnan(self.se):
            return {"statistic": None, "p_value": None}
        return {"statistic": self.mean / self.se, "p_value": stats.t.sf(self.mean / self.se, self.df)}

    @property
    def interval(self) -> list[float] | None:
        if math.isnan(self.se):
            return None
        return [float(self.mean + side * stats.t.ppf(0.975, self.df) * self.se) for side in (-1, 1)]

    def detectable(self, level: float) -> float | None:
        """The mean that is found at this one-sided level with 80 % power."""
        if math.isnan(self.se):
            return None
        return float(self.se * (stats.t.ppf(1 - level, self.df) + stats.t.ppf(0.8, self.df)))


def _by_day(part: pd.DataFrame, x: Floats, *, pooled: bool) -> Floats:
    """The sums of a pool's days, scaled to the mean of the samples; of one stock, the samples themselves."""
    if not pooled:
        return x
    sums = pd.Series(x).groupby(part["day"].to_numpy()).sum().to_numpy()
    return np.asarray(sums * len(sums) / len(x))


_UNTESTED: dict[str, Any] = {
    "interval": None,
    "r2_interval": None,
    "diebold_mariano": {"statistic": None, "p_value": None},
    "clark_west": {"statistic": None, "p_value": None},
    "detectable": None,
    "detectable_hint": None,
}


def _against(part: pd.DataFrame, r: Floats, f: Floats, rival: Floats, h: int, *, pooled: bool) -> Scores:
    """The tests of Diebold & Mariano (1995) and Clark & West (2007) of a model against a rival."""
    gain = (r - rival) ** 2 - (r - f) ** 2
    rival_mse = float(np.mean((r - rival) ** 2))
    found: Scores = {"mse_difference": gain.mean(), "r2": _r2(r, f, rival), "rival_mse": rival_mse}
    if math.sqrt(np.mean((f - rival) ** 2)) <= 1e-4 * r.std():  # the same forecasts
        return {**found, **_UNTESTED}
    dm = Mean(_by_day(part, gain, pooled=pooled), h)
    adjusted = (r - rival) ** 2 - ((r - f) ** 2 - (rival - f) ** 2)
    cw = Mean(_by_day(part, adjusted, pooled=pooled), h)
    hint = cw.detectable(0.05)
    return {
        **found,
        "interval": dm.interval,
        "r2_interval": dm.interval and [end / rival_mse for end in dm.interval],
        "diebold_mariano": dm.test,
        "clark_west": cw.test,
        "detectable": dm.detectable(0.025),
        "detectable_hint": None if hint is None else hint / 2,  # a calibrated model's gain is half of cw.mean
    }


def _directions(part: pd.DataFrame, r: Floats, f: Floats, h: int, kind: str, *, pooled: bool) -> dict[str, Any]:
    """The test of Pesaran & Timmermann (1992): hits P̂ less those of independent directions P*, twice a covariance."""
    middle = 0.5 if kind == "class" else 0.0
    moved = r != middle
    up, forecast_up = (r > middle)[moved].astype(float), (f > middle)[moved].astype(float)
    if len({*up}) < 2 or len({*forecast_up}) < 2:
        return {"statistic": None, "p_value": None}
    p, q = up.mean(), forecast_up.mean()
    each = _by_day(part[moved], (up - p) * (forecast_up - q), pooled=pooled)
    found = Mean(each, h)
    excess = np.mean(up == forecast_up) - (p * q + (1 - p) * (1 - q))
    assert math.isclose(excess / 2, found.mean, abs_tol=1e-12)
    return found.test


def _daily_mean(daily: Floats, h: int) -> dict[str, Any] | None:
    """The mean of daily correlations, and Newey & West's (1987) error with the lags of their rule of thumb (1994)."""
    if not len(daily):
        return None
    lags = min(max(h - 1, math.floor(4 * (len(daily) / 100) ** (2 / 9))), len(daily) - 1)
    hac = OLS(daily, np.ones(len(daily))).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    own = Mean(daily, h)
    return {
        "mean": own.mean,
        "interval": own.interval,
        "test": own.test,
        "standard_error": None if math.isnan(own.se) else own.se,
        "newey_west": float(hac.bse[0]),
    }


def significance(
    part: pd.DataFrame, model: Floats, rivals: Mapping[str, Floats], best: str, h: int, kind: str, *, pooled: bool
) -> Scores:
    """The section `significance` of metrics.json, of the test samples; `rivals` are the baselines' forecasts."""
    r, f = changes(part, part["y"].to_numpy(), kind), changes(part, model, kind)
    others = {name: changes(part, y, kind) for name, y in rivals.items() if name not in DIRECTION_ONLY}
    own = np.sum((r - f) ** 2)
    ahead = [name for name, y in others.items() if np.sum((r - y) ** 2) < own]
    others["zero"] = np.zeros(len(r))
    zero, *drifts = DRIFTS[kind]
    names = dict.fromkeys([zero, *(name for name in drifts if name in others), best])
    against = {name: _against(part, r, f, others[name], h, pooled=pooled) for name in names}
    of_model = scores(part, model, kind, pooled=pooled)
    sigma, base = r.std(), against[zero]["rival_mse"]

    def least(gain: str) -> float | None:
        needed = [None if of[gain] is None else (of[gain] + base - of["rival_mse"]) / base for of in against.values()]
        return None if None in needed else max(one for one in needed if one is not None)

    daily = {
        name: _daily_mean(_daily_correlations(part, r, f, rank=rank), h) if pooled else None
        for name, rank in (("daily_ic", False), ("daily_rank_ic", True))
    }
    return {
        "part": "test",
        "n": len(part),
        "unit": "stock-days" if pooled else "days",
        "horizon": h,
        "r2_ct": of_model["r2_ct"],
        "r2_identity": {
            "r2": _r2(r, f, r.mean()),
            "correlation": of_model["ic"],
            "spread_ratio": f.std() / sigma,
            "bias_ratio": (f.mean() - r.mean()) / sigma,
        },
        "r2_zero_interval": None if kind == "class" else against["zero"]["r2_interval"],
        "confidence": 0.95,
        "estimator": "EWC",
        "zero": zero,
        "best": best,
        "against": against,
        "ahead": ahead,
        "pesaran_timmermann": _directions(part, r, f, h, kind, pooled=pooled),
        **daily,
        "minimum_detectable_r2": {"diebold_mariano": least("detectable"), "clark_west": least("detectable_hint")},
        "days": part["day"].nunique() if pooled else len(part),
    }


def skill(found: Scores) -> str:
    """The word of the README's table, of a section `significance`."""
    rivals = [
        (of["mse_difference"], of["diebold_mariano"]["p_value"], of["clark_west"]["p_value"])
        for of in found["against"].values()
    ]
    if all(p is not None and p < 0.025 for _, p, _ in rivals):
        return "shown"
    if all(gain > 0 and p is not None and p < 0.05 for gain, _, p in rivals):
        return "hinted"
    p = rivals[0][1]
    return "worse" if p is not None and p > 0.975 else "not shown"


def metrics(
    parts: Mapping[str, pd.DataFrame], forecasts: Mapping[str, pd.DataFrame], h: int, kind: str, *, pooled: bool
) -> Scores:
    """The scores of metrics.json. `forecasts` has by split a column `y_pred` and one for each baseline."""

    def of(name: str) -> Scores:
        only = name in DIRECTION_ONLY
        return {
            split: scores(part, forecasts[split][name].to_numpy(), kind, pooled=pooled, direction_only=only)
            for split, part in parts.items()
        }

    names = [str(name) for name in forecasts["test"] if name != "y_pred"]
    table = {name: of(name) for name in names}
    candidates = {name: of["validation"]["mse"] for name, of in table.items() if name not in DIRECTION_ONLY}
    best = min(candidates, key=lambda name: candidates[name])
    rivals = {name: forecasts["test"][name].to_numpy() for name in names}
    tested = significance(parts["test"], forecasts["test"]["y_pred"].to_numpy(), rivals, best, h, kind, pooled=pooled)
    return {
        **of("y_pred"),
        "baselines": table,
        "best_baseline": best,
        "significance": tested,
        "skill": skill(tested),
    }


def differences(expected: Any, found: Any, tolerance: float = 1e-9, where: str = "") -> Iterator[str]:
    """Each leaf of nested dicts that is not as expected, and each that is not expected at all."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key not in expected or key not in found:
                yield f"{where}{key}: {'unknown' if key in found else 'missing'}"
            else:
                yield from differences(expected[key], found[key], tolerance, f"{where}{key}.")
    elif all(isinstance(both, list) and [*map(type, both)] == [float, float] for both in (expected, found)):
        widest = max(map(abs, expected))  # the end that is nearer 0 is a difference of larger numbers
        if not np.allclose(found, expected, rtol=0, atol=tolerance * widest):
            yield f"{where[:-1]}: {found} in place of {expected}"
    elif isinstance(expected, float | np.floating) and isinstance(found, float):
        if not math.isclose(expected, found, rel_tol=tolerance, abs_tol=1e-14):
            yield f"{where[:-1]}: {found} in place of {expected}"
    elif expected != found:
        yield f"{where[:-1]}: {found!r} in place of {expected!r}"
