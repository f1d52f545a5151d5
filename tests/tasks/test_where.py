"""In every kind of run, the parts of a result are those of its own predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from tests.tasks.test_economic import POOL, bars, run

__all__ = ["bars"]

WALK_FORWARD = ("data.split=walk_forward", "data.folds=3")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data.horizon=5",),
        (*WALK_FORWARD, "trainer.ensemble=3", POOL),
        (POOL, "data.horizon=5", "data.memory_limit=0"),
    ],
    ids=" ".join,
)
def test_the_parts_of_a_result_are_those_of_its_predictions(
    bars: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    metrics, rows = run(bars, tmp_path / "run", *overrides)
    where = metrics["where"]
    days, true, forecast, known = (
        np.array([row[name] for row in rows]) for name in ("date", "y_true", "y_pred", "volatility")
    )
    rival = np.square(true.astype(float))
    loss = np.square(true.astype(float) - forecast.astype(float))
    for month, r2 in where["without_month"].items():
        left = np.array([not day.startswith(month) for day in days])
        assert r2 == pytest.approx(1 - loss[left].sum() / rival[left].sum(), abs=1e-12)
    for year, figures in where["by_year"].items():
        own = np.array([day.startswith(year) for day in days])
        assert figures["r2"] == pytest.approx(1 - loss[own].sum() / rival[own].sum(), abs=1e-12)
        assert figures["days"] == len(set(days[own]))
    of_day = {day: np.mean(known[days == day].astype(float)) for day in set(days)}
    volatility = np.array([of_day[day] for day in days])
    for figures in where["by_volatility"].values():
        own = (volatility >= figures["from"] - 1e-15) & (volatility <= figures["to"] + 1e-15)
        assert figures["r2"] == pytest.approx(1 - loss[own].sum() / rival[own].sum(), abs=1e-12)
    assert sum(figures["days"] for figures in where["by_volatility"].values()) == len(of_day)
    if POOL not in overrides:
        assert "factor" not in metrics
        return
    factor, significance = metrics["factor"], metrics["significance"]["daily_rank_ic"]
    assert factor["ic"]["mean"] == pytest.approx(significance["mean"], abs=1e-12)
    assert factor["ic"]["newey_west_t"] == pytest.approx(significance["mean"] / significance["newey_west"], abs=1e-9)
    assert factor["quantiles"] is None  # of four stocks


def test_the_parts_are_computed_again_and_shown_on_the_page(bars: Path, tmp_path: Path) -> None:
    run(bars, tmp_path / "run", POOL)
    assert cli.main(["task=evaluate", f"run={tmp_path / 'run'}"]) == 0
    pytest.importorskip("matplotlib")
    assert cli.main(["task=report", f"run={tmp_path / 'run'}"]) == 0
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert all(title in page for title in ("Where it comes from", "Factor report", "IC decay"))
