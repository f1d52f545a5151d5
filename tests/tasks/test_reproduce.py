"""A run made again from what it saved: the same numbers, and whatever is not as it was told by its name."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockml import cli
from tests.conftest import LEDGER, ROOT, Run, command, random_bars, write_bars
from tests.tasks.test_train import identical

STOCKS = ("AAPL", "TSLA", "XOM")
BARS = ("data=csv", "data.dir=bars", "data.window=5", "trainer.epochs=2")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `single`, and `sweep`, of whose three jobs one has failed for want of XOM.csv."""
    folder = tmp_path_factory.mktemp("originals")
    for number, stock in enumerate(STOCKS[:2]):
        write_bars(random_bars(300, seed=number, ticker=stock), folder / "bars")
    done = command("stock=TSLA", *BARS, "hydra.run.dir=single", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    done = command("-m", f"stock={','.join(STOCKS)}", *BARS, "hydra.sweep.dir=sweep", cwd=folder)
    assert done.returncode == 1 and "1 of 3 jobs" in done.stderr
    return folder


def only_run(cwd: Path) -> Path:
    (folder,) = (cwd / "outputs").iterdir()
    return folder


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def here(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Another working directory than the originals were made in."""
    monkeypatch.chdir(folder)
    return folder


def test_a_saved_config_runs_again_from_another_folder(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("-cp", f"{originals / 'sweep' / 'TSLA' / '.hydra'}", "-cn", "config", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert only_run(tmp_path).name.startswith("TSLA_")
    here(monkeypatch, tmp_path)
    assert cli.main(["-cp", f"{originals / 'single' / '.hydra'}", "-cn", "config", "hydra.run.dir=of_single"]) == 0
    for made in (only_run(tmp_path), tmp_path / "of_single"):
        assert identical(made, originals / "single")
        assert identical(made, originals / "sweep" / "TSLA")


@pytest.mark.parametrize("name", ["single", "sweep/AAPL"])
def test_a_run_is_reproduced_and_says_so(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    here(monkeypatch, tmp_path)
    assert cli.main(["task=reproduce", f"run={os.path.relpath(originals / name)}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("reproducing ") and lines[0].endswith(f"/{name}")
    assert lines[1] == "same config, data, code, versions and device"
    assert lines[-1] == "reproduced: identical"
    assert identical(only_run(tmp_path), originals / name)
    saved = [(folder / ".hydra" / "config.yaml").read_text() for folder in (only_run(tmp_path), originals / name)]
    assert saved[0] == saved[1]


def test_a_reproduction_can_be_reproduced(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here(monkeypatch, tmp_path)
    original = originals / "single"
    for number in range(2):
        assert cli.main(["task=reproduce", f"run={original}", f"hydra.run.dir=again_{number}"]) == 0
        assert "same config, data, code, versions and device" in capsys.readouterr().out
        original = tmp_path / f"again_{number}"


def test_a_whole_sweep_is_reproduced_but_for_its_failed_jobs(originals: Path, tmp_path: Path) -> None:
    done = command("task=reproduce", f"run={originals / 'sweep'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^XOM +left out: failed$", done.stdout, re.MULTILINE)
    assert all(re.search(rf"^{stock} +identical$", done.stdout, re.MULTILINE) for stock in STOCKS[:2])
    assert done.stdout.endswith("reproduced: identical (2 of 3 jobs)\n")


def test_every_number_that_differs_is_listed(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(originals / "single", here(monkeypatch, tmp_path) / "altered")

    def alter(metrics: Any) -> None:
        metrics["test"]["mse"] += 1e-12
        metrics["baselines"]["ridge"]["validation"]["ic"] = None
        metrics["timing"]["epochs"] = 99

    edit(tmp_path / "altered" / "metrics.json", alter)
    assert cli.main(["task=reproduce", "run=altered"]) == 1
    captured = capsys.readouterr()
    assert "identical" not in captured.out
    assert re.fullmatch(
        r"test\.mse: \S+ then, \S+ now\n"
        r"baselines\.ridge\.validation\.ic: null then, \S+ now\n"
        rf"not reproduced: 2 numbers of {tmp_path / 'altered'} differ\n",
        captured.err,
    )


def test_a_sweep_s_job_that_differs_is_named(originals: Path, tmp_path: Path) -> None:
    shutil.copytree(originals / "sweep", tmp_path / "altered")
    edit(tmp_path / "altered" / "AAPL" / "metrics.json", lambda metrics: metrics["test"].update(mse=1.0))
    done = command("task=reproduce", "run=altered", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^AAPL +test\.mse: 1\.0 then, \S+ now", done.stdout, re.MULTILINE)
    assert re.search(r"^TSLA +identical$", done.stdout, re.MULTILINE)
    assert done.stderr == "not reproduced: AAPL (1 of 2 jobs)\n"


def test_further_overrides_are_taken(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here(monkeypatch, tmp_path)
    single = originals / "single"
    assert cli.main(["-cp", f"{single / '.hydra'}", "-cn", "config", "seed=7", "hydra.run.dir=seven"]) == 0
    assert cli.main(["task=reproduce", f"run={single}", "seed=7", "hydra.run.dir=again"]) == 1
    assert "config      seed: 42 then, 7 now\n" in capsys.readouterr().out
    assert identical(tmp_path / "seven", tmp_path / "again")


def test_changed_data_are_found_before_anything_is_trained(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bars(random_bars(300, ticker="AAPL"), here(monkeypatch, tmp_path) / "bars")
    run("a", *BARS)
    path.write_text(re.sub(r"(\d)(\n)$", lambda m: f"{(int(m[1]) + 1) % 10}{m[2]}", path.read_text()))
    capsys.readouterr()
    assert cli.main(["task=reproduce", "run=a"]) == 1
    captured = capsys.readouterr()
    assert re.search(r"^data +fingerprint: \w+ then, \w+ now$", captured.out, re.MULTILINE)
    assert re.fullmatch(r".*data have changed.*AAPL\.csv.*\n", captured.err)
    assert "epoch 1/" not in captured.out
    assert {entry.name for entry in tmp_path.iterdir()} == {"a", "bars", *LEDGER}
    path.unlink()
    assert cli.main(["task=reproduce", "run=a"]) == 2
    assert "AAPL" in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.iterdir()} == {"a", "bars", *LEDGER}


def test_another_version_commit_or_device_is_told_and_the_numbers_decide(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(originals / "single", here(monkeypatch, tmp_path) / "old")

    def age(facts: Any) -> None:
        facts["versions"]["numpy"] = "1.0"
        facts.update(git_commit="abc", device="an abacus")

    edit(tmp_path / "old" / "config.json", age)
    assert cli.main(["task=reproduce", "run=old"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^version +numpy: 1\.0 then, \S+ now$", printed, re.MULTILINE)
    assert re.search(r"^git_commit +abc then, \S+ now$", printed, re.MULTILINE)
    assert re.search(r"^device +an abacus then, cpu|cuda|mps", printed, re.MULTILINE)
    assert printed.endswith("reproduced: identical\n")


@pytest.fixture(scope="module")
def changed_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run.py of a copy of the repository with another default in conf/model/mlp.yaml, and a key trainer.warmup."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("conf", "stockml"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", copy)
    for path, old, new in (
        ("conf/model/mlp.yaml", "hidden_dim: 64", "hidden_dim: 65"),
        ("conf/base/trainer.yaml", "epochs: 50", "epochs: 50\nwarmup: 0"),
        ("stockml/training/settings.py", "    epochs: int", "    warmup: int\n    epochs: int"),
    ):
        text = (copy / path).read_text()
        assert old in text
        (copy / path).write_text(text.replace(old, new, 1))
    return copy / "run.py"


def changed(run_py: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(run_py), *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def test_an_edited_group_file_and_an_added_key_are_named_and_the_saved_values_win(
    originals: Path, changed_code: Path, tmp_path: Path
) -> None:
    done = changed(changed_code, "task=reproduce", f"run={originals / 'single'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^conf/ +model\.hidden_dim: 64 is used, 65 is what today's", done.stdout, re.MULTILINE)
    assert re.search(r"^config +trainer\.warmup: no such key then, 0 now$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("reproduced: identical\n")


def test_a_removed_config_key_is_named(
    changed_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = changed(changed_code, "data.days=400", "trainer.epochs=1", "hydra.run.dir=older", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    here(monkeypatch, tmp_path)
    for typed in (["task=reproduce", "run=older"], ["-cp", "older/.hydra", "-cn", "config"]):
        assert cli.main(typed) == 2
        assert capsys.readouterr().err.startswith("trainer.warmup: no such key")
    assert {path.name for path in tmp_path.iterdir()} == {"older", *LEDGER}


def test_nothing_in_a_run_s_records_evaluates_differently_tomorrow(originals: Path) -> None:
    for name in ("single", "sweep/AAPL"):
        for file in ("config.yaml", "hydra.yaml", "overrides.yaml"):
            assert "${" not in (originals / name / ".hydra" / file).read_text()
        assert f"dir: {originals / 'bars'}\n" in (originals / name / ".hydra" / "config.yaml").read_text()


def test_what_cannot_be_reproduced_is_refused(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here(monkeypatch, tmp_path)
    shutil.copytree(originals / "single", tmp_path / "failed")
    edit(tmp_path / "failed" / "result.json", lambda result: result.update(status="failed"))
    shutil.copytree(originals / "sweep", tmp_path / "none")
    for stock in STOCKS[:2]:
        edit(tmp_path / "none" / stock / "result.json", lambda result: result.update(status="failed"))
    for run, fault in (
        ("failed", "did not end well (failed)"),
        ("none", "none of its jobs is done"),
        ("nowhere", "nowhere"),
        (str(originals / "sweep" / "XOM"), "XOM"),
    ):
        assert cli.main(["task=reproduce", f"run={run}"]) == 2
        err = capsys.readouterr().err
        assert fault in err and err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_a_reproduction_leaves_the_original_as_it_was(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in originals.rglob("*") if path.name != ".lock"}

    here(monkeypatch, tmp_path)
    before = snapshot()
    assert cli.main(["task=reproduce", f"run={originals / 'sweep' / 'AAPL'}"]) == 0
    assert snapshot() == before
    with (originals / "sweep" / "summary.csv").open() as file:
        assert [row["job"] for row in csv.DictReader(file)] == list(STOCKS)
