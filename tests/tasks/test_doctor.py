"""task=doctor: what is printed, and the status; and what a run reports of its bars."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from stockml import cli
from stockml.data.bars import Bars, Floats
from tests.conftest import Run, random_bars, write_bars

DAYS = 200


def typed(folder: Path) -> list[str]:
    return ["data=csv", f"data.dir={folder}", "stock.ticker=TEST", "data.calendar=24/5", "data.window=5"]


def written(folder: Path, **columns: Floats) -> list[str]:
    """Write bars with changed columns to a file; the overrides that name it."""
    bars = random_bars(DAYS)
    write_bars(Bars(bars.ticker, bars.dates, {**bars.columns, **columns}, ""), folder)
    return typed(folder)


def crossed() -> dict[str, Floats]:
    columns = random_bars(DAYS).columns
    low, high = columns["low"].copy(), columns["high"].copy()
    low[7], high[7] = high[7], low[7]
    return {"low": low, "high": high}


def test_clean_bars_have_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("exchange_calendars")
    assert cli.main(["task=doctor", *written(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'TEST.csv'}" in printed
    assert "calendar    24/5\n" in printed
    assert printed.endswith("found       0 errors, 0 warnings\n")


def test_warnings_are_a_table_of_at_most_ten_rows_per_check_and_status_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = random_bars(DAYS).columns["volume"].copy()
    volume[10:36:2] = 0
    assert cli.main(["task=doctor", *written(tmp_path, volume=volume)]) == 0
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if line.startswith(" warning")]
    assert len(rows) == 10
    assert rows[0].split() == [
        "warning",
        "zero",
        "volume",
        "TEST.csv,",
        "line",
        "12",
        str(random_bars().dates[10]),
        "volume",
        "0",
    ]
    assert "and 3 more" in printed.out
    assert "  zero volume: " in printed.out
    assert printed.out.endswith("found       0 errors, 13 warnings\n")
    assert printed.err == ""


def test_errors_are_status_1_and_stop_a_run_before_it_has_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = written(tmp_path / "bars", **crossed())
    assert cli.main(["task=doctor", *arguments]) == 1
    printed = capsys.readouterr()
    assert " error      high below low   TEST.csv, line 9" in printed.out
    assert printed.err.endswith("TEST.csv: 1 error, with which no run starts: high below low\n")
    assert cli.main(arguments) == 2
    printed_error = capsys.readouterr().err
    assert "high below low: low " in printed_error
    assert printed_error.count("\n") == 1
    assert "task=doctor" in printed_error
    assert [path.name for path in tmp_path.iterdir()] == ["bars"]


def test_an_error_outside_the_used_days_stops_no_run(tmp_path: Path, run: Run) -> None:
    arguments = written(tmp_path / "bars", **crossed())
    assert run("a", *arguments, "+experiment=quick", f"data.start={random_bars().dates[8]}")


def test_a_run_prints_the_doctor_s_warnings_in_a_line(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = random_bars(DAYS).columns["volume"].copy()
    volume[[10, 20]] = 0
    run("warned", *written(tmp_path / "bars", volume=volume), "+experiment=quick")
    assert "\ndoctor      found zero volume (2); task=doctor " in capsys.readouterr().out
    run("clean", *written(tmp_path / "clean"), "+experiment=quick")
    assert "\ndoctor " not in capsys.readouterr().out


def test_gaps_are_found_by_the_calendar_and_long_gaps_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = random_bars(DAYS)
    keep = np.r_[0:50, 51:100, 106:DAYS]  # a day, and a week and a day
    write_bars(Bars("TEST", bars.dates[keep], {name: v[keep] for name, v in bars.columns.items()}, ""), tmp_path)
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    assert cli.main(["task=doctor", *typed(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "only gaps of more than 5 days are reported" in printed
    assert f"{bars.dates[106]}" in printed
    assert printed.count("missing sessions   TEST.csv") == 1
    monkeypatch.undo()
    pytest.importorskip("exchange_calendars")
    assert cli.main(["task=doctor", *typed(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{bars.dates[50]}   1 session\n" in printed
    assert f"{bars.dates[100]}   6 sessions, to {bars.dates[105]}\n" in printed


def test_existing_columns_that_a_stock_does_not_need_are_examined_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "TEST.csv"
    arguments = [*written(tmp_path, **crossed()), "stock.features=[close]"]
    assert cli.main(["task=doctor", *arguments]) == 1
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()))
    capsys.readouterr()
    assert cli.main(["task=doctor", *arguments]) == 1
    assert "has no column Volume" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data=npz", "data.path=a.npz"], "task=doctor: needs dated daily bars"),
        (["data=csv", "data.dir=nowhere"], "there is no such folder"),
    ],
)
def test_data_that_cannot_be_examined_are_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.main(["task=doctor", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_simulated_bars_are_marked_and_have_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["task=doctor", "stock=JPM", "data.seed=3"]) == 0
    printed = capsys.readouterr().out
    assert "SIMULATED DATA (synthetic: true)" in printed
    assert "found       0 errors, 1 warning\n" in printed


def test_a_run_s_own_data_are_examined(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "+experiment=quick", "data.days=300", "data.seed=3")
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    capsys.readouterr()
    assert cli.main(["task=doctor", f"run={tmp_path / 'a'}"]) == 0
    assert "simulator (signal=realistic, seed=3)" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before


def test_further_columns_are_examined_and_those_that_hold_no_numbers_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = written(tmp_path)
    path = tmp_path / "TEST.csv"
    header, *rows = path.read_text().splitlines()
    further = [f"{row},{n % 7 if n != 50 else ''},{n % 5 if n != 60 else 'x'},calm" for n, row in enumerate(rows)]
    path.write_text("\n".join([f"{header},mood,score,state", *further]) + "\n")
    assert cli.main(["task=doctor", *overrides]) == 0
    printed = capsys.readouterr().out
    assert "not examined, since they hold no numbers: state\n" in printed
    assert f"score cannot be examined: {path}, line 62: score is 'x', no number that can be used" in printed
    assert ": open, high, low, close, volume, mood\n" in printed
    assert f"days without a value   TEST.csv, line 52   {random_bars(DAYS).dates[50]}   mood\n" in printed
    assert printed.endswith("found       0 errors, 1 warning\n")


def test_days_without_a_value_are_counted_by_column_and_the_context_is_examined_too(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    mood = np.where(np.arange(DAYS) % 10 < 2, np.nan, np.sin(np.arange(DAYS)))
    overrides = written(tmp_path / "bars", mood=mood)
    other = random_bars(DAYS, 3, "SPX")
    write_bars(Bars("SPX", other.dates[:-8], {"close": other.columns["close"][:-8]}, ""), tmp_path / "bars")
    overrides += ["data.context=[SPX]", "features.missing=drop", "data.context_max_age=0", "data.window=1"]
    overrides += ['+features.columns.m="$mood"', '+features.columns.s="$SPX.close"']
    assert cli.main(["task=doctor", *overrides]) == 0
    printed = capsys.readouterr().out
    assert ": open, high, low, close, volume, Mood, SPX.close\n" in printed
    assert printed.count("  Mood for 2 days\n") == 10 and "SPX.close for 8 days\n" not in printed
    assert "and 11 more\n" in printed
    run("a", *overrides, "+experiment=quick")
    printed = capsys.readouterr().out
    assert "days without a value in mood (40), days without a value in SPX.close (8); task=doctor" in printed
