"""Wrong files in a user's own conf/, interpolations, and a working folder that is gone."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from stockml import cli
from tests.wrong_input.inputs import BARS, SIMULATED, assert_refused, assert_told, bars, nothing

FILES_OF_CONF = [
    (
        "experiment",
        "# @package _global_\ntrainer:\n\tepochs: 1\n",
        "+experiment=own",
        "own.yaml, line 3: is no YAML (…'\\t'",
    ),
    (
        "experiment",
        "trainer:\n  epochs: 1\n",
        "+experiment=own",
        "own.yaml: its first line must be '# @package _global_'",
    ),
    ("experiment", "# @package _global_\n- 1\n", "+experiment=own", "own"),
    ("experiment", "# @package _global_\ndefaults: [nope]\n", "+experiment=own", "nope"),
    ("experiment", "# @package _global_\ntrainer: {lr: '${'}\n", "+experiment=own", "own"),
    ("experiment", b"# @package _global_\n\xff\xfe", "+experiment=own", "own"),
    (
        "stock",
        "ticker: NVDA\nname: Nvidia\nfeatures: [close, volume]\n",
        "stock=own",
        "'NVDA' has no simulator figures",
    ),
    ("model", "name: [mlp\n", "model=own", "own.yaml, line 2: is no YAML"),
]


@pytest.mark.parametrize(("group", "content", "typed", "says"), FILES_OF_CONF)
def test_what_is_wrong_with_a_user_s_own_conf_is_told_by_its_file(
    group: str, content: str | bytes, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own", group).mkdir(parents=True)
    Path("own", group, "own.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    for sweep in ("", "-m seed=1,2 "):
        assert_refused(capsys, nothing, f"{sweep}-cd own {typed}", [says])


def test_an_own_stock_needs_no_figures_to_simulate_it_by() -> None:
    Path("own/stock").mkdir(parents=True)
    Path("own/stock/own.yaml").write_text("ticker: NVDA\nname: Nvidia\nfeatures: [close, volume]\n")
    bars()()
    assert cli.main(shlex.split(f"-cd own stock=own data.path=AAPL.csv {BARS} data.dir=null")) == 0


@pytest.mark.parametrize(
    "typed",
    [
        "seed=1 -m stock=AAPL,TSLA",
        "'data.test_ratio=${data.valid_ratio}'",
        "-m 'hydra.sweep.dir=out/${model.name}' seed=1,2",
        "'seed=${oc.env:STOCKML_SEED}' 'trainer.shuffle=${oc.env:STOCKML_TRUE}' 'trainer.lr=${oc.env:STOCKML_LR}'",
        "'trainer.patience=${oc.env:STOCKML_NULL}' 'data.seed=${seed}' 'seed=${oc.env:STOCKML_SEED}'",
        "-m 'seed=${oc.env:STOCKML_SEED},2'",
    ],
)
def test_interpolations_are_taken_and_saved_as_what_they_stand_for(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"SEED": "7", "TRUE": "true", "LR": "1e-3", "NULL": "null"}.items():
        monkeypatch.setenv(f"STOCKML_{name}", text)
    assert cli.main(shlex.split(f"{SIMULATED} report=false {typed}")) == 0
    for path in Path().glob("**/.hydra/*.yaml"):
        assert "${" not in path.read_text(), path
    for path in Path().glob("**/config.json"):
        config = json.loads(path.read_text())["config"]
        assert isinstance(config["seed"], int) and config["data"]["seed"] in (0, 7)
    assert cli.main(["task=reproduce", f"run={next(Path().glob('**/config.json')).parent}", "report=false"]) == 0


def test_a_path_may_name_the_stock(market: Path) -> None:
    typed = [*shlex.split(BARS)[2:], "data=csv", f"data.path={market}/ohlcv/${{stock.ticker}}.csv", "report=false"]
    assert cli.main([*typed, "stock=XOM", "hydra.run.dir=run", "data.start=2020-01-01"]) == 0
    assert json.loads(Path("run/config.json").read_text())["config"]["data"]["path"].endswith("/XOM.csv")


def test_a_working_folder_that_is_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    try:
        assert cli.main([]) == 2
        assert_told(capsys.readouterr().err, ["folder …is gone; …cd FOLDER"])
    finally:
        os.chdir("/")
