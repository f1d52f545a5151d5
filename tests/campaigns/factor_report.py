"""The factor report of pools has alphalens' figures, to 1e-8: python tests/campaigns/factor_report.py

Needs pip install alphalens-reloaded ipython. Simulated pools of 50 and of 8 stocks; its spread is half of ours, the
top quantile's mean return less the bottom's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from tests.evaluation.test_factor import pool, report


def faults(stocks: int, horizon: int) -> Iterator[str]:
    """Figures that differ."""
    from alphalens import performance, utils  # type: ignore[import-not-found]

    samples, prices = pool(stocks=stocks, horizon=horizon)
    assert samples.tickers is not None and samples.dates is not None
    of_each = pd.MultiIndex.from_arrays([pd.DatetimeIndex(samples.dates), samples.tickers], names=["date", "asset"])
    found = report(samples, horizon)

    def of(days: int, max_loss: float) -> pd.DataFrame:
        factor = pd.Series(samples.model, of_each)
        found: pd.DataFrame = utils.get_clean_factor_and_forward_returns(
            factor, prices, periods=(days,), max_loss=max_loss
        )
        return found

    data, column = of(horizon, 0.01), f"{horizon}D"
    by_date, _ = performance.mean_return_by_quantile(data, by_date=True)
    ic = performance.factor_information_coefficient
    pairs = {
        "ic": (found["ic"]["mean"], ic(data)[column].mean()),
        "returns": (found["quantiles"]["returns"], performance.mean_return_by_quantile(data)[0][column]),
        "spread": (
            found["quantiles"]["spread"]["mean"],
            2 * performance.compute_mean_returns_spread(by_date, 5, 1)[0][column].mean(),
        ),
        "rank autocorrelation": (
            found["rank_autocorrelation"],
            performance.factor_rank_autocorrelation(data, 1).mean(),
        ),
        **{
            f"turnover of {name}": (
                found["turnover"][name],
                performance.quantile_turnover(data["factor_quantile"], number, 1).mean(),
            )
            for name, number in (("top", 5), ("bottom", 1))
        },
        **{
            f"ic, {days} days": (found["ic_decay"][str(days)]["mean"], ic(of(days, 0.5))[f"{days}D"].mean())
            for days in (1, 5, 20)
            if horizon == 1
        },
    }
    for name, (own, other) in pairs.items():
        difference = float(np.abs(np.subtract(own, other)).max())
        print(f"{stocks} stocks, {horizon} days: {name} differs by {difference:.1g}")
        if not difference <= 1e-8:
            yield name


if __name__ == "__main__":
    sys.exit(1 if [fault for stocks, days in ((50, 1), (50, 5), (8, 1)) for fault in faults(stocks, days)] else 0)
