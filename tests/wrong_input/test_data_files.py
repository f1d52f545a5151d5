"""Wrong arrays are named by file and key, wrong bars by file and line."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
import zstandard

from tests.data.sources.exports import spreadsheet
from tests.wrong_input.inputs import (
    ARRAYS,
    BARS,
    Making,
    _Code,
    assert_refused,
    bars,
    cell,
    cut,
    file,
    nothing,
    npz,
    packed,
    poked,
    renamed,
    saved,
    sound_arrays,
    table,
    text,
    whole_column,
    zipped,
)

NPZ = [
    # files
    pytest.param(nothing, "data.path=…a.npz: there is no such file", id="no-file"),
    pytest.param(file("a.npz", b""), "a.npz: is not a readable npz file…np.savez", id="empty"),
    pytest.param(file("a.npz", "Date,Close\n"), "a.npz: is not a readable npz file…np.savez", id="text"),
    pytest.param(file("a.npz", bytes(range(256))), "a.npz: is not a readable npz file…np.savez", id="binary"),
    pytest.param(file("a.npz", cut(packed(), 0.5)), "a.npz: is not a readable npz file…truncated", id="truncated"),
    pytest.param(file("a.npz", packed().replace(b"<f8", b"<q9")), "a.npz: is not a readable npz file ", id="damaged"),
    pytest.param(file("a.npz", saved(np.ones(9))), "a.npz: is not a readable npz file…X_train, …np.savez", id="npy"),
    pytest.param(file("a.npz", pickle.dumps(_Code())), "a.npz: is not a readable npz file…np.savez", id="pickle"),
    pytest.param(npz(y_train=np.array([_Code()] * 50)), "a.npz: …pickled …save plain arrays", id="pickled-objects"),
    pytest.param(
        file("a.npz", zipped(**dict.fromkeys(sound_arrays(), "1"))), "a.npz: X_train is not an array", id="zip-of-texts"
    ),
    # keys, shapes, types
    pytest.param(npz(X_test=None, y_test=None), "a.npz: has no X_test, y_test; …this one has X_train, y", id="keys"),
    pytest.param(npz(X_train=np.ones((50, 5))), "a.npz: X_train has shape (50, 5); must be (N, T, F)", id="flat-X"),
    pytest.param(npz(y_test=np.ones(19)), "a.npz: X_test has 20 samples, y_test 19; they must be equal", id="lengths"),
    pytest.param(
        npz(X_train=np.ones((0, 5, 2)), y_train=np.ones(0)), "X_train has shape (0, 5, 2): it is empty", id="no-samples"
    ),
    pytest.param(npz(X_train=np.ones((2, 5, 2)), y_train=np.ones(2)), "split too small (train 1, ", id="two-samples"),
    pytest.param(npz(y_train=np.array(["up"] * 50)), "a.npz: y_train is of type <U2; must be numbers", id="strings"),
    # numbers
    pytest.param(poked("X_train", (3, 2, 1), np.nan), "a.npz: X_train …NaN…at [3, 2, 1]; fill or drop", id="nan"),
    pytest.param(poked("X_test", (3, 2, 1), 1e39), "a.npz: X_test …at [3, 2, 1]; fill or drop", id="beyond-float32"),
    pytest.param(npz(X_train=np.ones((50, 5, 2))), "a.npz: feature x0 never changes in train", id="constant-feature"),
    pytest.param(npz(y_train=np.ones(50)), "a.npz: the target never changes in train (always 1)", id="constant-target"),
]


@pytest.mark.parametrize(("making", "says"), NPZ)
def test_wrong_arrays_are_told_by_file_and_key(making: Making, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, making, ARRAYS, [says])


def set_back(rows: list[list[str]]) -> None:
    """Hours around the clock, as in New York, on the day on which clocks are set back."""
    for number, row in enumerate(rows[1:]):
        row[0] = f"2021-11-{6 + (number + 18) // 24:02} {(number + 18) % 24:02}:00:00-04:00"
        if number >= 8:
            row[0] = f"2021-11-{7 + (number - 7) // 24:02} {(number - 7) % 24:02}:00:00-05:00"


CSV = [
    # files
    pytest.param(nothing, "data.dir=…: holds no AAPL.csv, …; it holds no table", id="no-file"),
    pytest.param(file("AAPL.csv", ""), "AAPL.csv: …empty…", id="empty"),
    pytest.param(
        file("AAPL.csv", b"PK\x03\x04\xff\xfe"), "AAPL.csv: cannot be unpacked (File is not a zip …again", id="binary"
    ),
    pytest.param(
        file("AAPL.csv", cut(text(table()).encode(), 0.51)), "AAPL.csv, line 32: has fewer cells than", id="truncated"
    ),
    pytest.param(file("AAPL.parquet", b"PAR1"), "AAPL.parquet: cannot be read", id="truncated-parquet"),
    # shape
    pytest.param(bars(days=0), "AAPL.csv: holds no bars, only the names", id="names-alone"),
    pytest.param(bars(days=8), "AAPL.csv: 8 bars are too few for …; more bars, or a lower data.window", id="too-few"),
    pytest.param(renamed("Close", "Clothes"), "AAPL.csv: has no column Close; it has Date, Open", id="no-close"),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(None), [[*row, row[4]] for row in rows])),
        "AAPL.csv: …Close twice",
        id="column-twice",
    ),
    pytest.param(bars(lambda rows: rows.pop(0)), "AAPL.csv: has no column Date, Open, High", id="no-names"),
    pytest.param(
        bars(lambda rows: rows[4].append("9")),
        "AAPL.csv, line 5: has more cells than the 6 names; fix",
        id="field-too-many",
    ),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(1, None), [[*row, "9"] for row in rows[1:]])),
        "AAPL.csv, line 2: has more cells than the 6 names (60 bad rows",
        id="name-too-few",
    ),
    pytest.param(bars(lambda rows: rows[4].pop()), "AAPL.csv, line 5: has fewer cells than", id="field-too-few"),
    pytest.param(bars(lambda rows: rows.insert(4, [])), "AAPL.csv, line 5: is blank; fix", id="blank-line"),
    # cells
    pytest.param(cell(5, "Close", "n/a"), "AAPL.csv, line 5: Close is 'n/a', no number …fix or delete", id="no-number"),
    pytest.param(cell(5, "Close", ""), "AAPL.csv, line 5: Close is empty, no number …fix or delete", id="empty-cell"),
    pytest.param(cell(5, "Close", "1e39"), "AAPL.csv, line 5: Close is …fix or delete", id="beyond-float32"),
    pytest.param(cell(5, "Close", "1e-300"), "AAPL.csv, line 5: Close is …fix or delete", id="below-float32"),
    pytest.param(cell(5, "Low", "-3"), "AAPL.csv, line 5: Low is '-3', must be above 0; fix or delete", id="negative"),
    pytest.param(cell(5, "Close", '"9'), "AAPL.csv: cannot be read", id="open-quote"),
    pytest.param(whole_column("Volume", "0"), "AAPL.csv: feature volume never changes in train", id="constant-volume"),
    pytest.param(whole_column("Close", "5"), "AAPL.csv: feature close never changes in train", id="constant-close"),
    # dates
    pytest.param(cell(5, "Date", "soon"), "AAPL.csv, line 5: Date is 'soon'; must be a date, Y-M-D, or", id="no-date"),
    pytest.param(cell(5, "Date", "2020-01"), "AAPL.csv, line 5: Date is '2020-01'; must be", id="month-alone"),
    pytest.param(
        cell(5, "Date", "2020-01-03"),
        "AAPL.csv, line 5: …comes twice; there must be one line per day",
        id="twice",
    ),
    pytest.param(
        bars(lambda rows: rows.__setitem__(slice(5, 7), rows[6:4:-1])),
        "AAPL.csv, line 7: 2020-01-05 comes after 2020-01-06; …the oldest first",
        id="no-order",
    ),
    pytest.param(
        bars(set_back),
        "AAPL.csv, line 10: 2021-11-07T01:00:00 comes twice; …where clocks are set back, …: data.timezone=UTC",
        id="clocks-set-back",
    ),
]


@pytest.mark.parametrize(("making", "says"), CSV)
def test_wrong_bars_are_told_by_file_and_line(making: Making, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, making, BARS, [says])


def locked() -> bytes:
    """A zip file whose member is said to be encrypted."""
    content = bytearray(zipped(**{"AAPL.csv": text(table())}))
    for place in (6, content.index(b"PK\1\2") + 8):
        content[place] |= 1
    return bytes(content)


def sheets(ending: str, *names: str) -> bytes:
    """A spreadsheet of bars."""
    return spreadsheet(dict.fromkeys(names or ("Bars",), table()), ending)


RECORDS = [dict(zip(table()[0], row, strict=True)) for row in table()[1:]]
BY_POSITION = "'data.columns={date: 1, close: 5}' 'stock.features=[close]'"
UNNAMED = "its first line holds no names; if these are they: data.header=false 'data.columns={date: 1, open: 2…"
CONTAINERS = {
    "xlsx-cut": (file("AAPL.xlsx", cut(sheets("xlsx"), 0.5)), "", "AAPL.xlsx: cannot be unpacked (File …save it again"),
    "ods-damaged": (file("AAPL.ods", sheets("ods").replace(b"PK\1\2", b"PK\1\3", 1)), "", "AAPL.ods: cannot be …save"),
    "xls-cut": (file("AAPL.xls", cut(sheets("xls"), 0.3)), "", "AAPL.xls: cannot be read (…); open it, and save it as"),
    "two-sheets": (file("AAPL.xlsx", sheets("xlsx", "A", "B")), "", "holds 2 sheets of bars, A, B; save each as a CSV"),
    "no-cells": (file("AAPL.ods", spreadsheet({"A": [[""]]}, "ods")), "", "AAPL.ods: is empty; save the bars again"),
    "web-page": (file("AAPL.xls", "<html><table></table></html>"), "", "AAPL.xls: is a web page or XML; …as CSV"),
    "json-cut": (file("AAPL.json", json.dumps(RECORDS)[:900]), "", "AAPL.json: holds no JSON records, …char 900))"),
    "json-two": (file("AAPL.json", json.dumps({"a": RECORDS, "b": RECORDS})), "", "JSON records…(it has 2 tables)"),
    "json-bytes": (file("AAPL.json", json.dumps(RECORDS).encode() + b"\xee"), "", "AAPL.json: is no text in UTF-8 ("),
    "json-none": (file("AAPL.json", '{"error": "limit"}'), "", "AAPL.json: holds no table; JSON is read as"),
    "zip-of-two": (file("AAPL.zip", zipped(a="1", b="1")), "", "AAPL.zip: holds 2 files; unpack it, …data.dir=FOLDER"),
    "zip-locked": (file("AAPL.zip", locked()), "", "AAPL.zip: is protected by a password; unpack it…data.path=FILE"),
    "encoding": (
        file("AAPL.csv", "Tag,Zahl ß\n1,2\n".encode("cp1252")), "",
        "AAPL.csv: is no text in UTF-8 (…at byte 9), nor in another …save it as UTF-8 CSV",
    ),
    "carets": (
        file("AAPL.csv", text(table()).replace(",", "^")), "",
        "has no column …; its columns must be separated by commas, semicolons, tabs or |",
    ),
    "names-without-header": (
        bars(), "data.header=false 'data.columns={date: Date}'",
        "data.columns.date=Date: must be a position, from 1, as data.header=false",
    ),
    "header-after-all": (bars(), f"data.header=false {BY_POSITION}", "AAPL.csv, line 1: 1 is 'Date'; must be a date…"),
    "no-positions": (bars(lambda rows: rows.pop(0)), "data.header=false", UNNAMED),
    "beyond": (bars(), "'data.columns={volume: 9}'", "has no column 9, which data.columns.volume names; it has 6"),
}  # fmt: skip


@pytest.mark.parametrize(("making", "typed", "says"), CONTAINERS.values(), ids=CONTAINERS.keys())
def test_wrong_containers_are_told_by_file(
    making: Making, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, making, f"{BARS} {typed}", [says])


@pytest.mark.parametrize(
    ("module", "name", "content", "extra"),
    [
        ("python_calamine", "AAPL.xlsx", sheets("xlsx"), "excel"),
        ("zstandard", "AAPL.csv.zst", zstandard.compress(text(table()).encode()), "zstd"),
    ],
)
def test_a_container_says_what_to_install_for_it(
    module: str,
    name: str,
    content: bytes,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert_refused(capsys, file(name, content), BARS, [f"{name}: reading …pip install 'stockml[{extra}]'"])
