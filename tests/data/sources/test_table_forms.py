"""Any export of daily bars is read to the last digit, or refused with the reason."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from stockml import compose
from stockml.config.root import Config
from stockml.data.bars import Bars
from stockml.data.dataset import prepare
from stockml.data.sources.csv import tables
from stockml.errors import UserError
from stockml.reporting import data_report
from tests.campaigns import mutations
from tests.conftest import random_bars, write_bars
from tests.data.sources.exports import Form, Rows, written
from tests.data.sources.spellings import LOCAL, LOCAL_TIMED
from tests.data.sources.strategies import exports

BASE = compose.compose("data=csv", "data.adjust_volume=false", "data.dir=.", "stock.ticker=AAPL")


def of_file(path: Path, ticker: str = "AAPL", **data: Any) -> Config:
    """The config of bars in a file."""
    changed = dataclasses.replace(cast("Any", BASE.data), dir=None, path=str(path), **data)
    return dataclasses.replace(BASE, data=changed, stock=dataclasses.replace(BASE.stock, ticker=ticker))


def of_folder(folder: Path, ticker: str = "AAPL", **data: Any) -> Config:
    """The config of bars in a folder."""
    changed = dataclasses.replace(cast("Any", BASE.data), dir=str(folder), **data)
    return dataclasses.replace(BASE, data=changed, stock=dataclasses.replace(BASE.stock, ticker=ticker))


def refusal(config: Config) -> str:
    """The one line with which bars are refused."""
    with pytest.raises(UserError) as caught:
        tables.load(config)
    (line,) = caught.value.lines
    assert "\n" not in line
    return line


def assert_equal(read: Bars, rows: Rows, *, adjusted: bool = False) -> None:
    """The bars are the rows to the last digit."""
    assert read.dates.tolist() == [date for date, _ in rows]
    raw = {name: np.array([float(bar[name]) for _, bar in rows]) for name in rows[0][1]}
    for name, values in read.columns.items():
        factor = raw["adj close"] / raw["close"] if adjusted and name != "volume" else 1.0
        assert np.array_equal(values, raw[name] * factor), name


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exports())
def test_bars_in_any_format_are_read_to_the_last_digit(tmp_path: Path, made: tuple[Rows, Form]) -> None:
    rows, form = made
    path = tmp_path / "AAPL.csv"
    path.write_bytes(written(rows, "AAPL", form))
    config = of_file(path, timezone=form.zone or None)
    if form.date in LOCAL + LOCAL_TIMED and ("%y" in form.date or all(date.day <= 12 for date, _ in rows)):
        try:
            tables.load(config)
        except UserError as error:
            assert "data.date_format=" in str(error)
            config = of_file(path, date_format=form.date.removesuffix(" 16:00:00").removeprefix("%a "))
    assert_equal(tables.load(config), rows, adjusted="adj close" in form.roles)


def three_days(dates: list[str], **data: Any) -> Callable[[Path], Config]:
    """The config of a file with a bar on each of the dates."""

    def config(folder: Path) -> Config:
        lines = [f"{date},{n + 1}.5,{n + 1}.5,{n + 1}.5,{n + 1}.5,{n + 10}" for n, date in enumerate(dates)]
        (folder / "AAPL.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *lines]))
        return of_folder(folder, **data)

    return config


def test_of_two_readings_of_dates_the_one_in_order_is_taken(tmp_path: Path) -> None:
    for dates, days in (
        (["01/02/2020", "01/03/2020", "01/06/2020"], ["2020-01-02", "2020-01-03", "2020-01-06"]),  # else Saturdays
        (["03/02/2020", "04/02/2020", "02/03/2020"], ["2020-02-03", "2020-02-04", "2020-03-02"]),
        (["12/02/2020", "03/02/2020", "02/03/2020"], ["2020-02-03", "2020-03-02", "2020-12-02"]),
    ):  # fmt: skip
        assert tables.load(three_days(dates)(tmp_path)).dates.astype(str).tolist() == days


def test_dates_with_two_equal_readings_are_refused(tmp_path: Path) -> None:
    dates = ["02/03/2020", "03/04/2020", "04/05/2021"]  # weekdays in order, either way
    line = refusal(three_days(dates)(tmp_path))
    assert "02/03/2020 may be M/D/Y or D/M/Y" in line
    assert "data.date_format=" in line
    for date_format, first in (("%m/%d/%Y", "2020-02-03"), ("%d/%m/%Y", "2020-03-02")):
        assert str(tables.load(three_days(dates, date_format=date_format)(tmp_path)).dates[0]) == first


def test_months_that_may_be_days_of_a_week_are_refused(tmp_path: Path) -> None:
    dates = [f"{month:02}/01/2001" for month in range(8, 13)] + ["01/01/2002"]  # else Monday to Friday in January
    assert "08/01/2001 may be" in refusal(three_days(dates)(tmp_path))


def test_bad_rows_are_left_out_and_counted_if_that_is_set(tmp_path: Path) -> None:
    path = write_bars(random_bars(100, ticker="AAPL"), tmp_path)
    whole = tables.load(of_folder(tmp_path))
    lines = path.read_text().splitlines()
    lines[4] = f"{lines[4][:10]},null,null,null,null,null"
    lines[7:7] = ["", f"{lines[7][:10]},0.24 Dividend,,,,"]
    path.write_text("\n".join(lines))
    assert f"{path}, line 5: Open is 'null'" in refusal(of_folder(tmp_path))
    config = of_folder(tmp_path, on_bad_rows="drop")
    read = tables.load(config)
    assert np.array_equal(read.dates, np.delete(whole.dates, 3))
    assert all(np.array_equal(values, np.delete(whole.columns[name], 3)) for name, values in read.columns.items())
    (dropped,) = read.dropped
    assert dropped.startswith("3 bad rows (data.on_bad_rows=drop; the first")
    data = prepare(dataclasses.replace(config, data=dataclasses.replace(cast("Any", config.data), window=5)))
    assert data.panel.dropped[0] == dropped
    assert any("dates Y-M-D" in line for line in data_report.lines([data]))


def edited(text: str) -> Callable[[Path], Config]:
    """The config of a file with this content."""

    def config(folder: Path) -> Config:
        (folder / "AAPL.csv").write_text(text)
        return of_folder(folder)

    return config


HEAD = "Date,Open,High,Low,Close,Volume\n"
REFUSED = [
    (edited(f"{HEAD}2020-01-02,1,2,3\n"), "line 2: has fewer cells than the 6 names"),
    (edited(f'{HEAD}2020-01-02,1,"2\n",3,4,5\n'), "line 2: has a quote that is not closed"),
    (edited(f"2020-01-01,1,2,3,4,5\n{HEAD}2020-01-02,1,2,3,4,5\n"), "line 1 holds numbers above the names of line 2"),
    (edited(f"{HEAD}2020-01-02,$1,$2,€3,$4,5\n2020-01-03,$1,$2,€3,$4,5\n"), "mix $ and €"),
    (edited(f"{HEAD}2020-01-02,1,2,3,4,5\n2020-01-03,$1,2,3,4,5\n"), "line 3: Open is '$1', no number"),
    (edited(f"{HEAD}2020-01-02,1,2,3,4,5\n2020-01-03,1t,2,3,4,5\n"), "line 3: Open is '1t', no number"),
    (edited(f"{HEAD}2020-01-02,1,2,3,4,\0\n"), "AAPL.csv: is not a text file (a zero byte"),
    (
        edited("Date;Open;High;Low;Close;Volume\n2020-01-02;1,234;1,234;1,234;1,234;5\n"),
        "shows whether the comma is a decimal",
    ),
    (edited("Date,Open,High,Low,Close\n2020-01-02,1,2,3,4\n"), "has no column Volume"),
    (edited(f"Ticker,{HEAD}MSFT,2020-01-02,1,2,3,4,5\n"), "its tickers are MSFT, not AAPL"),
    (edited(f"Ticker,{HEAD}AAPL,2020-01-02,1,2,3,4,5\n,2020-01-03,1,2,3,4,5\n"), "line 3: has no ticker"),
    (edited(f"Ticker,{HEAD}AAPL,2020-01-02,1,2,3,4,5\nMS\n"), "line 3: has fewer cells"),  # whose it is, who knows
    (edited("sep=;\n"), "is empty"),
    (edited("{" + "a" * 200_000 + "}"), "is not a table"),
    (edited("Date,Open,High,Low,Close,Close,Volume\n2020-01-02,1,2,3,4,5,6\n"), "the column Close twice"),
]


@pytest.mark.parametrize(("made", "says"), REFUSED)
def test_an_ambiguous_or_malformed_table_is_refused(tmp_path: Path, made: Callable[[Path], Config], says: str) -> None:
    assert says in refusal(made(tmp_path))


FIGURES = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 1234567.0}
BAR = "1,2,0.5,1.5,1234567"
WILD = {
    "stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    f"AAPL.US,D,20200102,000000,{BAR},0\nAAPL.US,D,20200103,000000,{BAR},0\n",
    "tibble": '"","symbol","date","open","high","low","close","volume"\n'
    f'"1","AAPL",2020-01-02,{BAR}\n"2","AAPL",2020-01-03,{BAR}\n',
    "R, names of rows under no name": '"AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume"\n'
    '"2020-01-02",1,2,0.5,1.5,1.234567e+06\n"2020-01-03",1,2,0.5,1.5,1.234567e+06\n',
    "R, decimal commas": '"Index";"AAPL.Open";"AAPL.High";"AAPL.Low";"AAPL.Close";"AAPL.Volume"\n'
    '"2020-01-02";1,0;2;0,5;1,5;1,234567e+06\n"2020-01-03";1;2,0;0,5;1,5;1234567\n',
    "yfinance, history": "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
    f"2020-01-02 00:00:00-05:00,{BAR},0.0,0.0\n2020-01-03 00:00:00-05:00,{BAR},0.0,0.0\n",
    "yfinance, two rows of names": ",Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
    ",AAPL,A,AAPL,A,AAPL,A,AAPL,A,AAPL,A\n2020-01-02,1.5,9,2,9,0.5,9,1,9,1234567,9\n"
    "2020-01-03,1.5,9,2,9,0.5,9,1,9,1234567,9\n",
    "yfinance, by ticker": "Ticker,A,A,AAPL,AAPL,AAPL,AAPL,AAPL\nPrice,Open,Close,Open,High,Low,Close,Volume\n"
    f"Date,,,,,,,\n2020-01-02,9,9,{BAR}\n2020-01-03,9,9,{BAR}\n",
    "yfinance, a row less": f"Price,Open,High,Low,Close,Volume\nDate,,,,,\n2020-01-02,{BAR}\n2020-01-03,{BAR}\n",
    "pandas, flattened": "Date,\"('Open', 'AAPL')\",\"('High', 'AAPL')\",\"('Low', 'AAPL')\",\"('Close', 'AAPL')\","
    f"\"('Volume', 'AAPL')\"\n2020-01-02,{BAR}\n2020-01-03,{BAR}\n",
    "Investing.com": '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
    '"01/03/2020","1.50","1.00","2.00","0.50","1.234567M","-0.22%"\n"01/02/2020","1.50","1.00","2.00","0.50","1,234.567K","1%"\n',
    "National Stock Exchange": '"Date ","series ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","ltp ","close ","VOLUME "\n'
    '"03-Jan-2020","EQ","1.00","2.00","0.50","1,234.00","9","1.50","12,34,567"\n'
    '"02-Jan-2020","EQ","1.00","2.00","0.50","1,234.00","9","1.50","12,34,567"\n',
    "Google": f"Date,Open,High,Low,Close,Volume\n1/2/2020 16:00:00,{BAR}\n1/3/2020 16:00:00,{BAR}\n",
    "spaces after commas": 'Date, Open, High, Low, Close, Volume\n'
    '01/03/2020, "1", 2, 0.5, 1.5, "1,234,567"\n01/02/2020, 1, 2, 0.5, 1.5, 1234567\n',
    "lines above the names": "Prices of AAPL\n\nadjusted, for splits, and dividends.\n\n"
    f"date,open,high,low,close,volume\n2020-01-02,{BAR}\n2020-01-03,{BAR}\n",
    "Bloomberg": f"Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n1/2/2020,{BAR}\n1/3/2020,{BAR}\n",
    "Excel": "sep=;\nDate;Open;High;Low;Close;Volume\n"
    "2020-01-02;1;2;0,5;1,5;1234567\n2020-01-03;1;2;0,5;1,5;1 234 567\n",
    "a company's name": "Date,Open,High,Low,Close,Volume,Name\n"
    f"2020-01-02,{BAR},Apple Inc.\n2020-01-03,{BAR},Apple Inc.\n",
    "Yahoo's page": "Date\tOpen\tHigh\tLow\tClose Close price adjusted for splits.\tVolume\n"
    "Jan 3, 2020\t1\t2\t0.5\t1.5\t1,234,567\nJan 2, 2020\t1\t2\t0.5\t1.5\t1,234,567\n",
}  # fmt: skip


@pytest.mark.parametrize("text", WILD.values(), ids=WILD.keys())
def test_exports_of_known_programs_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "AAPL.csv").write_text(text)
    read = tables.load(of_folder(tmp_path))
    assert read.dates.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    assert {name: values.tolist() for name, values in read.columns.items()} == {n: [v, v] for n, v in FIGURES.items()}


MESSY = [
    ("NVDA", "nasdaq_NVDA.csv", 2518, "dates M/D/Y, newest first; Close/Last taken for close; $ taken off"),
    ("^GSPC", "yfinance_multiindex_GSPC.csv", 1088, "dates Y-M-D; no Adj Close"),
    ("INFY.NS", "yahoo_null_INFY.NS.csv", 2230, "line 33: Open is 'null'"),
    ("TSLA", "yahoo_web_copy_TSLA.csv", 2805, "line 881: Open is '3:1 Stock Splits"),
]


@pytest.mark.parametrize(("ticker", "file", "rows", "says"), MESSY)
def test_real_exports_are_read_or_refused_for_rows_that_are_not_bars(
    market: Path, ticker: str, file: str, rows: int, says: str
) -> None:
    config = of_folder(market / "messy", ticker)
    if says.startswith("line"):
        assert f"{file}, {says}" in refusal(config)
        config = of_folder(market / "messy", ticker, on_bad_rows="drop")
        assert len(tables.load(config).dropped) == 1
    else:
        assert tables.load(config).parsing_notes.startswith(says)
    read = tables.load(config)
    assert len(read.dates) == rows
    assert read.origin == str(market / "messy" / file)


def test_a_file_is_found_by_its_name_or_a_word_of_it_or_its_tickers(tmp_path: Path) -> None:
    rows = [
        (datetime.date(2020, 1, n), {name: Decimal(f"{n}.25") for name in ("open", "high", "low", "close")})
        for n in (2, 3)
    ]
    for _, bar in rows:
        bar["volume"] = Decimal(100)
    long = Form(layout="long", tickers=("MSFT", "BRK-B"))
    (tmp_path / "every_stock.csv").write_bytes(written(rows, "AAPL", long))
    (tmp_path / "nasdaq_NVDA.csv.gz").write_bytes(written(rows, "NVDA", Form(container="gz")))
    (tmp_path / "infy.ns_daily.txt").write_bytes(written(rows, "INFY.NS", Form(delimiter="\t")))
    for ticker, file in (("AAPL", "every_stock.csv"), ("BRK-B", "every_stock.csv"), ("NVDA", "nasdaq_NVDA.csv.gz"),
                         ("INFY.NS", "infy.ns_daily.txt"), ("INFY", "infy.ns_daily.txt")):  # fmt: skip
        assert tables.load(of_folder(tmp_path, ticker)).origin == str(tmp_path / file)
    assert np.array_equal(tables.load(of_folder(tmp_path, "MSFT")).columns["close"], [4.5, 6.5])
    assert "holds no BRK.csv" in refusal(of_folder(tmp_path, "BRK"))
    (tmp_path / "BRK-A.csv").write_bytes(written(rows, "BRK-A", Form()))
    for ticker in ("BRK", "A"):
        assert f"holds no {ticker}.csv" in refusal(of_folder(tmp_path, ticker))
    (tmp_path / "NVDA_old.csv").write_bytes(written(rows, "NVDA", Form()))
    assert "NVDA_old.csv, nasdaq_NVDA.csv.gz may each be NVDA; choose one with data.path=" in refusal(
        of_folder(tmp_path, "NVDA")
    )
    (tmp_path / "NVDA.csv").write_bytes(written(rows, "NVDA", Form()))
    assert tables.load(of_folder(tmp_path, "NVDA")).origin == str(tmp_path / "NVDA.csv")


def test_a_file_without_a_stock_names_the_stock(tmp_path: Path) -> None:
    path = write_bars(random_bars(5, ticker="NVDA"), tmp_path).rename(tmp_path / "NVDA.csv.gz")
    config = compose.compose("data=csv", f"data.path={path}")
    assert (config.stock.ticker, config.stock.simulator) == ("NVDA", None)
    assert len(config.stock.features) == 5
    assert len(tables.load(config).dates) == 5


def test_parquet_of_several_stocks_is_read_like_its_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    bars = random_bars(20)
    names = {name.title(): values for name, values in bars.columns.items()}
    index = pd.DatetimeIndex(bars.dates, name="Date").tz_localize("America/New_York")
    frame = pd.DataFrame(names, index=index)
    wide = pd.concat({"AAPL": frame, "MSFT": frame * 2}, axis=1, names=["Ticker", "Price"])
    for number, table in enumerate((wide, wide.swaplevel(axis=1), frame, frame.rename_axis(None), frame.astype(str))):
        path = tmp_path / f"{number}.parquet"
        table.to_parquet(path)
        read = tables.load(of_file(path))
        assert np.array_equal(read.dates, bars.dates)
        assert all(np.array_equal(values, bars.columns[name]) for name, values in read.columns.items())


def test_mutated_files_are_read_unchanged_or_refused_in_a_line(tmp_path: Path) -> None:
    outcomes = mutations.outcomes(40, tmp_path, seed=1)
    assert set(outcomes) <= {"read as it stands", "refused"}, outcomes
    assert outcomes["read as it stands"] and outcomes["refused"]
