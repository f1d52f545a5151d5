"""The table of a sweep: a row for each job, in whatever state the jobs were left."""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stockml.reporting import summary
from stockml.runs.folder import Folder
from stockml.runs.sweep_folder import SweepFolder
from tests.conftest import ROOT

FIGURES = ("val_mse", "test_mse", "test_mae", "test_r2", "test_r2_zero", "test_r2_ct")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create(tmp_path / "sweep")


def plan(sweep: SweepFolder, name: str, swept: Mapping[str, Any] | None = None) -> Path:
    """A job that has been planned, with its folder."""
    sweep.plan({name: swept or {}})
    folder = sweep.path / name
    folder.mkdir(exist_ok=True)
    return folder


def done(
    sweep: SweepFolder,
    name: str,
    swept: Mapping[str, Any] | None = None,
    *,
    stock: str = "AAPL",
    test_mse: float = 0.5,
) -> None:
    """A job that has ended well; its best baseline has a test MSE of 0.6, and another one a better test score."""
    plan(sweep, name, swept)
    scores = {"n": 9, "mae": test_mse / 2, "rmse": math.sqrt(test_mse), "hit_rate": None, "ic": None}
    parts = {
        "validation": {**scores, "mse": test_mse + 1, "r2": 1 - test_mse, "r2_zero": 0.1},
        "test": {**scores, "mse": test_mse, "r2": test_mse - 1, "r2_zero": test_mse / 100},
    }
    rivals = {name: {"test": {"mse": mse}} for name, mse in (("ridge", 0.6), ("zero", 0.01))}
    timing = {"total_seconds": 1.0, "train_seconds": 0.5, "epochs": 12, "best_epoch": 7, "samples_per_second": 9.0}
    folder = sweep.job(name)
    folder.write_json("metrics.json", {**parts, "baselines": rivals, "best_baseline": "ridge", "timing": timing})
    folder.write_json("config.json", {"config": {"stock": {"ticker": stock}}})
    folder.record("ok", time.time(), None, synthetic=False)


def table(sweep: SweepFolder) -> dict[str, dict[str, str]]:
    """summary.csv, written anew, by job."""
    summary.write(sweep)
    with (sweep.path / "summary.csv").open() as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def test_the_columns_are_those_of_the_design(sweep: SweepFolder) -> None:
    done(sweep, "AAPL", {"stock": "AAPL", "trainer.lr": 0.1, "seed": 3})
    expected = [
        "job", "status", "stock", "trainer.lr", "seed", "epochs", "best_epoch", "val_mse", "val_r2", "test_mse",
        "test_mae", "test_r2", "test_r2_zero", "best_baseline", "beats_baseline", "seconds", "error", "synthetic",
        "r2_zero_low", "r2_zero_high", "dm_p", "dm_p_holm", "dm_p_bh", "skill", "test_ic",
        "spa_p", "in_mcs", "test_r2_ct", "net_return", "net_sharpe", "holding_sharpe", "break_even_bps",
        "look", "skill_corrected", "val_net_sharpe", "deflated_sharpe", "pbo",
    ]  # fmt: skip
    assert list(table(sweep)["AAPL"]) == expected


def test_a_row_has_every_digit_of_its_job_s_results(sweep: SweepFolder) -> None:
    done(sweep, "AAPL", test_mse=1 / 3)
    row = table(sweep)["AAPL"]
    assert (row["status"], row["epochs"], row["best_epoch"], row["error"]) == ("ok", "12", "7", "")
    assert (float(row["test_mse"]), float(row["val_mse"]), float(row["test_mae"])) == (1 / 3, 1 / 3 + 1, 1 / 6)
    assert (float(row["test_r2"]), float(row["val_r2"]), float(row["test_r2_zero"])) == (
        1 / 3 - 1,
        1 - 1 / 3,
        1 / 3 / 100,
    )


@pytest.mark.parametrize(("test_mse", "beats"), [(0.59, "true"), (0.6, "false"), (0.61, "false")])
def test_a_job_is_compared_with_the_best_baseline_on_validation(
    sweep: SweepFolder, test_mse: float, beats: str
) -> None:
    done(sweep, "AAPL", test_mse=test_mse)
    row = table(sweep)["AAPL"]
    assert (row["best_baseline"], row["beats_baseline"]) == ("ridge", beats)


def test_every_planned_job_has_a_row_whatever_it_left(sweep: SweepFolder) -> None:
    done(sweep, "ok")
    plan(sweep, "waiting")
    (sweep.path / "waiting").rmdir()
    for status, error in (("failed", "no such file"), ("interrupted", "interrupted"), ("running", None)):
        plan(sweep, status)
        sweep.job(status).record(status, time.time(), error, synthetic=False)
    done(sweep, "half")
    (sweep.path / "half" / "metrics.json").write_text('{"validation": {')
    done(sweep, "partly")
    (sweep.path / "partly" / "metrics.json").write_text("{}")
    plan(sweep, "torn")
    (sweep.path / "torn" / "result.json").write_text("")
    rows = table(sweep)
    assert {job: row["status"] for job, row in rows.items()} == {
        "ok": "ok",
        "waiting": "waiting",
        "failed": "failed",
        "interrupted": "interrupted",
        "running": "killed",  # as its process is this one, which runs no job
        "half": "failed",
        "partly": "failed",
        "torn": "failed",
    }
    assert rows["failed"]["error"] == "no such file"
    assert f"process {os.getpid()} ended without a message" in rows["running"]["error"]
    assert all("cannot be read" in rows[job]["error"] for job in ("half", "partly", "torn"))
    text = summary.table(summary.read(sweep))
    assert all(re.search(rf"^ {job} ", text, re.MULTILINE) for job in rows)


def test_averages_are_over_seeds_for_each_stock_and_then_over_stocks(sweep: SweepFolder) -> None:
    found = {("AAPL", 0): 0.1, ("AAPL", 1): 0.2, ("AAPL", 2): 0.6, ("TSLA", 0): 0.7, ("TSLA", 1): 0.9}
    for (stock, seed), test_mse in found.items():
        done(sweep, f"{stock}-seed_{seed}", {"seed": seed}, stock=stock, test_mse=test_mse)
    plan(sweep, "XOM-seed_0", {"stock": "XOM", "seed": 0})
    lines = summary.aggregates(summary.read(sweep))
    assert len(lines) == 5
    for stock, line in zip(("AAPL", "TSLA"), lines[:2], strict=True):
        values = [value for key, value in found.items() if key[0] == stock]
        assert line.startswith(f"{stock}, {len(values)} seeds: ")
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        assert f"test_mse {mean:.4g} ± {deviation:.2g}" in line
        assert f"test_r2 {mean - 1:+.4f} ± {deviation:.2g}" in line
        assert all(name in line for name in FIGURES)
    assert lines[2].startswith("mean over 2 stocks: ") and "test_mse 0.55," in lines[2]  # of 0.3 and 0.8
    assert lines[3].startswith("best on validation: AAPL-seed_0 (val_r2 +0.9000, test_r2 -0.9000")
    assert lines[4] == "better than their best baseline: 2 of 5 jobs"
    summary.write(sweep)
    markdown = (sweep.path / "summary.md").read_text()
    assert all(f"- {line}\n" in markdown for line in lines)


def test_jobs_of_different_settings_are_averaged_apart(sweep: SweepFolder) -> None:
    for lr, test_mse in ((0.1, 0.2), (0.01, 0.4)):
        for stock, more in (("AAPL", 0.0), ("TSLA", 0.2)):
            done(sweep, f"{stock}-lr_{lr}", {"trainer.lr": lr}, stock=stock, test_mse=test_mse + more)
    lines = summary.aggregates(summary.read(sweep))
    assert lines[0].startswith("trainer.lr 0.1, mean over 2 stocks: ") and "test_mse 0.3," in lines[0]
    assert lines[1].startswith("trainer.lr 0.01, mean over 2 stocks: ") and "test_mse 0.5," in lines[1]


def test_a_figure_that_some_job_lacks_has_no_average(sweep: SweepFolder) -> None:
    for stock in ("AAPL", "TSLA"):
        done(sweep, stock, stock=stock)
    folder = sweep.job("TSLA")
    metrics = folder.read_json("metrics.json")
    metrics["test"]["r2_zero"] = metrics["validation"]["r2"] = None
    folder.write_json("metrics.json", metrics)
    assert table(sweep)["TSLA"]["test_r2_zero"] == ""
    (mean,) = (line for line in summary.aggregates(summary.read(sweep)) if line.startswith("mean"))
    assert "test_mse 0.5," in mean and mean.endswith("test_r2_zero –, test_r2_ct –")
    (best,) = (line for line in summary.aggregates(summary.read(sweep)) if line.startswith("best on"))
    assert "AAPL" in best


def evaluated(sweep: SweepFolder, name: str, zero: float | None, ridge: float | None, skill: str = "not shown") -> None:
    """A job that has ended well, with these p-values against zero and the best baseline."""
    done(sweep, name)
    against = {rival: {"diebold_mariano": {"p_value": p}} for rival, p in (("zero", zero), ("ridge", ridge))}
    metrics = sweep.job(name).read_json("metrics.json")
    significance = {"r2_zero_interval": [-0.01, 0.02], "against": against}
    sweep.job(name).write_json("metrics.json", {**metrics, "significance": significance, "skill": skill})


def test_p_values_are_those_of_beating_both_rivals_and_corrected_for_the_jobs_that_were_tested(
    sweep: SweepFolder,
) -> None:
    evaluated(sweep, "sure", 0.001, 0.01, "shown")
    evaluated(sweep, "alone", 0.03, 0.001, "shown")
    evaluated(sweep, "luck", 0.01, 0.9)
    evaluated(sweep, "undefined", None, 0.2)
    done(sweep, "older")
    plan(sweep, "failed")
    sweep.job("failed").record("failed", time.time(), "gone", synthetic=False)
    rows = table(sweep)
    assert [rows[job]["dm_p"] for job in ("sure", "alone", "luck")] == ["0.01", "0.03", "0.9"]
    assert [float(rows[job]["dm_p_holm"]) for job in ("sure", "alone", "luck")] == pytest.approx([0.03, 0.06, 0.9])
    assert [float(rows[job]["dm_p_bh"]) for job in ("sure", "alone", "luck")] == pytest.approx([0.03, 0.045, 0.9])
    assert all(rows[job]["dm_p"] == rows[job]["dm_p_holm"] == "" for job in ("undefined", "older", "failed"))
    assert (rows["sure"]["skill"], rows["sure"]["r2_zero_low"], rows["sure"]["r2_zero_high"]) == (
        "shown",
        "-0.01",
        "0.02",
    )
    assert rows["older"]["status"] == "ok" and rows["older"]["skill"] == ""
    (line,) = (line for line in summary.aggregates(summary.read(sweep)) if line.startswith("significantly better"))
    assert "2 of 3 jobs; corrected for the number of jobs 1 (Holm), 2 (Benjamini–Hochberg)" in line


def test_whatever_a_name_or_an_error_holds_the_table_stays_a_table(sweep: SweepFolder) -> None:
    plan(sweep, "bad", {"stock.name": 'a|b,"c"\nd'})
    sweep.job("bad").record("failed", time.time(), "line | one\nline, two", synthetic=False)
    done(sweep, "good", {"stock.name": "x"})
    rows = table(sweep)
    assert rows["bad"]["stock.name"] == 'a|b,"c"\nd' and rows["bad"]["error"] == "line | one\nline, two"
    lines = (sweep.path / "summary.md").read_text().split("\n\n")[0].splitlines()
    assert len(lines) == 4  # a header, its rule, and two rows
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(rows["bad"]) + 1}
    printed = summary.table(summary.read(sweep)).splitlines()
    assert sum(line.lstrip().startswith(("bad", "good")) for line in printed) == 2


def test_a_table_of_simulated_data_is_marked(sweep: SweepFolder) -> None:
    done(sweep, "AAPL")
    assert table(sweep)["AAPL"]["synthetic"] == "false"
    assert "ynthetic: true" not in (sweep.path / "summary.md").read_text()
    sweep.job("AAPL").record("ok", time.time(), None, synthetic=True)
    assert table(sweep)["AAPL"]["synthetic"] == "true"
    assert "synthetic: true" in (sweep.path / "summary.md").read_text()


def test_a_table_that_is_kept_is_the_one_that_is_read(sweep: SweepFolder) -> None:
    done(sweep, "first", {"seed": 1})
    plan(sweep, "second", {"seed": 2})
    kept = summary.SweepTable(sweep)
    (sweep.path / "first" / "metrics.json").unlink()  # what has ended is not read again
    evaluated(sweep, "second", 0.001, 0.01, "shown")
    sweep.plan({"second": {"seed": 2}})
    assert [row["status"] for row in kept.rows] == ["ok", "waiting"]
    assert kept.update("second")["skill"] == "shown"
    plan(sweep, "third", {"seed": 3})
    sweep.job("third").record("running", time.time(), None, synthetic=False)
    assert [row["status"] for row in kept.write()] == ["ok", "ok", "killed"]
    with (sweep.path / "summary.csv").open() as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "killed"]
    assert rows["second"]["dm_p_holm"] == "0.01" and rows["first"]["test_mse"] == "0.5"
    done(sweep, "first", {"seed": 1})
    done(sweep, "third", {"seed": 3})
    kept.update("third")
    assert kept.write()[1:] == summary.read(sweep)[1:]


def test_a_job_that_ends_is_read_alone_however_many_there_are(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.plan({f"job{number}": {"seed": number} for number in range(50)})
    kept = summary.SweepTable(sweep)
    kept.write()
    read: list[Path] = []
    read_json = Folder.read_json

    def recorded(folder: Folder, name: str) -> dict[str, Any]:
        read.append(folder.path)
        return read_json(folder, name)

    monkeypatch.setattr(Folder, "read_json", recorded)
    for number in range(50):
        (sweep.path / f"job{number}").mkdir()
        sweep.job(f"job{number}").record("failed", time.time(), "gone", synthetic=False)
        read.clear()
        kept._due = math.inf  # no write falls due between two jobs
        kept.update(f"job{number}")
        assert set(read) == {sweep.path / f"job{number}"}


def test_the_table_is_written_at_most_once_a_second_and_a_fiftieth_of_the_time(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(sweep, "job")
    now, written = [100.0], list[float]()

    def write(_sweep: SweepFolder, _rows: object) -> None:
        written.append(now[0])
        now[0] += len(written) / 100  # ever slower, as the table grows

    monkeypatch.setattr(summary, "_write_files", write)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = summary.SweepTable(sweep)
    for _ in range(2000):
        now[0] += 0.05
        kept.update("job")
    pauses = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert len(pauses) > 10
    for took, pause in enumerate(pauses, start=1):
        least = max(1, 50 * took / 100)
        assert least - 1e-9 < pause < least + 0.1


WRITER = """
import sys, time
from pathlib import Path
from stockml.reporting import summary
from stockml.runs.folder import Folder
from stockml.runs.sweep_folder import SweepFolder

sweep, number = SweepFolder(Path(sys.argv[1])), sys.argv[2]
for job in range(15):
    sweep.plan({f"{number}-{job}": {"seed": job}})
    sweep.path.joinpath(f"{number}-{job}").mkdir()
    sweep.job(f"{number}-{job}").record("failed", time.time(), "x" * 1000, synthetic=False)
    summary.write(sweep)
"""


def test_jobs_that_end_together_are_all_in_the_table(sweep: SweepFolder) -> None:
    plan(sweep, "first")
    summary.write(sweep)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(sweep.path), str(number)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for number in range(4)
    ]
    ended = 0
    while any(writer.poll() is None for writer in writers):
        with (sweep.path / "summary.csv").open() as file:  # whole at any moment, and never older than before
            errors = [row["error"] for row in csv.DictReader(file)]
        assert set(errors) <= {"", "x" * 1000} and len(errors) - errors.count("") >= ended
        ended = len(errors) - errors.count("")
    assert [writer.returncode for writer in writers] == [0] * 4
    with (sweep.path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61
    assert {row["job"] for row in rows} == {"first", *(f"{n}-{job}" for n in range(4) for job in range(15))}
    assert [row["status"] for row in rows].count("failed") == 60
