"""A run: the files it writes, and what must not change them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stockml import cli, compose
from stockml.errors import RunError, UserError
from stockml.training import checkpoint
from tests.conftest import Run, metrics

QUICK = ("report=false", "+experiment=quick", "data.days=400")
SCORES = {"n", "mse", "mae", "rmse", "r2", "r2_zero", "r2_ct", "hit_rate", "ic"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(folder / "best.pt")["state_dict"]
    return found


def identical(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights, metrics and forecasts, bit for bit."""
    a, b = weights(one), weights(other)
    same_weights = a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    same_forecasts = (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    return same_weights and same_forecasts and metrics(one) == metrics(other)


def test_a_run_folder_holds_what_the_design_says(run: Run, tmp_path: Path) -> None:
    run("a", *QUICK, "stock=TSLA")
    folder = tmp_path / "a"
    assert {path.name for path in folder.iterdir()} == {
        "best.pt", "last.pt", "previous.pt", "config.json", "metrics.json", "norm_stats.json", "history.csv",
        "predictions.csv", "baselines.csv", "result.json", "train.log", ".hydra", ".lock",
    }  # fmt: skip
    scores = json.loads((folder / "metrics.json").read_text())
    assert set(scores) == {
        "format", "validation", "test", "baselines", "best_baseline", "significance", "skill", "verdict", "oracle",
        "validation_loss", "timing", "synthetic", "intervals", "looks", "economic", "where",
    }  # fmt: skip
    tables = [scores, scores["oracle"], *scores["baselines"].values()]
    assert all(set(table[part]) == SCORES for table in tables for part in ("validation", "test"))
    assert scores["best_baseline"] in scores["baselines"]
    assert set(scores["timing"]) == {
        "total_seconds", "train_seconds", "epochs", "best_epoch", "samples_per_second", "world_size",
        "samples_per_second_per_rank", "communication_share",
    }  # fmt: skip
    stats = json.loads((folder / "norm_stats.json").read_text())
    assert (stats["features"], len(stats["mean"]), len(stats["std"])) == (
        ["open", "high", "low", "close", "volume"],
        5,
        5,
    )
    facts = json.loads((folder / "config.json").read_text())
    assert facts["config"]["stock"]["ticker"] == "TSLA"
    assert {"data", "versions", "git_commit", "device"} <= set(facts)
    assert json.loads((folder / "result.json").read_text())["status"] == "ok"
    with (folder / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert "epoch 3/3" in (folder / "train.log").read_text()


def test_every_sample_is_forecast_once_and_the_file_gives_the_metrics(run: Run, tmp_path: Path) -> None:
    scores = run("a", *QUICK)
    with (tmp_path / "a" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["sample"] for row in rows}) == len(rows) == scores["validation"]["n"] + scores["test"]["n"]
    for part in ("validation", "test"):
        pairs = [(float(row["y_true"]), float(row["y_pred"])) for row in rows if row["split"] == part]
        y, f = (np.array(column) for column in zip(*pairs, strict=True))
        assert scores[part]["mse"] == pytest.approx(np.mean((y - f) ** 2), rel=1e-12)


def test_every_file_of_a_simulated_run_is_marked_synthetic(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", *QUICK)
    folder = tmp_path / "a"
    printed = capsys.readouterr().out
    assert printed.startswith("SIMULATED DATA")
    assert "data=csv" in printed.splitlines()[1] and "data=npz" in printed.splitlines()[2]
    for name in ("config.json", "metrics.json", "norm_stats.json", "result.json"):
        assert json.loads((folder / name).read_text())["synthetic"] is True
    for name in ("best.pt", "last.pt"):
        assert checkpoint.load(folder / name)["synthetic"] is True
    for name in ("predictions.csv", "history.csv"):
        with (folder / name).open() as file:
            assert all(row["synthetic"] == "true" for row in csv.DictReader(file))
    assert "synthetic: true" in (folder / "train.log").read_text()
    assert "synthetic: true" in (folder / ".hydra" / "config.yaml").read_text()


def test_real_data_are_not_called_synthetic(run: Run, tmp_path: Path, market: Path) -> None:
    run("a", "+experiment=quick", "data=csv", f"data.dir={market / 'ohlcv'}")
    folder = tmp_path / "a"
    assert metrics(folder)["synthetic"] is False
    assert "oracle" not in metrics(folder)
    assert (folder / "predictions.csv").read_text().startswith("sample,ticker,date,split,y_true,y_pred,lower_80,")
    for path in folder.rglob("*"):
        assert path.is_dir() or path.suffix == ".pt" or "synthetic: true" not in path.read_text()


def test_best_pt_rebuilds_the_model_without_running_code(run: Run, tmp_path: Path) -> None:
    run("a", *QUICK, "model=mlp_flat")
    from stockml import models
    from stockml.models.settings import MLPConfig

    saved = torch.load(tmp_path / "a" / "best.pt", weights_only=True)
    model = models.build(MLPConfig(**saved["model"]), saved["window"], len(saved["features"]))
    model.load_state_dict(saved["state_dict"])
    assert model(torch.zeros(3, saved["window"], len(saved["features"]))).shape == (3,)


@pytest.mark.parametrize("seed", [0, 42])
def test_two_runs_with_one_seed_are_bit_identical(run: Run, tmp_path: Path, seed: int) -> None:
    run("a", *QUICK, f"seed={seed}")
    torch.rand(3)
    np.random.seed(5)
    run("b", *QUICK, f"seed={seed}")
    run("c", *QUICK, f"seed={seed + 1}")
    assert identical(tmp_path / "a", tmp_path / "b")
    assert not identical(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("change", ["hardware.num_workers=2", "hardware.deterministic=true", "hardware=cpu"])
def test_settings_of_the_hardware_change_no_number(run: Run, tmp_path: Path, change: str) -> None:
    run("a", *QUICK)
    run("b", *QUICK, change)
    run("c", *QUICK)
    assert identical(tmp_path / "a", tmp_path / "b")
    assert identical(tmp_path / "a", tmp_path / "c")  # and nothing is carried over to the next run


def test_double_precision_differs_from_single_by_rounding_alone(run: Run) -> None:
    single, double = run("a", *QUICK), run("b", *QUICK, "hardware.precision=fp64", "model.dropout=0")
    plain = run("c", *QUICK, "model.dropout=0")
    assert plain["test"]["mse"] == pytest.approx(double["test"]["mse"], rel=1e-4)
    assert plain["test"]["mse"] != double["test"]["mse"]
    assert single["baselines"]["zero"] == double["baselines"]["zero"]


def test_more_epochs_of_a_finished_run_equal_a_longer_run(run: Run, tmp_path: Path) -> None:
    fixed = ("data.days=400", "trainer.patience=null")
    run("long", *fixed, "trainer.epochs=6")
    run("short", *fixed, "trainer.epochs=3")
    resume(tmp_path / "short", "trainer.epochs=6")
    assert identical(tmp_path / "long", tmp_path / "short")
    long, short = (checkpoint.load(tmp_path / name / "last.pt") for name in ("long", "short"))
    assert torch.equal(long["weights"], short["weights"])
    assert len(long["history"]) == len(short["history"]) == 6
    texts = [(tmp_path / name / ".hydra" / "config.yaml").read_text() for name in ("long", "short")]
    assert texts[0] == texts[1]


def resume(folder: Path, *overrides: str) -> None:
    from stockml.runs.location import RunLocation
    from stockml.tasks import train

    command = compose.read(["report=false", f"trainer.resume={folder}", *overrides])
    train.run(command.jobs[0], RunLocation(command.folder), compose.records(command.jobs[0]))


@pytest.mark.parametrize("harm", [lambda b: b[: len(b) // 2], lambda b: b[:3000] + bytes([b[3000] ^ 1]) + b[3001:]])
def test_a_damaged_last_checkpoint_costs_epochs_and_changes_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[bytes], bytes]
) -> None:
    fixed = ("data.days=400", "trainer.patience=null")
    run("whole", *fixed, "trainer.epochs=5")
    run("damaged", *fixed, "trainer.epochs=3")
    last = tmp_path / "damaged" / "last.pt"
    last.write_bytes(harm(last.read_bytes()))
    resume(tmp_path / "damaged", "trainer.epochs=5")
    printed = capsys.readouterr().out
    assert re.search(r"last\.pt: is .*; going on from previous\.pt\n", printed)
    assert re.search("resumed     [12] epochs are done already", printed)  # at most one checkpoint is written a second
    assert identical(tmp_path / "whole", tmp_path / "damaged")


@pytest.mark.parametrize(
    "more", [(), ("data.tickers=[AAPL,XOM]",), ("data.split=walk_forward", "data.folds=2"), ("model=ridge",)]
)
def test_going_on_with_a_finished_run_says_that_it_was_finished_and_changes_no_number(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    steps = () if "model=ridge" in more else ("trainer.epochs=9", "trainer.patience=1", "trainer.min_delta=10")
    before = run("a", "data.days=400", *steps, *more)
    why = "" if "model=ridge" in more else ", stopped early by trainer.patience"
    finished = (
        f"resumed     this run was finished already{why}: nothing is trained, and its results are computed again\n"
    )
    capsys.readouterr()
    resume(tmp_path / "a")
    assert capsys.readouterr().out.count(finished) == 1
    assert metrics(tmp_path / "a") == before
    if "model=ridge" not in more:
        resume(tmp_path / "a", "trainer.patience=null")
        assert finished not in capsys.readouterr().out


def test_a_run_is_continued_only_with_its_own_settings_and_data(run: Run, tmp_path: Path, market: Path) -> None:
    data = tmp_path / "bars"
    data.mkdir()
    lines = (market / "ohlcv" / "AAPL.csv").read_text().splitlines()
    (data / "AAPL.csv").write_text("\n".join(lines[:600]))
    run("a", "+experiment=quick", "data=csv", f"data.dir={data}")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    for overrides, fault in (
        ((), "is finished"),
        (("trainer.lr=1", "seed=3"), "seed, trainer.lr differ"),
    ):
        with pytest.raises(UserError, match=fault):
            resume(tmp_path / "a", *overrides)
    (data / "AAPL.csv").write_text("\n".join(lines[:599]))
    with pytest.raises(UserError, match="the data have changed"):
        resume(tmp_path / "a", "trainer.epochs=5")
    assert before == {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", ["mlp", "mlp_flat", "linear"])
def test_every_model_can_fit_a_few_samples(
    run: Run, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", "+experiment=debug_overfit", f"model={model}", "data.days=400")
    last = rows(tmp_path / "a" / "history.csv")[-1]
    headline = f"The 2 batches were learned: the train loss ended at {float(last['train_loss']):.3g}, at most 1%"
    assert metrics(tmp_path / "a")["verdict"].startswith(headline)
    log = (tmp_path / "a" / "train.log").read_text()
    assert f"learned     {headline[:40]}" in log and "Skill is" not in log and "verdict  " not in log
    capsys.readouterr()
    assert cli.main(["task=evaluate", f"run={tmp_path / 'a'}"]) == 0
    again = capsys.readouterr().out
    assert f"learned     {headline[:40]}" in again and "Skill is" not in again and "identical to its metrics" in again


def test_a_model_that_cannot_fit_a_few_samples_fails(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not near zero"):
        run("a", "+experiment=debug_overfit", "trainer.epochs=1")
    assert json.loads((tmp_path / "a" / "result.json").read_text())["status"] == "failed"


def test_a_run_returns_its_best_validation_loss(tmp_path: Path) -> None:
    from stockml.runs.location import RunLocation
    from stockml.tasks import train

    loss = train.run(compose.compose(*QUICK), RunLocation(exact=tmp_path / "a"), {})
    assert loss == pytest.approx(metrics(tmp_path / "a")["validation"]["mse"], rel=1e-6)


NPZ = ("AAPL", "AMZN", "MSFT", "TSLA")


@pytest.mark.parametrize("ticker", NPZ)
def test_classes_of_the_replaced_system_s_arrays(run: Run, tmp_path: Path, market: Path, ticker: str) -> None:
    scores = run("a", "data=npz", f"data.dir={market / 'npz'}", f"stock={ticker}")
    assert scores["test"]["mse"] <= 0.2525
    assert scores["test"]["r2_zero"] is None
    assert scores["baselines"]["train_mean"]["test"]["mse"] == pytest.approx(0.25, abs=2e-4)
    assert "majority_class" in scores["baselines"]


@pytest.mark.parametrize("model", [["mlp"], ["linear", "trainer.lr=1e-2", "trainer.epochs=200"]])
def test_a_level_is_compared_with_persistence(run: Run, market: Path, model: list[str]) -> None:
    path = market / "npz" / "sp500_regression.npz"
    scores = run("a", "data=npz", f"data.path={path}", f"model={model[0]}", *model[1:])
    persistence = scores["baselines"]["persistence"]["test"]["mse"]
    assert persistence == pytest.approx(0.00012, rel=0.01)
    assert scores["skill"] == "worse" and "a higher squared error than persistence" in scores["verdict"]
    if model[0] == "linear":
        assert persistence < scores["test"]["mse"] <= 2 * persistence


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM"])
def test_real_daily_bars(run: Run, tmp_path: Path, market: Path, ticker: str) -> None:
    scores: dict[str, Any] = run(
        "a", "+experiment=quick", "data=csv", f"data.dir={market / 'ohlcv'}", f"stock={ticker}"
    )
    assert -0.05 < scores["test"]["r2_zero"] < 0.02  # more than that is nearly always a bug
    assert set(scores["baselines"]) == {
        "zero", "train_mean", "expanding_mean", "last_return", "ridge", "always_up"
    }  # fmt: skip


def test_a_price_target_is_scored_as_returns_too(run: Run, market: Path) -> None:
    scores = run("a", "+experiment=quick", "data=csv", f"data.dir={market / 'ohlcv'}", "data.target=close")
    persistence = scores["baselines"]["persistence"]["test"]
    assert persistence["r2"] > 0.98  # which is why r2_zero of a price is that of its returns
    assert persistence["r2_zero"] == 0


def test_a_run_does_not_change_its_inputs(run: Run, market: Path, tmp_path: Path) -> None:
    source = tmp_path / "bars"
    shutil.copytree(market / "ohlcv", source)
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()}
    run("a", "+experiment=quick", "data=csv", f"data.dir={source}")
    assert before == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()}
