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
import json
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
import unicodedata
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
from tests.data.sources.exports import COUNTS, ROLES, STEPS, Form, Rows, as_text, moments, packed
from tests.data.sources.spellings import MONTHS, NAMES

TICKER = "AAPL"
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
_HEADLESS = {"klines": (0, 1, 2, 3, 4, 5), "mt4": (0, 2, 3, 4, 5, 6)}
"""The columns of a form without names: the date and `ROLES`."""
_TABLES = ("xlsx", "ods", "xls", "json", "jsonl")


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


MUTATIONS: list[Callable[[bytes, Form, random.Random], bytes]] = [
    _flipped,
    _flipped,
    _truncated,
    _columns_swapped,
    _rows_shuffled,
    _gap,
]
_OF_BYTES = [_flipped, _flipped, _truncated, _gap]

_SPELT = {
    **dict.fromkeys(("date", "timestamp", "time", "t"), "date"),
    **dict.fromkeys(("open", "o"), "open"),
    **dict.fromkeys(("high", "h"), "high"),
    **dict.fromkeys(("low", "l"), "low"),
    **dict.fromkeys(("close", "closelast", "price", "last", "c"), "close"),
    **dict.fromkeys(("volume", "vol", "v"), "volume"),
    "adjclose": "adj close",
    "symbol": "ticker",
    "ticker": "ticker",
}


def _letters(text: str) -> str:
    """The letters and digits of a name, without accents."""
    apart = unicodedata.normalize("NFKD", re.sub(r"[\W_]|\(.*\)", "", text).lower())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


_FOREIGN = {
    _letters(name): role
    for names in NAMES[8:15]
    for name, role in zip(names, ("date", *ROLES), strict=False)
    if _letters(name) not in _SPELT
}
_MONTH = {
    _letters(name)[:length]: n % 12 + 1
    for length in (3, 4)
    for each in MONTHS.values()
    for n, name in enumerate(each.split())
}


def table_of(content: bytes, form: Form) -> list[list[str]]:
    """The cells of a damaged text, as its container keeps them. Raises ValueError."""
    text = content.decode(form.encoding.removesuffix("-sig") if form.encoding == "utf-16" else "utf-8-sig")
    if "\0" in text:
        raise ValueError("zero byte")
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    reader = csv.reader(io.StringIO(text), delimiter=form.delimiter, skipinitialspace=form.container not in _TABLES)
    rows = list(reader)
    if reader.line_num != len(rows) and form.container not in _TABLES:
        raise ValueError("a quoted cell of several lines")
    return _padded(rows) if form.container in _TABLES else rows


def _table_of_json(content: bytes) -> list[list[str]]:
    """The cells of JSON records. Raises ValueError."""

    def parsed(text: str) -> Any:
        return json.loads(text, parse_int=str, parse_float=str)

    text = content.decode("utf-8-sig")
    try:
        found = parsed(text)
    except json.JSONDecodeError:
        found = [parsed(line) for line in text.splitlines() if line.strip()]
    if isinstance(found, dict):
        (found,) = (value for value in found.values() if isinstance(value, list) and value)
    names = list(dict.fromkeys(name for record in found for name in dict(record)))
    return [names, *([str(record.get(name, "")) for name in names] for record in found)]


def _padded(rows: list[list[str]]) -> list[list[str]]:
    """Rows of one length, up to the last cell that is not empty."""
    width = max((n + 1 for row in rows for n, cell in enumerate(row) if cell), default=0)
    return [[*row, *[""] * width][:width] for row in rows]


def read_independently(rows: list[list[str]], form: Form) -> tuple[list[datetime.date], dict[str, Any]]:
    """Dates and adjusted columns, oldest first. Raises ValueError if a table has anything but bars in order."""
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    while rows and not any(cell.strip() for cell in rows[0]):
        rows.pop(0)
    if form.layout in _HEADLESS:
        places = dict(zip(_HEADLESS[form.layout], ("date", *ROLES), strict=False))
        rows = [[places.get(n, "") for n in range(len(rows[0]))], *rows]
    first, head = 1, rows[0]
    roles = [_role(name) for name in head]
    if form.layout == "header":
        if (
            len(rows[1]) != len(head)
            or re.sub(r"\W", "", rows[1][0]).lower() != "ticker"
            or _role(rows[2][0]) != "date"
        ):
            raise ValueError("no header of three rows")
        mine = [name.strip().upper() == TICKER for name in rows[1]]
        roles = ["date", *(role if own else "" for role, own in zip(roles[1:], mine[1:], strict=True))]
        first = 3
    if "close" in roles and "price" in (names := [re.sub(r"\W", "", n).lower() for n in head]) and "close" in names:
        roles = ["" if name == "price" and n else role for n, (name, role) in enumerate(zip(names, roles, strict=True))]
    wanted = ["date", *ROLES[:5], *(["adj close"] if "adj close" in roles else [])]
    if any(roles.count(role) != 1 for role in wanted):
        raise ValueError("columns")
    body = rows[first:]
    if any(len(row) != len(head) for row in body):
        raise ValueError("a row of another length")
    if "ticker" in roles and form.layout == "long":
        body = [row for row in body if row[roles.index("ticker")].strip().upper() == TICKER]
    clock = [row[1] for row in body] if form.layout == "mt4" else [""] * len(body)
    dates = [_date(f"{row[roles.index('date')]} {time}", form) for row, time in zip(body, clock, strict=True)]
    if dates != sorted(dates):
        dates, body = dates[::-1], body[::-1]
    if not dates or dates != sorted(set(dates)):
        raise ValueError("dates in no order")
    raw = {role: [_number(row[roles.index(role)], form, role) for row in body] for role in wanted[1:]}
    if any(value <= 0 and role != "volume" for role, values in raw.items() for value in values):
        raise ValueError("not above 0")
    found = {role: np.array([float(value) for value in values]) for role, values in raw.items()}
    if "adj close" in found:
        factor = found.pop("adj close") / found["close"]
        found = {role: values if role == "volume" else values * factor for role, values in found.items()}
    return dates, found


def _role(name: str) -> str:
    bare = _letters(name)
    return _SPELT.get(bare, "") or _FOREIGN.get(bare, "")


def _date(cell: str, form: Form) -> datetime.date:
    """The day of a bar, and its time if it is one within a day. Raises ValueError."""
    text, pattern = cell.strip(), form.date
    if form.date == "excel":
        seconds = round((Decimal(text) - 25_569) * 86_400)
    elif form.date in COUNTS:
        seconds = int(text) // COUNTS[form.date]
    else:
        if form.date_cells:
            text = text.removesuffix(" 00:00:00")
        if "%b" in pattern:
            word = re.search(r"[^\W\d_]{3,}", text.replace(" de ", " "))
            month = _MONTH.get(_letters(word[0])[:4]) or _MONTH.get(_letters(word[0])[:3]) if word else None
            if not word or not month:
                raise ValueError(f"{cell!r}: no month")
            text = text.replace(word[0], str(month))
            text, pattern = (re.sub(r"[\s,./-]+|de ", " ", x.replace("%b", "%m")) for x in (text, pattern))
        seconds = int(np.datetime64(datetime.datetime.strptime(text, pattern), "s").astype(np.int64))
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return moment if STEPS[form.step] else moment.date()


def _number(cell: str, form: Form, role: str) -> Decimal:
    text = cell.strip().removeprefix(form.currency or " ").strip()
    scale = {"K": 3, "M": 6, "B": 9, "T": 12}.get(text[-1:].upper(), 0) if form.millions and role == "volume" else 0
    whole, point, fraction = (text[:-1] if scale else text).partition(form.decimal)
    groups = re.split(r"[\s'’,]" if form.decimal == "." else r"[\s'’.]", whole)
    if len(groups) > 1 and not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
        raise ValueError(f"{cell!r}: groups")
    plain = "".join(groups) + (f".{fraction}" if point else "")
    if not re.fullmatch(r"[+-]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]+)?", plain):
        raise ValueError(f"{cell!r}: no number")
    return Decimal(plain).scaleb(scale)


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
            lambda: _table_of_json(content) if is_json else table_of(sound, form),
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
