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
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import zstandard

ROLES = ("open", "high", "low", "close", "volume", "adj close")
COUNTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Rows = Sequence[tuple[datetime.date, Mapping[str, Decimal]]]
"""One bar per day, oldest first."""


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
    unnamed column of row numbers first)."""
    ticker_name: str = "Symbol"
    extra: bool = False
    """Whether there is an unused column too."""
    container: str = ""
    """gz | bz2 | xz | zst | zip | json | jsonl | xlsx | ods"""

    @property
    def roles(self) -> tuple[str, ...]:
        """The columns other than the date, in the order of `names`."""
        return ROLES[: len(self.names) - 1]


def number(value: Decimal, form: Form, role: str) -> str:
    """A number in the format."""
    scaled = form.millions and role == "volume"
    text = f"{(value.scaleb(-6) if scaled else value):,f}"
    text = text.translate({ord(","): form.thousands, ord("."): form.decimal})
    return f"{form.currency if role != 'volume' else ''}{text}{'M' if scaled else ''}"


def day(date: datetime.date, form: Form) -> str:
    """A date in the format."""
    since = (date - datetime.date(1970, 1, 1)).days
    if form.date == "excel":
        return str(since + 25_569)
    if form.date in COUNTS:
        return str((since * 86_400 + 34_200) * COUNTS[form.date])
    pattern = (
        form.date
        if form.padded or form.date == "%Y%m%d"
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
    else:
        head = [_ordered([date_name, *names], form, [form.ticker_name] if form.layout == "long" else [])]
    if form.layout == "index":
        table, head = [[str(n + 1), *row] for n, row in enumerate(table)], [["", *head[0]]]
    if form.extra:
        table, head = [[*row, "-0.5%"] for row in table], [[*row, "Change %" if row[-1] else ""] for row in head]
    table += [[""] * len(head[0])] * form.blank_rows
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
    if form.container in ("xlsx", "ods"):
        return spreadsheet(table, form.container, plain)
    values = [[json.loads(cell) if plain.fullmatch(cell) else cell for cell in row] for row in table[1:] if any(row)]
    records = [dict(zip(table[0], row, strict=True)) for row in values]
    if form.container == "jsonl":
        return "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
    return json.dumps({"status": "OK", "count": len(records), "results": records}).encode()


_PLAIN = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
"""A cell that is a number of its own in a spreadsheet or in JSON, if the table's decimal mark is a point."""
_NEVER = re.compile(r"(?!)")


def spreadsheet(table: list[list[str]], ending: str, plain: re.Pattern[str] = _PLAIN) -> bytes:
    """An xlsx or ods file, where the cells that match `plain` are numbers."""
    return (_xlsx if ending == "xlsx" else _ods)(table, plain)


def _archive(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _xlsx(table: list[list[str]], plain: re.Pattern[str]) -> bytes:
    def cell(text: str) -> str:
        if plain.fullmatch(text):
            return f"<c><v>{text}</v></c>"
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'

    def relations(kind: str, target: str) -> bytes:
        one = f'<Relationship Id="r1" Type="{of_office}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{schemas}/package/2006/relationships">{one}</Relationships>'.encode()

    schemas = "http://schemas.openxmlformats.org"
    main, of_office = f"{schemas}/spreadsheetml/2006/main", f"{schemas}/officeDocument/2006/relationships"
    rows = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in table)
    sheets = '<sheets><sheet name="Bars" sheetId="1" r:id="r1"/></sheets>'
    return _archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{schemas}/package/2006/content-types"/>'.encode(),
            "_rels/.rels": relations("officeDocument", "xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{of_office}">{sheets}</workbook>'.encode(),
            "xl/_rels/workbook.xml.rels": relations("worksheet", "worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'.encode(),
        }
    )


def _ods(table: list[list[str]], plain: re.Pattern[str]) -> bytes:
    def cell(text: str) -> str:
        if plain.fullmatch(text):
            return f'<table:table-cell office:value-type="float" office:value="{text}"/>'
        return f'<table:table-cell office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'

    names = ("office", "table", "text")
    rows = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in table)
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    content = (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>"
        f'<table:table table:name="Bars">{rows}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = b'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    kind = b"application/vnd.oasis.opendocument.spreadsheet"
    return _archive({"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content.encode()})


def _ordered(cells: list[str], form: Form, ticker: list[str]) -> list[str]:
    return [*ticker, *([cells[n] for n in form.order] if form.order else cells)]
