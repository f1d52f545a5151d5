"""Wrong features on the command line are refused by name, all of them at once, before anything is made."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.wrong_input.inputs import (
    ARRAYS,
    BARS,
    RUN_PY,
    Making,
    assert_refused,
    assert_told,
    bars,
    contents,
    nothing,
    npz,
    table,
    text,
)

SETS = "alpha158, alpha360, bars, momentum, technical"


def only(*columns: str) -> Making:
    """AAPL.csv with the date and these columns."""

    def make() -> None:
        rows = table()
        kept = [rows[0].index(column) for column in ("Date", *columns)]
        Path("AAPL.csv").write_text(text([[row[number] for number in kept] for row in rows]))

    return make


def two_stocks() -> None:
    """AAPL.csv and the same bars as XOM.csv."""
    bars()()
    shutil.copy("AAPL.csv", "XOM.csv")


def column(expression: str, name: str = "m") -> str:
    """The override that adds a feature."""
    return shlex.quote(f'+features.columns.{name}="{expression}"')


TYPED = [
    # quotes
    pytest.param(
        "'+features.columns.rsi=RSI($close,14)'",
        ["not of the form …; an expression needs quotes of both kinds: '+features.columns.rsi=\"RSI($close,14)\"'"],
        id="one-kind-of-quotes",
    ),
    pytest.param(
        "'+features.columns.rsi=RSI(,14)'",
        ["quotes of both kinds: …; where a $name is missing, the shell has taken it out"],
        id="taken-by-the-shell",
    ),
    pytest.param(
        column("RSI(,14)", "rsi"),
        ["features.columns.rsi=RSI(,14): cannot be read: …had a $name, the shell has taken it out: type '+features.co"],
        id="taken-within-double-quotes",
    ),
    pytest.param(
        "+features.columns.m=",
        ["features.columns.m=: is empty: …; if it had a $name, the shell has taken it out: type '+features.columns.m="],
        id="all-taken",
    ),
    pytest.param(
        "'+features.columns.m=Mean($close, 5)'", ["quotes of both kinds: '…=\"Mean($close, 5)\"'"], id="space"
    ),
    pytest.param(
        "+features.columns.m='\"$close\" + 1'", ["quotes of both kinds: '+features.columns.m=\"…\"'"], id="half-quoted"
    ),
    pytest.param("data.target='Ref($close,-2)/$close'", ["quotes of both kinds: 'data.target=\"Ref("], id="target"),
    # names
    pytest.param(
        column("$close", "my-name"),
        ["features.columns.my-name: a feature's name has letters, digits and _ only, and begins with a letter"],
        id="dash-in-name",
    ),
    pytest.param(column("$close", "a.b"), ["features.columns.a.b: a feature's name has letters, digits"], id="dot"),
    pytest.param(column("$close", "5d"), ["'5d' is no feature's name: it has letters, digits and _ only"], id="digit"),
    pytest.param(column("$close", "é"), ["'é' is no feature's name: it has letters"], id="accent"),
    pytest.param(column("$close", "close"), ["features.columns.close: features.bars=true has this name"], id="twice"),
    pytest.param("features.columns.m=x~y", ["quotes of both kinds: 'features.columns.m=\"x~y\"'"], id="tilde"),
    # values
    pytest.param("+features.columns.m=5", ["features.columns.m=5: must be text; quote it"], id="number"),
    pytest.param("+features.columns.m=null", ["features.columns.m=null: must be text"], id="null"),
    pytest.param("+features.columns.m=[close]", ["features.columns.m=[close]: must be text"], id="list"),
    pytest.param("features.columns=[close]", ["features.columns=[close]: must be a mapping, {name: text}"], id="lists"),
    pytest.param("features.columns=close", ["features.columns=close: must be a mapping, {name: text}"], id="text"),
    pytest.param(
        "features.missing=skip", ["features.missing=skip: must be one of error, drop, ffill, zero"], id="skip"
    ),
    pytest.param("features.bars=maybe", ["features.bars=maybe: must be true or false"], id="maybe"),
    pytest.param(
        "features.bars=false",
        ["features.columns: no feature is left; add one, …, or features.bars=true"],
        id="none-left",
    ),
    pytest.param(
        "features.bars=false 'features.columns={}'", ["features.columns: no feature is left; add one"], id="empty"
    ),
    # sets
    pytest.param(
        "features=alpha159", [f"features=alpha159: must be one of {SETS}; did you mean alpha158?"], id="unknown-set"
    ),
    pytest.param("features=Momentum", ["features=Momentum: must be …; did you mean momentum?"], id="capital"),
    pytest.param("features=null", [f"features=null: must be one of {SETS}"], id="no-set"),
    pytest.param("features=[bars,alpha158]", ["features=[bars, alpha158]: must be one of "], id="two-sets"),
    pytest.param("features=bars,alpha158", ["features=bars,alpha158: …make a sweep; add -m"], id="sweep-without-m"),
    pytest.param("+features=alpha158", ["+features=alpha158: exists already; write it without the plus"], id="plus"),
    pytest.param(
        "features.set=alpha158", ["features.set=alpha158: a set is chosen by features=alpha158"], id="name-of-the-set"
    ),
    # keys
    pytest.param("features.colums.m=x", ["features.colums: no such key; did you mean features.columns?"], id="colums"),
    pytest.param("'+features.m=\"$close\"'", ["features.m: no such key; known here: set, bars, columns"], id="section"),
    pytest.param(
        "'+features.columns={m: \"$close\"}'", ["exists already; write it without the plus"], id="plus-mapping"
    ),
    pytest.param("~features.columns.KMID", ["~features.columns.KMID: there is no such setting"], id="nothing-to-drop"),
    pytest.param(
        "features=alpha158 ~features.columns.KMIDD ~features.columns.XX",
        [
            "~features.columns.KMIDD: there is no such setting; did you mean ~features.columns.KMID?",
            "~features.columns.XX: there is no such setting",
        ],
        id="drop-misspelt",
    ),
    pytest.param(
        "stock.features=[close,rsi]",
        ["stock.features=[close, rsi]: must be …volume; another column or formula is added by '+features.columns.rsi="],
        id="not-of-the-five",
    ),
    # expressions
    pytest.param(
        column("Maen($close,5)"), ["features.columns.m=Maen($close,5): there is no operator Maen; …Mean"], id="operator"
    ),
    pytest.param(
        column("1 < $close < 2"), ["features.columns.m=1 < $close < 2: two comparisons in one; write"], id="no-twice"
    ),
    pytest.param(column("Mean($close)"), ["features.columns.m=…: Mean takes 2 arguments, not 1: Mean(x, n)"], id="few"),
    pytest.param(column("Mean($close,0)"), ["n must be a whole number ≥ 1, not 0"], id="window-of-0"),
    pytest.param(column("Ref($close,-1)"), ["Ref(x, -1) looks ahead: a feature may use no later row"], id="ahead"),
    pytest.param(column("MACD($close,12,26,9)"), ["choose an output of MACD: .macd, .signal, .hist"], id="output"),
    pytest.param(column("__import__('os').system('touch x')"), ["features.columns.m=…: "], id="code"),
    pytest.param(
        column("CSRank($close)"), ["compares stocks with each other; name several, 'data.tickers="], id="one-stock"
    ),
    pytest.param(column("$VIX.close"), ["data.context does not name VIX; add it, 'data.context=[VIX]'"], id="context"),
    pytest.param(
        f"features=alpha158 features.columns.KMID='\"Mean($close)\"' {column('$close +')}",
        ["features.columns.KMID=Mean($close): Mean takes", "features.columns.m=$close +: cannot be read"],
        id="changed-in-a-set",
    ),
    pytest.param(
        f"trainer.lr=-1 {column('Maen($close,5)')} {column('Mean($close)', 'n')} features.missing=skip model.dropot=0",
        [
            "features.missing=skip: must be one of",
            "model.dropot: no such key; did you mean model.dropout?",
            "trainer.lr=-1: must be a number > 0",
            "features.columns.m=Maen($close,5): there is no operator Maen",
            "features.columns.n=Mean($close): Mean takes 2 arguments",
        ],
        id="all-at-once",
    ),
    pytest.param(
        f"-m {column('Mean($close,5)')},'\"Maen($close,5)\"'",
        ["features.columns.m=Maen($close,5): there is no operator Maen"],
        id="job-of-a-sweep",
    ),
    pytest.param("-m features=bars,alpha159", ["features=alpha159: must be one of …alpha158?"], id="set-of-a-sweep"),
]


@pytest.mark.parametrize(("typed", "says"), TYPED)
def test_wrong_features_are_told_by_name_and_all_at_once(
    typed: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, nothing, typed, says)


WITH_DATA = [
    pytest.param(
        npz(),
        f"{ARRAYS} features=alpha158",
        ["features=alpha158: expressions need dated bars; …features=bars"],
        id="npz",
    ),
    pytest.param(
        npz(),
        f"{ARRAYS} {column('$close')}",
        ["features.columns.m: expressions need dated bars; the arrays of data.source=npz hold their features already"],
        id="npz-column",
    ),
    pytest.param(
        only("Open", "High", "Low", "Close"),
        f"{BARS} features=technical",
        [
            "AAPL.csv: has no column Volume; it has Date, Open, High, Low, Close; …features=technical needs …volume; "
            "drop what reads the missing ones with '~features.columns.NAME': OBV20, MFI14, CMF20, VOLUME20"
        ],
        id="index-without-volume",
    ),
    pytest.param(
        only("Close"),
        f"{BARS} features=momentum",
        ["AAPL.csv: has no column Volume; it has Date, Close; …read by features.columns.VOLUME="],
        id="closes-only",
    ),
    pytest.param(
        bars(),
        f"{BARS} features=alpha360 'features.columns.VWAP0=\"$vwap / $close\"'",
        [
            "AAPL.csv: has no column vwap; it has …; read by features.columns.VWAP0=$vwap / $close: change what reads "
            "a missing column, or drop it with '~features.columns.VWAP0'"
        ],
        id="own-expression-in-a-set",
    ),
    pytest.param(
        only("Close"), f"{BARS} features=alpha158", ["has no column Open, High, Low, Volume; …and 23 more"], id="many"
    ),
    pytest.param(bars(), f"{BARS} {column('$mood')}", ["AAPL.csv: has no column mood; it has Date, Open"], id="mood"),
    pytest.param(
        bars(),
        f"{BARS} {column('$close / 0')}",
        ["AAPL.csv: …features.columns.m=$close / 0: is inf on 2020-01-02 and 58 other days; change the expression"],
        id="infinite",
    ),
    pytest.param(
        bars(),
        f"{BARS} {column('Log($close - Ref($close, 1))')}",
        ["AAPL.csv: …features.columns.m=…: no value on …days, the first …; set features.missing=drop, ffill or zero"],
        id="missing",
    ),
    pytest.param(
        bars(),
        f"{BARS} {column('Mean($close, 5000)')}",
        ["AAPL.csv: 60 bars are too few …after the first 4,999, which the features need; more bars"],
        id="longer-than-the-table",
    ),
    pytest.param(
        two_stocks,
        f"{BARS} 'data.tickers=[AAPL,XOM]' {column('$mood')}",
        ["AAPL.csv: has no column mood", "XOM.csv: has no column mood"],
        id="each-of-a-pool",
    ),
]


@pytest.mark.parametrize(("making", "typed", "says"), WITH_DATA)
def test_what_the_data_lack_is_told_with_what_to_drop(
    making: Making, typed: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, making, typed, says)


@pytest.mark.parametrize("task", ["features", "audit"])
def test_other_tasks_refuse_them_too(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, nothing, f"task={task} {column('Maen($close,5)')}", ["there is no operator Maen"])


def test_what_is_proposed_for_a_set_without_its_column_works(tmp_path: Path) -> None:
    only("Close")()
    dropped = [f"~features.columns.{name}" for name in ("VOLUME", "RET1_VOLUME", "RET252", "SCALED252")]
    rest = ["data.window=1", *(f"~features.columns.{prefix}63" for prefix in ("RET", "SCALED", "VOL"))]
    rest += [f"~features.columns.SCALED{days}" for days in (1, 5, 21)]
    command = [sys.executable, str(RUN_PY), "task=features", *shlex.split(BARS), "features=momentum", *dropped, *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ('"+features.columns.m=Mean($close,5)"', "where a $name is missing, the shell has taken it out"),
        (
            "\"+features.columns.m='Mean($close,5)'\"",
            "features.columns.m=Mean(,5): cannot be read: …taken it out: type",
        ),
        ("+features.columns.m=$close", "features.columns.m=: is empty: …the shell has taken it out"),
    ],
)
def test_what_a_shell_takes_out_is_told(typed: str, says: str) -> None:
    before = contents()
    line = f"{shlex.quote(sys.executable)} {shlex.quote(str(RUN_PY))} {typed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert_told(done.stderr, [says])
    assert done.returncode == 2
    assert contents() == before


def test_the_table_has_forty() -> None:
    assert len(TYPED) + len(WITH_DATA) >= 40
    assert np.unique([param.id for param in (*TYPED, *WITH_DATA)]).size == len(TYPED) + len(WITH_DATA)
