"""Wrong columns, contexts and names are refused by name: where they are, what the file has, and what to do."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.wrong_input.inputs import ARRAYS, BARS, Making, assert_refused, bars, nothing, npz, sound_arrays

MOOD = "+features.columns.m='$mood'"
INDEX = "+features.columns.i='$SP500.close'"


def mood(name: str = "mood", line: int = 5, cell: str = "", usual: str = "") -> Making:
    """AAPL.csv with a further column; one of its cells, or all others, are something else than a number."""

    def edit(rows: list[list[str]]) -> None:
        rows[0].append(name)
        for number, row in enumerate(rows[1:], 2):
            row.append(cell if number == line and cell else usual or f"{number % 7}")

    return bars(edit)


def two(making: Making) -> Making:
    """AAPL.csv, and the same bars as SP500.csv, which the making then changes back in AAPL.csv."""

    def make() -> None:
        making()
        shutil.move("AAPL.csv", "SP500.csv")
        bars()()

    return make


ONE = [
    # a column
    pytest.param(bars(), MOOD, "AAPL.csv: has no column mood; it has Date, Open, High, Low, Close, Volume", id="none"),
    pytest.param(
        mood("moood"), MOOD, "AAPL.csv: has no column mood; it has …Volume, moood; did you mean moood?", id="nearest"
    ),
    pytest.param(mood(usual="calm"), MOOD, "AAPL.csv, line 2: mood is 'calm': mood holds no numbers", id="text"),
    pytest.param(mood(usual="2020-01-01"), MOOD, "AAPL.csv, line 2: mood is '2020-01-01': mood holds", id="dates"),
    pytest.param(mood(cell="calm"), MOOD, "AAPL.csv, line 5: mood is 'calm', no number …drop", id="text-cell"),
    pytest.param(mood(cell="inf"), MOOD, "AAPL.csv, line 5: mood is 'inf', no number …drop", id="infinite"),
    pytest.param(mood(cell="-Infinity"), MOOD, "AAPL.csv, line 5: mood is '-Infinity', no number", id="minus-infinite"),
    pytest.param(mood(cell="1e39"), MOOD, "AAPL.csv, line 5: mood is '1e39', no number …drop", id="beyond-float32"),
    pytest.param(mood(cell="3%"), MOOD, "AAPL.csv, line 5: mood is '3%', no number …drop", id="one-percent-sign"),
    pytest.param(mood("mood,mood"), MOOD, "AAPL.csv: has the column mood twice", id="twice"),
    pytest.param(
        bars(), "+features.columns.d='$Date'", "AAPL.csv: Date is the day of a bar, …DayOfWeek() or Month()", id="date"
    ),
    pytest.param(
        mood(usual="calm"),
        f"{MOOD} data.on_bad_rows=drop",
        "AAPL.csv, line 2: mood is 'calm': mood holds no numbers",
        id="text-is-never-dropped",
    ),
    pytest.param(
        nothing,
        "'stock.features=[close, rsi]'",
        "stock.features=[close, rsi]: must be …volume; …'+features.columns.rsi=\"$rsi\"'",
        id="not-of-the-five",
    ),
    pytest.param(nothing, "'stock.features=[clsoe]'", "must be a list of …; did you mean close?", id="misspelt"),
    # data.columns
    pytest.param(
        bars(),
        "'data.columns={close: Zuletzt}'",
        "AAPL.csv: has no column 'Zuletzt', which data.columns.close names; it has Date, Open",
        id="no-such-header",
    ),
    pytest.param(
        bars(), "'data.columns={close: Clse}'", "data.columns.close names; it has …; did you mean Close?", id="similar"
    ),
    pytest.param(
        bars(lambda rows: rows[0].__setitem__(0, "Pvm")),
        "",
        "AAPL.csv: has no column Date; it has Pvm, Open…; if Pvm is the date: 'data.columns={date: Pvm}'",
        id="no-date",
    ),
    pytest.param(
        bars(lambda rows: rows[0].__setitem__(1, "Nyitó")),
        "",
        "has no column Open; …; if Nyitó is the open: 'data.columns={open: \"Nyitó\"}'",
        id="no-open",
    ),
    pytest.param(
        bars(lambda rows: rows[0].__setitem__(0, "Datum")),
        "'data.columns={Datum: date}'",
        "AAPL.csv: has no column 'date', which data.columns.Datum names; the role comes first: 'data.columns={date: Da",
        id="reversed",
    ),
    pytest.param(
        nothing,
        "'data.columns={date: Datum, open: Eröffnung}'",
        'data.columns: quote Eröffnung, since it has other letters than a-z: open: "Eröffnung"',
        id="umlaut",
    ),
    pytest.param(
        bars(), "'data.columns={close: 7}'", "has no column 7, which data.columns.close names; it has 6", id="position"
    ),
    pytest.param(
        nothing, "'data.columns={close: 0}'", "data.columns.close=0: must be text or a whole", id="position-0"
    ),
    pytest.param(nothing, "'data.columns={close: 1.5}'", "data.columns.close=1.5: must be text or a", id="fraction"),
    pytest.param(nothing, "'data.columns={close: true}'", "data.columns.close=true: must be text or", id="truth"),
    pytest.param(nothing, "'data.columns=[close]'", "data.columns=[close]: must be a mapping, {name: ", id="list"),
    pytest.param(
        nothing, "'data.columns={close: Zuletzt, open: Zuletzt}'", "data.columns: close, open are all", id="one-for-two"
    ),
    pytest.param(
        nothing, "'data.columns={news-score: x}'", "data.columns: 'news-score' is no name: it has letters", id="name"
    ),
    # data.lag
    pytest.param(
        nothing, "'data.lag={mood: 1}'", "data.lag.mood: no feature uses this column; they use open, high", id="lag"
    ),
    pytest.param(
        nothing, "'data.lag={clsoe: 1}'", "data.lag.clsoe: no feature …; did you mean close?", id="lag-misspelt"
    ),
    pytest.param(nothing, "'data.lag={close: -1}'", "data.lag.close=-1: must be a whole number ≥ 0", id="lag-ahead"),
    pytest.param(nothing, "'data.lag={close: 0.5}'", "data.lag.close=0.5: must be a whole", id="lag-of-half-a-day"),
    # data.context
    pytest.param(
        bars(),
        INDEX,
        "features.columns.i=$SP500.close: SP500.close: data.context …'data.context=[SP500]'",
        id="unnamed",
    ),
    pytest.param(
        bars(), f"{INDEX} 'data.context=[SP500]'", "data.context: SP500: data.dir=…: holds no SP500.csv", id="no-file"
    ),
    pytest.param(
        bars(),
        f"{INDEX} 'data.context=[SP500]' data.context_path=nowhere",
        "data.context: SP500: data.context_path=…nowhere: there is no such f",
        id="no-folder",
    ),
    pytest.param(
        two(mood()),
        "+features.columns.i='$SP500.moood' 'data.context=[SP500]'",
        "data.context: SP500: …SP500.csv: has no column moood; …did you mean mood?",
        id="no-column",
    ),
    pytest.param(
        two(mood(usual="calm")),
        "+features.columns.i='$SP500.mood' 'data.context=[SP500]'",
        "data.context: SP500: …SP500.csv, line 2: mood is 'calm': mood holds no numbers",
        id="text-of-another",
    ),
    pytest.param(nothing, "'data.context=[SP500,SP500]'", "data.context: names SP500 twice", id="context-twice"),
    pytest.param(nothing, "'data.context=[a/b]'", "data.context: 'a/b' is not a ticker", id="context-path-as-ticker"),
    pytest.param(nothing, "data.context_max_age=-1", "data.context_max_age=-1: must be a whole", id="age"),
]


@pytest.mark.parametrize(("making", "typed", "says"), ONE)
def test_wrong_columns_are_told_by_name(
    making: Making, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, making, f"{BARS} {typed}", [says])


def test_only_files_have_a_path_of_their_context(capsys: pytest.CaptureFixture[str]) -> None:
    says = "data.context_path: no such key; type data=csv, which has it"
    assert_refused(capsys, nothing, "data.context_path=.", [says])


NAMES = [
    pytest.param(npz(feature_names=np.array(["a"])), "a.npz: feature_names is <U1 of shape (1,); must be 2", id="few"),
    pytest.param(npz(feature_names=np.array([1.0, 2.0])), "a.npz: feature_names is float64 of sh", id="numbers"),
    pytest.param(npz(feature_names=np.array(["a", "a"])), "a.npz: feature_names has a twice; name each", id="twice"),
    pytest.param(npz(feature_names=np.array(["a", " "])), "a.npz: feature_names has an empty name; name", id="empty"),
    pytest.param(npz(feature_names=np.array(["a", "b"], object)), "a.npz: feature_names is no array", id="pickled"),
]


@pytest.mark.parametrize(("making", "says"), NAMES)
def test_wrong_names_of_an_array_s_features(making: Making, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sound_arrays()["X_train"].shape[2] == 2
    assert_refused(capsys, making, ARRAYS, [says])
