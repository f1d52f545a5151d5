"""Which combinations of what is swept are jobs: sweep.zip, sweep.list, sweep.exclude, and files as what is swept."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockml import cli, compose
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars

QUICK = ("data.window=10", "trainer.epochs=1", "report=false", "looks=off")


def jobs_of(*typed: str) -> list[str]:
    """The names of the jobs that a command line asks for."""
    sweep = compose.read(typed).sweep
    assert sweep is not None
    return [job.name for job in sweep.jobs]


@pytest.mark.parametrize("plus", ["", "+"])
def test_paired_keys_go_through_their_values_together_and_are_combined_with_the_others(plus: str) -> None:
    typed = ("-m", "stock=AAPL,JNJ", "seed=range(2)", "model=linear,mlp", f"{plus}sweep.zip=[stock,model]")
    command = compose.read(typed)
    assert [(job.stock.ticker, job.model.name, job.seed) for job in command.jobs] == [
        ("AAPL", "linear", 0),
        ("AAPL", "linear", 1),
        ("JNJ", "mlp", 0),
        ("JNJ", "mlp", 1),
    ]
    assert jobs_of(*typed)[3] == "JNJ-model_mlp-seed_1"


def test_pairs_may_be_of_a_glob_a_range_and_a_draw_and_there_may_be_several_groups() -> None:
    glob = ("-m", "stock=glob([A*,J*])", "seed=range(4)", "sweep.zip=[stock,seed]")
    assert jobs_of(*glob) == ["AAPL-seed_0", "AMZN-seed_1", "JNJ-seed_2", "JPM-seed_3"]
    drawn = compose.read(["-m", "seed=shuffle(range(3))", "trainer.lr=1e-3,2e-3,3e-3", "sweep.zip=[seed,trainer.lr]"])
    assert sorted(job.seed for job in drawn.jobs) == [0, 1, 2]
    assert drawn.sweep is not None
    assert all(job.config is not None and job.config.seed == job.swept["seed"] for job in drawn.sweep.jobs)
    two = ("stock=AAPL,JNJ", "model=linear,mlp", "seed=1,2", "data.seed=3,4")
    assert len(jobs_of("-m", *two, "sweep.zip=[[stock,model],[seed,data.seed]]")) == 4


FORMS = [
    '["model=linear","model=mlp model.hidden_dim=4,8"]',
    '[{model: linear},{model: mlp, model.hidden_dim: "4,8"}]',
    '[["model=linear"],["model=mlp","model.hidden_dim=4"],["model=mlp","model.hidden_dim=8"]]',
]


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_sets_of_settings_are_jobs_however_they_are_written(form: str, in_file: bool, tmp_path: Path) -> None:
    typed = ["-m", "stock=AAPL,JNJ", f"sweep.list={form}"]
    if in_file:
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nsweep:\n  list: {form}\n")
        typed[2:] = ["--config-dir", str(tmp_path), "+experiment=mine"]
    found = compose.read(typed).jobs
    assert [(job.model.name, getattr(job.model, "hidden_dim", None)) for job in found[::2]] == [
        ("linear", None),
        ("mlp", 4),
        ("mlp", 8),
    ]
    assert [job.stock.ticker for job in found] == ["AAPL", "JNJ"] * 3
    assert {job.sweep.list for job in found} == {()}  # which is no part of a job's config


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        ('["stock=AAPL model=gru"]', {"AAPL linear", "AAPL mlp", "JNJ linear", "JNJ mlp", "JNJ gru"}),
        ("[{stock: AAPL, model: gru},{model: mlp}]", {"AAPL linear", "JNJ linear", "JNJ gru"}),
        ('[{model: "mlp,gru"}]', {"AAPL linear", "JNJ linear"}),
    ],
)
def test_jobs_that_have_all_values_of_an_exclusion_are_left_out(excluded: str, left: set[str]) -> None:
    command = compose.read(["-m", "stock=AAPL,JNJ", "model=linear,mlp,gru", f"sweep.exclude={excluded}"])
    assert {f"{job.stock.ticker} {job.model.name}" for job in command.jobs} == left


def test_a_glob_of_paths_is_a_job_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bars/B.csv", "bars/A.csv", "bars/.C.csv", "bars/D.csv/x.csv", "more/A.csv.gz", "more/E.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert jobs_of("-m", "data=csv", "data.path=glob(bars/*.csv)") == ["A", "B"]
    assert jobs_of("-m", "data=csv", f"data.path=glob([{tmp_path}/bars/*,more/*],exclude=*/A.*)") == ["B", "E"]
    assert jobs_of("-m", "data=csv", "data.path=glob(bars/*.csv)", "seed=1,2", "sweep.zip=[data.path,seed]") == [
        "A-seed_1",
        "B-seed_2",
    ]
    assert jobs_of("-m", "data=csv", "data.dir=glob([bars,more])", "stock=XOM") == ["XOM-dir_bars", "XOM-dir_more"]
    with pytest.raises(UserError, match=r"data.path=glob\(x/\*\): matches no file"):
        compose.read(["-m", "data=csv", "data.path=glob(x/*)"])


def test_a_sweep_of_sets_and_files_is_continued_and_each_job_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate(("A", "B")):
        write_bars(random_bars(200, seed=seed, ticker=ticker), tmp_path)
    typed = ["-m", "data=csv", "data.path=glob(*.csv)", "seed=3,4", "sweep.zip=[data.path,seed]", *QUICK]
    typed += [r"""sweep.list=["model=linear","model=ridge '+features.columns.rsi=\"RSI($close,5)\"'"]"""]
    typed += ["hydra.sweep.dir=here"]
    assert cli.main(typed) == 0
    names = ["A-model_linear-seed_3", "B-model_linear-seed_4"]
    names += [f"{ticker}-model_ridge-rsi_RSI_close_5-seed_{seed}" for ticker, seed in (("A", 3), ("B", 4))]
    assert sorted(path.name for path in Path("here").iterdir() if path.is_dir()) == sorted(names)
    kept = Path("here", names[3], "metrics.json").stat().st_mtime_ns
    (tmp_path / "here" / names[0] / "result.json").unlink()
    assert cli.main(typed) == 0
    assert Path("here", names[3], "metrics.json").stat().st_mtime_ns == kept
    assert cli.main(["task=reproduce", f"run=here/{names[3]}"]) == 0
    assert cli.main(["-cp", f"here/{names[2]}/.hydra", "-cn", "config", "hydra.run.dir=again", "report=false"]) == 0
    assert "sweep:\n  fail_fast: false\nreport" in Path("again/.hydra/config.yaml").read_text()
