"""The factor sets: what they hold, and that they have values on every day."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from stockml.compose import compose
from stockml.data.bars import Bars
from stockml.data.features.evaluation import evaluate
from stockml.data.features.expressions import parse
from stockml.data.sources.loading import load_bars
from tests.campaigns.factors import difference
from tests.data.features.sets import ALL_COLUMNS, FOLDER, columns_of, real_bars, row_numbers, rows_of

SETS = {"bars": (0, 0), "alpha158": (158, 60), "alpha360": (360, 59), "technical": (25, 251), "momentum": (16, 252)}
"""How many columns each set has, and the longest lookback; `stockml/data/features/README.md` names them too."""
BARS = {"open", "high", "low", "close", "volume"}


def simulated(*, days: int = 700) -> list[Bars]:
    return [
        load_bars(compose(f"data.days={days}", f"stock={ticker}", ALL_COLUMNS, "data.signal=strong"))
        for ticker in ("AAPL", "XOM")
    ]


def test_every_set_is_listed_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_a_set_holds_expressions_over_bars_under_names_of_their_own(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))  # refuses a name that stands twice
    assert isinstance(content, dict)
    assert set(content) == {"set", "bars", "missing", "columns"}
    assert (content["set"], content["bars"], content["missing"]) == (name, name == "bars", "error")
    found = {column: parse(expression) for column, expression in content["columns"].items()}
    assert (len(found), max((each.lookback for each in found.values()), default=0)) == SETS[name]
    assert not any(each.lookahead or each.cross_sectional or set(each.columns) - BARS for each in found.values())
    assert all(re.fullmatch("[A-Z][A-Z0-9_]*", column) for column in found)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_a_file_that_begins_with_its_source_and_has_no_overlong_lines(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 120
    assert len(lines) <= 350


def test_the_readme_states_columns_and_warm_up_of_every_set() -> None:
    text = (FOLDER.parents[1] / "stockml/data/features/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert {name: (int(columns), int(warm_up)) for name, columns, warm_up in rows} == {
        name: figures for name, figures in SETS.items() if name != "bars"
    }


def without_value(name: str, bars: list[Bars]) -> dict[str, int]:
    """How many values after its warm-up are not finite, of each column of a set that has such values."""
    texts = columns_of(name)
    expressions = [parse(text) for text in texts.values()]
    rows = rows_of(bars)
    number = row_numbers(rows)
    found = {}
    for column, expression, values in zip(texts, expressions, evaluate(expressions, rows), strict=True):
        after, before = number >= expression.lookback, number < expression.lookback
        found[column] = int((~np.isfinite(values[after])).sum())
        assert expression.from_first_row or np.isnan(values[before]).all(), column
    return {column: count for column, count in found.items() if count}


@pytest.mark.parametrize("name", [name for name in SETS if name != "bars"])
def test_after_its_warm_up_a_set_has_a_value_on_every_real_day(name: str, market: Path) -> None:
    assert without_value(name, real_bars(market / "ohlcv")) == {}


@pytest.mark.parametrize("name", [name for name in SETS if name != "bars"])
def test_after_its_warm_up_a_set_has_a_value_on_every_simulated_day(name: str) -> None:
    assert without_value(name, simulated()) == {}


def halted(bars: Bars, day: int) -> Bars:
    """The bars with a day on which nothing was traded."""
    columns = {column: values.copy() for column, values in bars.columns.items()}
    for column in ("open", "high", "low"):
        columns[column][day] = columns["close"][day]
    columns["volume"][day] = 0.0
    return replace(bars, columns=columns)


def test_a_day_without_range_or_volume_leaves_only_cord_without_a_value() -> None:
    """The volume of the day after, over this day's, is infinite: CORD has no correlation while it is in the window."""
    bars = [halted(each, 400) for each in simulated()]
    assert without_value("alpha158", bars) == {f"CORD{window}": 2 * window for window in (5, 10, 20, 30, 60)}
    for name in ("alpha360", "technical", "momentum"):
        assert without_value(name, bars) == {}


@pytest.mark.parametrize("name", ["alpha158", "alpha360", "technical", "momentum"])
def test_a_set_does_not_depend_on_the_units_of_price_and_volume(name: str) -> None:
    """No raw prices or volumes, which wander off: in cents and lots, the values are the same."""
    bars = simulated()
    other = [
        replace(each, columns={c: v * (64.0 if c == "volume" else 128.0) for c, v in each.columns.items()})
        for each in bars
    ]
    expressions = [parse(text) for text in columns_of(name).values()]
    pairs = zip(evaluate(expressions, rows_of(bars)), evaluate(expressions, rows_of(other)), strict=True)
    for column, (values, in_other_units) in zip(columns_of(name), pairs, strict=True):
        np.testing.assert_allclose(values, in_other_units, rtol=1e-6, atol=1e-6, err_msg=column)


def test_the_campaign_finds_a_factor_that_is_not_qlibs() -> None:
    exact = np.linspace(1.0, 2.0, 100)
    theirs = exact.astype(np.float32).astype(np.float64)
    assert difference("X", exact, theirs, exact).unexplained == 0
    assert difference("X", exact, exact * (1 + 1e-3), exact).unexplained == 0  # as Qlib has it without its rounding
    for wrong in (exact * (1 + 1e-4), np.where(exact > 1.9, np.nan, exact), np.where(exact > 1.9, np.inf, exact)):
        assert difference("X", wrong, theirs, exact).unexplained > 0
