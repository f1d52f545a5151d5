"""The README's example of a package that adds a factor set, and an operator: installed, and used; a broken one is
refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from stockml import cli, compose
from stockml.data import dataset
from tests.conftest import RUN_PY
from tests.markdown import ROOT, files_shown, install

README = ROOT / "conf" / "FEATURES.md"
BROKEN_ENTRIES = """
Range = "further:RANGE"
with_range = "further:WITH_RANGE"
no_dict = "further:NO_DICT"
no_texts = "further:NO_TEXTS"
no_operator = "further:NO_OPERATOR"
no_attribute = "further:NOTHING"
ahead = "further:AHEAD"
empty = "further:EMPTY"
bars = "further:NO_DICT"
"""
FURTHER = """
from stockml.data.features.operators import WINDOW, Operator, window_lookback
from stockml.data.features.windows import over_windows

def spread(windows):
    return windows.max(axis=-1) - windows.min(axis=-1)

RANGE = Operator("Range", over_windows(spread), ("x",), "range in the window", (WINDOW,), lookback=window_lookback)
WITH_RANGE = {"range": "Range($close, 5) / $close", "day": "DayOfWeek()"}
NO_DICT = ["$close"]
NO_TEXTS = {"a": 5}
NO_OPERATOR = {"a": "Rnage($close, 5)", "b": "Mean($close)"}
AHEAD = {"a": "Ref($close, -1)"}
EMPTY = {}
"""
SMALL = ("data.days=300", "data.window=5", "trainer.epochs=1", "model=linear", "report=false")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("own set")
    files = files_shown(README, "A set of your own")
    broken = {path: text + BROKEN_ENTRIES for path, text in files.items() if path.endswith(".toml")}
    site = install(files | broken, folder, "my_factors")
    (site / "further.py").write_text(FURTHER)
    return site


@pytest.fixture(autouse=True)
def _installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    yield
    ConfigStore.instance().repo.pop("features", None)  # Hydra would go on knowing sets that are gone


def test_its_set_is_chosen_by_name_and_its_operator_used_in_it(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(RUN_PY), "features=my_set", "hydra.run.dir=run", *SMALL]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "features    my_set: 3, gap, range, day\n" in done.stdout


def test_its_values_are_those_of_the_operator() -> None:
    own = dataset.prepare(compose.compose("features=with_range", *SMALL)).panel
    change = '+features.columns.same="(Max($close, 5) - Min($close, 5)) / $close"'
    both = dataset.prepare(compose.compose("features=with_range", change, *SMALL)).panel
    assert own.features == ("range", "day")
    assert both.features == ("range", "day", "same")
    assert (both.values[:, 0] == both.values[:, 2]).all()


def test_it_can_be_changed_swept_and_used_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features=with_range", "~features.columns.day", "hydra.run.dir=run", *SMALL]) == 0
    assert "features    with_range: 1, range\n" in capsys.readouterr().out
    assert cli.main(["task=features", "run=run"]) == 0
    out = capsys.readouterr().out
    assert "features    with_range: 1, range\n" in out
    assert "Range($close, 5) / $close" in out
    assert cli.main(["-m", "features=bars,my_set", "hydra.sweep.dir=sweep", *SMALL]) == 0
    assert sorted(path.name for path in Path("sweep").iterdir() if path.is_dir()) == [
        "AAPL-features_bars",
        "AAPL-features_my_set",
    ]


def test_a_set_of_stockml_is_not_replaced() -> None:
    assert compose.compose("features=bars").features.bars


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_dict", ["features=no_dict: the installed further:NO_DICT is no dict from names to expressions"]),
        ("no_texts", ["features=no_texts: the installed further:NO_TEXTS is no dict from names to expressions"]),
        ("Range", ["features=Range: the installed further:RANGE is no dict from names to expressions"]),
        ("no_attribute", ["features=no_attribute: the installed entry point further:NOTHING does not load: "]),
        (
            "no_operator",
            [
                "features.columns.a=Rnage($close, 5): there is no operator Rnage; the nearest is Range",
                "features.columns.b=Mean($close): Mean takes 2 arguments",
            ],
        ),
        ("ahead", ["features.columns.a=Ref($close, -1): Ref(x, -1) looks ahead"]),
        ("empty", ["features.columns: no feature is left"]),
        (
            "my_sett",
            [
                "features=my_sett: must be one of ahead, alpha158, alpha360, bars, empty, momentum, my_set, ",
                "did you mean my_set?",
            ],
        ),
    ],
)
def test_a_wrong_one_is_refused_by_name(
    name: str, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([f"features={name}", *SMALL]) == 2
    err = capsys.readouterr().err
    assert all(text in err for text in says), err
    assert err.count("\n") == (2 if name == "no_operator" else 1)
    assert list(tmp_path.iterdir()) == []
