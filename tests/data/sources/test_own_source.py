"""A package that adds a source of dated bars: installed, trained on, and refused clearly where it is broken."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stockml import cli, compose
from stockml.data import sources
from stockml.data.dataset import load_panel
from stockml.errors import UserError
from stockml.tasks import TASKS
from tests.conftest import command

Typed = Callable[..., subprocess.CompletedProcess[str]]

PACKAGE = """
from dataclasses import dataclass
from stockml.data.sources import BarsConfig, Source, bounded

@dataclass(frozen=True, kw_only=True)
class WalkConfig(BarsConfig):
    days: int = bounded(least=1, default=300)

def load(config):
    import numpy as np
    from stockml.data.bars import Bars
    ticker, days = config.stock.ticker, config.data.days
    rng = np.random.default_rng([*ticker.encode()])
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(days)))
    columns = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": rng.integers(1, 9, days) * 1e3}
    dates = np.busday_offset("2015-01-01", np.arange(days), roll="forward")
    return Bars(ticker=ticker, dates=dates, columns=columns, origin="random walks")

def reversed_days(config):
    from dataclasses import replace
    bars = load(config)
    return replace(bars, dates=bars.dates[::-1])

def nothing(config):
    return None

def only_closes(config):
    from dataclasses import replace
    bars = load(config)
    return replace(bars, columns={"close": bars.columns["close"]})

def negative(config):
    bars = load(config)
    bars.columns["close"][5] = -1
    return bars

def failing(config):
    raise KeyError("password")

WALKS = Source(WalkConfig, load="random_walks:load")
NO_FUNCTION = Source(WalkConfig, load="random_walks:lod")
NO_MODULE = Source(WalkConfig, load="random_walk:load")
REVERSED = Source(WalkConfig, load="random_walks:reversed_days")
NOTHING = Source(WalkConfig, load="random_walks:nothing")
ONLY_CLOSES = Source(WalkConfig, load="random_walks:only_closes")
NEGATIVE = Source(WalkConfig, load="random_walks:negative")
FAILING = Source(WalkConfig, load="random_walks:failing")
NO_SOURCE = "csv"
"""
ENTRY_POINTS = """[stockml.sources]
walks = random_walks:WALKS
no_function = random_walks:NO_FUNCTION
no_module = random_walks:NO_MODULE
reversed = random_walks:REVERSED
nothing = random_walks:NOTHING
only_closes = random_walks:ONLY_CLOSES
negative = random_walks:NEGATIVE
failing = random_walks:FAILING
no_source = random_walks:NO_SOURCE
no_attribute = random_walks:SOURCE
"""
QUICK = ("+experiment=quick", "model=linear", "data.window=10")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as an installed one."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "random_walks-1.0.dist-info"
    info.mkdir()
    (folder / "random_walks.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: random_walks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def typed(site: Path, tmp_path: Path) -> Typed:
    """Types a command in an empty folder, with the package installed."""
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]

    def typed(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return command(*arguments, cwd=tmp_path, env={"PYTHONPATH": os.pathsep.join(paths), **env})

    return typed


def test_a_stock_of_it_is_trained_on_forecast_reproduced_and_examined(typed: Typed, tmp_path: Path) -> None:
    run = ("data=walks", "data.days=250", "stock.ticker=A")
    done = typed(*run, *QUICK, "hydra.run.dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (facts["config"]["data"]["source"], facts["config"]["data"]["days"]) == ("walks", 250)
    assert facts["data"]["origin"] == "random walks"
    for task in ("predict", "evaluate", "reproduce"):
        done = typed(f"task={task}", "run=run", "hydra.run.dir=again")
        assert (done.returncode, done.stderr) == (0, ""), task
    assert (tmp_path / "run" / "forecasts.csv").is_file()
    done = typed("task=doctor", *run)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("limit", [4, 0])
def test_several_stocks_of_it_are_pooled_and_forecast(typed: Typed, tmp_path: Path, limit: int) -> None:
    pool = ("data=walks", "data.tickers=[A,B]", f"data.memory_limit={limit}", "data.panel_cache=panels")
    done = typed(*pool, *QUICK, "hydra.run.dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    done = typed("task=predict", "run=run")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "run" / "forecasts.csv").read_text().splitlines()
    assert {line.split(",")[2] for line in lines[1:]} == {"A", "B"}


def test_other_settings_of_it_are_another_pooled_panel(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(site)
    pool = ("data=walks", "data.tickers=[A,B]", f"data.panel_cache={tmp_path}")
    panels = [load_panel(compose.compose(*pool, f"data.days={days}"))[0] for days in (250, 260, 250)]
    assert [len(panel.values) for panel in panels] == [2 * 249, 2 * 259, 2 * 249]
    assert panels[0].fingerprint() == panels[2].fingerprint() != panels[1].fingerprint()


def test_its_settings_are_checked_and_default_to_the_dataclass_s_and_the_shared_ones(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(site)
    settings = dataclasses.asdict(compose.compose("data=walks", "data.window=5").data)
    shared = dataclasses.asdict(compose.compose("data=csv", "data.dir=.").data)
    assert (settings["days"], settings["window"]) == (300, 5)
    assert {settings[name] == shared[name] for name in ("horizon", "test_ratio", "calendar", "panel_cache")} == {True}
    assert cli.main(["data=walks", "data.days=0"]) == 2
    assert capsys.readouterr().err == "data.days=0: must be a whole number ≥ 1\n"
    assert cli.main(["data=walks", "data.dir=."]) == 2
    assert capsys.readouterr().err.startswith("data.dir: no such key")
    assert cli.main(["data=walks", "data.tickers=all"]) == 2
    assert "needs a source that can find its stocks" in capsys.readouterr().err
    assert cli.main(["data=walk"]) == 2
    assert "yahoo; did you mean walks?" in capsys.readouterr().err.replace("walks, yahoo", "yahoo")


def test_it_is_listed(typed: Typed) -> None:
    text = typed("--help", "data=walks").stdout
    assert "walks" in next(line for line in text.splitlines() if line.startswith("data: "))
    assert "days: 300" in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_attribute", "data=no_attribute: the installed entry point random_walks:SOURCE does not load: "),
        ("no_source", "data=no_source: the entry point random_walks:NO_SOURCE is not a stockml.data.sources.Source"),
        ("no_function", "data=no_function: the source's load='random_walks:lod' cannot be imported ("),
        ("no_module", "data=no_module: the source's load='random_walk:load' cannot be imported ("),
        ("reversed", "data=reversed: the installed source returned dates that are not datetime64 in increasing order"),
        ("nothing", "data=nothing: the installed source returned a NoneType instead of stockml.data.bars.Bars for A"),
        ("only_closes", "returned bars without the columns open, high, low, volume (they have close) for A"),
        (
            "negative",
            "data=negative: the installed source returned open -1 on 2015-01-08, which cannot be used, for A",
        ),
        ("failing", "data=failing: the installed source's load failed: KeyError: 'password'; HYDRA_FULL_ERROR=1"),
    ],
)
@pytest.mark.parametrize("pool", [(), ("data.tickers=[A,B]",)])
def test_a_broken_one_is_refused_in_a_line_that_names_it(
    site: Path,
    tmp_path: Path,
    name: str,
    says: str,
    pool: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    assert cli.main([f"data={name}", "stock.ticker=A", *QUICK, *pool]) == 2
    printed = capsys.readouterr().err
    assert says in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_source_s_declaration_is_checked() -> None:
    csv = sources.BUILT_IN["csv"]
    with pytest.raises(TypeError, match="can_find_stocks is set, but find_stocks is None"):
        dataclasses.replace(csv, find_stocks=None)
    with pytest.raises(TypeError, match="must be a dataclass derived from"):
        dataclasses.replace(csv, config=dict)  # type: ignore[arg-type]


def test_a_run_whose_source_is_not_installed_any_more_says_so(typed: Typed, tmp_path: Path) -> None:
    done = typed("data=walks", *QUICK, "hydra.run.dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(UserError, match=r"data\.source=walks: must be one of "):
        compose.compose("task=predict", f"run={tmp_path / 'run'}", tasks=TASKS)
