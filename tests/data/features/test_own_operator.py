"""The README's example of a package that adds an operator: installed, and used; a broken one is refused clearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stockml.data.features.expressions import ExpressionError, parse
from stockml.data.features.operators import OPERATORS
from tests.data.features.rows import bits, stocks, values
from tests.markdown import ROOT, files_shown, install, section

README = ROOT / "stockml" / "data" / "features" / "README.md"
BROKEN = """
from stockml.data.features.operators import Operator
NOT_ONE = len
SHORT = Operator("Short", lambda x: x[1:], ("x",), "one value too few")
WRITES = Operator("Writes", lambda x: x.sort() or x, ("x",), "changes what it is given")
"""
BROKEN_ENTRIES = """
NotOne = "spread_broken:NOT_ONE"
Short = "spread_broken:SHORT"
Writes = "spread_broken:WRITES"
Gone = "spread_gone:GONE"
Mean = "spread_broken:SHORT"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed, with broken operators beside it."""
    folder = tmp_path_factory.mktemp("own operator")
    files = files_shown(README, "An operator of your own")
    broken = {path: text + BROKEN_ENTRIES for path, text in files.items() if path.endswith(".toml")}
    site = install(files | broken, folder, "spread")
    (site / "spread_broken.py").write_text(BROKEN)
    return site


@pytest.fixture(autouse=True)
def _installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


ROWS = stocks({"close": np.array([3.0, 1.0, 4.0, 1.0, 5.0, np.nan, 2.0, 6.0])})


def test_it_is_an_operator_like_others() -> None:
    same = "Max($close, 3) - Min($close, 3)"
    assert bits(values("Spread($close, 3)", ROWS)) == bits(values(same, ROWS))
    assert parse("Mean(Spread($close, 3), 5)").lookback == 6


def test_what_it_is_given_is_checked() -> None:
    with pytest.raises(ExpressionError, match="n must be a whole number ≥ 1, not 0"):
        parse("Spread($close, 0)")
    with pytest.raises(ExpressionError, match="there is no operator spred; the nearest is Spread"):
        parse("spred($close, 3)")


def test_a_broken_one_is_refused_by_name() -> None:
    with pytest.raises(ExpressionError, match=r"NotOne.*spread_broken:NOT_ONE is not a stockml\..*\.Operator"):
        parse("NotOne($close)")
    with pytest.raises(ExpressionError, match="spread_gone:GONE does not load"):
        parse("Gone($close)")
    with pytest.raises(ExpressionError, match=r"Short\(x\) must return an array of shape \(8,\), not \(7,\)"):
        values("Short($close)", ROWS)
    with pytest.raises(ExpressionError, match=r"Writes\(x\) failed: ValueError: .*read-only"):
        values("Writes($close)", ROWS)


def test_it_takes_no_name_of_the_table() -> None:
    assert parse("Mean($close, 3)").root.operator is OPERATORS["Mean"]  # type: ignore[union-attr]


def test_the_readme_has_every_operator() -> None:
    shown = section(README, "The language")
    missing = [operator.signature for operator in OPERATORS.values() if f"`{operator.signature}`" not in shown]
    assert not missing
