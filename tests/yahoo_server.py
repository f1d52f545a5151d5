"""A server with Yahoo's chart API, and with faults on request."""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from stockml.data.bars import Bars
from stockml.data.sources.yahoo import downloads

NEW_YORK = ZoneInfo("America/New_York")
Fault = Callable[[BaseHTTPRequestHandler, bytes], None]


class YahooServer(ThreadingHTTPServer):
    """Bars by symbol, the faults of the next requests for bars in turn, and the requests so far."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.charts: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.downloads: dict[str, int] = defaultdict(int)
        """Number of responses with a whole history, by symbol."""
        self.requests: list[tuple[float, str]] = []
        """Time and path of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hold(self, bars: Bars, adjusted: float = 1.0, *, over: bool = True, zone: ZoneInfo = NEW_YORK) -> None:
        """Serve these bars, with Adj Close = Close × a factor; today's trading, in the time zone, is over or not."""
        zone_days = [datetime.datetime.fromisoformat(f"{day}T09:30").replace(tzinfo=zone) for day in bars.dates]
        end = datetime.datetime.now(zone) + datetime.timedelta(hours=-2 if over else 2)
        ends_at = int(end.timestamp())
        session = {"timezone": "EST", "gmtoffset": -18_000, "start": ends_at - 23_400, "end": ends_at}
        close = bars.columns["close"]
        self.charts[bars.ticker] = {
            "meta": {
                "currency": "USD",
                "symbol": bars.ticker,
                "instrumentType": "EQUITY",
                "exchangeTimezoneName": zone.key,
                "currentTradingPeriod": {"regular": session},
                "validRanges": ["1d", "max"],
                "dataGranularity": "1d",
                "range": "",
            },
            "timestamp": [int(day.timestamp()) for day in zone_days],
            "indicators": {
                "quote": [{name: values.tolist() for name, values in bars.columns.items()}],
                "adjclose": [{"adjclose": (close * adjusted).tolist()}],
            },
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: YahooServer

    def do_GET(self) -> None:
        self.server.requests.append((time.monotonic(), self.path))
        chart = re.match(r"/v8/finance/chart/([^?]+)", self.path)
        if chart is None:  # of cookies and crumbs
            return answer(self, b"crumb")
        symbol = chart[1].replace("%5E", "^")
        if "period1" in self.path:
            self.server.downloads[symbol] += 1
        found = self.server.charts.get(symbol)
        body = {"chart": {"result": [found] if found else None, "error": None if found else _NOT_FOUND}}
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None:
            return fault(self, json.dumps(body).encode())
        return answer(self, json.dumps(body).encode(), 200 if found else 404)

    def log_message(self, *_: object) -> None:
        pass


_NOT_FOUND = {"code": "Not Found", "description": "No data found, symbol may be delisted"}


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: object) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, **headers: object) -> Fault:
    """A response with that status."""
    return lambda handler, _: answer(handler, b"Too Many Requests", code, **headers)


def says(text: str) -> Fault:
    """A text in place of the bars."""
    return lambda handler, _: answer(handler, text.encode())


def late(seconds: float) -> Fault:
    """The bars, after the client's timeout."""

    def fault(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        time.sleep(seconds)
        answer(handler, body)

    return fault


def truncated(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Half of the JSON, with its own length."""
    answer(handler, body[: len(body) // 2])


def broken_off(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Half of the announced length."""
    answer(handler, body[: len(body) // 2], Content_Length=len(body))


def hung_up(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    """No response."""
    handler.close_connection = True


def aged(folder: Path, days: int) -> Path:
    """Date the downloads in the cache so many days back."""
    path = folder / "TEST.parquet"
    held = downloads.read(path)
    assert held is not None
    span = datetime.timedelta(days=days)
    through = datetime.date.fromisoformat(held.facts["through"]) - span
    earlier = {"downloaded": (held.at - span).isoformat(), "through": through.isoformat()}
    downloads._write(replace(held, facts={**held.facts, **earlier}), path)
    return path


@contextmanager
def serving() -> Iterator[YahooServer]:
    server = YahooServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def until(bars: Bars, last: datetime.date) -> Bars:
    """The same bars, on the days up to `last`."""
    days = np.datetime64(last) - np.arange(len(bars.dates))[::-1]
    return Bars(ticker=bars.ticker, dates=days, columns=bars.columns, origin=bars.origin)
