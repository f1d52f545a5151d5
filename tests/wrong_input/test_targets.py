"""Wrong targets are refused by name: what is wrong with them, and what to write in their place."""

from __future__ import annotations

import pytest

from tests.wrong_input.inputs import BARS, assert_refused, bars

TARGETS = [
    pytest.param(
        "data.target=directon",
        "data.target=directon: did you mean direction? It is one of log_return, return, close, difference, direction, "
        "volatility, excess_return, or an expression of later days such as Ref($close,-1)/$close-1",
        id="name",
    ),
    pytest.param("data.target=xyz", "data.target=xyz: must be one of log_return, return, close", id="no-name"),
    pytest.param(
        """'data.target="1 < Ref($close,-1) < 2"'""",
        "data.target=1 < Ref($close,-1) < 2: two comparisons in one; write",
        id="twice",
    ),
    pytest.param(
        """'data.target="$close"'""", "data.target=$close: uses no day after the window's last; Ref(", id="today"
    ),
    pytest.param(
        """'data.target="Ref($close, 1) / $close"'""",
        "uses no day after the window's last; Ref($close, -1)",
        id="yesterday",
    ),
    pytest.param(
        """'data.target="Reff($close, -1)"'""",
        "data.target=Reff($close, -1): there is no operator Reff; the nearest is Ref; or one of log_",
        id="operator",
    ),
    pytest.param(
        """'data.target="Ref($close,-2)/Ref($close,-1)-1"' data.horizon=5""",
        "data.horizon=5: the expression of data.target says how far it reaches; leave this out",
        id="horizon",
    ),
    pytest.param(
        "data.target=excess_return",
        "data.target=excess_return: compares stocks with each other; set data.benchmark to a ticker of data.context, "
        "or name several, 'data.tickers=[AAPL,AMZN]'",
        id="excess-of-one",
    ),
    pytest.param(
        """'data.target="CSRank(Ref($close,-1)/$close)"'""",
        "compares stocks with each other; name several, 'data.tickers=[AAPL,AMZN]'",
        id="rank-of-one",
    ),
    pytest.param(
        "data.target=excess_return data.benchmark=SPY",
        "data.target=excess_return: SPY.close: data.context does not name SPY; add it, 'data.context=[SPY]'",
        id="benchmark",
    ),
    pytest.param(
        "data.benchmark=SPY", "data.benchmark=SPY: is of data.target=excess_return alone; leave it out", id="no-excess"
    ),
    pytest.param(
        "data.target_normalize=csrank",
        "data.target_normalize=csrank: compares stocks with each other; name several, 'data.tickers=[AAPL,AMZN]'",
        id="normalized-alone",
    ),
    pytest.param(
        "data.target_normalize=rank data.tickers=[AAPL]",
        "data.target_normalize=rank: must be one of none, csrank, cszscore; did you mean csrank?",
        id="normalized-how",
    ),
    pytest.param(
        "data.target_normalize=cszscore data.tickers=[AAPL] data.target=direction",
        "data.target_normalize=cszscore: data.target=direction is a class, 0 or 1; leave this out",
        id="normalized-class",
    ),
    pytest.param(
        """'data.target="Ref($close,-1)>$close"' data.target_normalize=csrank data.tickers=[AAPL]""",
        "data.target_normalize=csrank: data.target=Ref($close,-1)>$close is a class, 0 or 1; leave this out",
        id="normalized-comparison",
    ),
]


@pytest.mark.parametrize(("typed", "says"), TARGETS)
def test_a_wrong_target_is_refused(typed: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, bars(), f"{BARS} {typed}", [says])
