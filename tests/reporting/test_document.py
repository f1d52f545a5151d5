"""A page of any size is written in time that grows with its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stockml.reporting import document
from stockml.runs.files import Folder


class Rows(list[list[str]]):
    """Rows of a table that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[list[str]]:
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize("n", [1, 100])
def test_a_page_goes_through_the_rows_of_a_table_a_fixed_number_of_times(n: int, tmp_path: Path) -> None:
    rows = Rows([str(number), "1"] for number in range(n))
    table = document.Table("jobs", ["job", "value"], rows)
    page = document.Page("", "", False, [document.Section("Jobs", tables=[table])])
    text = document.write(Folder(tmp_path), page).read_text()
    assert text.count('<td class="number">1</td>') == n and rows.passes == 2
