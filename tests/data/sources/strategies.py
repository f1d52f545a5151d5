"""Exports of bars in random formats, for hypothesis."""

from __future__ import annotations

import datetime
from decimal import Decimal

from hypothesis import strategies as st

from tests.data.sources.exports import STEPS, Form, Rows, moments
from tests.data.sources.spellings import COUNTED, ISO, LOCAL, LOCAL_TIMED, MONTHS, NAMED, NAMES, TIMED


@st.composite
def forms(draw: st.DrawFn) -> Form:
    """Any combination of the formats of exports."""
    layout = draw(st.sampled_from(["plain", "long", "header", "prefix", "index"]))
    names = draw(st.sampled_from(NAMES[:2] if layout in ("header", "prefix") else NAMES))
    decimal = draw(st.sampled_from(".,"))
    step = draw(st.sampled_from(["day", *STEPS]))
    date = draw(st.sampled_from([*TIMED, *LOCAL_TIMED, *COUNTED] if STEPS[step] else [*ISO, *LOCAL, *NAMED, *COUNTED]))
    is_stamp = date in TIMED or date in COUNTED
    zone = draw(st.sampled_from(["", "America/New_York", "Asia/Tokyo"])) if is_stamp or not STEPS[step] else ""
    if zone and not is_stamp:
        date = draw(st.sampled_from(TIMED))
    container = draw(st.sampled_from(["", "", "gz", "bz2", "xz", "zst", "zip", "xlsx", "ods", "xls", "json", "jsonl"]))
    if layout not in ("plain", "long") and container.startswith("json"):
        container = "zip"
    return Form(
        names=names,
        order=() if layout in ("header", "prefix") else tuple(draw(st.permutations(range(len(names))))),
        delimiter=draw(st.sampled_from(",;\t|")),
        decimal=decimal,
        thousands=draw(st.sampled_from(["", "\xa0", " ", "'", "," if decimal == "." else "."])),
        date=date,
        months=draw(st.sampled_from([(), *(tuple(names.split()) for names in MONTHS.values())]))
        if "%b" in date
        else (),
        padded=draw(st.booleans()),
        newest_first=draw(st.booleans()),
        currency=draw(st.sampled_from(["", "", "$", "€"])),
        millions=draw(st.booleans()),
        quoted=draw(st.booleans()),
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        line_end=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        blank_rows=draw(st.integers(0, 2)),
        tickers=draw(st.sampled_from([(), ("MSFT",), ("A", "BRK-B")])) if layout in ("long", "header") else (),
        layout=layout,
        ticker_name=draw(st.sampled_from(["Symbol", "ticker", "<TICKER>", "Name"])),
        extra=draw(st.booleans()),
        container=container,
        step=step,
        zone=zone,
        date_cells=draw(st.booleans()),
    )


@st.composite
def exports(draw: st.DrawFn) -> tuple[Rows, Form]:
    """Consecutive bars with prices of up to six decimals, of which at least one has two; and their format."""
    form = draw(forms())
    first = draw(st.dates(datetime.date(1975 if form.date in COUNTED else 1970, 1, 5), datetime.date(2060, 1, 1)))
    dates = moments(first, draw(st.integers(6 if form.step == "month" else 3, 12)), form.step)
    price = st.integers(1, 10**9).flatmap(lambda n: st.integers(0, 6).map(lambda places: Decimal(n).scaleb(-places)))
    rows = [
        (date, {**{name: draw(price) for name in ("open", "high", "low", "close", "adj close")}, "volume": Decimal(0)})
        for date in dates
    ]
    for _, bar in rows:
        bar["volume"] = Decimal(draw(st.integers(0, 10**11)))
    rows[0][1]["close"] = Decimal(draw(st.integers(100_001, 10**9))).scaleb(-2)
    return rows, form
