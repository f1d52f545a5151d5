"""Damaged exports of bars: each is read as it stands, or refused in one line.

    python tests/campaigns/mutations.py [FILES, default 2000] [SEED, default 0]

In exports of many forms and containers, bytes are flipped, files cut off, columns swapped and rows shuffled: in the
text, which is then packed, or in the packed bytes. What is loaded must equal, to the last digit, what an independent
reader (the csv module and Decimal) finds in the damaged text; of damaged packed bytes, what the sound file holds. That
reader knows the form of the file; the tested one must recognise it. Where it finds no bars, loading must fail with one
line. A file that takes 20 s, or memory beyond 4 GB, is a wrong outcome too.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import numpy as np

from stockml import compose
from stockml.config.root import Config
from stockml.data.sources.csv import tables
from stockml.errors import UserError
from tests.campaigns._independent_reader import TICKER, read_independently, table_of, table_of_json
from tests.data.sources.exports import ROLES, Form, Rows, as_text, moments, packed
from tests.data.sources.spellings import MONTHS, NAMES

_YAHOO = ("Date", "Open", "High", "Low", "Close", "Volume", "Adj Close")
FORMS = [
    Form(),
    Form(names=_YAHOO),
    Form(names=("Date", "Open", "High", "Low", "Close/Last", "Volume"), order=(0, 4, 5, 1, 2, 3), date="%m/%d/%Y",
         newest_first=True, currency="$"),
    Form(names=("Date", "Open", "High", "Low", "Close\xa0", "Volume", "Adj Close\xa0"), date="%m/%d/%Y", padded=False,
         newest_first=True, encoding="utf-8-sig", thousands=",", line_end="\r\n"),
    Form(layout="header", date="%Y-%m-%d"),
    Form(layout="header", tickers=("MSFT",)),
    Form(names=("Date", "Open", "High", "Low", "Price", "Vol."), order=(0, 4, 1, 2, 3, 5), date="%m/%d/%Y", quoted=True,
         newest_first=True, millions=True, thousands=",", encoding="utf-8-sig", extra=True),
    Form(names=("<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"), date="%Y%m%d", layout="long",
         ticker_name="<TICKER>"),
    Form(delimiter=";", decimal=",", thousands=".", date="%d.%m.%Y", blank_rows=1),
    Form(names=_YAHOO, layout="long", tickers=("MSFT",), delimiter="\t", ticker_name="symbol"),
    Form(container="xlsx", date_cells=True),
    Form(container="ods", names=_YAHOO, newest_first=True),
    Form(container="xls", date_cells=True),
    Form(container="zip", layout="long", tickers=("MSFT",), date="%Y%m%d"),
    Form(container="gz", date="%Y-%m-%d %H:%M:%S"),
    Form(container="bz2", delimiter=";", decimal=",", date="%d.%m.%Y"),
    Form(container="xz", date="s"),
    Form(container="zst", date="us", delimiter="|"),
    Form(container="json", names=("t", "o", "h", "l", "c", "v"), date="ms"),
    Form(container="jsonl", layout="long", tickers=("MSFT",)),
    Form(container="json", layout="long", tickers=("A", "BRK-B"), ticker_name="ticker", step="hour",
         date="%Y-%m-%dT%H:%M:%SZ"),
    Form(layout="klines", date="ms"),
    Form(layout="mt4", date="%Y.%m.%d %H:%M", step="hour"),
    Form(date="ns", step="5 minutes"),
    Form(date="excel", delimiter=";"),
    Form(date="excel", step="hour", container="xlsx"),
    Form(step="week", date="%m/%d/%Y", quoted=True),
    Form(step="month", date="%b %d, %Y", newest_first=True),
    Form(step="month", container="zip", date="%d/%m/%Y"),
    Form(step="hour", date="%d.%m.%Y %H:%M", delimiter=";", decimal=",", names=NAMES[8]),
    Form(step="5 minutes", date="%Y-%m-%d %H:%M:%S", layout="long", tickers=("MSFT",)),
    *(Form(names=NAMES[at], date=date, months=tuple(MONTHS[language].split()) if language else (), delimiter=";",
           decimal=",", thousands=".")
      for at, date, language in ((8, "%d. %b %Y", "de"), (9, "%d de %b de %Y", "es"), (10, "%d %b %Y", "fr, short"),
                                 (11, "%d/%m/%Y", ""), (12, "%d %b %Y", "it"), (13, "%d %b %Y", "pl"))),
    Form(names=NAMES[14], container="xlsx", date="%Y%m%d"),
]  # fmt: skip


def bars(rng: random.Random, step: str = "day", count: int = 40) -> Rows:
    """A random walk."""
    first = datetime.date(2010, 1, 1) + datetime.timedelta(rng.randrange(3000))
    price, rows = Decimal(rng.randrange(500, 500_000)).scaleb(-2), []
    for date in moments(first, count, step):
        price = max(price + Decimal(rng.randrange(-500, 500)).scaleb(-2), Decimal("1.01"))
        bar = {role: price + Decimal(rng.randrange(100)).scaleb(-2) for role in ROLES}
        rows.append((date, {**bar, "volume": Decimal(rng.randrange(10**6, 10**9))}))
    return rows


def _flipped(content: bytes, form: Form, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(min(len(changed), rng.choice((120, len(changed)))))
        changed[place] = changed[place] ^ 1 << rng.randrange(8) if rng.random() < 0.7 else rng.randrange(256)
    return bytes(changed)


def _truncated(content: bytes, form: Form, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _columns_swapped(content: bytes, form: Form, rng: random.Random) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode(form.encoding), newline=""), delimiter=form.delimiter))
    one, other = rng.sample(range(len(rows[0])), 2)
    first = rng.choice((0, 0, 1))  # the names with them, or the cells alone
    for row in rows[first:]:
        if len(row) == len(rows[0]):
            row[one], row[other] = row[other], row[one]
    text = io.StringIO()
    csv.writer(text, delimiter=form.delimiter, lineterminator=form.line_end).writerows(rows)
    return text.getvalue().encode(form.encoding)


def _rows_shuffled(content: bytes, form: Form, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    if rng.random() < 0.5:
        one, other = rng.sample(range(len(lines)), 2)
        lines[one], lines[other] = lines[other], lines[one]
    elif rng.random() < 0.5:
        lines[1:] = rng.sample(lines[1:], len(lines) - 1)
    else:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"\n".join(lines)


def _gap(content: bytes, form: Form, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randrange(1, 40) :]


Mutation = Callable[[bytes, Form, random.Random], bytes]
MUTATIONS: list[Mutation] = [
    _flipped,
    _flipped,
    _truncated,
    _columns_swapped,
    _rows_shuffled,
    _gap,
]
_OF_BYTES: list[Mutation] = [_flipped, _flipped, _truncated, _gap]


def outcome(content: bytes, wanted: Callable[[], list[list[str]]], form: Form, path: Path, config: Config) -> str:
    """What happened to a file: `read as it stands`, `refused`, or what went wrong; `wanted` gives its cells."""
    path.write_bytes(content)
    signal.alarm(20)
    try:
        read = tables.load(config)
    except UserError as error:
        (line, *more) = error.lines
        return "refused" if not more and "\n" not in line and path.name in line else f"not one line: {error}"
    except BaseException as error:  # of Rust, a panic is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"a traceback\n{traceback.format_exc()}"
    finally:
        signal.alarm(0)
    try:
        dates, columns = read_independently(wanted(), form)
    except (ValueError, ArithmeticError, LookupError, TypeError, csv.Error) as error:
        return f"read although it has no bars ({error!r}); parsing notes: {read.parsing_notes}"
    same = np.array_equal(np.array(dates, dtype=read.dates.dtype), read.dates)
    if not same or not all(np.array_equal(v, columns[name]) for name, v in read.columns.items()):
        return f"read as something else; parsing notes: {read.parsing_notes}"
    return "read as it stands"


def _mutated(form: Form, rng: random.Random) -> tuple[str, bytes, Callable[[], list[list[str]]]]:
    """The name of a mutation, the mutated file, and a function that gives the cells which it must be read as."""
    sound = as_text(bars(rng, form.step), TICKER, form)
    if form.container and rng.random() < 0.5:
        mutate, content = rng.choice(_OF_BYTES if form.container != "xls" else [_truncated]), packed(sound, form)
        content = mutate(content, form, rng)
        is_json = form.container in ("json", "jsonl")
        return (
            f"{mutate.__name__} bytes",
            content,
            lambda: table_of_json(content) if is_json else table_of(sound, form),
        )
    mutate = rng.choice(MUTATIONS)
    text = mutate(sound, form, rng)
    try:
        content = packed(text, form)
    except (ValueError, IndexError, csv.Error):  # no such table can be in this container
        text, content = sound, packed(sound, form)
    return mutate.__name__, content, lambda: table_of(text, form)


def outcomes(files: int, folder: Path, seed: int = 0) -> Counter[str]:
    """How many files had which outcome; files with a wrong outcome stay in the folder."""
    rng, counts = random.Random(seed), Counter[str]()
    path = folder / f"{TICKER}.csv"
    base = compose.compose("data=csv", "data.dir=.", f"stock.ticker={TICKER}", "data.adjust_volume=false")
    config = dataclasses.replace(base, data=dataclasses.replace(cast("Any", base.data), dir=str(folder)))
    for number in range(files):
        form = FORMS[number % len(FORMS)]
        mutation, content, wanted = _mutated(form, rng)
        became = outcome(content, wanted, form, path, config)
        if became not in ("read as it stands", "refused"):
            became = f"{became} [{mutation}, form {number % len(FORMS)}, {number}.bad]"
            (folder / f"{number}.bad").write_bytes(content)
        counts[became] += 1
    return counts


class _TooSlowError(BaseException):
    """No Exception, so that nothing but the campaign catches it."""


def _too_slow(*_: object) -> None:
    raise _TooSlowError


def main(files: int = 2000, seed: int = 0) -> int:
    """Print the outcomes; 1 if a file was read wrongly, or not refused in one line."""
    folder = Path(tempfile.mkdtemp())
    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (4 * 10**9, resource.getrlimit(resource.RLIMIT_AS)[1]))
    counts = outcomes(files, folder, seed)
    for became, count in counts.most_common():
        print(f"{count:>6}  {became}")
    wrong = set(counts) - {"read as it stands", "refused"}
    if wrong:
        print(f"the files are in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
