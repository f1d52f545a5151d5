"""Whatever can be done with a run can be done with one that an earlier release made."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from stockml import cli
from stockml.runs.comparison import different_numbers
from stockml.runs.old_releases import FORMAT
from tests.conftest import command
from tests.releases.ages import FEATURES, copied, releases, rounds_alike
from tests.releases.make import SETTINGS, SWEEP

_BEFORE_BASELINES_FILE = FEATURES[: FEATURES.index("walk-forward") + 1]

# Each run as its release made it, and as it would have been before each feature; of a run that needs one, from then on.
_CASES = [
    ("single", without)
    for without in (None, *(name for name in FEATURES if name not in (*_BEFORE_BASELINES_FILE, "any CSV")))
]
_CASES += [("pooled", None), ("pooled", "schedules of the learning rate")]
_CASES += [("walk_forward", None), ("walk_forward", "task=predict")]
_CASES += [("ensemble", None)]


_OLD_MEANINGS = (
    "data.max_gap=null",
    "data.min_scaler_samples=2",
    "data.calendar=XNYS",
    "data.across_sessions=all",
    "intervals=[]",
    "portfolio.rule=none",
)
"""What is typed to go on with a sweep from before these settings, which are not what they were by default."""


@pytest.fixture(params=releases(), ids=lambda path: path.name)
def release(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(request.param)


def typed(*arguments: str) -> int:
    """`python run.py …` in this process; its exit status."""
    return cli.main(arguments)


def require_same_numbers(release: Path, original: Path, again: Path) -> None:
    """The metrics of both are the same, to the last digit where this machine rounds as the release's did."""
    then, now = (json.loads((folder / "metrics.json").read_text()) for folder in (original, again))
    if rounds_alike(release):
        assert different_numbers(then, now) == {}
    # The validation of a walk-forward run was that of all folds, and is that of the first.
    same_validation = ("decided_on" in then) == ("decided_on" in now)
    for split in ("validation", "test") if same_validation else ("test",):
        assert now[split]["mse"] == pytest.approx(then[split]["mse"], rel=1e-3)


def numbers_of(release: Path, status: int, said: str, wanted: str) -> None:
    """A command has found the numbers as they were; or this machine rounds otherwise."""
    if rounds_alike(release):
        assert status == 0
        assert wanted in said


@pytest.mark.parametrize(("kind", "without"), _CASES)
def test_a_run_of_an_earlier_release_is_evaluated_used_continued_and_reproduced(
    release: Path, kind: str, without: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(release / kind, tmp_path / kind, without)
    status = typed("task=evaluate", f"run={run}")
    numbers_of(release, status, capsys.readouterr().out, "identical to its metrics.json")

    assert typed("task=predict", f"run={run}") == 0
    with (run / "forecasts.csv").open(newline="") as file:
        assert sum(row["y_true"] == "" for row in csv.DictReader(file)) == (2 if kind == "pooled" else 1)

    assert typed("task=explain", f"run={run}") == 0

    status = typed("task=reproduce", f"run={run}", "report=false", "hydra.run.dir=again")
    numbers_of(release, status, capsys.readouterr().out, "reproduced: identical")
    require_same_numbers(release, run, tmp_path / "again")

    assert typed(f"trainer.resume={run}", "trainer.epochs=4", "report=false") == 0
    assert json.loads((run / "metrics.json").read_text())["timing"]["epochs"] == 4
    assert json.loads((run / "config.json").read_text())["format"] == FORMAT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["single", "pooled", "walk_forward", "ensemble"])
def test_a_page_of_an_earlier_release_s_run_is_drawn(release: Path, kind: str, tmp_path: Path) -> None:
    without = "task=predict" if kind in ("single", "walk_forward") else None
    run = copied(release / kind, tmp_path / kind, without)
    assert typed("task=report", f"run={run}") == 0
    assert (run / "report.html").is_file()


@pytest.mark.parametrize("without", [None, "task=predict"])
def test_a_saved_config_of_an_earlier_release_is_run_by_hydra_s_flags(
    release: Path, without: str | None, tmp_path: Path
) -> None:
    run = copied(release / "single", tmp_path / "run", without)
    assert typed("-cp", str(run / ".hydra"), "-cn", "config", "report=false", "hydra.run.dir=again") == 0
    require_same_numbers(release, run, tmp_path / "again")


@pytest.mark.parametrize("without", [None, "sweeps, task=reproduce"])
def test_an_interrupted_run_of_an_earlier_release_ends_as_if_it_had_not_been(
    release: Path, without: str | None, tmp_path: Path
) -> None:
    run = copied(release / "interrupted", tmp_path / "run", without)
    assert typed(f"trainer.resume={run}", "report=false") == 0
    assert len((run / "history.csv").read_text().splitlines()) == 4
    require_same_numbers(release, release / "single", run)


def test_a_run_from_before_baselines_csv_is_reproduced_and_drawn_and_says_what_it_lacks(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(release / "single", tmp_path / "run", _BEFORE_BASELINES_FILE[0])
    assert typed("task=report", f"run={run}") == 0
    status = typed("task=reproduce", f"run={run}", "report=false", "hydra.run.dir=again")
    numbers_of(release, status, capsys.readouterr().out, "reproduced: identical")
    for task in ("evaluate", "predict"):
        assert typed(f"task={task}", f"run={run}") == 2
        assert re.fullmatch(r".*run: .*baselines\.csv.*task=reproduce.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("without", [None, "task=predict"])
def test_a_sweep_of_an_earlier_release_is_continued_and_reproduced_with_other_caches(
    release: Path, without: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    sweep = copied(release / "sweep", tmp_path / "sweep", without)
    first, second = (sweep / f"AAPL-seed_{seed}" for seed in (1, 2))
    shutil.rmtree(second)
    before = (first / "metrics.json").read_bytes()
    incidental = ("data.panel_cache=cache", "data.memory_limit=3")
    arguments = (*SWEEP, *SETTINGS, *incidental, f"hydra.sweep.dir={sweep}")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "data.max_gap was null, and is to be 5, since AAPL-seed_1 was done" in done.stderr
    done = command(*arguments, *_OLD_MEANINGS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (first / "metrics.json").read_bytes() == before
    require_same_numbers(release, release / "sweep" / second.name, second)

    done = command("task=reproduce", f"run={sweep}", "report=false", cwd=tmp_path)
    numbers_of(release, done.returncode, done.stdout, "reproduced: identical (2 of 2 jobs)")
    done = command("task=report", f"run={sweep}", cwd=tmp_path)
    assert (done.returncode, (sweep / "report.html").is_file()) == (0, True)


def test_the_kept_folders_name_no_machine_and_no_person() -> None:
    named = re.compile(rb"/(?:root|tmp|work|mnt|Users|var|home/(?!user/))[\w/.-]*")
    found = {}
    for path in Path(__file__).parent.glob("20*/**/*"):
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                content = b"\n".join(archive.read(name) for name in archive.namelist())
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        if names := named.findall(content):
            found[path.name] = names
    assert found == {}
