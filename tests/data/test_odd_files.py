"""Pools with files that are no bars, stocks with faults, and one long table under any name of its stocks' column."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockml import cli
from stockml.data.dataset import load_panel
from stockml.data.sources import reading
from stockml.data.sources.csv import CsvConfig, table_files
from stockml.errors import UserError
from tests.conftest import random_bars, write_bars
from tests.data.test_pool import config

SOUND = ("AAA", "BBB", "CCC")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three sound files."""
    folder = tmp_path / "bars"
    folder.mkdir()
    for seed, ticker in enumerate(SOUND):
        write_bars(random_bars(200, seed=seed, ticker=ticker), folder)
    return folder


NAMES = "Date,Open,High,Low,Close,Volume\n"
NO_BARS = {
    "._AAA.csv": (b"\0\5\26\7\0", ""),
    ".hidden.csv": (b"a,b\n", ""),
    "EMPTY.csv": (b"", "EMPTY (the file is empty)"),
    "NAMES.csv": (NAMES.encode(), "NAMES (no bars: only the columns' names)"),
    "meta.csv": (b"Symbol,Security Name,ETF\nA,Agilent,N\nAA,Alcoa,N\n", "meta (no bars: the file has no dates)"),
    "screener.csv": (b"Symbol,Last Sale,Volume,Sector\nA,$1,200,Health\n", "screener (no bars: the file has no dates)"),
    "dividends.csv": (b"Date,Dividends\n2020-01-02,0.2\n", "dividends (no bars: the file has no prices)"),
    "~$AAA.xlsx": (b"\5user\0\0", ""),
    ".~lock.AAA.csv#": (b",user,host;", ""),
    "error.csv": (
        b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n",
        "error (no bars: the file is no table)",
    ),
    "limit.csv": (b'{"Note": "Thank you for using our API"}\n', "limit (no bars: the file is no table)"),
    "symbols.json": (b'[{"symbol": "AAA", "name": "A"}]', "symbols (no bars: the file has no dates)"),
    "README.txt": (b"Bars of three stocks,\nas of today\n", "README (no bars: the file has no prices)"),
}


def test_what_is_no_table_of_bars_is_left_out_by_name_and_changes_no_number(folder: Path) -> None:
    alone = load_panel(config(folder))[0]
    for name, (content, _) in NO_BARS.items():
        (folder / name).write_bytes(content)
    panel = load_panel(config(folder))[0]
    assert panel.stocks is not None and panel.stocks.tickers == SOUND
    np.testing.assert_array_equal(panel.values, alone.values)
    said = "; ".join(panel.dropped)
    assert [why for _, why in NO_BARS.values() if why not in said] == []
    assert not any(hidden in said for hidden in ("hidden", "user", "~$"))


@pytest.mark.parametrize("overrides", [(), ('+features.columns.rank="CSRank($close / Mean($close,5))"',)])
def test_a_stock_with_faults_ends_the_run_or_is_left_out_by_name(folder: Path, overrides: tuple[str, ...]) -> None:
    rows = (folder / "BBB.csv").read_text().splitlines()
    (folder / "BBB.csv").write_text("\n".join([*rows[:50], rows[50].replace(",", ",x", 1), *rows[51:]]))
    (folder / "BINARY.csv").write_bytes(b"\xff\x00\x01")
    with pytest.raises(UserError, match=r"BBB.csv, line 51.*BINARY.*data.on_bad_stock=drop") as raised:
        load_panel(config(folder, *overrides))
    assert len(raised.value.lines) == 2
    panel = load_panel(config(folder, *overrides, "data.on_bad_stock=drop"))[0]
    assert panel.stocks is not None and panel.stocks.tickers == ("AAA", "CCC")
    said = "; ".join(panel.dropped)
    assert "2 stocks: BBB (" in said and "line 51" in said and "BINARY (" in said
    with pytest.raises(UserError, match="BBB"):  # what is left out is not taken from the panel that was built
        load_panel(config(folder, *overrides))


def test_a_pool_of_which_no_stock_can_be_used_is_refused_with_each_reason(folder: Path) -> None:
    for ticker in SOUND:
        (folder / f"{ticker}.csv").write_text(NAMES)
    with pytest.raises(UserError) as raised:
        load_panel(config(folder, "data.on_bad_stock=drop"))
    assert len(raised.value.lines) == len(SOUND) + 1


@pytest.mark.parametrize("command", [["task=train"], ["data.split=walk_forward", "data.folds=3"], ["task=audit"]])
def test_every_mode_takes_a_pool_with_odd_files(
    command: list[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "EMPTY.csv").touch()
    (folder / "BAD.csv").write_text(NAMES + "2020-01-02,1,1,1,1\n")
    typed = ["data=csv", f"data.dir={folder}", "data.tickers=all", "data.window=5", "trainer.epochs=1", "model=linear"]
    assert cli.main([*typed, *command, "data.on_bad_stock=drop", "data.memory_limit=0", "report=false"]) == 0
    if command != ["task=audit"]:
        assert "EMPTY (the file is empty)" in capsys.readouterr().out


_NAMES_OF_STOCKS = (
    "Name",
    "code",
    "stock",
    "instrument",
    "secid",
    "symbol",
    "Ticker",
    "PERMNO",
    "isin",
    "ts_code",
    "sid",
)


@pytest.mark.parametrize(
    ("column", "by_day"),
    [*zip(_NAMES_OF_STOCKS, itertools.cycle([False, True]), strict=False)],
)
def test_one_long_table_is_every_stock_of_it(column: str, by_day: bool, tmp_path: Path) -> None:
    each = [random_bars(60, seed=seed, ticker=ticker) for seed, ticker in enumerate(SOUND)]
    tables = [pd.DataFrame({"date": bars.dates, **bars.columns, column: bars.ticker}) for bars in each]
    table = pd.concat(tables).sort_values("date", kind="stable") if by_day else pd.concat(tables)
    (tmp_path / "long").mkdir()
    table.to_csv(tmp_path / "long" / "all_stocks.csv", index=False)
    path = f"data.path={tmp_path / 'long' / 'all_stocks.csv'}"
    panels = [load_panel(config(tmp_path, "data.dir=null", path))[0], load_panel(config(tmp_path / "long"))[0]]
    assert [panel.stocks and panel.stocks.tickers for panel in panels] == [SOUND, SOUND]
    np.testing.assert_array_equal(panels[0].values, panels[1].values)


def test_a_long_table_is_read_once_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, whole = list[Path](), table_files.whole

    def counted(path: Path, data: CsvConfig, *, lenient: bool = False) -> table_files.Table:
        reads.append(path)
        return whole(path, data, lenient=lenient)

    monkeypatch.setattr(table_files, "whole", counted)
    path, counts = tmp_path / "long.csv", list[int]()
    for days in (60, 61):
        each = [random_bars(days, seed=seed, ticker=ticker) for seed, ticker in enumerate(SOUND)]
        pd.concat(pd.DataFrame({"date": x.dates, **x.columns, "ticker": x.ticker}) for x in each).to_csv(
            path, index=False
        )
        counts.append(len(load_panel(config(tmp_path, "data.dir=null", f"data.path={path}"))[0].values))
    assert reads == [path, path]
    assert counts[1] - counts[0] == len(SOUND)
    assert reading.once("read", lambda: 1) + reading.once("read", lambda: 2) == 3


def long_table(*tickers: str | float) -> pd.DataFrame:
    """Bars of several stocks in one table."""
    each = [random_bars(60, seed=seed, ticker=str(ticker)) for seed, ticker in enumerate(tickers)]
    tables = [pd.DataFrame({"date": x.dates, **x.columns}).assign(ticker=t) for x, t in zip(each, tickers, strict=True)]
    return pd.concat(tables)


@pytest.mark.parametrize(
    "tickers", [("NA", "TRUE", "INF", "nan"), ("000001", "600000"), ("^GSPC", "BRK.B", "A/B", "EURUSD=X", "Ü B", "E,F")]
)
@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_a_ticker_of_a_long_table_is_the_text_that_it_is(tickers: tuple[str, ...], ending: str, tmp_path: Path) -> None:
    path, table = tmp_path / f"long.{ending}", long_table(*tickers)
    if ending == "json":
        table.to_json(path, orient="records", date_format="iso")
    else:
        getattr(table, f"to_{ending}")(path, index=False)
    panel = load_panel(config(tmp_path, "data.dir=null", f"data.path={path}"))[0]
    assert panel.stocks is not None and panel.stocks.tickers == tuple(sorted(tickers))


def test_numbers_of_stocks_are_whole_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    table = long_table(10001.0, 10002.0).reset_index(drop=True)
    table.to_parquet(path)
    panel = load_panel(config(tmp_path, "data.dir=null", f"data.path={path}"))[0]
    assert panel.stocks is not None and panel.stocks.tickers == ("10001", "10002")
    table.loc[70, "ticker"] = np.nan
    table.to_parquet(path)
    with pytest.raises(UserError, match="row 71: has no ticker"):
        load_panel(config(tmp_path, "data.dir=null", f"data.path={path}"))


def test_a_folder_may_hold_files_of_several_stocks_beside_others(folder: Path) -> None:
    long_table("LL", "MM").to_csv(folder / "2020.csv", index=False)
    long_table("NN").to_csv(folder / "NN.csv", index=False)
    (folder / "meta.csv").write_text("Symbol,Name\nLL,a\nMM,b\n")
    (folder / "a folder.csv").mkdir()
    panel = load_panel(config(folder))[0]
    assert panel.stocks is not None and panel.stocks.tickers == ("LL", "MM", *SOUND, "NN")
    assert "meta (no bars: the file has no dates)" in "; ".join(panel.dropped)
    long_table("MM", "OO").to_csv(folder / "2021.csv", index=False)
    with pytest.raises(UserError, match=r"2020.csv and 2021.csv are both of MM; .*'data.tickers=\[MM\]'"):
        load_panel(config(folder))


@pytest.mark.parametrize("second", ["AAA.parquet", "aaa.csv"])
def test_two_files_of_one_stock_are_refused_and_lead_to_the_stocks_by_name(folder: Path, second: str) -> None:
    bars = pd.read_csv(folder / "AAA.csv")
    bars.to_parquet(folder / second) if second.endswith("parquet") else bars.to_csv(folder / second)
    with pytest.raises(UserError, match=r"are both of AAA; remove all but one, or name the stocks"):
        load_panel(config(folder))
    assert load_panel(config(folder, "data.tickers=[AAA,BBB]"))[0].stocks is not None


def test_a_table_whose_days_come_again_proposes_the_column_of_its_stocks(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    long_table("AAA", "BBB").rename(columns={"ticker": "firm"}).to_csv(path, index=False)
    typed = ("data.dir=null", f"data.path={path}")
    with pytest.raises(UserError, match=r"if 'AAA' is the stock of line 2: data.tickers=all 'data.columns=\{ticker: f"):
        load_panel(config(tmp_path, *typed))
    panel = load_panel(config(tmp_path, *typed, "data.columns={ticker: firm}"))[0]
    assert panel.stocks is not None and panel.stocks.tickers == ("AAA", "BBB")


@pytest.mark.parametrize("overrides", [(), ('+features.columns.rank="CSRank($close / Mean($close,5))"',)])
def test_stocks_of_another_frequency_than_most_are_left_out(folder: Path, overrides: tuple[str, ...]) -> None:
    pd.read_csv(folder / "AAA.csv").iloc[::5].to_csv(folder / "AAA.csv", index=False)
    with pytest.raises(UserError, match=r"most are daily, AAA has weekly ones; .*data.on_bad_stock=drop"):
        load_panel(config(folder, *overrides))
    panel = load_panel(config(folder, *overrides, "data.on_bad_stock=drop"))[0]
    (folder / "AAA.csv").unlink()
    without = load_panel(config(folder, *overrides))[0]
    assert panel.stocks is not None and panel.stocks.tickers == ("BBB", "CCC")
    assert panel.fingerprint() == without.fingerprint()
    assert "AAA (weekly bars, where most are daily)" in "; ".join(panel.dropped)


def test_a_pool_forecasts_without_a_stock_that_has_faults_since(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    typed = ["data=csv", f"data.dir={folder}", "data.tickers=all", "data.window=5", "model=ridge", "report=false"]
    assert cli.main([*typed, "hydra.run.dir=run"]) == 0
    (folder / "BBB.csv").write_bytes((folder / "BBB.csv").read_bytes() + b"2015-99-99,1,1,1,1,1\n")
    assert cli.main(["task=predict", "run=run"]) == 2
    assert "data.on_bad_stock=drop" in capsys.readouterr().err
    assert cli.main(["task=predict", "run=run", "data.on_bad_stock=drop"]) == 0
    assert "warning     left out: 1 stock: BBB (" in capsys.readouterr().out


def test_a_company_s_name_is_no_stock_of_a_long_table(folder: Path) -> None:
    table = pd.read_csv(folder / "AAA.csv")
    table["Name"] = ["Facebook"] * 100 + ["Meta"] * 100
    table.to_csv(folder / "AAA.csv", index=False)
    panel = load_panel(config(folder))[0]
    assert panel.stocks is not None and panel.stocks.tickers == SOUND
