"""Yahoo's daily bars of one symbol, asked for through yfinance, with patience.

yfinance takes the session that it is to use, and ours is where Yahoo's ill manners are met: yfinance itself would
hide what Yahoo asks for (Retry-After), remember broken answers, and give an empty table for most faults.
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

from stockml.data.sources.yahoo.downloads import SETTLED

COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume")
_LONGEST_WAIT = 60.0  # seconds
_CHART = "/v8/finance/chart/"
_OFFLINE = (CurlECode.COULDNT_RESOLVE_PROXY, CurlECode.COULDNT_RESOLVE_HOST, CurlECode.COULDNT_CONNECT)


class NoAnswerError(Exception):
    """Yahoo gave no bars; says why."""


class UnknownSymbolError(NoAnswerError):
    """It has none of this symbol."""


@dataclass(frozen=True)
class Answer:
    """A symbol's whole history."""

    table: pd.DataFrame
    """Date and `COLUMNS`, oldest day first, one row a day; prices adjusted for splits, not for dividends."""
    through: datetime.date
    """The last day of the exchange that was over."""
    unfinished: datetime.date | None
    """The day whose bar was left out, since its trading was not over."""
    timezone: str
    """Of the exchange."""
    closes: str
    """When its trading ends there, HH:MM."""


def ask(symbol: str, *, retries: int, backoff_seconds: float, timeout_seconds: float, folder: Path) -> Answer:
    """The bars that Yahoo has; yfinance may keep notes of its own in `folder`.

    The variable STOCKML_YAHOO_URL names another server that is asked in place of Yahoo's. Raises NoAnswerError.
    """
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # what it would print is raised
    yfinance.config.debug.hide_exceptions = False
    yfinance.set_tz_cache_location(str(folder))
    session = _Session(retries, backoff_seconds, timeout_seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = yfinance.Ticker(symbol, session=session).history(period="max", auto_adjust=False, actions=False)
    except NoAnswerError:
        raise
    except Exception as error:  # whatever yfinance meets with in an answer of a form that it does not know
        if isinstance(
            error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
        ):  # on asking for cookies
            raise NoAnswerError("cannot be reached") from error
        if session.chart and not session.chart.get("timestamp"):
            raise UnknownSymbolError("no bars") from error
        raise NoAnswerError(f"its answer is no table of bars ({type(error).__name__}: {error})") from error
    finally:
        session.close()
    return _settled(table, session.chart["meta"])


def _settled(table: pd.DataFrame, meta: dict[str, Any]) -> Answer:
    """The bars of days that are over. Yahoo tells when the trading of today, or of the latest trading day, ends."""
    if table.empty:
        raise UnknownSymbolError("no bars")
    zone = ZoneInfo(str(meta["exchangeTimezoneName"]))
    now = datetime.datetime.now(zone)
    ends_at = ((meta.get("currentTradingPeriod") or {}).get("regular") or {}).get("end")
    ends = now.replace(hour=23, minute=59) if ends_at is None else datetime.datetime.fromtimestamp(ends_at, zone)
    through = now.date() if ends + SETTLED <= now else min(now.date(), ends.date()) - datetime.timedelta(days=1)
    days = pd.DatetimeIndex(table.index).tz_localize(None).normalize()
    over = days <= pd.Timestamp(through)
    if not over.any():
        raise UnknownSymbolError("no bars of a day that is over")
    bars = table.loc[over, list(COLUMNS)].astype("float64").reset_index(drop=True)
    bars.insert(0, "Date", days[over])
    return Answer(
        table=bars,
        through=through,
        unfinished=None if over.all() else days[~over][0].date(),
        timezone=zone.key,
        closes=f"{ends:%H:%M}",
    )


class _Session(requests.Session):  # type: ignore[type-arg]  # of responses of the usual kind
    """What yfinance sends its requests by: those for bars are repeated until they are answered with JSON."""

    def __init__(self, retries: int, backoff_seconds: float, timeout_seconds: float) -> None:
        super().__init__(impersonate="chrome")
        self._retries, self._backoff, self._timeout = retries, backoff_seconds, timeout_seconds
        self.chart: dict[str, Any] = {}
        """The last answer: `timestamp` and so on, and in `meta` what there is to know of the symbol's exchange."""

    def request(self, method: Any, url: str, **options: Any) -> Any:  # type: ignore[override]  # passed on as they are
        """Send a request, and the same again where that may help. Raises NoAnswerError."""
        options["timeout"] = self._timeout
        if server := os.environ.get("STOCKML_YAHOO_URL"):
            parts = urlsplit(url)
            url = f"{server.rstrip('/')}{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
        if _CHART not in url:  # cookies and the like, which it can do without
            return super().request(method, url, **options)
        for attempt in itertools.count():
            asked_to_wait = None
            try:
                response = super().request(method, url, **options)
            except requests.exceptions.RequestException as error:
                if error.code in _OFFLINE:
                    raise NoAnswerError("cannot be reached") from error
                late = isinstance(error, requests.exceptions.Timeout)
                fault = f"no answer within {self._timeout:g} s" if late else f"the connection broke ({error.code})"
            else:
                fault, asked_to_wait = self._fault(response), _retry_after(response)
                if not fault:
                    return response
            wait = min(self._backoff * 2**attempt, _LONGEST_WAIT) if asked_to_wait is None else asked_to_wait
            if attempt == self._retries:
                raise NoAnswerError(f"{fault}{f', {attempt + 1} times' if attempt else ''}")
            if wait > _LONGEST_WAIT:
                raise NoAnswerError(f"{fault}, and asks to wait for {wait:,.0f} s")
            time.sleep(wait)
        raise AssertionError

    def _fault(self, response: Any) -> str:
        """Why the answer is none, so that it is to be asked for again; nothing where it is one."""
        if response.status_code == 429:
            return "too many requests (429)"
        if response.status_code >= 500:
            return f"a server's error ({response.status_code})"
        try:
            chart = response.json()["chart"]
            error, result = chart["error"], chart["result"]
        except (ValueError, LookupError, TypeError):
            return "" if response.status_code in (401, 403) else "a broken answer"  # yfinance renews its cookies
        if error or not result:
            raise UnknownSymbolError(str((error or {}).get("description") or "no bars"))
        self.chart = result[0]
        return ""


def _retry_after(response: Any) -> float | None:
    """The seconds that an answer asks to wait, given as such or as a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After") or ""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
