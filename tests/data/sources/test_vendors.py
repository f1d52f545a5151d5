"""Exports of vendors, and of unknown ones after the mapping that the refusal proposes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data.bars import Bars
from stockml.data.sources.csv import tables
from stockml.errors import UserError
from tests.conftest import random_bars

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


def read(path: Path, *typed: str) -> Bars:
    return tables.load(compose.compose("data=csv", f"data.path={path}", *typed))


@pytest.mark.parametrize("text", VENDORS.values(), ids=VENDORS.keys())
def test_exports_of_vendors_are_read(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "AAPL.csv").write_text(text)
    bars = read(path)
    assert bars.dates.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    assert [bars.columns[n].tolist() for n in ("open", "high", "low", "close", "volume")] == [
        [value] * 2 for value in (1.0, 2.0, 0.5, 1.5, 1234567.0)
    ]


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


def test_months_in_an_unknown_language_are_never_dropped(tmp_path: Path) -> None:
    rows = "".join(f"{day} {month} 2020,{BAR}\n" for month in ("tammi", "mar") for day in range(10, 20))
    (path := tmp_path / "AAPL.csv").write_text(f"Date,Open,High,Low,Close,Volume\n{rows}")
    with pytest.raises(UserError, match=r"no date with a month's name .*; write the months as numbers"):
        read(path, "data.on_bad_rows=drop")
