"""Downloads Yahoo's daily bars of one symbol with yfinance, with retries.

yfinance sends its requests through the session that it is given. Ours handles Yahoo's faults: yfinance itself ignores
Retry-After, caches malformed responses, and returns an empty table for most faults.
"""

from __future__ import annotations

import datetime
import email.utils
import itertools
import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pandas as pd
import yfinance
from curl_cffi import CurlECode, requests

from stockml.data.sources.yahoo import QUOTE_DELAY

COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume")
_LONGEST_WAIT = 60.0  # seconds
_CHART = "/v8/finance/chart/"
_OFFLINE = (CurlECode.COULDNT_RESOLVE_PROXY, CurlECode.COULDNT_RESOLVE_HOST, CurlECode.COULDNT_CONNECT)


class NoBarsError(Exception):
    """Yahoo returned no bars; the message has the reason."""


class UnknownSymbolError(NoBarsError):
    """Yahoo has no bars of the symbol."""


@dataclass(frozen=True)
class History:
    """A symbol's whole history."""

    table: pd.DataFrame
    """Date and `COLUMNS`, oldest day first, one row a day; prices adjusted for splits, not for dividends."""
    through: datetime.date
    """The last day whose trading was over."""
    unfinished: datetime.date | None
    """The day whose bar was left out because its trading was not over."""
    timezone: str
    """Of the exchange."""
    closes: str
    """Time of the exchange at which its trading ends, HH:MM."""


def download(symbol: str, *, retries: int, backoff_seconds: float, timeout_seconds: float, folder: Path) -> History:
    """All bars that Yahoo has; yfinance may cache data of its own in `folder`.

    The environment variable STOCKML_YAHOO_URL replaces Yahoo's server. Raises NoBarsError.
    """
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # its messages are raised instead
    yfinance.config.debug.hide_exceptions = False
    yfinance.set_tz_cache_location(str(folder))
    session = _Session(retries, backoff_seconds, timeout_seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = yfinance.Ticker(symbol, session=session).history(period="max", auto_adjust=False, actions=False)
    except NoBarsError:
        raise
    except Exception as error:  # yfinance on a response in an unknown form
        if isinstance(
            error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
        ):  # of a request for cookies
            raise NoBarsError("cannot be reached") from error
        if session.chart and not session.chart.get("timestamp"):
            raise UnknownSymbolError("no bars") from error
        raise NoBarsError(f"its response is not a table of bars ({type(error).__name__}: {error})") from error
    finally:
        session.close()
    return _settled(table, session.chart["meta"])


def _settled(table: pd.DataFrame, meta: dict[str, Any]) -> History:
    """The bars of days that are over. Yahoo's response has the end of trading of today or the latest trading day."""
    if table.empty:
        raise UnknownSymbolError("no bars")
    zone = ZoneInfo(str(meta["exchangeTimezoneName"]))
    now = datetime.datetime.now(zone)
    ends_at = ((meta.get("currentTradingPeriod") or {}).get("regular") or {}).get("end")
    ends = now.replace(hour=23, minute=59) if ends_at is None else datetime.datetime.fromtimestamp(ends_at, zone)
    through = now.date() if ends + QUOTE_DELAY <= now else min(now.date(), ends.date()) - datetime.timedelta(days=1)
    days = pd.DatetimeIndex(table.index).tz_localize(None).normalize()
    over = days <= pd.Timestamp(through)
    if not over.any():
        raise UnknownSymbolError("no bars of a day that is over")
    bars = table.loc[over, list(COLUMNS)].astype("float64").reset_index(drop=True)
    bars.insert(0, "Date", days[over])
    return History(
        table=bars,
        through=through,
        unfinished=None if over.all() else days[~over][0].date(),
        timezone=zone.key,
        closes=f"{ends:%H:%M}",
    )


class _Session(requests.Session):  # type: ignore[type-arg]  # with the default class of responses
    """yfinance's session: requests for bars are repeated until the response is JSON."""

    def __init__(self, retries: int, backoff_seconds: float, timeout_seconds: float) -> None:
        super().__init__(impersonate="chrome")
        self._retries, self._backoff, self._timeout = retries, backoff_seconds, timeout_seconds
        self.chart: dict[str, Any] = {}
        """The last response: `timestamp` and so on, and in `meta` facts of the symbol's exchange."""

    def request(self, method: Any, url: str, **options: Any) -> Any:  # type: ignore[override]  # options are passed on
        """Send a request, with retries if it is for bars. Raises NoBarsError."""
        options["timeout"] = self._timeout
        if server := os.environ.get("STOCKML_YAHOO_URL"):
            parts = urlsplit(url)
            url = f"{server.rstrip('/')}{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
        if _CHART not in url:  # cookies and the like, which are optional
            return super().request(method, url, **options)
        for attempt in itertools.count():
            retry_after = None
            try:
                response = super().request(method, url, **options)
            except requests.exceptions.RequestException as error:
                if error.code in _OFFLINE:
                    raise NoBarsError("cannot be reached") from error
                late = isinstance(error, requests.exceptions.Timeout)
                fault = f"no response within {self._timeout:g} s" if late else f"the connection broke ({error.code})"
            else:
                fault, retry_after = self._fault(response), _retry_after(response)
                if not fault:
                    return response
            wait = min(self._backoff * 2**attempt, _LONGEST_WAIT) if retry_after is None else retry_after
            if attempt == self._retries:
                raise NoBarsError(f"{fault}{f', {attempt + 1} times' if attempt else ''}")
            if wait > _LONGEST_WAIT:
                raise NoBarsError(f"{fault}, with a Retry-After of {wait:,.0f} s")
            time.sleep(wait)
        raise AssertionError

    def _fault(self, response: Any) -> str:
        """The fault of a response that is to be requested again; an empty text if it has none."""
        if response.status_code == 429:
            return "too many requests (429)"
        if response.status_code >= 500:
            return f"a server error ({response.status_code})"
        try:
            chart = response.json()["chart"]
            error, result = chart["error"], chart["result"]
        except (ValueError, LookupError, TypeError):
            return "" if response.status_code in (401, 403) else "a malformed response"  # yfinance renews its cookies
        if error or not result:
            raise UnknownSymbolError(str((error or {}).get("description") or "no bars"))
        self.chart = result[0]
        return ""


def _retry_after(response: Any) -> float | None:
    """The seconds of a response's Retry-After, a number or a date (RFC 9110, 10.2.3); None if it has none."""
    text = response.headers.get("Retry-After") or ""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
