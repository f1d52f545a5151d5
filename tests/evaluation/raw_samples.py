"""The samples, splits, scalers and baselines of a run, computed from raw prices: slow, and without any code of stockml.

Each definition is that of stockml/data/README.md and stockml/evaluation/README.md. A frame of samples has a row for
each sample: ticker, row (of its stock), sample (its row among all stocks), day, target_day, y, last, past, drift, and
its window x0, x1, …
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that the definitions depend on."""

    model: str = "linear"
    """linear; or ridge, which is no baseline then."""
    tickers: tuple[str, ...] = ("ONE",)
    features: tuple[str, ...] = ("close", "volume")
    window: int = 5
    horizon: int = 1
    target: str = "log_return"
    """log_return, return, close, direction; or up, whether the price rises: arrays without days."""
    levels: bool = False
    """Whether prices themselves are the inputs, not their log changes."""
    valid_ratio: float = 0.2
    test_ratio: float = 0.3
    valid_start: str | None = None
    test_start: str | None = None
    folds: int | None = None
    rolling: bool = False
    embargo: int = 0
    max_gap: int = 5
    per_stock: bool = True
    min_scaler_samples: int = 50

    @property
    def kind(self) -> str:
        return {"close": "level", "direction": "class", "up": "class"}.get(self.target, "return")

    @property
    def pooled(self) -> bool:
        return len(self.tickers) > 1

    @property
    def dated(self) -> bool:
        return self.target != "up"


def bars(path: Path) -> pd.DataFrame:
    """Prices × Adj Close / Close, and volume in shares of the last day; a split is a step of that factor above 1.2."""
    table = pd.read_csv(path, parse_dates=["Date"], index_col="Date")
    factor = table["Adj Close"] / table["Close"]
    step = (factor / factor.shift()).fillna(1.0)
    ratio = step.where(step > 1.2, 1.0).round()
    later = ratio[::-1].cumprod()[::-1] / ratio
    return pd.DataFrame({"close": table["Close"] * factor, "volume": table["Volume"] * later})


def rows(prices: pd.DataFrame, sessions: NDArray[Any], plan: Plan) -> pd.DataFrame:
    """A row for each bar: its inputs, what follows it, and what is known at its end. The first bar has no change."""
    h, close, columns = plan.horizon, prices["close"], list(plan.features)
    logs = pd.DataFrame({"close": np.log(close), "volume": np.log1p(prices["volume"])})[columns]
    found = prices[columns].add_prefix("in_") if plan.levels else logs.diff().add_prefix("in_")
    ahead, dates = close.shift(-h), prices.index.to_numpy()
    found["last"], found["day"] = close, dates
    found["target_day"] = found["day"].shift(-h)
    up = (ahead > close).astype(float)
    of_target = {
        "log_return": np.log(ahead / close),
        "return": ahead / close - 1,
        "close": ahead,
        "direction": up,
        "up": up,
    }
    found["y"] = pd.DataFrame(of_target)[plan.target].where(ahead.notna())
    # Sessions between this bar and the one before it.
    found["missing"] = [0, *(int(((a < sessions) & (sessions < b)).sum()) for a, b in itertools.pairwise(dates))]
    found = found.iloc[0 if plan.levels else 1 :].reset_index(drop=True)
    change = found["y"] / found["last"] - 1 if plan.target == "close" else found["y"]
    known = [change[: max(0, row - h + 1)] for row in range(len(found))]  # those that have ended
    found["past"] = change.shift(h).fillna(0.0)  # 0 until a return is known, as is the mean
    mean = np.array([of.mean() if len(of) else 0.0 for of in known])
    found["drift"] = found["last"] * (1 + mean) if plan.target == "close" else mean
    return found


def samples(files: Mapping[str, Path], plan: Plan) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], NDArray[Any]]:
    """All samples in order of day, then stock; the rows of each stock; and the days on which any of them has a bar."""
    prices = {ticker: bars(files[ticker]) for ticker in plan.tickers}
    days = np.unique(np.concatenate([of.index.to_numpy() for of in prices.values()]))
    sessions = days if plan.pooled else pd.bdate_range(days[0], days[-1]).to_numpy()
    by_stock = {ticker: rows(of, sessions, plan) for ticker, of in prices.items()}
    found, before = [], 0
    for number, (ticker, table) in enumerate(by_stock.items()):
        inputs, missing, chosen, windows = table.filter(like="in_").to_numpy(), table["missing"].to_numpy(), [], []
        for row in range(plan.window - 1, len(table) - plan.horizon):
            first = row - plan.window + 1
            if not plan.dated or missing[first + plan.levels : row + plan.horizon + 1].max() <= plan.max_gap:
                chosen.append(row)
                windows.append(inputs[first : row + 1].ravel())
        facts = table.loc[chosen, ["day", "target_day", "y", "last", "past", "drift"]]
        own = facts.assign(ticker=ticker, stock=number, row=chosen, sample=np.array(chosen) + before)
        if chosen:
            found.append(own.join(pd.DataFrame(windows, index=chosen).add_prefix("x")))
        before += len(table)
    every = pd.concat(found).sort_values(["day", "stock"], ignore_index=True)
    if not plan.dated:
        every["sample"] = every.index  # arrays are numbered by their windows
    return every, by_stock, days


@dataclass(frozen=True)
class Fold:
    """The samples of each split."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    purged: int

    @property
    def scored(self) -> dict[str, pd.DataFrame]:
        return {"validation": self.validation, "test": self.test}


def folds(every: pd.DataFrame, days: NDArray[Any], plan: Plan, n_train: int | None = None) -> list[Fold]:
    """The split, or those of each fold; `n_train` samples come before the test of arrays."""
    own = np.unique(every["day"].to_numpy())
    before_test = len(own) - round(len(own) * plan.test_ratio) if n_train is None else n_train
    if plan.test_start is not None:
        before_test = int((own < np.datetime64(plan.test_start)).sum())
    edges = [before_test, len(own)]
    if plan.folds is not None:
        edges = [before_test + round(k * (len(own) - before_test) / plan.folds) for k in range(plan.folds + 1)]
    found = []
    for test_from, test_to in itertools.pairwise(edges):
        first = test_from - before_test if plan.rolling else 0
        valid_from = test_from - max(1, round((test_from - first) * plan.valid_ratio))
        if plan.valid_start is not None:
            valid_from = int((own < np.datetime64(plan.valid_start)).sum())
        cuts = [own[first:valid_from], own[valid_from:test_from], own[test_from:test_to]]
        train, validation, test = (every[every["day"].isin(cut)] for cut in cuts)
        kept = [_purged(part, later[0], days, plan) for part, later in ((train, cuts[1]), (validation, cuts[2]))]
        purged = len(train) + len(validation) - sum(map(len, kept))
        parts = [*kept, test]
        if plan.pooled and plan.per_stock:  # a stock that train does not know has no scaler
            known = kept[0]["ticker"].value_counts()
            parts = [part[part["ticker"].isin(known[known >= 2].index)] for part in parts]
        found.append(Fold(parts[0], parts[1], parts[2], purged))
    return found


def _purged(part: pd.DataFrame, later: Any, days: NDArray[Any], plan: Plan) -> pd.DataFrame:
    """Without the samples whose target ends after the first window of the next split, or in the days of the embargo."""
    ends = np.searchsorted(days, part["target_day"].to_numpy())
    kept: pd.DataFrame = part.loc[ends + plan.embargo <= np.searchsorted(days, later)]
    return kept


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of inputs (F,) and targets."""

    mean: Floats
    std: Floats
    target_mean: float
    target_std: float


def scalers(train: pd.DataFrame, by_stock: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Moments]:
    """By stock: its own figures, over its rows from its first train window to its last and over its train targets.

    A stock with few train samples has those of all stocks.
    """

    def moments(part: pd.DataFrame) -> Moments:
        if plan.dated:
            each = [
                by_stock[str(ticker)].filter(like="in_").loc[row.min() - plan.window + 1 : row.max()]
                for ticker, row in part.groupby("ticker")["row"]
            ]
            inputs = pd.concat(each).to_numpy()
        else:  # arrays are scaled as they are: a day counts in every window that holds it
            inputs = part.filter(regex=r"^x\d").to_numpy().reshape(-1, len(plan.features))
        return Moments(inputs.mean(0), inputs.std(0), float(part["y"].mean()), float(part["y"].std(ddof=0)))

    pool, own = moments(train), {str(ticker): part for ticker, part in train.groupby("ticker")}
    alone = plan.pooled and plan.per_stock
    return {
        ticker: moments(own[ticker]) if alone and len(own[ticker]) >= plan.min_scaler_samples else pool
        for ticker in (own if alone else plan.tickers)
    }


def baselines(fold: Fold, scaled_by: Mapping[str, Moments], plan: Plan) -> dict[str, pd.DataFrame]:
    """By split: every baseline's forecasts, a column each, and those of a ridge regression."""
    by_ridge, found = _ridge(fold, scaled_by), {}
    for split, part in fold.scored.items():
        mean = part["ticker"].map({ticker: of.target_mean for ticker, of in scaled_by.items()})
        columns: dict[str, Any]
        if plan.kind == "return":
            columns = {"zero": 0.0, "train_mean": mean, "expanding_mean": part["drift"], "last_return": part["past"]}
            columns["always_up"] = 1.0
        elif plan.kind == "level":
            columns = {"train_mean": mean, "persistence": part["last"], "persistence_with_drift": part["drift"]}
            columns["always_up"] = part["last"] + 1
        else:
            columns = {"train_mean": mean, "majority_class": (mean >= 0.5).astype(float)}
        found[split] = pd.DataFrame({**columns, "ridge": by_ridge[split]}, index=part.index)
    return found


def _ridge(fold: Fold, scaled_by: Mapping[str, Moments]) -> dict[str, Floats]:
    """Forecasts by Hoerl & Kennard's (1970) ridge, the b and w of least Σ(y − b − wᵀx)² + alpha·|w|² on train.

    Inputs and targets are scaled; alpha is the power of ten from 10 to 1e7 with the lowest error on validation.
    """

    def inputs(part: pd.DataFrame) -> Floats:
        x = part.filter(regex=r"^x\d").to_numpy().reshape(len(part), -1, len(next(iter(scaled_by.values())).mean))
        mean, std = (np.array([getattr(scaled_by[t], name) for t in part["ticker"]]) for name in ("mean", "std"))
        scaled: Floats = ((x - mean[:, None]) / std[:, None]).reshape(len(part), -1)
        return scaled

    def targets(part: pd.DataFrame) -> tuple[Floats, Floats]:
        own = [scaled_by[ticker] for ticker in part["ticker"]]
        return np.array([of.target_mean for of in own]), np.array([of.target_std for of in own])

    (mean, std), x = targets(fold.train), inputs(fold.train)
    y = (fold.train["y"].to_numpy() - mean) / std
    tried = []
    for alpha in 10.0 ** np.arange(1, 8):
        above = np.vstack([x - x.mean(0), math.sqrt(alpha) * np.eye(x.shape[1])])
        w = np.linalg.lstsq(above, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]))[0]
        of_split, error = {}, math.nan
        for split, part in fold.scored.items():
            mean, std = targets(part)
            scaled = (inputs(part) - x.mean(0)) @ w + y.mean()
            of_split[split] = scaled * std + mean
            if split == "validation":
                error = float(np.mean((scaled - (part["y"].to_numpy() - mean) / std) ** 2))
        tried.append((error, of_split))
    return min(tried, key=lambda one: one[0])[1]


def loss(fold: Fold, scaled_by: Mapping[str, Moments], y_pred: Floats) -> float:
    """The squared error on validation, scaled by stock, in units of the train samples' mean square deviation."""
    part = fold.validation
    std = np.array([scaled_by[ticker].target_std for ticker in part["ticker"]])
    unit = np.mean([scaled_by[ticker].target_std ** 2 for ticker in fold.train["ticker"]])
    return float(unit * np.mean(((part["y"].to_numpy() - y_pred) / std) ** 2))
