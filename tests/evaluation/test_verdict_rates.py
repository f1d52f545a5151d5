"""A short sample of tests/campaigns/verdicts.py: how often the verdict finds skill, and intervals hold the truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.campaigns import verdicts
from tests.campaigns.verdicts import Cell, Rates, measured
from tests.markdown import written_table


@pytest.mark.parametrize(
    ("setting", "histories"),
    [("one stock, holdout", 300), ("one stock, walk-forward", 300), ("arrays", 300), ("20 stocks, holdout", 40)],
)
@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("model", ["constant", "noisy"])
def test_in_returns_with_drift_and_nothing_else_skill_is_seldom_found_and_never_in_the_train_mean(
    setting: str, histories: int, horizon: int, model: str
) -> None:
    found = measured(Cell(setting, horizon, 1.0, model), histories)
    assert found.shown <= (0.04 if model == "noisy" else 0)
    assert found.hinted <= (0.15 if model == "noisy" else 0)
    assert found.coverage and all(share >= 0.88 for share in found.coverage)


@pytest.mark.parametrize("horizon", [1, 5])
def test_where_a_rival_is_as_good_the_tests_reject_as_often_as_they_say(horizon: int) -> None:
    of = {name: measured(Cell("one stock, holdout", horizon, 0.0, name), 400) for name in ("even", "noisy")}
    even = {Cell("one stock, holdout", horizon, 0.0, name): rates for name, rates in of.items()}
    for share in verdicts.sizes(even, "one stock, holdout", horizon).values():
        assert 0.015 <= share <= 0.09


def test_a_signal_of_the_detectable_size_is_shown() -> None:
    found = measured(Cell("one stock, holdout", 1, 0.5, "signal"), 300)
    assert found.excess is not None and 1 <= found.excess <= 1.25
    assert found.shown >= 0.75
    assert found == measured(Cell("one stock, holdout", 1, 0.5, "signal"), 300)


def test_results_are_kept_and_written_and_what_misses_its_limit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [cell for cell in verdicts.cells() if cell.setting == "one stock, holdout"]
    monkeypatch.setattr(verdicts, "cells", lambda: iter(few))
    monkeypatch.setattr(verdicts, "SETTINGS", {"one stock, holdout": verdicts.SETTINGS["one stock, holdout"]})
    found = verdicts.collected(tmp_path / "rates.json", 5, 1)
    monkeypatch.setattr(verdicts, "measured", None)
    assert verdicts.collected(tmp_path / "rates.json", 5, 1) == found
    readme = Path(shutil.copy(verdicts.README, tmp_path))
    verdicts.write(found, readme)
    assert len(written_table(readme, "verdicts").splitlines()) == 2 + 3
    assert len(written_table(readme, "sizes").splitlines()) == 2 + 3
    assert len(written_table(readme, "power").splitlines()) == 2 + 2
    cell = Cell("one stock, holdout", 1, 0.0, "constant")
    bad = Rates(400, 0.01, 0.0, (0.95, 0.85), found[cell].sizes, None)
    assert list(verdicts.faults({cell: bad})) == [
        f"{cell.key}: shown in 1.0%",
        f"{cell.key}: an interval holds in 85.0%",
    ]
