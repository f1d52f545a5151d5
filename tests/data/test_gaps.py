"""Gaps between bars, stocks with few samples, stocks that end early, and levels of several stocks."""

from __future__ import annotations

import csv
import html
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stockml import cli, compose
from stockml.config.root import Config
from stockml.data import calendar
from stockml.data.bars import Bars
from stockml.data.calendar import days_between
from stockml.data.dataset import load_panel, prepare, prepare_folds
from stockml.data.panel import Panel
from stockml.data.samples import from_bars
from stockml.data.scaler import Scaler
from stockml.data.settings import BarsConfig
from stockml.data.spec import PanelSpec
from stockml.errors import UserError
from stockml.reporting import data_report
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, predict, train
from tests.conftest import random_bars, write_bars

WINDOW = 10


def closes_of(bars: Bars, data: BarsConfig) -> Panel:
    """The panel whose only feature is the close."""
    return from_bars(bars, PanelSpec.of_bars(("close",), data), data)


def without(bars: Bars, first: int, last: int) -> Bars:
    """The bars without those from `first` to `last`, both included."""
    kept = np.r_[0:first, last + 1 : len(bars.dates)]
    return replace(bars, dates=bars.dates[kept], columns={name: v[kept] for name, v in bars.columns.items()})


def settings(*overrides: str) -> BarsConfig:
    data = compose.compose("data=csv", "data.dir=.", f"data.window={WINDOW}", *overrides).data
    assert isinstance(data, BarsConfig)
    return data


@pytest.mark.parametrize("transform", ["returns", "levels"])
@pytest.mark.parametrize("horizon", [1, 5])
def test_exactly_the_windows_and_targets_across_a_wide_gap_are_left_out(transform: str, horizon: int) -> None:
    whole = random_bars(200)
    bars = without(whole, 110, 115)  # six weekdays, no holiday
    own = settings(f"data.transform={transform}", f"data.horizon={horizon}")
    found, every = closes_of(bars, own), closes_of(bars, replace(own, max_gap=None))
    number = {day: at for at, day in enumerate(bars.dates)}
    assert found.dates is not None
    expected = []
    for row in every.samples:
        end = number[found.dates[row]]
        first = end - WINDOW + (0 if transform == "returns" else 1)  # the first bar that the window knows
        if first > 109 or end + horizon < 110:
            expected.append(row)
    assert found.samples.tolist() == expected
    count = len(every.samples) - len(expected)
    assert count == WINDOW + horizon - (transform == "levels")
    days = f"{whole.dates[109]} to {whole.dates[116]}"
    assert f"{count} samples (more than 5 sessions of XNYS missing: {days}; " in found.dropped[-1]


def test_an_expression_may_not_look_back_across_a_wide_gap(tmp_path: Path) -> None:
    bars = without(random_bars(200), 110, 115)
    write_bars(bars, tmp_path)
    common = ("data=csv", f"data.dir={tmp_path}", f"stock.ticker={bars.ticker}", "data.window=3", "features.bars=false")
    config = compose.compose(*common, '+features.columns.slow="Mean($close, 20) / $close"')
    panel = load_panel(config)[0]
    assert panel.dates is not None
    number = {day: at for at, day in enumerate(bars.dates)}
    ends = [number[panel.dates[row]] for row in panel.samples]
    # the oldest bar of a window is 2 + 19 bars before its end; bars 109 and 110 are on either side of the gap
    assert ends == [end for end in range(19 + 2, 193) if end + 1 < 110 or end - 21 > 109]


@pytest.mark.parametrize("gap", [0, 6])
def test_a_first_change_across_a_wide_gap_is_in_no_window(gap: int) -> None:
    bars = random_bars(200) if gap == 0 else without(random_bars(200), 1, gap)
    own = settings("data.calendar=XPAR")
    found, every = closes_of(bars, own), closes_of(bars, replace(own, max_gap=None))
    assert found.dates is not None and found.dates[0] == bars.dates[1]
    assert found.samples.tolist() == every.samples.tolist()[1 if gap else 0 :]  # one window has the first change
    assert any(f"missing: {bars.dates[0]} to {bars.dates[1]};" in text for text in found.dropped) == (gap > 0)
    levels = replace(own, transform="levels")  # whose first row is the bar before the gap
    found, every = closes_of(bars, levels), closes_of(bars, replace(levels, max_gap=None))
    assert len(every.samples) - len(found.samples) == (1 if gap else 0)


def test_bars_on_every_session_of_their_exchange_have_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = days_between(np.datetime64("2020-01-02"), np.datetime64("2024-12-31"), "XSHG")
    assert sessions is not None and (np.busday_count(sessions[:-1], sessions[1:]) - 1 > 5).sum() == 4  # long holidays
    bars = replace(random_bars(len(sessions)), dates=sessions)
    every = closes_of(bars, settings("data.max_gap=null")).samples.tolist()
    shanghai = closes_of(bars, settings("data.calendar=XSHG"))
    assert shanghai.samples.tolist() == every and shanghai.gaps_in == "sessions of XSHG"
    halted = closes_of(without(bars, 300, 305), settings("data.calendar=XSHG"))
    assert len(every) - 6 - len(halted.samples) == WINDOW + 1
    assert len(closes_of(bars, settings()).samples) == len(every) - 4 * (WINDOW + 1)  # New York was open
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)  # as if it were not installed
    weekdays = closes_of(bars, settings("data.calendar=XSHG"))
    assert len(weekdays.samples) == len(every) - 4 * (WINDOW + 1) and weekdays.gaps_in == "weekdays"


def test_a_run_whose_gaps_are_counted_otherwise_is_not_called_reproduced_and_the_reason_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = days_between(np.datetime64("2023-01-02"), np.datetime64("2024-12-31"), "XSHG")
    assert sessions is not None
    write_bars(replace(random_bars(len(sessions)), dates=sessions), tmp_path / "bars")
    quick = ("report=false", "+experiment=quick", "model=linear", "data.window=20", "data=csv", "stock.ticker=TEST")
    asked = compose.compose(*quick, f"data.dir={tmp_path / 'bars'}", "data.calendar=XSHG")
    train.run(asked, RunLocation(exact=tmp_path / "run"), compose.records(asked))
    monkeypatch.chdir(tmp_path)
    again = ["task=reproduce", f"run={tmp_path / 'run'}", "report=false"]
    assert cli.main([*again, "hydra.run.dir=again"]) == 0
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)  # as if it were not installed
    capsys.readouterr()
    assert cli.main([*again, "hydra.run.dir=weekdays"]) == 1
    line = "data.max_gap counted the days of a gap in sessions of XSHG, and is to count them in weekdays"
    assert line in capsys.readouterr().err


def test_without_a_wide_gap_no_calendar_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "days_between", lambda *_: pytest.fail("the calendar was asked for"))
    assert closes_of(random_bars(200), settings()).gaps_in == ""


def test_five_missing_sessions_are_bridged_and_the_limit_can_be_set() -> None:
    bars = without(random_bars(200), 110, 114)
    assert len(closes_of(bars, settings()).samples) == 200 - 5 - 1 - WINDOW
    assert len(closes_of(bars, settings("data.max_gap=4")).samples) < 200 - 5 - 1 - WINDOW


def test_gaps_of_monthly_bars_are_counted_in_months() -> None:
    bars = random_bars(3000)
    monthly = replace(bars, dates=bars.dates[::22], columns={name: v[::22] for name, v in bars.columns.items()})
    assert len(closes_of(monthly, settings()).samples) == len(monthly.dates) - 1 - WINDOW
    halted = closes_of(without(monthly, 60, 66), settings())
    assert len(halted.samples) == len(monthly.dates) - 1 - 2 * WINDOW - 8 and halted.gaps_in == "months"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool: AAA and BBB in full, HALT without a month, LATE with few train samples, DEAD without the last days."""
    folder = tmp_path_factory.mktemp("bars")
    each = {name: random_bars(400, seed=seed, ticker=name) for seed, name in enumerate(("AAA", "BBB"))}
    each["HALT"] = without(random_bars(400, seed=2, ticker="HALT"), 150, 170)
    each["LATE"] = without(random_bars(400, seed=3, ticker="LATE"), 0, 240)
    each["DEAD"] = random_bars(400, seed=4, ticker="DEAD").first(370)
    for bars in each.values():
        write_bars(bars, folder)
    return folder


def config(folder: Path, *overrides: str) -> Config:
    pool = ("data=csv", f"data.dir={folder}", "data.tickers=all", f"data.window={WINDOW}")
    return compose.compose(*pool, "data.min_scaler_samples=100", *overrides)


@pytest.mark.parametrize("more", [(), ("data.memory_limit=0",)])
def test_a_stock_s_gap_is_no_gap_of_the_other_stocks(folder: Path, more: tuple[str, ...]) -> None:
    panel, every = (load_panel(config(folder, *more, *limit))[0] for limit in ((), ("data.max_gap=null",)))
    assert panel.stocks is not None
    left_out = np.setdiff1d(every.samples, panel.samples)
    assert {panel.stocks.tickers[number] for number in panel.stocks.of(left_out)} == {"HALT"}
    assert len(left_out) == WINDOW + 1
    assert any(text.startswith(f"{WINDOW + 1} samples (more than 5 sessions missing: HALT ") for text in panel.dropped)


@pytest.mark.parametrize("more", [(), ("data.memory_limit=0",), ("data.split=walk_forward", "data.folds=2")])
def test_a_first_change_across_a_wide_gap_is_in_no_window_of_a_pool(tmp_path: Path, more: tuple[str, ...]) -> None:
    each = [random_bars(400, seed=seed, ticker=name) for seed, name in enumerate(("AAA", "BBB", "CCC"))]
    each[1] = without(each[1], 1, 6)  # a gap after its first bar
    each[2] = without(without(each[2], 0, 19), 1, 6)  # the same, and it starts later
    for bars in each:
        write_bars(bars, tmp_path)
    panel, every = (load_panel(config(tmp_path, *more, *limit))[0] for limit in ((), ("data.max_gap=null",)))
    assert panel.stocks is not None
    assert sorted(np.setdiff1d(every.samples, panel.samples)) == [
        panel.stocks.starts[1] + WINDOW - 1,
        panel.stocks.starts[2] + WINDOW - 1,
    ]
    assert any(text.startswith("2 samples (more than 5 sessions missing: BBB 2015-01-01 to ") for text in panel.dropped)
    for data in prepare_folds(config(tmp_path, *more)):
        assert all(np.isin(rows, panel.samples).all() for rows in data.split.by_name().values())


def test_days_on_which_no_stock_has_a_bar_are_no_sessions_of_a_pool(tmp_path: Path) -> None:
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(without(random_bars(200, seed=seed, ticker=ticker), 100, 120), tmp_path)
    panel, _ = load_panel(config(tmp_path))
    assert len(panel.samples) == 2 * (200 - 21 - 1 - WINDOW)


def test_a_stock_with_few_train_samples_is_scaled_by_all_stocks_and_named(folder: Path) -> None:
    data = prepare(config(folder))
    assert data.panel.stocks is not None and data.scaler.stocks is not None
    whose = data.panel.stocks.of(data.split.train)
    late = data.panel.stocks.tickers.index("LATE")
    assert 2 <= (whose == late).sum() < 100
    assert data.scaler.from_pool == ("LATE",)
    shared = Scaler.fit(load_panel(config(folder))[0], data.split.train)
    assert data.scaler.stocks["LATE"].figures() == shared.figures()
    assert data.scaler.stocks["AAA"].target_mean != shared.target_mean
    report = "\n".join(data_report.lines([data]))
    assert "1 stock: LATE (too few train samples for a scaler of their own" in report
    assert "1 stock: DEAD on 2016-06-01 (ended before the pool" in report
    assert [line.strip() for line in report.splitlines() if " stock: " in line] == data_report.stock_notes([data])
    stats = data.scaler.to_dict(data.panel, data.split.train)
    assert Scaler.from_dict(stats).from_pool == ("LATE",)
    assert prepare(config(folder, "data.min_scaler_samples=2")).scaler.from_pool == ()
    assert prepare(config(folder, "data.scaler=global")).scaler.from_pool == ()


def test_a_stock_that_ended_before_the_pool_is_named_and_not_forecast(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = config(folder, "report=true", "+experiment=quick", "model=linear", "trainer.epochs=1")
    train.run(asked, RunLocation(exact=tmp_path / "run"), compose.records(asked))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    notes = data_report.stock_notes([prepare(asked)])
    assert len(notes) == 2 and all(note in log and html.escape(note) in page for note in notes)
    predict.run(compose.compose("task=predict", f"run={tmp_path / 'run'}", tasks=TASKS))
    said = capsys.readouterr().out
    assert "warning     1 stock: DEAD (last bar 2016-06-01): the pool goes on to 2016-07-13" in said
    with (tmp_path / "run" / "forecasts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["ticker"] for row in rows if row["y_true"] == ""} == {"AAA", "BBB", "HALT", "LATE"}
    assert max(row["date"] for row in rows if row["ticker"] == "DEAD") < "2016-06-01"


@pytest.mark.parametrize("levels", ["data.transform=levels", "data.target=close"])
@pytest.mark.parametrize("scaler", ["per_stock", "global"])
def test_levels_of_several_stocks_are_refused_with_the_reason(folder: Path, levels: str, scaler: str) -> None:
    with pytest.raises(UserError, match=rf"{levels}: not with data.tickers: adjusted prices .* known only later"):
        prepare(config(folder, levels, f"data.scaler={scaler}"))


def test_a_run_of_levels_is_warned_about_when_its_prices_were_rescaled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = random_bars(400)
    write_bars(bars, tmp_path / "bars")
    quarter = {name: v * (4 if name == "volume" else 0.25) for name, v in bars.columns.items()}
    write_bars(replace(bars, columns=quarter), tmp_path / "split")
    write_bars(without(bars, 0, 200), tmp_path / "recent")
    quick = ("report=false", "+experiment=quick", "model=linear", "data.window=20", "data=csv", "stock.ticker=TEST")
    said = {}
    for name, overrides in {
        "levels": ("data.transform=levels",),
        "walk": ("data.transform=levels", "data.split=walk_forward", "data.folds=2"),
        "close": ("data.target=close",),
        "returns": (),
    }.items():
        asked = compose.compose(*quick, f"data.dir={tmp_path / 'bars'}", *overrides)
        train.run(asked, RunLocation(exact=tmp_path / name), compose.records(asked))
        for source in ("bars", "split", "recent"):
            capsys.readouterr()
            run = f"run={tmp_path / name}"
            predict.run(compose.compose("task=predict", run, f"data.dir={tmp_path / source}", tasks=TASKS))
            lines = capsys.readouterr().out.splitlines()
            said[name, source] = " ".join(line for line in lines if line.startswith("warning"))
    for name in ("levels", "walk"):
        assert said[name, "bars"] == ""
        assert "rescaled since the run was trained" in said[name, "split"]
        assert "close × 0.25" in said[name, "split"] and "volume × 4" in said[name, "split"]
        assert "cannot be told" in said[name, "recent"]
    assert "prices are rescaled × 0.25, forecasts are on the earlier scale" in said["close", "split"]
    assert said["close", "bars"] == ""
    assert {said["returns", source] for source in ("bars", "split", "recent")} == {""}


def test_windows_across_a_gap_are_not_forecast_either_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = random_bars(400)
    write_bars(bars, tmp_path / "bars")
    write_bars(without(bars, 380, 396), tmp_path / "halted")
    quick = ("report=false", "+experiment=quick", "model=linear", "data.window=20", "data=csv", "stock.ticker=TEST")
    asked = compose.compose(*quick, f"data.dir={tmp_path / 'bars'}")
    train.run(asked, RunLocation(exact=tmp_path / "run"), compose.records(asked))
    halted = f"data.dir={tmp_path / 'halted'}"
    predict.run(compose.compose("task=predict", f"run={tmp_path / 'run'}", halted, tasks=TASKS))
    assert "1 stock: TEST: the next days are not forecast: the last window spans more" in capsys.readouterr().out
    with (tmp_path / "run" / "forecasts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["date"] == str(bars.dates[378])  # the last one whose target is not across the gap
