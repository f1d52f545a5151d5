"""Damaged exports of daily bars: each is read as it stands, or refused in one line.

    python tests/campaigns/mutations.py [FILES, default 2000]

In exports of ten forms, bytes are flipped, files cut off, columns swapped and rows shuffled. What is loaded must equal,
to the last digit, what an independent reader (the csv module and Decimal) finds in the damaged text. That reader knows
the form of the file; the tested one must recognise it. Where it finds no bars, loading must fail with one line.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import random
import re
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
from tests.data.sources.exports import ROLES, Form, Rows, written

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
]  # fmt: skip


def bars(rng: random.Random, days: int = 40) -> Rows:
    """A random walk of weekdays."""
    first = np.datetime64("2010-01-01") + rng.randrange(3000)
    price, rows = Decimal(rng.randrange(500, 500_000)).scaleb(-2), []
    for date in np.busday_offset(first, np.arange(days), roll="forward").tolist():
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

_SPELT = {
    "date": "date",
    **dict.fromkeys(("open", "high", "low", "close", "volume"), ""),
    "closelast": "close",
    "price": "close",
    "last": "close",
    "vol": "volume",
    "adjclose": "adj close",
    "symbol": "ticker",
    "ticker": "ticker",
}


def read_independently(content: bytes, form: Form) -> tuple[list[datetime.date], dict[str, np.ndarray[Any, Any]]]:
    """Dates and adjusted columns, oldest first. Raises ValueError if the file has anything but bars in order."""
    text = content.decode(form.encoding.removesuffix("-sig") if form.encoding == "utf-16" else "utf-8-sig")
    if "\0" in text:
        raise ValueError("zero byte")
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    reader = csv.reader(io.StringIO(text), delimiter=form.delimiter, skipinitialspace=True)
    rows = list(reader)
    if reader.line_num != len(rows):
        raise ValueError("a quoted cell of several lines")
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    while rows and not any(cell.strip() for cell in rows[0]):
        rows.pop(0)
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
    dates = [_date(row[roles.index("date")], form) for row in body]
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
    bare = re.sub(r"[\W_]|\(.*\)", "", name).lower()
    return _SPELT.get(bare, "") or (bare if bare in _SPELT else "")


def _date(cell: str, form: Form) -> datetime.date:
    return datetime.datetime.strptime(cell.strip(), form.date).date()


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


def outcome(content: bytes, form: Form, path: Path, config: Config) -> str:
    """What happened to a file: `read as it stands`, `refused`, or what went wrong."""
    path.write_bytes(content)
    signal.alarm(20)
    try:
        read = tables.load(config)
    except UserError as error:
        return "refused" if len(error.lines) == 1 and "\n" not in error.lines[0] else f"not one line: {error}"
    except Exception:
        return f"a traceback\n{traceback.format_exc()}"
    finally:
        signal.alarm(0)
    try:
        dates, columns = read_independently(content, form)
    except (ValueError, ArithmeticError, IndexError, csv.Error) as error:
        return f"read although it has no bars ({error!r}); parsing notes: {read.parsing_notes}"
    if read.dates.tolist() != dates or not all(np.array_equal(v, columns[name]) for name, v in read.columns.items()):
        return f"read as something else; parsing notes: {read.parsing_notes}"
    return "read as it stands"


def outcomes(files: int, folder: Path, seed: int = 0) -> Counter[str]:
    """How many files had which outcome; files with a wrong outcome stay in the folder."""
    rng, counts = random.Random(seed), Counter[str]()
    path = folder / f"{TICKER}.csv"
    base = compose.compose("data=csv", "data.dir=.", f"stock.ticker={TICKER}")
    config = dataclasses.replace(base, data=dataclasses.replace(cast("Any", base.data), dir=str(folder)))
    for form in FORMS:
        sound = outcome(written(bars(rng), TICKER, form), form, path, config)
        assert sound == "read as it stands", (form, sound)
    for number in range(files):
        form = FORMS[number % len(FORMS)]
        mutate = rng.choice(MUTATIONS)
        content = mutate(written(bars(rng), TICKER, form), form, rng)
        became = outcome(content, form, path, config)
        if became not in ("read as it stands", "refused"):
            became = f"{became} [{mutate.__name__}, form {number % len(FORMS)}, {number}.bad]"
            (folder / f"{number}.bad").write_bytes(content)
        counts[became] += 1
    return counts


def main(files: int) -> int:
    """Print the outcomes; 1 if a file was read wrongly, or not refused in one line."""
    folder = Path(tempfile.mkdtemp())
    counts = outcomes(files, folder)
    for became, count in counts.most_common():
        print(f"{count:>6}  {became}")
    wrong = set(counts) - {"read as it stands", "refused"}
    if wrong:
        print(f"the files are in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
