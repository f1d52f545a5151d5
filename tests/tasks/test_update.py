"""task=update: a chain of updates is a walk-forward with warm starts, made month by month."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli, compose
from stockml.data import dataset
from stockml.data.bars import Bars
from stockml.evaluation.predictions import Predictions
from stockml.reporting import predictions_file as written
from stockml.runs.comparison import different_numbers
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import chain, train
from stockml.training import checkpoint
from tests.conftest import command, metrics, random_bars, write_bars

QUICK = ("report=false", "data.days=320", "data.window=10", "model=linear")
EPOCHS = "trainer.epochs=2"
MODES = {
    "single": (),
    "horizon 5": ("data.horizon=5", "data.embargo=2"),
    "rolling": ("data.train_span=rolling",),
    "ensemble": ("trainer.ensemble=2", "model=mlp_flat"),
    "pool": ("data.tickers=[AAPL,XOM]", "data.horizon=2"),
    "boosting": ("model=lightgbm",),
    "mapped": ("data.tickers=[AAPL,XOM]", "data.memory_limit=0"),
}


def made(folder: Path, *overrides: str) -> Path:
    steps = () if {"model=ridge", "model=lightgbm"} & {*overrides} else (EPOCHS,)
    config = compose.compose(*QUICK, *steps, *overrides)
    train.run(config, RunLocation(exact=folder), compose.records(config))
    return folder


def update(run: Path, folder: Path, *overrides: str, status: int = 0) -> Path:
    typed = ["task=update", f"run={run}", f"hydra.run.dir={folder}", "report=false", *overrides]
    assert cli.main(typed) == status
    return folder


def edges(walk: Path, *overrides: str) -> list[tuple[str, str]]:
    """Of each fold of a walk-forward run: its first test day, and the day on which its last target is known."""
    panel = dataset.load_panel(compose.compose(*QUICK, *overrides))[0]
    assert panel.dates is not None
    days = np.unique(panel.dates)
    tests = [fold["spans"]["test"] for fold in json.loads((walk / "config.json").read_text())["data"]["folds"]]
    return [(first, str(days[np.searchsorted(days, np.datetime64(last)) + panel.reach])) for first, last in tests]


def of_test(run: Path) -> Predictions:
    return written.read(RunFolder(run))["test"]


def weights(path: Path) -> str:
    return checkpoint.content_hash(checkpoint.load(path / "best.pt")["state_dict"])


@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_updates_equals_the_walk_forward_of_its_days_to_the_bit(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, folds = MODES[mode], 13 if mode == "single" else 3
    warm = ("data.split=walk_forward", f"data.folds={folds}", "trainer.warm_start=true")
    walk = made(tmp_path / "walk", *own, *warm)
    (first, end), *later = edges(walk, *own)
    runs = [made(tmp_path / "0", *own, f"data.test_start={first}", f"data.end={end}")]
    for number, (_, end) in enumerate(later, start=1):
        runs.append(update(runs[-1], tmp_path / str(number), f"data.end={end}"))
    whole = of_test(walk)
    assert whole.folds is not None
    for number, run in enumerate(runs):
        alone, of_fold = of_test(run), whole.of(whole.folds == number)
        assert np.array_equal(alone.model, of_fold.model) and np.array_equal(alone.truth.y_true, of_fold.truth.y_true)
        assert all(np.array_equal(alone.baselines[name], of_fold.baselines[name]) for name in of_fold.baselines)
        assert weights(run) == weights(walk / "folds" / str(number))
    together, lines = chain.evaluated(chain.runs(RunFolder(runs[-1])))
    of_walk = metrics(walk) | {"intervals": together["intervals"]}  # each update gave its own, as they were live
    assert together["decided_on"] and different_numbers(of_walk, json.loads(json.dumps(together))) == {}
    assert together["intervals"]["80"]["n"] == metrics(walk)["intervals"]["80"]["n"]
    assert len(lines) == folds + 1
    capsys.readouterr()
    assert cli.main(["task=evaluate", f"run={runs[-1]}"]) == 0
    assert f"chain       {folds - 1} updates, oldest first:\n" in capsys.readouterr().out
    if mode == "single":
        return
    forecasts: list[float] = []
    for run in runs:  # each forecasts its own test days again
        assert cli.main(["task=predict", f"run={run}"]) == 0
        with (run / "forecasts.csv").open() as file:
            forecasts += [float(row["y_pred"]) for row in csv.DictReader(file) if row["y_true"]]
    assert forecasts == whole.model.tolist()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `old`, `walk` and `new`, an update of `old`; to be read only."""
    folder = tmp_path_factory.mktemp("base")
    made(folder / "old", "data.end=2000-12-29")
    made(folder / "walk", "data.end=2000-12-29", "data.split=walk_forward", "data.folds=2", "data.train_span=rolling")
    return update(folder / "old", folder / "new").parent


def test_an_update_tests_the_days_since_and_starts_from_the_weights(base: Path) -> None:
    old, new = (json.loads((base / name / "config.json").read_text()) for name in ("old", "new"))
    assert old["data"]["spans"]["test"][1] == "2000-12-28"
    assert new["config"]["data"]["test_start"] == "2000-12-29" == new["data"]["spans"]["test"][0]
    assert new["config"]["data"]["end"] is None
    assert new["init_from"] == {"run": str(base / "old"), "sha256": weights(base / "old")}
    assert new["updates"] == {"run": str(base / "old"), "sha256": written.content_hash(RunFolder(base / "old"))}
    assert new["config"]["update"] == {"fresh": False, "of": str(base / "old")}


def test_an_update_is_reproduced_from_its_saved_config(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["task=reproduce", f"run={base / 'new'}", f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert "same config, data, code, versions and device" in capsys.readouterr().out
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (base / "new" / "predictions.csv").read_bytes()


def test_an_anew_trained_update_is_a_link_of_the_chain_too(base: Path, tmp_path: Path) -> None:
    fresh = update(base / "old", tmp_path / "fresh", "update.fresh=true")
    facts = json.loads((fresh / "config.json").read_text())
    assert "init_from" not in facts and facts["config"]["trainer"]["init_from"] is None
    assert [run.path for run in chain.runs(RunFolder(fresh))] == [base / "old", fresh]
    assert np.array_equal(of_test(fresh).truth.y_true, of_test(base / "new").truth.y_true)
    assert not np.array_equal(of_test(fresh).model, of_test(base / "new").model)


def test_an_update_of_a_walk_forward_goes_on_from_its_last_fold_and_keeps_the_length(
    base: Path, tmp_path: Path
) -> None:
    new = update(base / "walk", tmp_path / "new")
    facts, walk = (json.loads((path / "config.json").read_text()) for path in (new, base / "walk"))
    assert facts["init_from"]["sha256"] == weights(base / "walk" / "folds" / "1")
    assert facts["data"]["samples"]["train"] == walk["data"]["folds"][1]["samples"]["train"]
    together, _ = chain.evaluated(chain.runs(RunFolder(new)))
    of_walk = metrics(base / "walk")
    assert together["validation"] == of_walk["validation"] and together["best_baseline"] == of_walk["best_baseline"]
    assert together["test"]["n"] == of_walk["test"]["n"] + metrics(new)["test"]["n"]


def test_dates_of_validation_become_its_share(tmp_path: Path) -> None:
    old = made(tmp_path / "old", "data.end=2000-12-29", "data.valid_start=2000-08-01", "data.test_start=2000-11-01")
    new = update(old, tmp_path / "new")
    share = [
        samples["validation"] / (samples["validation"] + samples["train"])
        for samples in (json.loads((run / "config.json").read_text())["data"]["samples"] for run in (old, new))
    ]
    assert share[1] == pytest.approx(share[0], abs=0.005)


def test_ranks_go_on_from_the_same_weights(base: Path, tmp_path: Path) -> None:
    ranks = ("trainer=ddp", "trainer.world_size=2", "trainer.batch_size=32", "trainer.epochs=2", "hardware=cpu")
    typed = ("task=update", f"run={base / 'old'}", "hydra.run.dir=new", "report=false", *ranks)
    done = command(*typed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    new = tmp_path / "new"
    np.testing.assert_allclose(of_test(new).model, of_test(base / "new").model, rtol=1e-4, atol=1e-7)
    facts = json.loads((new / "config.json").read_text())
    assert facts["init_from"]["sha256"] == weights(base / "old") and facts["updates"]["run"] == str(base / "old")


def test_a_run_is_reproduced_and_explained_without_the_bars_that_have_come_since(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = random_bars(320)

    def first(days: int) -> None:
        columns = {name: values[:days] for name, values in bars.columns.items()}
        write_bars(Bars(bars.ticker, bars.dates[:days], columns, ""), tmp_path / "bars")

    first(300)
    old = tmp_path / "old"
    config = compose.compose(
        "data=csv", f"data.dir={tmp_path / 'bars'}", "stock.ticker=TEST", "data.window=5", *QUICK[3:], EPOCHS
    )
    train.run(config, RunLocation(exact=old), compose.records(config))
    first(301)
    new = update(old, tmp_path / "new")
    assert metrics(new)["test"]["n"] == 1 and metrics(new)["skill"] == "not shown"
    assert "1 day is too few to show anything" in metrics(new)["verdict"]
    first(320)
    for run in (old, new):
        capsys.readouterr()
        assert (
            cli.main(["task=reproduce", f"run={run}", "report=false", f"hydra.run.dir={tmp_path / f'{run.name}2'}"])
            == 0
        )
        assert (
            f"config      data.end: null then, {bars.dates[299 if run == old else 300]} now\n"
            in capsys.readouterr().out
        )
        assert cli.main(["task=explain", f"run={run}", "explain.repeats=1"]) == 0


def cut(*names: str, epochs: int = 2) -> Callable[[Path], object]:
    """What makes of a finished run one that was killed before these of its files were written, after so many epochs."""

    def cut(run: Path) -> None:
        if epochs == 1:
            (run / "previous.pt").replace(run / "last.pt")
        for name in ("metrics.json", "predictions.csv", "baselines.csv", *names):
            (run / name).unlink()
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps({**result, "status": "running", "pid": 2**22 + 1}))

    return cut


KILLS: dict[str, Callable[[Path], Any]] = {
    "after training": cut(),
    "after the first epoch": cut(epochs=1),
    "before the first epoch": cut("last.pt", "previous.pt", "best.pt", "history.csv"),
    "before the config": cut("last.pt", "previous.pt", "best.pt", "history.csv", "config.json", *(
        f".hydra/{name}.yaml" for name in ("config", "overrides", "hydra")
    )),
}  # fmt: skip


@pytest.mark.parametrize("when", KILLS)
def test_the_same_command_goes_on_with_an_update_that_was_killed(when: str, base: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(base / "new", tmp_path / "new"))
    KILLS[when](run)
    update(base / "old", run)
    assert (run / "predictions.csv").read_bytes() == (base / "new" / "predictions.csv").read_bytes()
    assert [one.path for one in chain.runs(RunFolder(run))] == [base / "old", run]
    assert ("resumed" in (run / "train.log").read_text()) == when.startswith("after")


def test_a_folder_of_another_run_is_left_as_it_is(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "new"):  # no update of this run; finished
        run = Path(shutil.copytree(base / name, tmp_path / name))
        if name == "old":
            cut()(run)
        before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
        update(base / "old", run, status=2)
        assert "already holds a run" in capsys.readouterr().err
        assert before == {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}


def test_what_cannot_be_updated_is_refused_in_a_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = Path(shutil.copytree(base / "old", tmp_path / "killed"))
    cut()(killed)
    ridge = made(tmp_path / "ridge", "model=ridge", "data.end=2000-12-29")
    capsys.readouterr()
    for run, typed, fault in (
        (base / "new", (), "has no day since the test of"),
        (base / "old", ("data.end=2000-12-29",), "give later bars, or a later data.end"),
        (killed, (), "is not finished (killed); continue it first: trainer.resume="),
        (base / "old", ("data.horizon=2", "features=momentum"), "data.horizon, features.set, features.bars"),
        (base / "old", ("data.test_start=2000-12-01",), "data.test_start: an update has the settings of its run"),
        (
            base / "old",
            ("trainer.loss=quantile", "trainer.quantile=0.2"),
            "trainer.quantile: an update has the settings",
        ),
        (ridge, (), "model=ridge: is computed from its data alone; add update.fresh=true"),
    ):
        update(run, tmp_path / "refused", *typed, status=2)
        error = capsys.readouterr().err
        assert fault in error and error.count("\n") == 1, error
        assert not (tmp_path / "refused").exists()
    update(ridge, tmp_path / "anew", "update.fresh=true")


def test_a_missing_or_changed_link_is_named(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old", "new"):
        shutil.copytree(base / name, tmp_path / name)
    config = tmp_path / "new" / "config.json"
    config.write_text(config.read_text().replace(str(base), str(base / "gone")))

    def refused() -> str:
        capsys.readouterr()
        assert cli.main(["task=evaluate", f"run={tmp_path / 'new'}"]) == 2
        return capsys.readouterr().err

    assert [one.path.name for one in chain.runs(RunFolder(tmp_path / "new"))] == ["old", "new"]  # both were moved
    predictions = tmp_path / "old" / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("1", "2", 1))
    assert "old: its predictions.csv or baselines.csv is not what it was when" in refused()
    shutil.rmtree(tmp_path / "old")
    assert "old, which holds no such run; put it back there, or name it: update.of=FOLDER\n" in refused()
    assert cli.main(["task=evaluate", f"run={tmp_path / 'new'}", f"update.of={base / 'old'}"]) == 0
    facts = json.loads(config.read_text())
    config.write_text(json.dumps(facts | {"updates": facts["updates"] | {"run": str(tmp_path / "new")}}))
    assert "which holds no such run" in refused()
    config.write_text(json.dumps(facts | {"updates": 3}))
    assert "does not say whose update the run is; restore it" in refused()


def test_runs_that_forecast_the_same_days_are_no_chain_and_gaps_are_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = f"update.of={base / 'old'}"
    twice, late = made(tmp_path / "twice", of), made(tmp_path / "late", of, "data.test_start=2001-02-01")
    assert cli.main(["task=evaluate", f"run={twice}"]) == 2
    assert "and that of the run before ends on 2000-12-28" in capsys.readouterr().err
    others = {"return": ["data.target=return"], "quantile": ["trainer.loss=quantile", "trainer.quantile=0.1"]}
    for name, of_other in others.items():
        other = made(tmp_path / name, of, "data.test_start=2001-02-01", *of_other)
        assert cli.main(["task=evaluate", f"run={other}"]) == 2
        assert f"{name}: forecasts another target than" in capsys.readouterr().err
    _, lines = chain.evaluated(chain.runs(RunFolder(late)))
    assert "            no forecasts of the days after 2000-12-28 and before 2001-02-01" in lines
