"""Text tables: what is set here in no time is what rich draws."""

from __future__ import annotations

import random

import pytest

from stockml.reporting import text_tables

CELLS = (
    "",
    "a",
    "–",
    "53.8%",
    "-0.0025",
    "two words",
    " led",
    "x" * 30,
    "é",
    "naïve £",
    "日本",
    "two\nlines",
    "tab\there",
)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("wrap", [True, False])
def test_a_table_is_the_one_that_rich_draws(seed: int, wrap: bool) -> None:
    drawn = random.Random(seed)
    columns = drawn.randint(1, 6)
    few = CELLS if seed % 2 else CELLS[:6]
    header = [f"{drawn.choice(few)}{number}".strip() for number in range(columns)]
    rows = [[drawn.choice(few) for _ in header] for _ in range(drawn.randint(0, 5))]
    width = drawn.choice((40, 110))
    by_rich = text_tables._drawn_by_rich(header, rows, left=header[:2], width=width, wrap=wrap)
    assert text_tables.text_table(header, rows, left=header[:2], width=width, wrap=wrap) == by_rich
