"""A short sample of `tests/campaigns/intervals.py`: what that campaign claims is really checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stockml import cli
from tests.campaigns.intervals import Intervals, faults, found_table, read

SHORT = ("data.days=2500", "data.window=10", "data.signal=null", "data.split=walk_forward", "data.folds=2")


def test_intervals_of_garch_returns_hold_what_they_say(tmp_path: Path) -> None:
    folder = tmp_path / "AAPL"
    settings = (*SHORT, "data.test_ratio=0.9", "model=ridge", "report=false")
    assert cli.main([*settings, f"hydra.run.dir={folder}"]) == 0
    found = read(folder)
    assert [of.level for of in found] == [0.8, 0.95] and all(len(of.years) >= 8 for of in found)
    assert faults(found, 0.015) == []
    assert "| `ridge` | 95% |" in found_table(found)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"coverage": 0.78}, "coverage 78.0% of the 80% intervals"),
        ({"score": 1.0}, "score 1.000 times those of constant width"),
        ({"years": (0.73, *[0.8] * 9)}, "1 of 10 stock-years are not within 6 points"),
    ],
)
def test_each_claim_that_does_not_hold_is_named(change: dict[str, object], fault: str) -> None:
    good = Intervals("AAPL", "ridge", 0.8, 0.801, (0.8,) * 10, 0.9)
    assert faults([good], 0.015) == []
    (line,) = faults([replace(good, **change)], 0.015)  # type: ignore[arg-type]
    assert fault in line
