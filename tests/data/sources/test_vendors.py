"""Exports of vendors, and of unknown ones after the mapping that the refusal proposes."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.sources.csv import tables
from stockml.errors import UserError
from tests.conftest import random_bars
from tests.data.sources.exports import spreadsheet
from tests.data.sources.test_table_forms import of_file

BAR = "1,2,0.5,1.5,1234567"
MS = (1577923200000, 1578009600000)
VENDORS = {
    "NSE": "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,\n"
    + "".join(f"AAPL,EQ,1,2,0.5,1.5,9,9,1234567,1E6,{day}-JAN-2020,5,X,\n" for day in ("02", "03")),
    "NSE, UDiFF": "TradDt,BizDt,TckrSymb,OpnPric,HghPric,LwPric,ClsPric,LastPric,TtlTradgVol\n"
    + "".join(f"2020-01-0{day},2020-01-0{day},AAPL,1,2,0.5,1.5,9,1234567\n" for day in (2, 3)),
    "BSE": "Date,Open Price,High Price,Low Price,Close Price,WAP,No.of Shares,No. of Trades,\n"
    "3-January-2020,1,2,0.5,1.5,9,1234567,9,\n2-January-2020,1,2,0.5,1.5,9,1234567,9,\n",
    "Binance": "".join(f"{t},{BAR},{t + 86399999},9,9,9,9,0\n" for t in MS),
    "CryptoDataDownload": "https://www.CryptoDataDownload.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume "
    "USDT\n" + "".join(f"{MS[n]},2020-01-0{n + 2},AAPL,{BAR},9\n" for n in (1, 0)),
    "Dukascopy": "Gmt time,Open,High,Low,Close,Volume\n"
    + "".join(f"{day}.01.2020 00:00:00.000,{BAR}\n" for day in ("02", "03")),
    "Polygon": '{"results": ['
    + ", ".join(f'{{"v":1234567,"o":1,"c":1.5,"h":2,"l":0.5,"t":{t},"n":9}}' for t in MS)
    + "]}",
    "MetaTrader 4": "".join(f"2020.01.{day},00:00,{BAR}\n" for day in ("02", "03")),
    "MetaTrader 5": "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n"
    + "".join(f"2020.01.{day}\t1\t2\t0.5\t1.5\t1234567\n" for day in ("02", "03")),
    "tushare": "ts_code,trade_date,open,high,low,close,pre_close,vol\n"
    + "".join(f"AAPL,{day},1,2,0.5,1.5,9,1234567\n" for day in (20200103, 20200102)),
    "Japan": "日付,始値,高値,安値,終値,出来高\n" + "".join(f"2020年1月{day}日,{BAR}\n" for day in (2, 3)),
}


DAYS = ("2020-01-02", "2020-01-03")
S, BACK = [ms // 1000 for ms in MS], ("03", "02")
OF_DATES = {
    day: {"1. open": "1", "2. high": "2", "3. low": "0.5", "4. close": "1.5", "5. volume": "1234567"} for day in DAYS
}
LISTS: dict[str, list[float]] = {"o": [1, 1], "h": [2, 2], "l": [0.5, 0.5], "c": [1.5, 1.5], "v": [1234567, 1234567]}
VENDORS |= {
    "Alpha Vantage": json.dumps({"Meta Data": {"2. Symbol": "AAPL"}, "Time Series (Daily)": OF_DATES}),
    "Quandl": json.dumps({"dataset_data": {"column_names": ["Date", "Open", "High", "Low", "Close", "Volume"],
                                           "data": [[day, 1, 2, 0.5, 1.5, 1234567] for day in DAYS]}}),
    "Finnhub": json.dumps({**LISTS, "s": "ok", "t": S}),
    "pandas, split": json.dumps({"columns": ["Open", "High", "Low", "Close", "Volume"], "index": MS,
                                 "data": [[1, 2, 0.5, 1.5, 1234567]] * 2}),
    "pandas, columns": json.dumps({name: dict(zip(MS, values, strict=True)) for name, values in zip(
        ("Open", "High", "Low", "Close", "Volume"), LISTS.values(), strict=True)}),
    "Twelve Data": json.dumps({"meta": {"symbol": "AAPL"}, "values": [
        {"datetime": day, "open": "1", "high": "2", "low": "0.5", "close": "1.5", "volume": "1234567"}
        for day in DAYS]}),
    "Yahoo, German": "Datum;Öffnen;Hoch;Tief;Schließen*;Adj. Close**;Volumen\n"
    + "".join(f"{d}. Jan. 2020;1;2;0,5;1,5;1,5;1.234.567\n" for d in BACK)
    + "*Schlusskurs bereinigt um Splits.\n",
    "Barchart": "Time,Open,High,Low,Last,Change,%Chg,Volume\n"
    + "".join(f"01/{d}/2020,1,2,0.5,1.5,0.1,+0.2%,1234567\n" for d in BACK)
    + '"Downloaded from Barchart.com as of 05-01-2021 10:00am CDT"\n',
    "Macrotrends": "Macrotrends Data Download\n\n\nAAPL - Historical Price\n\nPROVIDED 'AS IS', NOT FOR TRADING.\n\n\n"
    "date,open,high,low,close,volume\n" + "".join(f"{day},{BAR}\n" for day in DAYS),
    "Investing.com, Korean": '\ufeff"날짜","종가","시가","고가","저가","거래량","변동 %"\n'
    + "".join(f'"2020- 01- {d}","1.5","1","2","0.5","1,234.567K","-0.22%"\n' for d in BACK),
    "Investing.com, Swedish": '"Datum","Senaste","Öppen","Högst","Lägst","Vol.","+/- %"\n'
    + "".join(f'"2020-01-{d}","1,5","1","2","0,5","1,234567M","-0,22%"\n' for d in BACK),
    "Investing.com, Danish": '"Dato","Seneste","Åbning","Høj","Lav","Vol.","%"\n'
    + "".join(f'"{d}.01.2020","1,5","1","2","0,5","1,234567M","-0,22%"\n' for d in BACK),
    "Comdirect": '"APPLE INC. WKN 865985 ISIN US0378331005"\n"Datum";"Eröffnung";"Hoch";"Tief";"Schluss";"Volumen"\n'
    + "".join(f'"{d}.01.2020";"1,00";"2,00";"0,50";"1,50";"1.234.567"\n' for d in BACK),
    "Ariva": "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen\n"
    + "".join(f"2020-01-{d};1,00;2,00;0,50;1,50;1.234.567;9.999.999\n" for d in BACK),
    "Onvista": "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\n"
    + "".join(f"{day}.01.2020;1,00 EUR;2,00 EUR;0,50 EUR;1,50 EUR;1234567 Stück\n" for day in ("02", "03")),
    "Boursorama": "date\touv\thaut\tbas\tclot\tvol\tdevise\t\n"
    + "".join(f"{d}/01/2020 00:00\t1\t2\t0.5\t1.5\t1234567\tEUR\t\n" for d in ("02", "03")),
    "Euronext": '\ufeff"Historical Data"\n"From 2020-01-01"\n"FR0000120073"\n'
    'Date;Open;High;Low;Last;Close;"Number of Shares";"Number of Trades";Turnover;vwap\n'
    + "".join(f"'{d}/01/2020;'1,00;'2,00;'0,50;'1,50;'1,50;'1234567;9;9;9\n" for d in BACK),
    "B3": "Data;Preço de abertura;Preço máximo;Preço mínimo;Preço de fechamento;Quantidade negociada\n"
    + "".join(f"{d}/01/2020;R$ 1,00;R$ 2,00;R$ 0,50;R$ 1,50;1.234.567\n" for d in ("02", "03")),
    "TWSE": '"日期","成交股數","成交金額","開盤價","最高價","最低價","收盤價","漲跌價差","成交筆數",\n'
    + "".join(f'"{day}","1,234,567","9","1","2","0.5","1.5","+1.0","99",\n' for day in DAYS),
    "163": "日期,股票代码,名称,收盘价,最高价,最低价,开盘价,前收盘,成交量\n"
    + "".join(f"2020-01-{d},'AAPL,苹果,1.5,2,0.5,1,9,1234567\n" for d in BACK),
    "TongDaXin": "AAPL 苹果 日线 前复权\n  日期\t 开盘\t 最高\t 最低\t 收盘\t 成交量\t 成交额\n"
    + "".join(f"{day.replace('-', '/')}\t1\t2\t0.5\t1.5\t1234567\t9.00\n" for day in DAYS)
    + "数据来源:通达信\n",
    "Eastmoney": "日期,开盘价,最高价,最低价,收盘价,成交量,成交额\n"
    + "".join(f"2020年01月{d}日,1,2,0.5,1.5,123.4567万,0.01亿\n" for d in ("02", "03")),
    "Kabu": "7203 東証プライム トヨタ自動車(株)\n日付,始値,高値,安値,終値,出来高,終値調整値\n"
    + "".join(f"2020/01/{d}(金),{BAR},1.5\n" for d in BACK),
    "Finam": "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>\n"
    + "".join(f"AAPL;D;2001{d};000000;{BAR.replace(',', ';')}\n" for d in ("02", "03")),
    "CRSP": "PERMNO,date,TICKER,OPENPRC,ASKHI,BIDLO,PRC,VOL\n"
    + "".join(f"14593,202001{d},AAPL,{BAR}\n" for d in ("02", "03")),
    "Databento": "ts_event,rtype,instrument_id,open,high,low,close,volume,symbol\n"
    + "".join(f"{day}T00:00:00.000000000Z,35,15144,1.000000000,2.0,0.50,1.500000000,1234567,AAPL\n" for day in DAYS),
    "Refinitiv": "Price Chart for AAPL.O\nHistory\n\nExchange Date,Close,Net,%Chg,Open,Low,High,Volume\n"
    + "".join(f"{d}-Jan-2020,1.5,0.3,0.1%,1,0.5,2,1234567\n" for d in BACK),
    "Bloomberg": "Security,AAPL US Equity,,,,\nPeriod,D,,,,\n,,,,,\nDate,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n"
    + "".join(f"{day},{BAR}\n" for day in DAYS),
    "days of the week, German": "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\n"
    "Do 02.01.2020;1;2;0,5;1,5;1234567\nFr 03.01.2020;1;2;0,5;1,5;1234567\n",
    "days of the week, French": "Date;Ouverture;Haut;Bas;Clôture;Volume\n"
    "jeu. 2 janv. 2020;1;2;0,5;1,5;1 234 567\nven. 3 janv. 2020;1;2;0,5;1,5;1 234 567\n",
    "days of the week, Spanish": "Fecha;Apertura;Máximo;Mínimo;Cierre;Volumen\n"
    "jueves, 2 de enero de 2020;1;2;0,5;1,5;1234567\nviernes, 3 de enero de 2020;1;2;0,5;1,5;1234567\n",
    "days of the week, after": "Date,Open,High,Low,Close,Volume\n"
    + "".join(f"01/{d}/2020 {name},{BAR}\n" for d, name in (("02", "Thu"), ("03", "Fri"))),
    "JavaScript": "Date,Open,High,Low,Close,Volume\n"
    + "".join(f"{d} 2020 00:00:00 GMT+0000 (Coordinated Universal Time),{BAR}\n" for d in ("Thu Jan 02", "Fri Jan 03")),
    "spaces": "Date        Open  High   Low  Close     Volume\n"
    + "".join(f"{day}     1     2   0.5    1.5    1234567\n" for day in DAYS),
    "ISO weeks and days": "Date,Open,High,Low,Close,Volume\n"
    + "".join(f"2020-W01-{n},{BAR}\n" for n in (4, 5)),
    "a line below": "Date,Open,High,Low,Close,Volume\n"
    + "".join(f"{day},{BAR}\n" for day in DAYS)
    + "\n\nSource: an exchange, all rights reserved\n",
}  # fmt: skip
HOURS = [datetime.datetime(2020, 1, day, hour, 30) for day in (2, 3) for hour in (9, 10, 11)]
WITHIN_A_DAY = {
    "MetaTrader": ("%Y.%m.%d,%H:%M", "", BAR),
    "MetaTrader 5": (
        "%Y.%m.%d\t%H:%M:%S",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>",
        BAR.replace(",", "\t"),
    ),
    "Stooq": ("%Y%m%d,%H%M%S", "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", BAR),
    "MetaStock": ("%Y%m%d,%H%M", "<DTYYYYMMDD>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", BAR),
    "TradeStation": ("%m/%d/%Y,%H:%M", '"Date","Time","Open","High","Low","Close","Vol"', BAR),
    "Interactive Brokers": ("%Y%m%d  %H:%M:%S", "date,open,high,low,close,volume", BAR),
    "TradingView": ("%Y-%m-%dT%H:%M:%S-05:00", "time,open,high,low,close,Volume", BAR),
    "a clock of its own": (
        "%d.%m.%Y;%H:%M",
        "Datum;Uhrzeit;Erster;Hoch;Tief;Schlusskurs;Stuecke",
        "1;2;0,5;1,5;1234567",
    ),
}
WEEKS = {"weeks": ("Week", ("2020-W01", "2020-W02"), ("2019-12-30", "2020-01-06")),
         "months": ("Month", ("2020-01", "2020-02"), ("2020-01-01", "2020-02-01")),
         "months' names": ("Date", ("Jan 2020", "Feb 2020"), ("2020-01-01", "2020-02-01"))}  # fmt: skip


def read(path: Path, *typed: str) -> Bars:
    return tables.load(compose.compose("data=csv", f"data.path={path}", *typed) if typed else of_file(path))


@pytest.mark.parametrize("text", VENDORS.values(), ids=VENDORS.keys())
def test_exports_of_vendors_are_read(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "AAPL.csv").write_text(text)
    bars = read(path)
    assert bars.dates.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    assert [bars.columns[n].tolist() for n in ("open", "high", "low", "close", "volume")] == [
        [value] * 2 for value in (1.0, 2.0, 0.5, 1.5, 1234567.0)
    ]


@pytest.mark.parametrize(("form", "names", "bar"), WITHIN_A_DAY.values(), ids=WITHIN_A_DAY.keys())
def test_bars_within_a_day_keep_their_times(tmp_path: Path, form: str, names: str, bar: str) -> None:
    apart = next(sign for sign in ";\t," if sign in bar)
    lines = [names, *(f"{hour.strftime(form)}{apart}{bar}" for hour in HOURS)]
    (path := tmp_path / "AAPL.csv").write_text("\n".join(lines[not names :]))
    assert read(path).dates.tolist() == HOURS


@pytest.mark.parametrize(("name", "written", "days"), WEEKS.values(), ids=WEEKS.keys())
def test_weeks_and_months_are_dated_by_their_first_day(
    tmp_path: Path, name: str, written: tuple[str, ...], days: tuple[str, ...]
) -> None:
    lines = [f"{name},Open,High,Low,Close,Volume", *(f"{one},{BAR}" for one in written)]
    (path := tmp_path / "AAPL.csv").write_text("\n".join(lines))
    assert read(path).dates.astype(str).tolist() == [*days]


ENCODED = {
    "cp1252": "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
    "gb18030": "日期;开盘;最高;最低;收盘;成交量",
    "cp932": "日付;始値;高値;安値;終値;出来高",
    "big5": "日期;開盤價;最高價;最低價;收盤價;成交量",
    "cp949": "날짜;시가;고가;저가;종가;거래량",
    "cp1251": "Дата;Откр.;Макс.;Мин.;Цена;Объём",
    "utf-16-le": "Date;Open;High;Low;Close;Volume",
}


@pytest.mark.parametrize(("encoding", "names"), ENCODED.items())
def test_text_in_another_encoding_is_read_and_said(tmp_path: Path, encoding: str, names: str) -> None:
    text = names + "".join(f"\n{day};{BAR.replace(',', ';')}" for day in DAYS)
    (path := tmp_path / "AAPL.csv").write_bytes(text.encode(encoding))
    assert read(path).columns["close"].tolist() == [1.5, 1.5]
    assert f"text in {encoding}" in read(path).parsing_notes


@pytest.mark.parametrize(
    ("encoding", "company"), [("cp1252", "Nestlé"), ("cp1251", "Норникель"), ("gb18030", "乐视网")]
)
def test_words_in_another_encoding_below_english_names_keep_no_bar_from_being_read(
    tmp_path: Path, encoding: str, company: str
) -> None:
    rows = "".join(f"{company},{day},{BAR}\n" for day in DAYS)
    (path := tmp_path / "AAPL.csv").write_bytes(f"Company,Date,Open,High,Low,Close,Volume\n{rows}".encode(encoding))
    found = read(path)
    assert found.columns["open"].tolist() == [1, 1]
    assert "text in " in found.parsing_notes


def test_what_is_left_out_below_the_bars_is_said_and_is_never_a_part_of_a_bar(tmp_path: Path) -> None:
    text = "Date,Open,High,Low,Close,Volume\n" + "".join(f"{day},{BAR}\n" for day in DAYS)
    (path := tmp_path / "AAPL.csv").write_text(f"{text}\nSource: an exchange\n")
    assert "left out below the bars: 'Source: an exchange'" in read(path).parsing_notes
    for rest in ("2020-01-0", "6-Jan-2020", "January", "2020-01-06,1,2", "60", "Average,1,2,0.5,1.5,9"):
        path.write_text(text + rest)
        with pytest.raises(UserError, match="line 4"):
            read(path)


@pytest.mark.parametrize("ending", ["xlsx", "ods", "xls"])
def test_the_sheet_of_bars_is_found_by_its_names(tmp_path: Path, ending: str) -> None:
    bars = [["Apple Inc.", *[""] * 5], ["Date", "Open", "High", "Low", "Close", "Volume"]]
    bars += [[day, *BAR.split(",")] for day in DAYS]
    (path := tmp_path / f"AAPL.{ending}").write_bytes(spreadsheet({"About": [["Prices"]], "Bars": bars}, ending))
    assert read(path).columns["open"].tolist() == [1, 1]
    path.write_bytes(spreadsheet({"AAPL": bars, "MSFT": bars}, ending))
    with pytest.raises(UserError, match="holds 2 sheets of bars, AAPL, MSFT; save each as a CSV file"):
        read(path)


@pytest.mark.parametrize("names", ["Pvm;Alku;Ylin;Alin;Loppu;Määrä", "jour d'avant;a;b'b;e;d;f", ""])
@pytest.mark.parametrize("has_volume", [True, False])
def test_what_a_refusal_proposes_reads_the_bars(tmp_path: Path, names: str, has_volume: bool) -> None:
    bars = random_bars(60, ticker="AAPL")
    columns = [bars.columns[n].tolist() for n in ("open", "high", "low", "close", "volume")][: 5 if has_volume else 4]
    lines = [";".join(map(str, row)) for row in zip(bars.dates.astype(str), *columns, strict=True)]
    head = [names if has_volume else names.rpartition(";")[0]] if names else []
    (path := tmp_path / "AAPL.csv").write_text("\n".join([*head, *lines]))
    typed: list[str] = []
    for _ in range(3):
        try:
            found = read(path, *typed)
            break
        except UserError as error:
            proposed = re.findall(r"'((?:data|stock)\.[^']*)'|(data\.header=false)", str(error))
            typed += ["".join(one) for one in proposed]
    assert np.array_equal(found.dates, bars.dates)
    assert all(np.array_equal(values, bars.columns[name]) for name, values in found.columns.items())
    assert ("volume" in found.columns) == has_volume


@pytest.mark.parametrize("seed", range(6))
def test_an_open_is_proposed_before_the_close_unless_the_cells_contradict(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 60)))
    opened = close * np.exp(rng.normal(0, 0.001, 60))  # as near the close before as the close is to the open before
    days = np.arange("2020-01-01", "2020-03-01", dtype="M8[D]").astype(str)
    rows = zip(days, opened, np.maximum(opened, close) * 1.01, np.minimum(opened, close) / 1.01, close, strict=True)
    (path := tmp_path / "AAPL.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    with pytest.raises(UserError, match=r"open: 2, .*close: 5"):
        read(path)


def test_months_in_an_unknown_language_are_never_dropped(tmp_path: Path) -> None:
    rows = "".join(f"{day} {month} 2020,{BAR}\n" for month in ("tammi", "mar") for day in range(10, 20))
    (path := tmp_path / "AAPL.csv").write_text(f"Date,Open,High,Low,Close,Volume\n{rows}")
    with pytest.raises(UserError, match=r"no date with a month's name .*; write the months as numbers"):
        read(path, "data.on_bad_rows=drop")
