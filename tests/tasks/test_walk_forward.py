"""Walk-forward evaluation: fold after fold, each trained on what came before it."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockml import compose
from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.samples import from_bars
from stockml.data.settings import BarsConfig
from stockml.data.spec import PanelSpec
from stockml.data.split import split
from stockml.errors import UserError
from stockml.evaluation.evaluate import evaluate
from stockml.reporting import data_report, job_ranking, run_page, summary, sweep_page
from stockml.reporting import predictions_file as written
from stockml.runs.comparison import different_numbers
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from tests.conftest import command, random_bars
from tests.tasks.test_train import resume

WALK = ("report=false", "+experiment=quick", "data.days=400", "data.split=walk_forward", "data.folds=3")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk-forward run, to be read only."""
    from stockml.runs.location import RunLocation
    from stockml.tasks import train

    folder = tmp_path_factory.mktemp("walk") / "run"
    config = compose.compose(*WALK)
    train.run(config, RunLocation(exact=folder), compose.records(config))
    return folder


@pytest.fixture(scope="module")
def base() -> Config:
    return compose.compose("data.window=5", "data.split=walk_forward")


@settings(deadline=None, max_examples=40)
@given(folds=st.integers(2, 7), horizon=st.integers(1, 8), embargo=st.integers(0, 9), rolling=st.booleans())
def test_folds_cover_the_test_once_and_none_sees_its_own_future(
    base: Config, folds: int, horizon: int, embargo: int, rolling: bool
) -> None:
    assert isinstance(base.data, BarsConfig)
    walk = replace(base.data, folds=folds, horizon=horizon, embargo=embargo)
    walk = replace(walk, train_span="rolling" if rolling else "expanding")
    panel = from_bars(random_bars(300), PanelSpec.of_bars(("close",), walk), walk)
    whole = split(panel, replace(walk, split="holdout"))
    each = [split(panel, replace(walk, fold=fold)) for fold in range(folds)]
    assert np.array_equal(np.concatenate([fold.test for fold in each]), whole.test)
    for fold in each:
        for earlier, later in ((fold.train, fold.validation), (fold.validation, fold.test)):
            assert earlier[-1] + horizon + embargo <= later[0]  # its last label ends before the next one's first begins
    sizes = [len(fold.train) for fold in each]
    starts = [int(fold.train[0]) for fold in each]
    if rolling:
        assert max(sizes) - min(sizes) <= 1 and starts == sorted(set(starts))
    else:
        assert sizes == sorted(sizes) and len(set(starts)) == 1
    assert np.array_equal(each[0].train, whole.train)


def test_a_walk_forward_run_has_a_checkpoint_per_fold_and_one_table(walked: Path) -> None:
    with (walked / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["0", "1", "2"]
    parts = written.read(RunFolder(walked))
    for number, row in enumerate(rows):
        assert {path.name for path in (walked / "folds" / str(number)).iterdir()} == {
            "best.pt", "last.pt", "previous.pt", "history.csv", "norm_stats.json"
        }  # fmt: skip
        test = parts["test"]
        assert test.folds is not None
        error = (test.truth.y_true - test.model)[test.folds == number]
        assert float(row["test_mse"]) == pytest.approx(np.mean(error**2), rel=1e-12)
        assert int(row["test_n"]) == len(error)
    assert (
        json.loads((walked / "config.json").read_text())["data"]["folds"][2]["spans"]["test"][1] == rows[2]["test_last"]
    )


def test_its_metrics_are_those_of_all_out_of_sample_forecasts_together(walked: Path) -> None:
    metrics = json.loads((walked / "metrics.json").read_text())
    test = written.read(RunFolder(walked))["test"]
    assert len(set(test.rows.tolist())) == len(test.rows) == metrics["test"]["n"]
    assert metrics["test"]["mse"] == np.square(test.truth.y_true - test.model).mean()


def test_only_the_first_fold_s_validation_which_no_test_day_precedes_decides(walked: Path) -> None:
    metrics = json.loads((walked / "metrics.json").read_text())
    folds = json.loads((walked / "config.json").read_text())["data"]["folds"]
    validation = written.read(RunFolder(walked))["validation"]
    assert validation.folds is not None and validation.dates is not None
    first = validation.folds == 0
    assert metrics["validation"]["mse"] == np.square(validation.truth.y_true - validation.model)[first].mean()
    assert metrics["validation"]["n"] == first.sum()
    assert metrics["validation_loss"] == pytest.approx(metrics["validation"]["mse"], rel=1e-6)
    errors = {
        name: np.square(validation.truth.y_true - values)[first].mean()
        for name, values in validation.baselines.items()
        if name != "always_up"
    }
    assert metrics["best_baseline"] == min(errors, key=lambda name: errors[name])
    decided = metrics["decided_on"]
    assert (decided["first"], decided["last"]) == tuple(folds[0]["spans"]["validation"])
    assert decided["last"] < min(fold["spans"]["test"][0] for fold in folds)


def test_the_page_and_the_data_report_say_which_days_decide(walked: Path, tmp_path: Path) -> None:
    first, last = json.loads((walked / "config.json").read_text())["data"]["folds"][0]["spans"]["validation"]
    report = "\n".join(data_report.lines(dataset.prepare_folds(compose.compose(*WALK))))
    assert f"decided on  validation of fold 0, {first} to {last}, before every test day" in report
    page = run_page.draw(RunFolder(Path(shutil.copytree(walked, tmp_path / "run")))).read_text()
    assert f"by the validation of fold 0 alone, {first} to {last}" in page


def test_a_run_that_decided_by_all_folds_is_read_by_its_first_fold_and_reproduced_in_all_else(
    walked: Path, tmp_path: Path
) -> None:
    old = tmp_path / "sweep" / "AAPL"
    shutil.copytree(walked, old)
    now = json.loads((old / "metrics.json").read_text())
    then = {key: value for key, value in now.items() if key != "decided_on"}
    then |= {"validation": {**now["validation"], "mse": 1.0, "r2": 0.5}, "validation_loss": 1.0}
    (old / "metrics.json").write_text(json.dumps(then))
    assert different_numbers(then, now) == {}
    assert different_numbers({**then, "test": {**now["test"], "mse": 1.0}}, now).keys() == {"test.mse"}
    SweepFolder(tmp_path / "sweep").plan({"AAPL": {"stock": "AAPL"}})
    (row,) = summary.read(SweepFolder(tmp_path / "sweep"))
    with (walked / "folds.csv").open() as file:
        assert row["val_mse"] == float(next(csv.DictReader(file))["val_mse"])


def test_of_jobs_on_different_folds_only_the_first_fold_s_are_compared_by_validation(
    walked: Path, tmp_path: Path
) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    for fold in (0, 1):
        shutil.copytree(walked, sweep.path / f"fold_{fold}")
    sweep.plan({f"fold_{fold}": {"data.fold": fold} for fold in (1, 0)})
    rows = {row["job"]: row for row in summary.read(sweep)}
    assert rows["fold_0"]["val_r2"] is not None
    assert rows["fold_1"]["val_r2"] is None and rows["fold_1"]["test_r2"] is not None
    best = job_ranking.best_on_validation(rows.values())
    assert best is not None and best["job"] == "fold_0"
    assert sweep_page.draw(sweep, list(rows.values())).is_file()


def test_each_fold_equals_a_run_of_it_alone(walked: Path, run: Any, tmp_path: Path) -> None:
    scores = run("alone", *WALK, "data.fold=1")
    assert (tmp_path / "alone" / "best.pt").read_bytes() == (walked / "folds" / "1" / "best.pt").read_bytes()
    whole, alone = (written.read(RunFolder(path))["test"] for path in (walked, tmp_path / "alone"))
    assert whole.folds is not None
    of_fold = whole.folds == 1
    assert np.array_equal(whole.model[of_fold], alone.model)
    for name, values in whole.baselines.items():
        assert np.array_equal(values[of_fold], alone.baselines[name])
    assert scores["test"]["n"] == len(alone.rows)


def test_written_predictions_are_read_back_to_the_bit(walked: Path) -> None:
    config = compose.compose(*WALK)
    prepared = [dataset.prepare(each) for each in config.each_fold()]
    found = written.read(RunFolder(walked))
    for part in ("validation", "test"):
        rows = np.concatenate([fold.split.by_name()[part] for fold in prepared])
        assert np.array_equal(found[part].rows, rows)
        assert np.array_equal(found[part].truth.y_true, prepared[0].panel.target[rows])
        oracle, expected = found[part].oracle, prepared[0].panel.expected
        assert oracle is not None and expected is not None and np.array_equal(oracle, expected[rows])
    metrics = json.loads((walked / "metrics.json").read_text())
    again = json.loads(json.dumps(evaluate(found, 1, synthetic=True)))
    assert metrics["verdict"].startswith(again.pop("verdict"))  # then it counts the looks
    assert again == {key: metrics[key] for key in again}


def test_an_interrupted_walk_is_continued_to_the_same_result(walked: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(walked, broken)
    for path in (broken / "folds" / "2", broken / "metrics.json", broken / "predictions.csv"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (broken / "folds" / "1" / "last.pt").unlink()  # previous.pt, of the epoch before, takes over
    result = json.loads((broken / "result.json").read_text())
    (broken / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    resume(broken)
    for number in range(3):
        names = [path / "folds" / str(number) / "best.pt" for path in (walked, broken)]
        assert names[0].read_bytes() == names[1].read_bytes()
    assert (walked / "predictions.csv").read_bytes() == (broken / "predictions.csv").read_bytes()


def test_ranks_walk_forward_as_one_process_does(walked: Path, tmp_path: Path) -> None:
    done = command(*WALK, "trainer=ddp", "trainer.world_size=1", "hydra.run.dir=ddp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (walked / "predictions.csv").read_bytes() == (tmp_path / "ddp" / "predictions.csv").read_bytes()
    assert not any((tmp_path / "ddp" / "folds").glob("*/train.log"))


def test_folds_can_be_swept() -> None:
    sweep = compose.read(["-m", *WALK, "data.fold=range(3)"]).sweep
    assert sweep is not None
    assert [job.name for job in sweep.jobs] == ["AAPL-fold_0", "AAPL-fold_1", "AAPL-fold_2"]


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["data.fold=1"], "data.fold: needs data.split=walk_forward"),
        (["data.split=walk_forward", "data.fold=5"], "data.fold: 5 is too high; 5 folds are numbered from 0"),
        (["data.split=walk_forward", "data.valid_start=2008-01-02"], "data.valid_start: each fold has its own"),
        (["data=npz", "data.path=a.npz", "data.split=walk_forward"], "type data=simulated or data=csv"),
        (["data.folds=1"], "data.folds=1: must be a whole number ≥ 2"),
    ],
)
def test_impossible_folds_are_refused(overrides: list[str], fault: str) -> None:
    with pytest.raises(UserError, match=fault.replace("(", r"\(")):
        compose.compose(*overrides)


def test_more_folds_than_test_samples_are_refused() -> None:
    with pytest.raises(UserError, match="make a split too small"):
        dataset.prepare(compose.compose("data.days=80", "data.split=walk_forward", "data.folds=50"))
