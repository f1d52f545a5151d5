"""Runs that forecast something else than the return of the close: every mode of training, and every task on them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli
from tests.conftest import random_bars, write_bars

TICKERS = ("AAA", "BBB", "CCC", "DDD")
QUICK = ("report=false", "+experiment=quick", "model=mlp_flat", "data=csv", "data.window=10")
POOL = (f"data.tickers=[{','.join(TICKERS)}]",)
ONE = ("stock.ticker=AAA",)
OIL = ("stock.ticker=OIL",)  # with prices below 0
WALK = ("data.split=walk_forward", "data.folds=2")
BOTH = ("data.context=[MKT]", "data.benchmark=MKT")
LABEL = """data.target='Ref($close,-2)/Ref($close,-1)-1'"""

CASES: dict[str, tuple[str, ...]] = {
    "direction": (*ONE, "data.target=direction"),
    "direction, 5 days, pool, in a file": (*POOL, "data.target=direction", "data.horizon=5", "data.memory_limit=0"),
    "direction, walk-forward, ensemble": (*ONE, "data.target=direction", *WALK, "trainer.ensemble=2"),
    "volatility, 5 days": (*ONE, "data.target=volatility", "data.horizon=5"),
    "volatility, pool, walk-forward": (*POOL, "data.target=volatility", *WALK),
    "excess, one stock, 5 days": (*ONE, "data.target=excess_return", "data.horizon=5", *BOTH),
    "excess, pool, walk-forward": (*POOL, "data.target=excess_return", *WALK),
    "difference, 5 days, walk-forward, ensemble": (
        *OIL, "data.target=difference", "data.horizon=5", *WALK, "trainer.ensemble=2"
    ),
    "close below 0": (*OIL, "data.target=close"),
    "label": (*ONE, LABEL),
    "label, pool, walk-forward, ensemble": (*POOL, LABEL, *WALK, "trainer.ensemble=2"),
    "ranks": (*POOL, "data.target_normalize=csrank"),
    "ranks, ridge": (*POOL, "data.target_normalize=csrank", "model=ridge"),
    "scores, 5 days, walk-forward, in a file": (
        *POOL, "data.target_normalize=cszscore", "data.horizon=5", *WALK, "data.memory_limit=0", "data.scaler=global"
    ),
    "ranks of Qlib's label, ensemble": (*POOL, LABEL, "data.target_normalize=csrank", "trainer.ensemble=2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for seed, ticker in enumerate((*TICKERS, "MKT")):
        write_bars(random_bars(300, seed, ticker), folder)
    oil = random_bars(300, 9, "OIL")
    oil.columns["low"][120], oil.columns["close"][120] = -40.32, -37.63
    write_bars(oil, folder)
    return folder


def trained(folder: Path, bars: Path, *typed: str) -> dict[str, Any]:
    assert cli.main([*QUICK, f"data.dir={bars}", *typed, f"hydra.run.dir={folder}"]) == 0
    return metrics(folder)


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_evaluated_reproduced_and_forecasts_what_it_tested(
    bars: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    found = trained(run, bars, *CASES[case])
    assert {"zero", "train_mean", "persistence"} & set(found["baselines"])
    assert cli.main(["task=evaluate", f"run={run}"]) == 0
    assert "identical to its metrics.json" in capsys.readouterr().out
    assert cli.main(["task=reproduce", f"run={run}", f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert cli.main(["task=predict", f"run={run}"]) == 0
    tested = {(r["ticker"], r["date"]): r for r in rows(run / "predictions.csv") if r["split"] == "test"}
    forecasts = {(r["ticker"], r["date"]): r for r in rows(run / "forecasts.csv")}
    assert {key: forecasts[key]["y_pred"] for key in tested} == {key: r["y_pred"] for key, r in tested.items()}
    data = json.loads((run / "config.json").read_text())["data"]
    reach = 2 if "Ref" in " ".join(CASES[case]) else data["horizon"]
    days = [str(day) for day in random_bars(300).dates]
    for (_, day), row in forecasts.items():
        if days.index(day) + reach < len(days):
            assert row["target_date"] == days[days.index(day) + reach]
    assert len(forecasts) - len(tested) == reach * (len(TICKERS) if POOL[0] in CASES[case] else 1)


def test_a_run_on_prices_below_zero_forecasts_later_prices_above_it_alike(bars: Path, tmp_path: Path) -> None:
    trained(run := tmp_path / "run", bars, *OIL, "data.target=close")
    later = tmp_path / "later" / "OIL.csv"
    later.parent.mkdir()
    header, *lines = (bars / "OIL.csv").read_text().splitlines()
    later.write_text("\n".join([header, *lines[150:]]) + "\n")
    assert cli.main(["task=predict", f"run={run}"]) == 0
    whole = {row["date"]: float(row["y_pred"]) for row in rows(run / "forecasts.csv")}
    assert cli.main(["task=predict", f"run={run}", f"data.dir={later.parent}"]) == 0
    assert {row["date"]: float(row["y_pred"]) for row in rows(run / "forecasts.csv")} == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("more", [("data.target_normalize=csrank",), ("data.target=direction",), (LABEL,)])
def test_ranks_train_as_one_process_does(bars: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    exact = ("hardware=cpu", "hardware.precision=fp64", "model.dropout=0", *POOL, *more)
    one = trained(tmp_path / "one", bars, *exact, "trainer.batch_size=64")
    two = trained(tmp_path / "two", bars, *exact, "trainer=ddp", "trainer.world_size=2", "trainer.batch_size=32")
    for name in ("mse", "ic", "daily_rank_ic"):
        assert one["test"][name] == pytest.approx(two["test"][name], rel=1e-6)


def test_the_loss_of_ranks_is_that_of_ranks_and_the_errors_are_those_of_returns(bars: Path, tmp_path: Path) -> None:
    found = trained(tmp_path / "ranks", bars, *POOL, "data.target_normalize=csrank")
    raw = trained(tmp_path / "raw", bars, *POOL)
    assert found["validation_loss"] == pytest.approx(1.25 / 16, rel=0.3)  # the variance of 1/4, 2/4, 3/4, 1
    assert found["test"]["mse"] == pytest.approx(raw["test"]["mse"], rel=0.3)
    for name in ("zero", "train_mean", "expanding_mean", "last_return"):
        assert found["baselines"][name] == raw["baselines"][name]
    stats = json.loads((tmp_path / "ranks/norm_stats.json").read_text())["normalized_target"]
    assert stats["mean"] == pytest.approx(0.625) and stats["std"] == pytest.approx(np.sqrt(1.25 / 16))


def test_a_sweep_compares_targets(bars: Path, tmp_path: Path) -> None:
    targets = "data.target=log_return,direction,volatility,'Ref($close,-2)/Ref($close,-1)-1'"
    assert cli.main(["-m", *QUICK, f"data.dir={bars}", *ONE, targets, f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0
    found = rows(tmp_path / "sweep/summary.csv")
    assert [row["status"] for row in found] == ["ok"] * 4
    assert [row["test_r2_zero"] == "" for row in found] == [False, True, False, False]


@pytest.mark.parametrize("more", [ONE, POOL])
@pytest.mark.parametrize(
    "target",
    ["direction", "volatility", "excess_return", "'Ref($close,-2)/Ref($close,-1)-1'", "'Ref(Std($close,5)/$close,-5)'"],
)
def test_the_audit_and_the_doctor_find_nothing(bars: Path, more: tuple[str, ...], target: str) -> None:
    context = BOTH if target == "excess_return" and more == ONE else ()
    typed = (*QUICK, f"data.dir={bars}", "model=ridge", f"data.target={target}", *context, *more)
    assert cli.main(["task=audit", *typed]) == 0
    assert cli.main(["task=doctor", *typed]) == 0


def test_the_audit_takes_a_pool_that_is_trained_on_ranks(bars: Path) -> None:
    assert cli.main(["task=audit", *QUICK, f"data.dir={bars}", "data.target_normalize=csrank", *POOL]) == 0


def test_a_class_is_scored_as_a_probability_on_the_terminal_and_on_the_page(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "class", bars, *ONE, "data.target=direction", "report=true")
    out, page = capsys.readouterr().out, (tmp_path / "class/report.html").read_text().replace("<wbr>", "")
    for name in ("log_loss", "auc", "brier", "mcc"):
        assert name in out and re.search(rf"<th[^>]*>{name}", page)
    assert "Reliability: share of ones by" in page
    trained(tmp_path / "return", bars, *ONE, "report=true")
    out, page = capsys.readouterr().out, (tmp_path / "return/report.html").read_text().replace("<wbr>", "")
    assert "log_loss" not in out + page
    assert "log_loss" not in metrics(tmp_path / "return")["test"]


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        (("data.target=direction",), "y_pred is the probability that y_true is 1: direction"),
        (("data.target=volatility", "data.horizon=5"), "y_pred is the volatility of the next 5 days"),
        (("data.target=excess_return", *BOTH), "y_pred is the log return over the next day less that of MKT"),
        ((), ""),
    ],
)
def test_forecasts_are_printed_with_what_they_are(
    bars: Path, tmp_path: Path, typed: tuple[str, ...], meaning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "run", bars, *ONE, *typed)
    capsys.readouterr()
    assert cli.main(["task=predict", f"run={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert meaning in out and ("y_pred is" in out) == bool(meaning)
    if "volatility" in meaning or "probability" in meaning:
        assert not re.search(r" \+\d", out)
