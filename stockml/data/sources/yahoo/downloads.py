"""Daily bars from Yahoo in a cache: `<cache_dir>/<symbol>.parquet`, with facts of the download in its metadata.

Each download is the whole history, since each dividend and each split changes all earlier prices.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import numpy as np
from filelock import FileLock

from stockml.data import spec
from stockml.data.bars import COLUMNS, Bars, adjusted, require_columns
from stockml.data.sources.yahoo import QUOTE_DELAY
from stockml.errors import RunError, UserError
from stockml.runs.files import Folder

if TYPE_CHECKING:
    import pandas as pd

    from stockml.config.root import Config
    from stockml.data.sources.yahoo import YahooConfig
    from stockml.data.sources.yahoo.client import History

INSTALL = "data=yahoo needs yfinance and pyarrow: pip install 'stockml[yahoo]'"
_KEY = b"stockml"  # in the Parquet file's metadata
_FRESH = datetime.timedelta(minutes=10)  # the jobs of a sweep, or ranks, ask for the same download


@dataclass(frozen=True)
class Download:
    """A symbol's downloaded bars."""

    table: pd.DataFrame
    """Date, Open, High, Low, Close, Adj Close, Volume; oldest day first."""
    facts: dict[str, Any]
    """`downloaded` (UTC), `yfinance` (version), `sha256` (of the table), `through` (the last day that was over),
    `timezone` and `closes` (HH:MM) of the exchange, `unfinished` (the day that was left out, or null), `corrected` (how
    it differs from the previous download, or null)."""

    @property
    def at(self) -> datetime.datetime:
        """When it was downloaded."""
        return datetime.datetime.fromisoformat(self.facts["downloaded"])

    @property
    def days_old(self) -> int:
        """Whole days since then."""
        return (_now() - self.at).days


def load(config: Config) -> Bars:
    """The bars of the config's stock, with prices × Adj Close / Close. Raises UserError."""
    data = cast("YahooConfig", config.data)
    symbol, asked = data.symbol(config.stock.ticker), spec.columns_read(config)
    require_columns(asked, COLUMNS, f"{config.stock.ticker}: data.source=yahoo")
    download, problem = get_or_download(data, config.stock.ticker)
    facts = download.facts
    notes = [f"yfinance {facts['yfinance']}", f"sha256 {facts['sha256'][:12]}"]
    if problem:
        notes.insert(0, f"{_count(download.days_old, 'day')} old; {problem}")
    table, corrected = download.table, facts["corrected"]
    bars = Bars(
        ticker=config.stock.ticker,
        dates=table["Date"].to_numpy().astype("datetime64[D]"),
        columns={name: table[name.title()].to_numpy(dtype=np.float64) for name in dict.fromkeys([*asked, "adj close"])},
        origin=f"Yahoo's {symbol} of {download.at.date()} ({'; '.join(notes)})",
        parsing_notes=f"prices × Adj Close / Close{f'; CORRECTED: {corrected}' if corrected else ''}",
        dropped=(f"1 bar ({day}: its trading was not over)",) if (day := facts["unfinished"]) else (),
    ).between(data.start, data.end)
    _check_usable(bars, Path(data.cache_dir) / f"{symbol}.parquet")
    return replace(bars, columns=adjusted(bars.columns))


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ. Raises UserError."""
    data = cast("YahooConfig", config.data)
    download, problem = get_or_download(data, config.stock.ticker)
    return f"{config.stock.ticker} {download.facts} {problem}"


def get_or_download(data: YahooConfig, ticker: str) -> tuple[Download, str]:
    """A ticker's bars from the cache, downloaded if missing or old, and why they are not the newest, else "".

    One process downloads; the others wait and read the cache. Raises UserError.
    """
    symbol, folder = data.symbol(ticker), Path(data.cache_dir)
    path = folder / f"{symbol}.parquet"
    held = read(path)
    if data.refresh is False:
        if held is None:
            state = "is damaged" if path.exists() else "does not exist"
            raise UserError(f"{path}: {state}; data.refresh=auto downloads it")
        return held, ""
    if held is not None and not _is_stale(held, data):
        return held, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{symbol}.lock"):
            held = read(path)
            if held is not None and not _is_stale(held, data):
                return held, ""
            return _download(data, ticker, path, held)
    except OSError as error:
        raise UserError(f"data.cache_dir={folder}: cannot be written ({error.strerror or error})") from error


def _download(data: YahooConfig, ticker: str, path: Path, held: Download | None) -> tuple[Download, str]:
    try:
        from stockml.data.sources.yahoo import client
    except ImportError as error:
        raise UserError(f"{INSTALL} ({error})") from error
    try:
        history = client.download(
            path.stem,
            retries=data.retries,
            backoff_seconds=data.backoff_seconds,
            timeout_seconds=data.timeout_seconds,
            folder=path.parent / "yfinance",
        )
    except client.NoBarsError as error:
        unknown = isinstance(error, client.UnknownSymbolError)
        problem = f"Yahoo: {error}"
        if held is not None and data.refresh == "auto":
            return held, problem
        if unknown:
            raise UserError(
                f"{ticker}: Yahoo has no bars of {path.stem} ({error}); look up its symbol on finance.yahoo.com "
                f"(such as BRK-B, 0700.HK, ^GSPC) and set 'data.symbols=[\"{ticker}=SYMBOL\"]'"
            ) from error
        instead = "data.refresh=auto uses the cached bars" if held is not None else "none of its bars are cached"
        raise RunError(f"{ticker}: {problem}; {instead}; try again later, or use data=csv") from error
    download = _new(history, path, held)
    _write(download, path)
    return download, ""


def _new(history: History, path: Path, held: Download | None) -> Download:
    """The download to cache; a cached one that it corrects is kept under another name."""
    corrected = None
    if held is not None and (found := corrections(held.table, history.table)):
        kept = path.with_name(f"{path.stem}.{held.at.date()}.parquet")
        if kept.exists():
            kept = path.with_name(f"{path.stem}.{held.at:%Y-%m-%dT%H%M%S}.parquet")
        shutil.copyfile(path, kept)
        corrected = f"{found} from the copy of {held.at.date()}, kept as {kept.name}"
    facts = {
        "downloaded": _now().isoformat(timespec="seconds"),
        "yfinance": metadata.version("yfinance"),
        "sha256": _sha256(history.table),
        "through": history.through.isoformat(),
        "timezone": history.timezone,
        "closes": history.closes,
        "unfinished": history.unfinished and history.unfinished.isoformat(),
        "corrected": corrected,
    }
    return Download(history.table, facts)


def corrections(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """How many days differ between an old and a new table, and the first of them; an empty text if none.

    A later split or dividend, which multiplies a whole column by one factor, is not a difference.
    """
    old, new = old.set_index("Date"), new.set_index("Date")
    new = new[new.index <= old.index[-1]]
    days = old.index.union(new.index)
    both = old.index.intersection(new.index)
    differs = np.asarray(~days.isin(both))
    for name in old.columns:
        was, now = old.loc[both, name].to_numpy(), new.loc[both, name].to_numpy()
        nonzero = (was != 0) & (now != 0) & np.isfinite(was) & np.isfinite(now)
        expected = was * (np.median(now[nonzero] / was[nonzero]) if nonzero.any() else 1.0)
        rounding = 1.0 if name == "Volume" else 1e-6  # whole shares; Yahoo has six decimals
        same = np.isclose(now, expected, rtol=1e-4, atol=rounding, equal_nan=True)
        differs[days.isin(both[~same])] = True
    if not differs.any():
        return ""
    first = days[int(differs.argmax())].date()
    return f"{int(differs.sum()):,} of {len(days):,} days differ, the first {first},"


def read(path: Path) -> Download | None:
    """The cached download; None if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(f"{INSTALL} ({error})") from error
    try:
        found = parquet.read_table(path)
        facts = json.loads(found.schema.metadata[_KEY])
        table = found.to_pandas()
        return Download(table, facts) if _sha256(table) == facts["sha256"] else None
    except (ArrowException, OSError, ValueError, LookupError, TypeError):
        return None


def _write(download: Download, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(download.table, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, _KEY: json.dumps(download.facts)})
    with Folder(path.parent).writing(path.name) as file:
        parquet.write_table(table, file)


def _sha256(table: pd.DataFrame) -> str:
    """SHA-256 of a table's days and numbers."""
    digest = hashlib.sha256(" ".join(table.columns).encode())
    digest.update(table["Date"].to_numpy().astype("datetime64[D]").astype(np.int64).tobytes())
    digest.update(table.drop(columns="Date").to_numpy(dtype=np.float64).tobytes(order="C"))
    return digest.hexdigest()


def _is_stale(held: Download, data: YahooConfig) -> bool:
    """Whether to download again; never within ten minutes."""
    if _now() - held.at < _FRESH:
        return False
    if data.refresh is True:
        return True
    hours, minutes = map(int, held.facts["closes"].split(":"))
    there = _now().astimezone(ZoneInfo(held.facts["timezone"]))
    over = (there - datetime.timedelta(hours=hours, minutes=minutes) - QUOTE_DELAY).date()
    # On an exchange's holiday this is one request too many.
    end = over if data.end is None else min(over, np.datetime64(str(data.end), "D").item())
    wanted = np.busday_offset(end, 0, roll="backward")
    return bool(np.datetime64(held.facts["through"]) < wanted)


def _check_usable(bars: Bars, path: Path) -> None:
    """Raise UserError where a number cannot be used: for early years of some symbols Yahoo has an Open of 0."""
    limits = np.finfo(np.float32)
    for name, values in bars.columns.items():
        usable = (values >= limits.tiny) & (values <= limits.max)  # NaN is not
        bad = (~usable & ((values != 0) | (name != "volume"))).nonzero()[0]
        if len(bad):
            first, last, after = bars.dates[bad[0]], bars.dates[bad[-1]], bars.dates[bad[-1] + 1 :]
            without = f"data.start={after[0]} leaves them out, or " if len(after) else ""
            raise UserError(
                f"{path}: {name.title()} of {first} is {values[bad[0]]:g}, which cannot be used "
                f"({_count(len(bad), 'such day')}, the last {last}); {without}fix a copy and use data=csv"
            )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
