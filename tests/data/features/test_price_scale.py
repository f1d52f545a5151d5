"""Adjusted prices are divided by later splits and dividends: a pool may not compare how high they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stockml import compose
from stockml.data.dataset import load_panel
from stockml.data.features import price_scale
from stockml.data.features.expressions import parse
from stockml.errors import UserError
from tests.conftest import ROOT, random_bars, write_bars


@pytest.mark.parametrize("name", ["alpha158", "alpha360", "technical", "momentum"])
def test_no_set_depends_on_how_high_prices_are(name: str) -> None:
    columns = yaml.safe_load((ROOT / f"conf/features/{name}.yaml").read_text())["columns"]
    assert price_scale.depending({feature: parse(text) for feature, text in columns.items()}) == []


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("$close", True),
        ("CSRank($close)", True),
        ("$close > 5", True),
        ("$high - $low", True),
        ("$close / $SP500.close", True),
        ("Ref($close, -5) - $close", True),
        ("Ref($close, -5) / $close - 1", False),
        ("Ref($close, -1) > $close", False),
        ("CSRank(Return($close, 20))", False),
        ("CSRank(Log($close * $volume))", False),
        ("Mean(Sign(Delta($close, 1)), 5)", False),
        ("$sentiment", False),
        ("DayOfWeek()", False),
    ],
)
def test_what_a_split_would_change_is_found(text: str, depends: bool) -> None:
    assert price_scale.depending({"x": parse(text, target=True)}) == (["x"] if depends else [])


@pytest.mark.parametrize("setting", ["+features.columns.q='CSRank($close)'", "data.target='Ref($close,-5)-$close'"])
def test_a_pool_refuses_it_and_a_stock_alone_does_not(tmp_path: Path, setting: str) -> None:
    for seed, ticker in enumerate(("AAA", "BBB")):
        write_bars(random_bars(200, seed=seed, ticker=ticker), tmp_path)
    common = ("data=csv", f"data.dir={tmp_path}", "data.window=5", f"data.panel_cache={tmp_path / 'kept'}")
    with pytest.raises(UserError, match="later splits and dividends decide"):
        load_panel(compose.compose(*common, "data.tickers=[AAA,BBB]", setting))
    load_panel(compose.compose(*common, "stock.ticker=AAA", setting.replace("CSRank($close)", "Log($close)")))
