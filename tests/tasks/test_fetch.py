"""task=fetch: a list of tickers into the cache of data=yahoo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stockml import cli
from tests.conftest import random_bars
from tests.yahoo_server import YahooServer, aged, status

pytest.importorskip("yfinance")

FAST = ("data.backoff_seconds=0.001", "data.retries=1")


def test_a_failed_ticker_does_not_stop_the_others_and_sets_the_status(
    server: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for ticker in ("AAPL", "NVDA"):
        server.hold(replace(random_bars(300), ticker=ticker))
    assert cli.main(["task=fetch", "data.tickers=[AAPL,NOPE,NVDA]", "data.cache_dir=cache", *FAST]) == 1
    printed = capsys.readouterr()
    assert printed.err == "1 of 3 failed: NOPE\n"
    rows = [line.split() for line in printed.out.splitlines()]
    assert [row[:2] for row in rows[1:4]] == [["AAPL", "300"], ["NOPE", "FAILED"], ["NVDA", "300"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    assert sorted(path.name for path in (tmp_path / "cache").glob("*.parquet")) == ["AAPL.parquet", "NVDA.parquet"]


def test_a_ticker_is_requested_once_and_a_complete_list_is_a_success(server: YahooServer, tmp_path: Path) -> None:
    server.hold(replace(random_bars(300), ticker="TSLA"))
    server.faults.append(status(429))
    typed = ["task=fetch", "data=yahoo", "stock=TSLA", f"data.cache_dir={tmp_path}", *FAST]
    assert cli.main(typed) == cli.main(typed) == 0
    assert dict(server.downloads) == {"TSLA": 1}


def test_a_ticker_that_could_not_be_renewed_has_failed(
    server: YahooServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.hold(replace(random_bars(300), ticker="TEST"))
    typed = ["task=fetch", "stock.ticker=TEST", f"data.cache_dir={tmp_path}", *FAST]
    assert cli.main(typed) == 0
    aged(tmp_path, 4)
    server.faults += [status(503)] * 2
    assert cli.main(typed) == 1
    assert "NOT RENEWED: Yahoo: a server error (503), 2 times" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["task=fetch", "data=csv", "data.dir=."], "data.source=csv: task=fetch downloads from Yahoo"),
        (["task=fetch", "data.tickers=[../AAPL]"], "data.tickers: '../AAPL' is not a ticker"),
        (["task=fetch", "data.symbols=[SP500]"], "data.symbols: 'SP500' is not of the form TICKER=SYMBOL"),
        (["-m", "task=fetch", "seed=1,2"], "task=fetch: is no task for a sweep; leave out -m"),
    ],
)
def test_invalid_settings_are_refused(typed: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed) == 2
    assert capsys.readouterr().err.startswith(line)
