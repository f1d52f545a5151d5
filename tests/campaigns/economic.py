"""How right the economic value is where the truth is known, and what forecasts of real stocks are worth.

    python tests/campaigns/economic.py null                  400 histories a row; a minute
    python tests/campaigns/economic.py stocks BARS           (a folder with AAPL.csv, …, XOM.csv and SP500.csv)
    python tests/campaigns/economic.py library               needs pip install empyrical-reloaded quantstats

`null`: ten years of days (GARCH with Student's t) with a drift of Sharpe ratio 0.5 and nothing to forecast beyond it;
the last fifth is the test, traded at 5 bp. Models: `constant`, the train mean; `ridge`, of ten lags; `noisy`, the train
mean and as much noise as it takes to be short often. The 95 % interval of the Sharpe ratio after costs holds the true
one, which the positions have at the known drift, in 92 to 98 %; and "more than luck" is said of at most 5 %. Both may
miss their limits by 2 standard errors of their number of histories.
`stocks`: eight stocks, a run each, and one run on all of them, by ordinary commands, which it prints.
`library`: the figures of null histories are those of these libraries, to 1e-10.

`--write` writes the tables into stockml/evaluation/ECONOMIC.md. The exit status is 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import cli
from stockml.evaluation import economic
from stockml.evaluation.portfolio import Market, Portfolio
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.settings import PortfolioConfig
from stockml.evaluation.truth import Target
from tests.campaigns.model_zoo import sweep
from tests.campaigns.verdicts import DAYS, LAGS, ar1, correlated, folds, ridge
from tests.markdown import ROOT, table, write_table

Floats = NDArray[np.float64]

PAGE = ROOT / "stockml/evaluation/ECONOMIC.md"
SETTINGS = {"one stock": (1, 1), "one stock, 5 days ahead": (1, 5), "20 stocks": (20, 1), "20 stocks, 5 days": (20, 5)}
"""Name → the number of stocks, and days ahead."""
MODELS = ("constant", "ridge", "noisy")
SHARPE, SPREAD = 0.5, 0.01
DRIFT = SHARPE / math.sqrt(252) * SPREAD
COSTS = PortfolioConfig(cost_bps=5, rule="auto", quantile=0.2, volatility_target=None, delay=0)


@dataclass(frozen=True)
class Rates:
    """What was found in the histories of a row."""

    histories: int
    covered: float
    """How often the interval holds the true Sharpe ratio."""
    beats: float
    """How often it is said that holding is beaten by more than luck."""


def histories(stocks: int, horizon: int, count: int) -> Iterator[dict[str, Predictions]]:
    """The test samples of each history, by model; returns are simple ones."""
    rng = np.random.default_rng([stocks, horizon])
    train, _, test = next(folds(horizon, False))
    for _ in range(count):
        daily = SPREAD * correlated(rng, 1, stocks, DAYS + horizon)[0] + DRIFT
        target = np.lib.stride_tricks.sliding_window_view(daily[:, 1:], horizon, axis=-1).sum(-1)[:, :DAYS]
        lags = np.stack([daily[:, LAGS - 1 - k : DAYS - k] for k in range(LAGS)], axis=-1)
        mean = target[:, train].mean(-1, keepdims=True) + 0 * target[:, test]
        weights = ridge(lags[None][:, :, train - LAGS + 1] / SPREAD, target[None][:, :, train] / SPREAD)[0]
        noise = 0.03 * SPREAD * math.sqrt(horizon) * ar1(rng, (1, stocks), DAYS, 0.98)[0]
        forecasts = {
            "constant": mean,
            "ridge": mean + lags[:, test - LAGS + 1] @ weights,
            "noisy": mean + 2 * noise[:, test],
        }
        names = np.tile([f"S{number:02}" for number in range(stocks)], len(test))
        days = test.repeat(stocks).astype("datetime64[D]")
        yield {
            name: Predictions(
                Target(target[:, test].T.ravel(), "return"), np.arange(len(days)), days, values.T.ravel(), {},
                tickers=names if stocks > 1 else None, next_return=daily[:, test + 1].T.ravel(),
            )
            for name, values in forecasts.items()
        }  # fmt: skip


def true_sharpe(samples: Predictions, portfolio: Portfolio) -> float:
    """The Sharpe ratio after costs that the positions have if every return is the drift plus noise."""
    market = Market(samples, portfolio)
    account, held = market.traded("model"), market.positions("model")
    mean = DRIFT * held.sum(axis=1) - account.cost * account.turnover
    stocks = held.shape[1]
    correlation = np.eye(stocks) if stocks == 1 else 0.7 * np.eye(stocks) + 0.3
    variance = SPREAD**2 * np.einsum("dk,kl,dl->d", held, correlation, held).mean()
    return float(math.sqrt(252 / variance) * mean.mean())


def null_rates(count: int) -> dict[tuple[str, str], Rates]:
    """The rates of each setting and model that trades."""
    found = {}
    for setting, (stocks, horizon) in SETTINGS.items():
        portfolio = Portfolio(COSTS, "return", horizon)
        hits: dict[str, list[tuple[bool, bool]]] = {name: [] for name in MODELS}
        for each in histories(stocks, horizon, count):
            for name, samples in each.items():
                of = economic.evaluate(samples, portfolio)[0]["economic"]
                low, high = of["model"]["net"]["sharpe_interval"]
                covers = low <= true_sharpe(samples, portfolio) <= high
                hits[name].append((covers, of["difference"]["beats_holding"]))
        for name, of_model in hits.items():
            covered, beats = np.mean(of_model, axis=0).tolist()
            found[setting, name] = Rates(count, covered, beats)
            print(f"{setting:24} {name:10} {found[setting, name]}", flush=True)
    return found


def faults(found: Mapping[tuple[str, str], Rates]) -> Iterator[str]:
    """What misses its limit by more than 2 standard errors, a line each."""
    for (setting, model), rates in found.items():

        def error(share: float, n: int = rates.histories) -> float:
            return 2 * math.sqrt(share * (1 - share) / n)

        if not 0.92 - error(0.92) <= rates.covered <= 0.98 + error(0.98):
            yield f"{setting}, {model}: the interval holds the truth in {rates.covered:.1%}"
        if rates.beats > 0.05 + error(0.05):
            yield f"{setting}, {model}: holding is said to be beaten in {rates.beats:.1%}"


def null_table(found: Mapping[tuple[str, str], Rates]) -> str:
    """A row for each setting: interval and verdict by model."""
    rows = [
        (setting, *(f"{found[setting, model].covered:.1%} / {found[setting, model].beats:.1%}" for model in MODELS))
        for setting in SETTINGS
    ]
    return table(("data", *(f"`{model}`" for model in MODELS)), rows)


def stocks_table(folder: Path, bars: Path) -> str:
    """Run what is missing, and make a row for each stock and for the pool."""
    common = ["data=csv", f"data.dir={bars}", "report=false"]
    sweep(folder / "stocks", ["stock=glob(*)", *common])
    pool = folder / "pool"
    if not (pool / "metrics.json").exists() and cli.main(
        ["stock.ticker=POOL", "data.tickers=all", *common, f"hydra.run.dir={pool}"]
    ):
        raise SystemExit(1)
    rows = []
    for path in [*sorted((folder / "stocks").glob("*/metrics.json")), pool / "metrics.json"]:
        found: dict[str, Any] = json.loads(path.read_text())["economic"]
        model, holding = found["model"], found["holding"]["net"]
        (low, high), even = model["net"]["sharpe_interval"] or ("–", "–"), model["break_even_bps"]
        gap = found["difference"]["interval"]
        rows.append(
            (
                path.parent.name,
                f"{model['net']['annual_return']:+.1%}",
                f"{model['net']['sharpe']:+.2f} ({low:+.2f} to {high:+.2f})",
                f"{holding['annual_return']:+.1%}",
                f"{holding['sharpe']:+.2f}",
                "the same" if gap is None else f"{gap[0]:+.2f} to {gap[1]:+.2f}",
                f"{model['turnover']:.1f}",
                "–" if even is None else f"{even:,.0f} bp",
            )
        )
    header = ("", "return", "Sharpe ratio (95 % CI)", "holding", "its Sharpe ratio", "difference, 95 % CI", "turnover",
              "break-even")  # fmt: skip
    return table(header, rows)


def library_faults() -> Iterator[str]:
    """Figures that are not those of empyrical-reloaded and quantstats."""
    import empyrical  # type: ignore[import-not-found]
    import pandas as pd
    import quantstats.stats as quantstats  # type: ignore[import-not-found]

    portfolio, checked = Portfolio(COSTS, "return", 1), 0
    for each in histories(1, 1, 20):
        for samples in each.values():
            assert samples.dates is not None
            account = Market(samples, portfolio).traded("model")
            own = economic.figures(account.net, account.dates, 252)
            series = pd.Series(account.net, pd.DatetimeIndex(samples.dates))
            others = {
                "annual_return": (empyrical.annual_return(series),),
                "volatility": (empyrical.annual_volatility(series), quantstats.volatility(series)),
                "sharpe": (empyrical.sharpe_ratio(series), quantstats.sharpe(series)),
                "max_drawdown": (empyrical.max_drawdown(series), quantstats.max_drawdown(series)),
                "worst_month": (empyrical.aggregate_returns(series, "monthly").min(),),
            }
            for name, values in others.items():
                checked += len(values)
                yield from (f"{name}: {own[name]} and {value}" for value in values if abs(own[name] - value) > 1e-10)
    print(f"{checked} figures compared")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write what is asked for; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("null", "stocks", "library"))
    parser.add_argument("bars", nargs="?", type=Path, help="stocks: the folder with the CSV files")
    parser.add_argument("--histories", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=ROOT / "multirun" / "economic")
    parser.add_argument("--write", action="store_true", help="write the table into ECONOMIC.md")
    asked = parser.parse_args(arguments)
    broken: list[str] = []
    if asked.what == "library":
        broken = list(library_faults())
    elif asked.what == "stocks":
        if asked.bars is None:
            parser.error("stocks: name the folder that holds AAPL.csv and the others")
        text = stocks_table(asked.folder.absolute(), asked.bars.absolute())
    else:
        rates = null_rates(asked.histories)
        broken, text = list(faults(rates)), null_table(rates)
    if asked.what != "library":
        print(text)
        if asked.write:
            write_table(PAGE, f"economic_{asked.what}", text)
    print(*broken, f"{len(broken)} do not hold" if broken else "all holds", sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
