"""Writes tables of daily bars in every format that exports have, and packs them into every kind of file."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import re
import struct
import zipfile
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import zstandard

ROLES = ("open", "high", "low", "close", "volume", "adj close")
COUNTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Rows = Sequence[tuple[datetime.date, Mapping[str, Decimal]]]
"""Bars, oldest first; those within a day have times."""
STEPS = {"day": 0, "week": 0, "month": 0, "hour": 3600, "5 minutes": 300}
"""Frequencies of bars: seconds between those within a day."""
_SESSION = (34_200, 57_600)  # seconds of the day, 9:30 to 16:00


@dataclass(frozen=True)
class Form:
    """The format of a table."""

    names: tuple[str, ...] = ("Date", "Open", "High", "Low", "Close", "Volume")
    """Names of the date, open, high, low, close, volume, and as an optional seventh the adjusted close."""
    order: tuple[int, ...] = ()
    """The order of the columns, if it is not that of the names."""
    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    date: str = "%Y-%m-%d"
    """A strptime format, or a count: excel, s, ms, us, ns."""
    zone: str = ""
    """The time zone of the bars, if the file has the same times in UTC."""
    months: tuple[str, ...] = ()
    """The names of the months, if they are not English."""
    padded: bool = True
    """Whether days and months have two digits; they always do in YYYYMMDD."""
    newest_first: bool = False
    currency: str = ""
    millions: bool = False
    """Whether the volume is written as 113.9M."""
    quoted: bool = False
    encoding: str = "utf-8"
    line_end: str = "\n"
    blank_rows: int = 0
    tickers: tuple[str, ...] = ()
    """Other stocks in the file."""
    layout: str = "plain"
    """plain | long (a column of tickers) | header (a row of tickers) | prefix (the ticker in each name) | index (an
    unnamed column of row numbers first) | klines (of Binance, no names) | mt4 (no names, times apart)."""
    ticker_name: str = "Symbol"
    extra: bool = False
    """Whether there is an unused column too."""
    container: str = ""
    """gz | bz2 | xz | zst | zip | json | jsonl | xlsx | ods | xls"""
    step: str = "day"
    """The frequency of the bars, one of `STEPS`."""
    date_cells: bool = False
    """Whether dates as 2020-01-02 are cells of a date in a spreadsheet."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The columns other than the date, in the order of `names`."""
        return ROLES[: len(self.names) - 1]


def moments(first: datetime.date, count: int, step: str) -> list[datetime.date]:
    """The dates of so many bars of a frequency on weekdays: of weeks on Fridays, of months on their first days."""
    day = np.datetime64(first)
    if step == "month":
        return [date.item() for date in (day.astype("M8[M]") + np.arange(count)).astype("M8[D]")]
    if step == "week":
        return [date.item() for date in np.busday_offset(day, 0, "forward", weekmask="Fri") + 7 * np.arange(count)]
    times = np.arange(*_SESSION, STEPS[step]) if STEPS[step] else np.zeros(1, dtype=np.int64)
    days = np.busday_offset(day, np.arange(-(-count // len(times))), roll="forward")
    each = (days.astype("M8[s]")[:, None] + times.astype("m8[s]")).ravel()[:count]
    return [date.item() for date in (each if STEPS[step] else each.astype("M8[D]"))]


def number(value: Decimal, form: Form, role: str) -> str:
    """A number in the format."""
    scaled = form.millions and role == "volume"
    text = f"{(value.scaleb(-6) if scaled else value):,f}"
    text = text.translate({ord(","): form.thousands, ord("."): form.decimal})
    return f"{form.currency if role != 'volume' else ''}{text}{'M' if scaled else ''}"


def day(date: datetime.date, form: Form) -> str:
    """A date in the format."""
    has_time = isinstance(date, datetime.datetime) or bool(form.zone)
    if form.zone:
        there = np.datetime64(date, "s").item().replace(tzinfo=zoneinfo.ZoneInfo(form.zone))
        date = there.astimezone(datetime.UTC).replace(tzinfo=None)
    seconds = int(np.datetime64(date, "s").astype(np.int64))
    if form.date == "excel":
        return f"{seconds / 86_400 + 25_569:.10g}"
    if form.date in COUNTS:
        return str((seconds + (0 if has_time else _SESSION[0])) * COUNTS[form.date])
    pattern = (
        form.date
        if form.padded or form.date.startswith("%Y%m%d")
        else form.date.replace("%d", str(date.day)).replace("%m", str(date.month))
    )
    if form.months:
        pattern = pattern.replace("%b", form.months[date.month - 1])
    return date.strftime(pattern)


def written(rows: Rows, ticker: str, form: Form) -> bytes:
    """Write the file; other tickers have the same bars with doubled prices."""
    return packed(as_text(rows, ticker, form), form)


def as_text(rows: Rows, ticker: str, form: Form) -> bytes:
    """Write the file's table as text; other tickers have the same bars with doubled prices."""
    stocks = [*form.tickers[:1], ticker, *form.tickers[1:]]
    factors = {t: Decimal(1 if t == ticker else 2) for t in stocks}
    table: list[list[str]] = []
    for date, bar in reversed(rows) if form.newest_first else rows:
        cells = {t: [number(bar[role] * factors[t], form, role) for role in form.roles] for t in stocks}
        if form.layout == "long":
            table += [_ordered([day(date, form), *cells[t]], form, [t]) for t in stocks]
        elif form.layout == "klines":
            opened = day(date, form)
            table.append([opened, *cells[ticker], str(int(opened) + 86_399_999), "9.5", "9", "9.5", "9.5", "0"])
        elif form.layout == "mt4":
            table.append([*day(date, form).split(" "), *cells[ticker]])
        elif form.layout == "header":
            table.append([day(date, form), *(cell for t in stocks for cell in cells[t])])
        else:
            table.append(_ordered([day(date, form), *cells[ticker]], form, []))
    date_name, *names = form.names
    if form.layout == "header":
        head = [["Price", *names * len(stocks)], ["Ticker", *(t for t in stocks for _ in names)]]
        head.append([date_name, *[""] * len(names) * len(stocks)])
    elif form.layout == "prefix":
        head = [_ordered(["", *(f"{ticker}.{name}" for name in names)], form, [])]
    elif form.layout in ("klines", "mt4"):
        head = []
    else:
        head = [_ordered([date_name, *names], form, [form.ticker_name] if form.layout == "long" else [])]
    if form.layout == "index":
        table, head = [[str(n + 1), *row] for n, row in enumerate(table)], [["", *head[0]]]
    if form.extra:
        table, head = [[*row, "-0.5%"] for row in table], [[*row, "Change %" if row[-1] else ""] for row in head]
    table += [[""] * len(table[0])] * form.blank_rows
    text = io.StringIO()
    style: dict[str, Any] = {"quoting": csv.QUOTE_ALL if form.quoted else csv.QUOTE_MINIMAL}
    csv.writer(text, delimiter=form.delimiter, lineterminator=form.line_end, **style).writerows([*head, *table])
    return text.getvalue().encode(form.encoding)


def packed(content: bytes, form: Form) -> bytes:
    """The text of a table in its container. ValueError where its rows are of different lengths and may not be."""
    match form.container:
        case "":
            return content
        case "gz":
            return gzip.compress(content, mtime=0)
        case "bz2":
            return bz2.compress(content)
        case "xz":
            return lzma.compress(content)
        case "zst":
            return zstandard.ZstdCompressor(write_checksum=True).compress(content)
        case "zip":
            return _archive({"folder/": b"", "folder/bars.csv": content})
    text = io.StringIO(content.decode(form.encoding), newline="")
    table = list(csv.reader(text, delimiter=form.delimiter))
    plain = _PLAIN if form.decimal == "." and form.thousands != "." else _NEVER
    if form.container in ("xlsx", "ods", "xls"):
        return spreadsheet({"Bars": table}, form.container, plain, _DATE if form.date_cells else _NEVER)
    values = [[json.loads(cell) if plain.fullmatch(cell) else cell for cell in row] for row in table[1:] if any(row)]
    records = [dict(zip(table[0], row, strict=True)) for row in values]
    if form.container == "jsonl":
        return "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
    return json.dumps({"status": "OK", "count": len(records), "results": records}).encode()


_PLAIN = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
"""A cell that is a number of its own in a spreadsheet or in JSON, if the table's decimal mark is a point."""
_DATE = re.compile(r"(19[7-9]|20[0-4])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])")
_NEVER = re.compile(r"(?!)")


Sheets = Mapping[str, list[list[str]]]


def spreadsheet(sheets: Sheets, ending: str, plain: re.Pattern[str] = _PLAIN, dates: re.Pattern[str] = _NEVER) -> bytes:
    """An xlsx, ods or xls file, where the cells that match `plain` are numbers, and those that match `dates` dates."""
    return {"xlsx": _xlsx, "ods": _ods, "xls": _xls}[ending](sheets, plain, dates)


def _serial(text: str) -> int:
    return (datetime.date.fromisoformat(text) - datetime.date(1899, 12, 30)).days


def _archive(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _xlsx(sheets: Sheets, plain: re.Pattern[str], dates: re.Pattern[str]) -> bytes:
    def cell(text: str) -> str:
        if dates.fullmatch(text):
            return f'<c s="1"><v>{_serial(text)}</v></c>'
        if plain.fullmatch(text):
            return f"<c><v>{text}</v></c>"
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'

    def relations(*targets: tuple[str, str]) -> bytes:
        each = "".join(
            f'<Relationship Id="r{n + 1}" Type="{of_office}/{kind}" Target="{target}"/>'
            for n, (kind, target) in enumerate(targets)
        )
        return f'<Relationships xmlns="{schemas}/package/2006/relationships">{each}</Relationships>'.encode()

    schemas = "http://schemas.openxmlformats.org"
    main, of_office = f"{schemas}/spreadsheetml/2006/main", f"{schemas}/officeDocument/2006/relationships"
    names = {f"worksheets/sheet{n + 1}.xml": table for n, table in enumerate(sheets.values())}
    rows = {name: "".join(f"<row>{''.join(map(cell, row))}</row>" for row in table) for name, table in names.items()}
    formats = '<xf numFmtId="0"/><xf numFmtId="14"/>'
    book = f'<workbook xmlns="{main}" xmlns:r="{of_office}"><sheets>'
    book += (
        "".join(f'<sheet name="{s}" sheetId="{n + 1}" r:id="r{n + 1}"/>' for n, s in enumerate(sheets))
        + "</sheets></workbook>"
    )
    return _archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{schemas}/package/2006/content-types"/>'.encode(),
            "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": book.encode(),
            "xl/_rels/workbook.xml.rels": relations(*(("worksheet", name) for name in names), ("styles", "styles.xml")),
            "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs>{formats}</cellXfs></styleSheet>'.encode(),
        }
        | {
            f"xl/{name}": f'<worksheet xmlns="{main}"><sheetData>{each}</sheetData></worksheet>'.encode()
            for name, each in rows.items()
        }
    )


def _ods(sheets: Sheets, plain: re.Pattern[str], dates: re.Pattern[str]) -> bytes:
    def cell(text: str) -> str:
        if dates.fullmatch(text):
            return f'<table:table-cell office:value-type="date" office:date-value="{text}"/>'
        if plain.fullmatch(text):
            return f'<table:table-cell office:value-type="float" office:value="{text}"/>'
        return f'<table:table-cell office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'

    names = ("office", "table", "text")
    rows = {
        name: "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in table)
        for name, table in sheets.items()
    }
    tables = "".join(f'<table:table table:name="{name}">{each}</table:table>' for name, each in rows.items())
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    content = (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = b'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    kind = b"application/vnd.oasis.opendocument.spreadsheet"
    return _archive({"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content.encode()})


def _xls(sheets: Sheets, plain: re.Pattern[str], dates: re.Pattern[str]) -> bytes:
    """An Excel 97 file: a compound file of sectors of 512 bytes, with one stream of records, which has one sheet."""

    def record(kind: int, content: bytes) -> bytes:
        return struct.pack("<HH", kind, len(content)) + content

    def cell(row: int, column: int, text: str) -> bytes:
        if dates.fullmatch(text) or plain.fullmatch(text):
            value = _serial(text) if dates.fullmatch(text) else float(text)
            return record(0x203, struct.pack("<HHHd", row, column, bool(dates.fullmatch(text)), value))
        return record(0x204, struct.pack("<HHHHB", row, column, 0, len(text), 1) + text.encode("utf-16-le"))

    def begin(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 0))

    end, book = record(0x0A, b""), begin(5)
    book += b"".join(record(0xE0, struct.pack("<HHH14x", 0, form, 0)) for form in (0, 14))
    bodies = []
    for table in sheets.values():
        size = record(0x200, struct.pack("<IIHHH", 0, len(table), 0, max(map(len, table)), 0))
        cells = [cell(r, c, text) for r, row in enumerate(table) for c, text in enumerate(row) if text]
        bodies.append(begin(16) + size + b"".join(cells) + end)
    place = len(book) + len(end) + sum(12 + len(name) for name in sheets)
    for name, body in zip(sheets, bodies, strict=True):
        book += record(0x85, struct.pack("<IHBB", place, 0, len(name), 0) + name.encode())
        place += len(body)
    book += end + b"".join(bodies)
    book += b"\0" * (max(4096, len(book)) - len(book))  # shorter streams are kept elsewhere
    stream = -(-len(book) // 512)
    fats = -(-(stream + 1) // 127)
    fat = [-3] * fats + [-2] + [*range(fats + 2, fats + stream + 1), -2]
    signature = bytes.fromhex("d0cf11e0a1b11ae1")
    head = struct.pack("<8s16xHHHHH6x", signature, 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<IIiIIiIiI", 0, fats, fats, 0, 4096, -2, 0, -2, 0)
    head += struct.pack("<109i", *range(fats), *[-1] * (109 - fats))
    entries = [("Root Entry", 5, 1, -2, 0), ("Workbook", 2, -1, fats + 1, len(book))]
    folder = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBiii36xiQ", 2 * len(name) + 2, kind, 1, -1, -1, child, first, size)
        for name, kind, child, first, size in entries
    )
    sectors = struct.pack(f"<{128 * fats}i", *fat, *[-1] * (128 * fats - len(fat))) + folder.ljust(512, b"\0")
    return head + sectors + book.ljust(512 * stream, b"\0")


def _ordered(cells: list[str], form: Form, ticker: list[str]) -> list[str]:
    return [*ticker, *([cells[n] for n in form.order] if form.order else cells)]
