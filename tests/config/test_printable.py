"""Text from a file neither drives the terminal nor runs in a spreadsheet, and is read back as it was."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockml.config.printable import csv_cell, from_csv_cell, json_text, printable
from stockml.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x9b31m",
        "\x07",
        "\r",
        "\x7f",
        "\u202e",
        "\u2066",
        "\x00",
        "\x0b",
        "\u200b",
        "\ufeff",
        "\xad",
        "\ud800",
        "\udcff",
    ],
)
def test_what_drives_a_terminal_is_escaped(text: str) -> None:
    assert printable(f"a{text}b").isascii() and printable(f"a{text}b").isprintable()
    assert printable(text) in str(UserError(f"no {text}"))


@pytest.mark.parametrize("text", ["Société – 株式会社 🎉", "a\tb\nc", "ä\u0301", "-1.5 %"])
def test_other_text_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1", "-", "-x"])
def test_no_cell_begins_as_a_formula_does(text: str) -> None:
    assert csv_cell(text)[0] == "'" and from_csv_cell(csv_cell(text)) == text


@pytest.mark.parametrize("text", ["-0.5", "+1e-05", "-inf", "12", "nan", "2020-01-02", "AAPL", "BRK-B", "^GSPC", ""])
def test_numbers_dates_and_tickers_stay(text: str) -> None:
    assert csv_cell(text) == from_csv_cell(text) == text


@given(st.text(st.sampled_from("'=+-@\t\n\r\x9b\u202e1.ax,\"")))
def test_any_text_is_read_back_as_it_is_shown(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow([csv_cell(text), "x"])
    [[cell, _]] = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert from_csv_cell(cell) == printable(text)


@given(st.text())
def test_json_holds_no_control_character_and_is_read_back(text: str) -> None:
    written = json_text(json.dumps([text], ensure_ascii=False))
    assert json.loads(written) == [text] and printable(written) == written
