"""Jobs of a sweep are tested together where they forecast the same days."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stockml.evaluation import joint_tests, overfitting
from stockml.evaluation.portfolio import Portfolio
from stockml.evaluation.predictions import Predictions
from stockml.evaluation.settings import PortfolioConfig
from stockml.evaluation.significance import Floats
from stockml.evaluation.truth import Target
from stockml.reporting import joint_losses, predictions_file, summary
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from tests.conftest import Run

COSTS = PortfolioConfig(cost_bps=0, rule="sign", quantile=0.2, volatility_target=None, delay=0)
RETURNS = 0.01 * np.random.default_rng(0).standard_normal(400)
NOISE = 0.01 * np.random.default_rng(1).standard_normal((9, 400))


def job(folder: Path, model: Floats, realised: Floats = RETURNS, first: int = 0, seed: int = 0) -> RunFolder:
    """A run folder with these forecasts on validation and test, at no cost; its days begin `first` days later."""
    folder.mkdir()
    run = RunFolder(folder)
    days = np.arange(first, first + len(realised)).astype("datetime64[D]")  # every day of the week
    rivals = {"zero": 0 * realised, "train_mean": 0 * realised + 1e-4, "expanding_mean": 0 * realised + 2e-4}
    samples = Predictions(Target(realised, "return"), np.arange(len(realised)), days, model, rivals)
    samples = replace(samples, next_return=realised)
    predictions_file.write(run, {"validation": samples, "test": samples}, "AAPL", synthetic=False)
    run.write_json("metrics.json", {"economic": Portfolio(COSTS, "return", 1).to_json()})
    data = {"kind": "return", "relative": True, "horizon": 1}
    run.write_json("config.json", {"format": 2, "data": data, "config": {"seed": seed}})
    return run


def test_a_job_with_skill_is_found_and_told_from_jobs_on_the_same_targets_alone(tmp_path: Path) -> None:
    pytest.importorskip("arch")
    jobs = {
        "good": job(tmp_path / "good", 0.3 * RETURNS + 0.1 * NOISE[0]),
        "noise": job(tmp_path / "noise", 0.1 * NOISE[1]),
        "twin": job(tmp_path / "twin", 0.1 * NOISE[1]),
        "other stock": job(tmp_path / "other", 0.1 * NOISE[2], realised=NOISE[8]),
        "other days": job(tmp_path / "days", 0.1 * NOISE[3], first=5),
        "more of them": job(tmp_path / "more", 0.1 * NOISE[4], first=5),
        "constant": job(tmp_path / "constant", 0 * RETURNS + 1e-4),
        "alone": job(tmp_path / "alone", 0.1 * NOISE[5], first=9),
        "broken": RunFolder(tmp_path / "none"),
    }
    found = joint_losses.columns(jobs)
    same_days = ("good", "noise", "twin", "other stock", "constant")
    assert len({found[name]["spa_p"] for name in same_days}) == 1
    assert found["good"]["spa_p"] < 0.01
    assert found["other days"]["spa_p"] == found["more of them"]["spa_p"] > 0.01
    assert [found[name]["in_mcs"] for name in ("good", "noise", "twin", "constant")] == [True, False, False, False]
    assert "in_mcs" not in found["other stock"]
    assert found["alone"] == found["broken"] == {}
    assert joint_losses.columns(jobs) == found


def test_the_best_job_s_sharpe_ratio_is_deflated_by_all_trials(tmp_path: Path) -> None:
    jobs = {
        "good": job(tmp_path / "good", 0.1 * RETURNS + 0.1 * NOISE[0]),
        **{f"noise {k}": job(tmp_path / str(k), NOISE[k]) for k in range(1, 5)},
        "other days": job(tmp_path / "days", NOISE[5], first=5),
    }
    found = joint_losses.columns(jobs, "good", 30)
    same_days = [name for name in jobs if name != "other days"]
    returns = np.column_stack(
        [RETURNS * np.sign(predictions_file.read(jobs[name])["test"].model) for name in same_days]
    )
    assert [found[name]["deflated_sharpe"] for name in same_days] == pytest.approx(
        overfitting.deflated_sharpe(returns, 5 + 24)
    )
    assert {found[name]["pbo"] for name in same_days} == {overfitting.probability_of_overfitting(returns)}
    ratio = RETURNS * np.sign(0.1 * RETURNS + 0.1 * NOISE[0])
    assert found["good"]["val_net_sharpe"] == pytest.approx(365**0.5 * (ratio.mean() / ratio.std(ddof=1)))
    assert "pbo" not in found["other days"]
    best = {"job": "good", "status": "ok", "val_r2": 0.1, "beats_baseline": True, **found["good"]}
    assert summary.findings([best])[-1].startswith("deflated Sharpe ratio of the best job ")
    assert "29 trials); probability of backtest overfitting" in summary.findings([best])[-1]


def test_without_the_package_a_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_tests, "available", lambda: False)
    jobs = {name: job(tmp_path / name, NOISE[k]) for k, name in enumerate("ab")}
    assert {name for of in joint_losses.columns(jobs).values() for name in of}.isdisjoint({"spa_p", "in_mcs"})
    rows = [{"job": name, "status": "ok", "val_r2": None, "beats_baseline": True} for name in jobs]
    assert summary.findings(rows)[-1] == joint_tests.MISSING
    assert joint_tests.MISSING not in summary.findings(rows[:1])


def test_the_summary_of_a_sweep_has_the_joint_tests(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("arch")
    sweep = SweepFolder.create(tmp_path / "sweep")
    sweep.plan({name: {"seed": seed} for seed, name in enumerate(("a", "b"))})
    for seed, name in enumerate(("a", "b")):
        run(f"sweep/{name}", "+experiment=quick", "data.days=500", f"seed={seed}")
    rows = summary.write(sweep)
    assert rows[0]["spa_p"] == rows[1]["spa_p"] and {type(row["in_mcs"]) for row in rows} == {bool}
    found = summary.findings(rows)
    assert found[-3] == f"any job better than zero and the drift: p {rows[0]['spa_p']:.3f} (Hansen's SPA)"
    assert found[-2].startswith("cannot be told from the best job on the same targets: ")
    assert found[-1].endswith("on validation after costs, 2 trials)")  # of too few days for more
    assert all("spa_p" not in row for row in summary.write(sweep, joint=False))
