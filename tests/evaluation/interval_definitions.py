"""The figures of intervals in metrics.json, from their ends, samples and forecasts, without code of stockml."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tests.evaluation.definitions import Floats, Scores, changes


def intervals(
    found: pd.DataFrame,
    parts: Mapping[str, pd.DataFrame],
    forecasts: Mapping[str, pd.DataFrame],
    kind: str,
    *,
    pooled: bool,
) -> Scores:
    """The section `intervals`, of which nothing is there for classes; their ends are those of predictions.csv."""
    if kind == "class":
        return {}
    validation, test, f = parts["validation"], parts["test"], forecasts["test"]["y_pred"].to_numpy()
    y, y_pred = validation["y"].to_numpy(), forecasts["validation"]["y_pred"].to_numpy()
    missed = abs(changes(validation, y, kind) - changes(validation, y_pred, kind))
    years = test["day"].dt.strftime("%Y").to_numpy()
    by_level = {}
    for level in (0.8, 0.95):
        half = np.empty(len(test))
        for ticker in set(test["ticker"]) if pooled else {None}:
            own = np.sort(missed[(validation["ticker"] == ticker).to_numpy()] if ticker else missed)
            own = own if len(own) else np.sort(missed)
            at = test["ticker"].to_numpy() == ticker if ticker else slice(None)
            half[at] = own[min(len(own), math.ceil(round((len(own) + 1) * level, 9))) - 1]
        half *= test["last"].to_numpy() if kind == "level" else 1
        ends = found.loc[found["split"] == "test", [f"{end}_{100 * level:g}" for end in ("lower", "upper")]]
        both = {"": ends.to_numpy(float).T, "constant": np.stack([f - half, f + half])}

        def figures(chosen: Any, both: dict[str, Floats] = both, level: float = level) -> Scores:
            y = test["y"].to_numpy()[chosen]
            each = {}
            for name, (lower, upper) in {name: ends[:, chosen] for name, ends in both.items()}.items():
                outside = np.where(y < lower, lower - y, np.where(y > upper, y - upper, 0))
                width, score = np.mean(upper - lower), np.mean(upper - lower + 2 / (1 - level) * outside)
                each[name] = {"coverage": np.mean(outside == 0), "width": width, "score": score}
            return {"n": len(y), **each[""], "constant": each["constant"]}

        by_year = {year: figures(years == year) for year in sorted(set(years))}
        by_level[f"{100 * level:g}"] = {**figures(slice(None)), "by_year": by_year}
    return {"intervals": by_level}
