"""Searches: trials drawn, pruned, replaced and gone on with; and jobs started by submitit."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from stockml import cli, compose
from stockml.tasks import study
from tests.conftest import RUN_PY, command, metrics, random_bars, write_bars

SMALL = ("data.days=300", "data.window=10", "trainer.patience=null", "report=false")
SEARCH = ("+experiment=tune_mlp", "hydra.sweeper.n_trials=5", "hydra.sweep.dir=s", "trainer.epochs=4", *SMALL)
FREE = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=0", "hydra.sweep.dir=s", *SMALL)
DROPOUT = "model.dropout=interval(0,0.5)"
ONE = "trainer.epochs=1"
EITHER = "model.hidden_dim=choice(2,4,8)"


def rows(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def trials(sweep: Path) -> list[dict[str, Any]]:
    """The trials of the study, in order."""
    found: list[dict[str, Any]] = json.loads((sweep / "search.json").read_text())["trials"]
    return found


def states(sweep: Path) -> list[str]:
    return [trial["state"] for trial in trials(sweep)]


def done(sweep: Path) -> list[str]:
    """The jobs that have ended well or were pruned."""
    return [
        path.parent.name
        for path in sweep.glob("*/result.json")
        if json.loads(path.read_text())["status"] in ("ok", "pruned")
    ]


def search(*arguments: str, status: int = 0) -> Path:
    """A search in this process; its folder."""
    epochs = [] if any(argument.startswith(("trainer.epochs", "model.rounds")) for argument in arguments) else [ONE]
    assert cli.main([*FREE, *epochs, *arguments]) == status
    return Path("s")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def killed_and_continued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A search killed after two trials and continued; its folder, and the trials that were done before."""
    folder = tmp_path_factory.mktemp("search")
    killed = subprocess.Popen(
        [sys.executable, str(RUN_PY), *SEARCH], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(done(folder / "s")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = done(folder / "s")
    continued = command(*SEARCH, cwd=folder)
    assert continued.returncode == 0, continued.stderr
    return folder / "s", before


def test_a_killed_search_goes_on_until_it_has_all_its_trials(killed_and_continued: tuple[Path, list[str]]) -> None:
    sweep, before = killed_and_continued
    ended = [row for row in rows(sweep) if row["status"] in ("ok", "pruned")]
    assert 2 <= len(before) < 5 == len(ended) == len(rows(sweep))
    assert {row["job"] for row in ended} >= set(before)
    assert len({row["model.hidden_dim"] + row["trainer.lr"] for row in ended}) == 5, "a trial was drawn twice"
    assert {trial["job"] for trial in trials(sweep)} >= {row["job"] for row in ended}


def test_a_search_is_told_of_the_validation_loss_alone(killed_and_continued: tuple[Path, list[str]]) -> None:
    sweep, _ = killed_and_continued
    for trial in trials(sweep):
        if trial["state"] == "complete":
            assert trial["values"] == [metrics(sweep / trial["job"])["validation_loss"]]


def test_a_pruned_trial_has_no_scores_and_the_search_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = search(
        "hydra.sweeper.pruner=hyperband",
        "hydra.sweeper.n_trials=6",
        "trainer.epochs=4",
        "trainer.lr=tag(log,interval(1e-5,1))",
    )
    pruned = [row for row in rows(sweep) if row["status"] == "pruned"]
    assert 0 < len(pruned) < 6 == len(rows(sweep))
    for row in pruned:
        assert (row["test_r2"], row["error"]) == ("", "")
        assert int(row["epochs"]) < 4
        assert not (sweep / row["job"] / "metrics.json").exists()
        assert json.loads((sweep / row["job"] / "result.json").read_text())["status"] == "pruned"
        assert len((sweep / row["job"] / "history.csv").read_text().splitlines()) == int(row["epochs"]) + 1
    assert states(sweep).count("pruned") == len(pruned)
    assert f"{len(pruned)} pruned" in capsys.readouterr().out
    ok = next(row for row in rows(sweep) if row["status"] == "ok")
    assert cli.main(["task=reproduce", f"run=s/{ok['job']}", "report=false"]) == 0
    for task in ("reproduce", "evaluate", "predict"):
        assert cli.main([f"task={task}", f"run=s/{pruned[0]['job']}"]) == 2
    assert capsys.readouterr().err.count("(pruned)") == 3


LAST = "trainer.lr=choice(1e-3,1e-9)"  # which learns nothing
MODES = [
    (
        "model=lightgbm",
        "model.rounds=20",
        "model.min_data_in_leaf=5",
        "model.lambda_l2=0",
        "model.learning_rate=choice(0.9,1e-6)",
        "hydra.sweeper.direction=maximize",
    ),
    ("trainer=ddp", "trainer.world_size=2", "trainer.epochs=4", LAST),
    ("trainer.ensemble=2", "trainer.epochs=4", LAST),
    ("data.split=walk_forward", "data.folds=2", "trainer.epochs=4", LAST),
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0])
def test_every_way_of_training_can_be_pruned(mode: tuple[str, ...]) -> None:
    sweep = search(
        "hydra/sweeper/sampler=grid",
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.n_trials=2",
        *mode,
    )
    pruned = [row["job"] for row in rows(sweep) if row["status"] == "pruned"]
    assert [row["status"] for row in rows(sweep)] == ["ok", "pruned"]
    assert len(list((sweep / pruned[0]).glob("**/history.csv"))) == 1, "it went on with the next fold or member"


def test_a_failed_trial_is_replaced_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = search("hydra.sweeper.n_trials=3", "trainer.lr=choice(-1.0,1e-3,1e-2,1e-4)", "hydra/sweeper/sampler=grid")
    assert states(sweep) == ["fail", "complete", "complete", "complete"]
    said = capsys.readouterr().out
    assert "trainer.lr=-1.0: must be" in said
    assert "another trial took its place" in said


def test_a_search_ends_when_too_many_trials_fail(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = search(
        "hydra.sweeper.n_trials=4",
        "trainer.lr=choice(-1.0,-2.0,-3.0,-4.0,1e-3)",
        "hydra/sweeper/sampler=grid",
        status=1,
    )
    assert states(sweep) == ["fail"] * 3
    assert "3 trials failed, more than hydra.sweeper.max_failure_rate=0.5" in capsys.readouterr().err


def test_a_search_with_other_settings_or_data_is_not_continued(capsys: pytest.CaptureFixture[str]) -> None:
    write_bars(random_bars(), Path("bars"))
    typed = (DROPOUT, "data=csv", "~data.days", "data.dir=bars", "stock.ticker=TEST", "hydra.sweeper.n_trials=1")
    before = (search(*typed) / "search.json").read_text()
    search(*typed, "hydra.sweeper.n_trials=2", "data.window=12", status=2)
    write_bars(random_bars(seed=1), Path("bars"))
    search(*typed, "hydra.sweeper.n_trials=2", status=2)
    assert (Path("s") / "search.json").read_text() == before
    error = capsys.readouterr().err
    assert "data.window is 10 in the study's trials, not 12" in error and "the data have changed" in error


def test_a_search_that_ended_by_failures_can_be_continued() -> None:
    typed = ("trainer.lr=choice(-1.0,-2.0,1e-3)", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=1")
    search(*typed, "hydra.sweeper.max_failure_rate=0", status=1)
    search(*typed, "hydra.sweeper.max_failure_rate=0", status=1)
    assert states(search(*typed, "hydra.sweeper.max_failure_rate=0")) == ["fail", "fail", "complete"]


@pytest.mark.parametrize(
    "searched", ["trainer.loss=quantile trainer.quantile=choice(0.1,0.5)", "model=choice(gru) model.layers=2"]
)
def test_a_setting_that_only_what_is_searched_makes_valid_is_accepted(searched: str) -> None:
    assert compose.read(["-m", "hydra/sweeper=optuna", *searched.split()]).sweep is not None


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_no_parameters_are_run_twice_and_an_exhausted_space_ends_the_search(
    sampler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = search("hydra.sweeper.n_trials=9", EITHER, f"hydra/sweeper/sampler={sampler}")
    assert sorted(row["model.hidden_dim"] for row in rows(sweep)) == ["2", "4", "8"]
    # No pruner or sampler counts a trial that was not run.
    assert all((trial["state"] == "fail") == trial["is_repeated"] for trial in trials(sweep))
    assert "all 3 combinations of the search space were tried" in capsys.readouterr().out


def test_searches_on_one_storage_share_their_trials() -> None:
    shared = ("hydra.sweeper.storage=sqlite:///both.db", "hydra.sweeper.n_trials=6", DROPOUT)
    each = [subprocess.Popen([sys.executable, str(RUN_PY), *FREE, f"hydra.sweep.dir={name}", *shared]) for name in "ab"]
    assert [one.wait(60) for one in each] == [0, 0]
    of_each = [[row["job"] for row in rows(Path(name))] for name in "ab"]
    assert all(of_each)
    assert len(of_each[0]) + len(of_each[1]) == 6
    assert trials(Path("a"))[:6] == trials(Path("b"))[:6] or len(trials(Path("a"))) == 6
    dropouts = [row["model.dropout"] for name in "ab" for row in rows(Path(name))]
    assert len(set(dropouts)) == 6


def test_a_password_of_the_storage_is_not_saved() -> None:
    storage = "hydra.sweeper.storage=postgresql://me:secret@host/db"
    assert cli.main(["hydra/sweeper=optuna", storage, ONE, "hydra.run.dir=r", *SMALL]) == 0
    saved = Path("r/.hydra/hydra.yaml").read_text()
    assert "secret" not in saved
    assert saved.count("postgresql://me:***@host/db") == 2


def test_trials_of_a_search_that_was_killed_elsewhere_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    storage = "hydra.sweeper.storage=sqlite:///both.db"
    common = ("hydra.sweeper.n_trials=3", storage, DROPOUT)
    typed = (*FREE, *common, "trainer.epochs=int(interval(2000,2000))")
    killed = subprocess.Popen([sys.executable, str(RUN_PY), *typed], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while (
        not list(Path("s").glob("*/history.csv"))
        and not list(Path("s").glob("*/last.pt"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    search("hydra.sweep.dir=t", *common, "trainer.epochs=int(interval(1,1))")
    assert states(Path("t")) == ["fail", "complete", "complete", "complete"]


def test_a_trial_that_a_kill_left_drawn_halfway_is_drawn_again() -> None:
    search("hydra.sweeper.n_trials=1", DROPOUT)
    optuna.load_study(study_name="search", storage="sqlite:///s/study.db").ask()
    continued = search("hydra.sweeper.n_trials=2", DROPOUT)
    undisturbed = search("hydra.sweeper.n_trials=2", DROPOUT, "hydra.sweep.dir=t") and Path("t")
    assert [row["model.dropout"] for row in rows(continued)] == [row["model.dropout"] for row in rows(undisturbed)]


@pytest.mark.parametrize(
    ("begun", "says"),
    [
        (False, "opened (attempt to write a readonly database); mend that, or choose another hydra.sweep.dir"),
        (True, "used (attempt to write a readonly database); once that is mended, go on with: "),
    ],
)
def test_a_database_that_cannot_be_written_ends_a_search_with_a_line(
    begun: bool, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def limited(connection: Any, _: object) -> None:
        if Path("s/summary.csv").exists() == begun:
            connection.execute("PRAGMA query_only=ON")

    with monkeypatch.context() as locked:
        locked.setattr(study, "_without_waiting_for_the_disk", limited)
        search("hydra.sweeper.n_trials=2", DROPOUT, status=1 if begun else 2)
    line = capsys.readouterr().err
    assert f"s/study.db: cannot be {says}" in line and line.count("\n") == 1
    assert states(search("hydra.sweeper.n_trials=2", DROPOUT)) == ["complete", "complete"]


def test_a_search_is_not_continued_with_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = search("hydra.sweeper.n_trials=1", DROPOUT)
    search("hydra.sweeper.n_trials=2", DROPOUT, "trainer.lr=0.1", status=2)
    assert "trainer.lr is 0.001 in the study's trials, not 0.1" in capsys.readouterr().err
    assert len(trials(sweep)) == 1
    search("hydra.sweeper.n_trials=2", DROPOUT, "hardware.num_workers=1")  # which changes no number
    assert len(trials(sweep)) == 2


def test_several_objectives_have_no_best_but_a_front() -> None:
    write_bars(random_bars(), Path("bars"))
    write_bars(random_bars(seed=1, ticker="OTHER"), Path("bars"))
    sweep = search(
        "hydra.sweeper.objectives=[loss,loss/OTHER,seconds]",
        "hydra.sweeper.n_trials=2",
        DROPOUT,
        "data=csv",
        "~data.days",
        "data.dir=bars",
        "data.tickers=[TEST,OTHER]",
    )
    for trial in trials(sweep):
        own = json.loads((sweep / trial["job"] / "metrics.json").read_text())
        with (sweep / trial["job"] / "stocks.csv").open() as file:
            stocks = {row["ticker"]: float(row["val_mse"]) for row in csv.DictReader(file)}
        assert trial["values"] == [own["validation_loss"], stocks["OTHER"], own["timing"]["train_seconds"]]


def test_jobs_that_another_launcher_starts_end_in_the_same_table(tmp_path: Path) -> None:
    write_bars(random_bars(), tmp_path / "bars")
    sweep = ("-m", "stock.ticker=TEST,NONE", "data=csv", "data.dir=bars", "trainer.epochs=1")
    ours = command(*sweep, "hydra.sweep.dir=ours", cwd=tmp_path)
    theirs = command(*sweep, "hydra.sweep.dir=theirs", "hydra/launcher=submitit_local", cwd=tmp_path)
    assert ours.returncode == theirs.returncode == 1
    found = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in rows(tmp_path / name)]
        for name in ("ours", "theirs")
    ]
    assert found[0] == found[1]
    assert [row["status"] for row in found[0]] == ["ok", "failed"]


def test_another_launcher_runs_the_trials_of_a_search(tmp_path: Path) -> None:
    ended = command(
        *FREE,
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.n_jobs=2",
        "hydra/launcher=submitit_local",
        DROPOUT,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert states(tmp_path / "s") == ["complete"] * 2


def test_a_preset_for_slurm_says_what_is_missing_where_there_is_none(tmp_path: Path) -> None:
    ended = command("-m", "seed=1,2", *SMALL, "hydra/launcher=slurm", cwd=tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "slurm" in ended.stderr


def test_presets_warn_of_nothing(tmp_path: Path) -> None:
    for preset in ("hydra/launcher=slurm", "+experiment=tune_mlp", "+experiment=all_stocks"):
        ended = command("--cfg", "hydra", preset, cwd=tmp_path, env={"PYTHONWARNINGS": "default"})
        assert (ended.returncode, ended.stderr) == (0, ""), preset
