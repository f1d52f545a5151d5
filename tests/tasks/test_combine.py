"""task=combine: the weighted sum of several runs' forecasts, as a run of its own."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli, compose, predict
from stockml.result import Result
from stockml.runs.location import RunLocation
from stockml.tasks import train
from tests.conftest import metrics, random_bars, write_bars
from tests.tasks.conftest import QUICK_RANKS

QUICK = ("report=false", "hardware=cpu")
ONE = ("data.days=300", "data.test_start=2000-12-01")
POOL = ("data=csv", "data.tickers=[AAA,BBB,CCC]", "data.test_start=2015-11-02")
RUNS = {
    "ridge": (*ONE, "model=ridge", "data.window=10"),
    "mlp": (
        *ONE,
        "model=mlp_flat",
        "trainer.epochs=1",
        "data.window=5",
        "seed=7",
        '+features.columns.m="Return($close,20)"',
    ),
    "walk-forward": (
        *ONE,
        "model=ridge",
        "data.window=10",
        "data.horizon=5",
        "data.split=walk_forward",
        "data.folds=2",
    ),
    "ensemble": (*ONE, "model=mlp_flat", "trainer.epochs=1", "data.window=5", "data.horizon=5", "trainer.ensemble=2"),
    "pool": (*POOL, "model=ridge", "data.window=10"),
    "mapped": (
        *POOL,
        "model=mlp_flat",
        "trainer.epochs=1",
        "data.window=5",
        "data.memory_limit=0",
        "data.scaler=global",
    ),
    "class": (*ONE, "model=ridge", "data.window=10", "data.target=direction"),
    "other data": (*ONE, "model=linear", "trainer.epochs=1", "data.window=10", "data.seed=3"),
    "later": (*ONE[:1], "model=linear", "trainer.epochs=1", "data.window=10", "data.test_start=2000-12-04"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs by name, to be read only, and the bars of the pool."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, ticker in enumerate(("AAA", "BBB", "CCC")):
        write_bars(random_bars(260, seed=seed, ticker=ticker), folder / "bars")
    for name, overrides in RUNS.items():
        bars = (f"data.dir={folder / 'bars'}",) if "data=csv" in overrides else ()
        config = compose.compose(*QUICK, *overrides, *bars)
        train.run(config, RunLocation(exact=folder / name), compose.records(config))
    return folder


def typed(runs: Sequence[Path], folder: Path, *more: str) -> list[str]:
    """The command that combines these runs in the folder."""
    return ["task=combine", f"runs=[{','.join(map(str, runs))}]", f"hydra.run.dir={folder}", "report=false", *more]


def samples(path: Path, split: str, column: str = "y_pred") -> dict[tuple[str, str], str]:
    """A column of a CSV file by day and stock; of a walk-forward's validation that of the first fold."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("split", split) == split]
    first = split == "test"
    return {(row["date"], row["ticker"]): row[column] for row in rows if first or row.get("fold", "0") == "0"}


def require_law(originals: Sequence[Path], folder: Path, *more: str) -> None:
    """Combine the runs, lose them, and check what was made of them, and the tasks that work on it."""
    copies = [Path(shutil.copytree(run, folder / "originals" / run.name)) for run in originals]
    found = folder / "run"
    assert cli.main(typed(copies, found, *more)) == 0
    shutil.rmtree(folder / "originals")
    weights = [member["weight"] for member in json.loads((found / "config.json").read_text())["members"]]
    for split in ("validation", "test"):
        own = samples(found / "predictions.csv", split)
        each = [samples(run / "predictions.csv", split) for run in originals]
        assert own.keys() == set.intersection(*(set(of) for of in each))
        assert split == "validation" or all(own.keys() == of.keys() for of in each)
        means = [sum(w * float(of[key]) for w, of in zip(weights, each, strict=True)) for key in own]
        np.testing.assert_allclose([float(value) for value in own.values()], means, rtol=1e-12, atol=0)
    assert cli.main(["task=evaluate", f"run={found}"]) == 0
    assert cli.main(["task=reproduce", f"run={found}", "report=false", f"hydra.run.dir={folder / 'again'}"]) == 0
    assert cli.main(["task=predict", f"run={found}"]) == 0
    for column in ("y_pred", "lower_80", "upper_95"):
        forecasts, tested = (samples(found / f"{name}.csv", "test", column) for name in ("forecasts", "predictions"))
        assert tested.items() <= forecasts.items()
        assert forecasts.keys() - tested.keys()  # the next days


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (("ridge", "mlp"), ()),
        (("walk-forward", "ensemble"), ("combine.weights=ridge",)),
        (("ensemble", "walk-forward"), ()),
        (("pool", "mapped"), ("combine.weights=ridge",)),
    ],
)
def test_a_combined_run_is_the_weighted_mean_of_its_members_and_needs_none_of_the_originals(
    runs: Path, tmp_path: Path, names: Sequence[str], more: Sequence[str]
) -> None:
    require_law([runs / name for name in names], tmp_path, *more)


def test_a_combination_has_the_levels_that_are_asked_for_and_is_no_update(runs: Path, tmp_path: Path) -> None:
    member = tmp_path / "member"
    shutil.copytree(runs / "ridge", member)
    facts = json.loads((member / "config.json").read_text())
    link = {"updates": {"run": str(runs / "mlp"), "sha256": ""}, "init_from": {"run": str(runs / "mlp"), "sha256": ""}}
    (member / "config.json").write_text(json.dumps(facts | link))
    found = tmp_path / "run"
    assert cli.main(typed([member, runs / "mlp"], found, "intervals=[0.5]")) == 0
    assert not {"updates", "init_from"} & json.loads((found / "config.json").read_text()).keys()
    assert metrics(found)["intervals"].keys() == {"50"}
    assert cli.main(["task=reproduce", f"run={found}", "report=false", f"hydra.run.dir={tmp_path / 'again'}"]) == 0


def test_a_run_of_several_processes_is_a_member_as_any_other(two_ranks: Path, tmp_path: Path) -> None:
    single = [argument for argument in QUICK_RANKS if not argument.startswith("trainer")]
    assert cli.main([*single, "model=ridge", "report=false", f"hydra.run.dir={tmp_path / 'ridge'}"]) == 0
    require_law([two_ranks, tmp_path / "ridge"], tmp_path)


@pytest.fixture(scope="module")
def found(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A combined run of two members, to be copied or read only."""
    folder = tmp_path_factory.mktemp("combined") / "run"
    assert cli.main(typed([runs / "ridge", runs / "mlp"], folder)) == 0
    return folder


def test_members_are_evaluated_on_other_data_each_with_its_own_window_and_features(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["task=evaluate", f"run={found}", "data.seed=5"]) == 0
    out = capsys.readouterr().out
    assert "data.seed: 0 in the run, 5 here" in out and "combines 2 runs, with equal weights" in " ".join(out.split())
    forecasts = []
    for run in (found, found / "runs" / "0", found / "runs" / "1"):
        assert cli.main(["task=predict", f"run={run}", "data.seed=5"]) == 0
        forecasts.append([float(value) for value in samples(run / "forecasts.csv", "test").values()])
    np.testing.assert_allclose(forecasts[0], np.mean(forecasts[1:], axis=0), rtol=1e-12)


def test_the_page_and_the_result_say_that_several_runs_are_combined(found: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(found, tmp_path / "run"))
    assert cli.main(["task=report", f"run={copy}"]) == 0
    page = (copy / "report.html").read_text()
    for text in ("AAPL · 2 runs combined", "Members", "runs/1", "mlp_flat", "The forecast combines 2 runs"):
        assert text in page
    result = Result(copy)
    assert "2 runs combined" in repr(result) and "The forecast combines 2 runs" in result.verdict
    assert result.table("members.csv")["weight"].tolist() == [0.5, 0.5]
    assert predict(result, quiet=True)["y_true"].isna().sum() == 1


def test_the_best_jobs_of_a_sweep_on_validation_are_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = [
        *QUICK,
        *ONE,
        "data.window=5",
        "model=linear",
        "trainer.epochs=1",
        "-m",
        "seed=range(4)",
        "hydra.sweep.dir=sweep",
    ]
    assert cli.main(sweep) == 0
    with Path("sweep/summary.csv").open() as file:
        scores = {row["job"]: float(row["val_r2"]) for row in csv.DictReader(file)}
    assert cli.main(typed([Path("sweep")], Path("run"), "combine.best=2")) == 0
    facts = json.loads(Path("run/config.json").read_text())
    best = sorted(scores, key=lambda job: -scores[job])[:2]
    assert [Path(member["from"]).name for member in facts["members"]] == best
    assert (
        "combines 2 runs, chosen on validation from 4, with"
        in json.loads(Path("run/metrics.json").read_text())["verdict"]
    )
    assert cli.main(typed([Path("sweep")], Path("all"))) == 0
    assert len(json.loads(Path("all/config.json").read_text())["members"]) == 4


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("class", "class: data.target=direction, and log_return in …ridge; only forecasts of the same are combined"),
        ("ensemble", "ensemble: data.horizon=5, and 1 in …ridge; only"),
        ("other data", "other data: y_true of 2000-…: other data; combine runs on the same data"),
        ("later", "later: its test has no sample of 2000-12-01, unlike that of …ridge; …data.test_start"),
        ("pool", "pool: its test has no sample of 2000-12-01"),
    ],
)
def test_runs_that_forecast_something_else_are_refused(
    runs: Path, tmp_path: Path, name: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(typed([runs / "ridge", runs / name], tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in fault.split("…"):
        assert part in line
    assert not (tmp_path / "run").exists()


def test_a_combination_is_no_model_and_no_member(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert cli.main(list(arguments)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    for words in (f"trainer.resume={found}", f"task=audit run={found}", f"task=features run={found}"):
        assert f"is a combination of runs, without a model of its own; name a member: {found}/runs/0" in refused(
            *words.split()
        )
    assert "is a combination itself; name its members" in refused(*typed([found, found / "runs" / "0"], tmp_path / "x"))
    assert "combines 2 models" in refused("task=predict", f"run={found}", "export.onnx=true")
    assert "model.alpha: the run's own settings are used" in refused("task=predict", f"run={found}", "model.alpha=3")
    assert "data.window: the run's own settings" in refused("task=evaluate", f"run={found}", "data.window=7")


def test_a_combination_that_was_killed_is_made_by_the_same_command(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, folder = typed([runs / "ridge", runs / "mlp"], tmp_path / "run"), tmp_path / "run"
    assert cli.main(words) == 0
    numbers = (folder / "predictions.csv").read_bytes()
    assert cli.main(words) == 2
    for left in (("metrics.json", "members.csv"), ("metrics.json", "config.json", "runs/1/best.pt")):
        for name in left:
            (folder / name).unlink()
        killed = {**json.loads((folder / "result.json").read_text()), "status": "running", "pid": 2**22 + 1}
        (folder / "result.json").write_text(json.dumps(killed))
        capsys.readouterr()
        assert cli.main([f"trainer.resume={folder}"]) == 2
        assert "is a combination that did not come to its end; type its command again: " in capsys.readouterr().err
        assert cli.main(words) == 0
        assert (folder / "predictions.csv").read_bytes() == numbers


def test_a_member_whose_weights_are_others_than_were_combined_is_refused(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(found, tmp_path / "run"))
    shutil.copy(copy / "runs/0/best.pt", copy / "runs/1/best.pt")
    assert cli.main(["task=predict", f"run={copy}"]) == 2
    assert "runs/1/best.pt: is not the model that was combined" in capsys.readouterr().err


def test_a_change_of_a_members_predictions_is_found_by_reproducing(found: Path, tmp_path: Path, capsys: Any) -> None:
    copy = Path(shutil.copytree(found, tmp_path / "run"))
    path = copy / "runs/1/predictions.csv"
    lines = path.read_text().splitlines()
    cells = lines[-1].split(",")
    position = lines[0].split(",").index("y_pred")
    cells[position] = str(float(cells[position]) + 0.01)
    path.write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")
    assert cli.main(["task=reproduce", f"run={copy}", "report=false", f"hydra.run.dir={tmp_path / 'again'}"]) == 1
    assert "not reproduced: " in capsys.readouterr().err
