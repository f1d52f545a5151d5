"""Daily bars from Yahoo: caching, retries and refusals. Nothing is requested from the real Yahoo."""

from __future__ import annotations

import datetime
import functools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import stockml.data.sources.yahoo
from stockml import compose
from stockml.config.root import Config
from stockml.data.bars import Bars
from stockml.data.sources.yahoo import YahooConfig, downloads
from stockml.errors import RunError, UserError
from tests.conftest import ROOT, Run, random_bars
from tests.yahoo_server import (
    Fault,
    YahooServer,
    aged,
    broken_off,
    hung_up,
    late,
    says,
    status,
    truncated,
    until,
)

pytest.importorskip("yfinance")

BARS = random_bars(400)
NOWHERE = "http://127.0.0.1:9"  # where nobody listens


@functools.cache
def composed(*overrides: str) -> Config:
    fast = ("data.backoff_seconds=0.001", "data.timeout_seconds=0.5")
    return compose.compose("data=yahoo", "stock.ticker=TEST", *fast, *overrides)


def config(folder: Path, *overrides: str) -> Config:
    found = composed(*overrides)
    assert isinstance(found.data, YahooConfig)
    return replace(found, data=replace(found.data, cache_dir=str(folder)))


def load(folder: Path, *overrides: str) -> Bars:
    return downloads.load(config(folder, *overrides))


def same(one: Bars, other: Bars) -> bool:
    return np.array_equal(one.dates, other.dates) and all(
        np.array_equal(values, other.columns[name]) for name, values in one.columns.items()
    )


def test_bars_are_those_of_yahoo_and_their_origin_has_date_version_and_hash(
    server: YahooServer, tmp_path: Path
) -> None:
    server.hold(BARS)
    bars = load(tmp_path)
    assert same(bars, BARS)
    held = downloads.read(tmp_path / "TEST.parquet")
    assert held is not None
    day, version, digest = held.at.date(), held.facts["yfinance"], held.facts["sha256"][:12]
    assert bars.origin == f"Yahoo's TEST of {day} (yfinance {version}; sha256 {digest})"


def test_prices_are_adjusted_and_volume_is_not(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS, adjusted=0.5)
    bars = load(tmp_path)
    assert all(np.allclose(bars.columns[n], BARS.columns[n] * (1 if n == "volume" else 0.5)) for n in BARS.columns)
    assert "adj close" not in bars.columns


def test_cached_bars_are_not_requested_again_until_a_wanted_day_is_over(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    first = load(tmp_path)
    asked = len(server.requests)
    assert same(load(tmp_path), first)
    assert same(load(tmp_path, "data.refresh=true"), first)  # a sweep's jobs would each download it
    aged(tmp_path, 4)
    assert load(tmp_path, "data.end=2016-01-01").dates[-1] == np.datetime64("2016-01-01")
    assert "4 days" not in load(tmp_path, "data.refresh=false").origin
    assert len(server.requests) == asked
    load(tmp_path)
    assert server.downloads["TEST"] == 2
    aged(tmp_path, 1)
    load(tmp_path, "data.end=2016-01-01", "data.refresh=true")
    assert server.downloads["TEST"] == 3


@pytest.mark.parametrize(
    "faults",
    [
        [status(429)] * 4,
        [status(500), status(503)],
        [late(0.8)],
        [truncated, broken_off, hung_up],
        [says("<html>Will be right back</html>"), says("[]"), says('{"chart": null}')],
    ],
    ids=["429", "5xx", "late", "cut off", "no answer"],
)
def test_temporary_faults_are_retried(server: YahooServer, tmp_path: Path, faults: list[Fault]) -> None:
    server.hold(BARS)
    server.faults += faults
    assert same(load(tmp_path), BARS)
    assert server.faults == []


def test_a_retry_after_is_waited_for_or_ends_the_retries(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    server.faults.append(status(429, Retry_After=1))
    load(tmp_path)
    first, second = [when for when, path in server.requests if "chart" in path][:2]
    assert second - first >= 1
    server.requests.clear()
    in_an_hour = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    server.faults.append(status(429, Retry_After=f"{in_an_hour:%a, %d %b %Y %H:%M:%S} GMT"))
    aged(tmp_path, 4)
    assert re.search(r"too many requests \(429\), with a Retry-After of 3,(599|600) s", load(tmp_path).origin)
    assert sum("chart" in path for _, path in server.requests) == 1


def test_permanent_faults_end_in_a_line(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    server.faults += [status(503)] * 3
    with pytest.raises(
        RunError, match=r"^TEST: Yahoo: a server error \(503\), 3 times; none of its bars are cached; try"
    ):
        load(tmp_path, "data.retries=2")
    assert server.faults == []
    assert not (tmp_path / "TEST.parquet").exists()


@pytest.mark.parametrize(
    "fault",
    [
        None,
        says('{"chart": {"result": [], "error": null}}'),
        says('{"chart": {"result": [{"meta": {}}], "error": null}}'),
    ],
    ids=["not found", "empty", "no bars"],
)
def test_an_unknown_ticker_is_refused_with_a_remedy(server: YahooServer, tmp_path: Path, fault: Fault | None) -> None:
    server.faults += [fault] * 4 if fault else []
    with pytest.raises(UserError, match=r"^TEST: Yahoo has no bars of TEST \(.*(no bars|delisted)\)") as refused:
        load(tmp_path)
    (line,) = refused.value.lines
    assert "\n" not in line
    assert refused.value.status == 2
    assert "'data.symbols=[\"TEST=SYMBOL\"]'" in line
    assert list(tmp_path.glob("*.parquet")) == []


def test_bars_without_a_number_are_refused(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    chart = server.charts["TEST"]["indicators"]
    for column in (*chart["quote"][0].values(), chart["adjclose"][0]["adjclose"]):
        column[:] = [None] * len(column)
    with pytest.raises(UserError, match=r"no bars of TEST \(no bars\)"):
        load(tmp_path)


def test_offline_the_cache_is_used_and_its_age_reported(
    server: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold(BARS)
    load(tmp_path)
    aged(tmp_path, 4)
    monkeypatch.setenv("STOCKML_YAHOO_URL", NOWHERE)
    bars = load(tmp_path)
    assert same(bars, BARS)
    assert "(4 days old; Yahoo: cannot be reached; " in bars.origin
    with pytest.raises(RunError, match=r"cannot be reached; data\.refresh=auto uses the cached bars"):
        load(tmp_path, "data.refresh=true")
    with pytest.raises(RunError, match="TEST: Yahoo: cannot be reached; none of its bars are cached"):
        load(tmp_path / "other")
    with pytest.raises(UserError, match=r"TEST\.parquet: does not exist; data\.refresh=auto downloads it"):
        load(tmp_path / "other", "data.refresh=false")


def where_it_is_evening() -> ZoneInfo:
    """A time zone in which it is between 18:00 and 19:00."""
    ahead = 18 - datetime.datetime.now(datetime.UTC).hour
    ahead -= 24 if ahead > 12 else 0
    return ZoneInfo(f"Etc/GMT{-ahead:+}")  # these names count westwards


def test_a_bar_of_a_day_that_is_not_over_is_left_out_and_reported(server: YahooServer, tmp_path: Path) -> None:
    zone = where_it_is_evening()
    today = datetime.datetime.now(zone).date()
    bars = until(BARS, today)
    server.hold(bars, zone=zone)
    assert load(tmp_path / "over").dates[-1] == np.datetime64(today)
    server.hold(bars, over=False, zone=zone)
    read = load(tmp_path / "not over")
    assert read.dates[-1] == np.datetime64(today) - np.timedelta64(1, "D")
    assert read.dropped == (f"1 bar ({today}: its trading was not over)",)


def test_a_corrected_history_is_reported_and_the_cached_one_kept(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    load(tmp_path)
    path = aged(tmp_path, 4)
    old = path.read_bytes()
    quote = server.charts["TEST"]["indicators"]["quote"][0]
    for row in (100, 101, 300):
        quote["high"][row] *= 1.02
    told = load(tmp_path).parsing_notes
    held = downloads.read(path)
    assert held is not None
    kept = path.with_name(f"TEST.{held.at.date() - datetime.timedelta(days=4)}.parquet")
    day = BARS.dates[100]
    assert f"CORRECTED: 3 of 400 days differ, the first {day}, from the copy of {kept.stem[5:]}, kept as" in told
    assert kept.read_bytes() == old
    assert load(tmp_path).parsing_notes == told  # also when the cache is read


def test_a_damaged_cache_is_found_and_downloaded_again(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    load(tmp_path)
    path = tmp_path / "TEST.parquet"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 10):
        path.write_bytes(whole[:cut])
        assert downloads.read(path) is None
    for start in rng.integers(0, len(whole) - 4000, 20):
        path.write_bytes(whole[:start] + bytes(2000) + whole[start + 2000 :])
        held = downloads.read(path)
        assert held is None or held.table.equals(table_read(whole, tmp_path))
    path.write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"is damaged; data\.refresh=auto"):
        load(tmp_path, "data.refresh=false")
    assert same(load(tmp_path), BARS)


def table_read(whole: bytes, folder: Path) -> pd.DataFrame:
    (folder / "whole.parquet").write_bytes(whole)
    return pd.read_parquet(folder / "whole.parquet")


LOAD = """
import sys
from stockml import compose
from stockml.data.sources.yahoo import downloads
print(len(downloads.load(compose.compose("data=yahoo", "data.cache_dir=" + sys.argv[1], "stock.ticker=TEST")).dates))
"""


def test_processes_at_once_download_a_symbol_once(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    server.faults += [late(0.5)] * 2
    program = [sys.executable, "-c", LOAD, str(tmp_path / "cache")]
    both = [subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["400\n", "400\n"]
    assert server.downloads["TEST"] == 1


def test_an_index_is_requested_by_its_symbol_at_yahoo(server: YahooServer, tmp_path: Path) -> None:
    server.hold(replace(BARS, ticker="^GSPC"))
    bars = downloads.load(compose.compose("data=yahoo", f"data.cache_dir={tmp_path}", "stock=SP500"))
    assert (bars.ticker, list(bars.columns), server.downloads["^GSPC"]) == ("SP500", ["close"], 1)
    assert (tmp_path / "^GSPC.parquet").exists()


def test_prices_of_zero_are_refused_with_the_start_that_leaves_them_out(server: YahooServer, tmp_path: Path) -> None:
    server.hold(BARS)
    server.charts["TEST"]["indicators"]["quote"][0]["open"][:3] = [0.0, 0.0, 0.0]
    start = f"data.start={BARS.dates[3]}"
    with pytest.raises(
        UserError, match=rf"Open of {BARS.dates[0]} is 0, .* \(3 such days, the last .*\); {start} leaves"
    ):
        load(tmp_path)
    assert load(tmp_path, start).dates[0] == BARS.dates[3]


def test_the_saved_cache_dir_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cache_dir(*overrides: str) -> str:
        data = compose.compose("data=yahoo", *overrides).data
        assert isinstance(data, YahooConfig)
        return data.cache_dir

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache_dir() == f"{tmp_path}/.cache/stockml/yahoo"
    assert cache_dir("data.cache_dir=here") == f"{tmp_path}/here"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_dir() == "/elsewhere/stockml/yahoo"


def test_a_run_records_its_download_and_is_the_same_offline(
    server: YahooServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold(BARS)
    typed = ("+experiment=quick", "data=yahoo", f"data.cache_dir={tmp_path / 'cache'}", "stock.ticker=TEST")
    first = run("first", *typed)
    monkeypatch.setenv("STOCKML_YAHOO_URL", NOWHERE)
    aged(tmp_path / "cache", 4)
    assert run("second", *typed) == first
    told = [json.loads((tmp_path / name / "config.json").read_text())["data"] for name in ("first", "second")]
    assert told[0]["fingerprint"] == told[1]["fingerprint"]
    assert "sha256" in told[0]["origin"] and "4 days old; Yahoo: cannot be reached" in told[1]["origin"]
    assert "4 days old" in (tmp_path / "second" / "train.log").read_text()


def test_without_yfinance_the_message_has_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    monkeypatch.delitem(sys.modules, "stockml.data.sources.yahoo.client", raising=False)
    monkeypatch.delattr(stockml.data.sources.yahoo, "client", raising=False)
    with pytest.raises(UserError, match=r"data=yahoo needs yfinance and pyarrow: pip install 'stockml\[yahoo\]'"):
        load(tmp_path)
