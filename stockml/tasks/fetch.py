"""task=fetch: download tickers into the cache of data=yahoo. No run folder is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from stockml.data.sources.yahoo import downloads
from stockml.errors import RunError, UserError
from stockml.tasks import NO_REQUEST, Request

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.yahoo import YahooConfig


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Print a row per ticker as it arrives. Raises RunError at the end if one failed."""
    data = cast("YahooConfig", config.data)
    tickers = list(dict.fromkeys(data.tickers or [config.stock.ticker]))
    width = max(map(len, [*tickers, "ticker"])) + 2
    print(f"{'ticker':<{width}}{'bars':>8}  {'first':<12}{'last':<12}{'downloaded':<12}")
    failed = []
    for ticker in tickers:
        try:
            download, problem = downloads.get_or_download(data, ticker)
        except UserError as error:
            failed.append(ticker)
            print(f"{ticker:<{width}}FAILED  {str(error).removeprefix(f'{ticker}: ')}", flush=True)
            continue
        failed += [ticker] if problem else []
        days, facts = download.table["Date"], download.facts
        notes = [
            f"NOT RENEWED: {problem}" if problem else "",
            f"CORRECTED: {facts['corrected']}" if facts["corrected"] else "",
            f"{facts['unfinished']} left out: its trading was not over" if facts["unfinished"] else "",
        ]
        row = f"{ticker:<{width}}{len(days):>8,}  {days.iloc[0].date()!s:<12}{days.iloc[-1].date()!s:<12}"
        print(f"{row}{download.at.date()!s:<12}{'; '.join(filter(None, notes))}".rstrip(), flush=True)
    print(f"cache       {data.cache_dir}")
    if failed:
        raise RunError(f"{len(failed)} of {len(tickers)} failed: {', '.join(failed)}")
